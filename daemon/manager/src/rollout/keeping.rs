//! What is in force is left with the supervisor, for the manager after us.

use super::handover::{Index, KeptFile};
use crate::director::Manager;
use crate::role::MAP_MODE;
use healthd_core::config::LABELS_FILE;
use healthd_core::wire::supervisor::{FDS_A_MESSAGE, ReaderSpec, ToSupervisor};
use healthd_sys::memfd;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

impl Manager {
    /// Hands the supervisor what a manager after us would need.
    pub fn keep(&mut self) {
        let settings = ToSupervisor::Settings {
            stop_grace_ms: self.model.daemon.stop_grace.as_millis() as u64,
            log: self.model.daemon.log.clone(),
        };
        self.fleet.supervisor.say(&settings);
        self.name_readers();
        let Some(model) = self.rollout.kept_model.clone() else {
            return;
        };
        let index = Index {
            files: self.rollout.scan.files.iter().map(KeptFile::of).collect(),
            refused: self.rollout.scan.catalog.refused.clone(),
            previous: self
                .rollout
                .versions
                .previous
                .iter()
                .map(KeptFile::of)
                .collect(),
            versions: self.rollout.versions.kept(),
        };
        let index = serde_json::to_vec(&index)
            .map_err(io::Error::other)
            .and_then(|bytes| memfd::sealed_bytes("healthd-plugins", &bytes));
        match index {
            Ok(index) => {
                let mut fds = vec![model, Arc::new(index)];
                let files = self
                    .rollout
                    .scan
                    .files
                    .iter()
                    .chain(&self.rollout.versions.previous);
                fds.extend(files.filter_map(|f| f.copy.clone()));
                let last = fds.len().div_ceil(FDS_A_MESSAGE) - 1;
                for (n, part) in fds.chunks(FDS_A_MESSAGE).enumerate() {
                    let keep = ToSupervisor::Keep {
                        first: n == 0,
                        last: n == last,
                    };
                    self.fleet.supervisor.say_with(&keep, part.to_vec());
                }
            }
            Err(e) => log::error!("the plugins cannot be kept for a manager after this one: {e}"),
        }
    }

    /// Which processes read along, and with what settings.
    fn name_readers(&mut self) {
        let mut specs = Vec::new();
        let mut fds = Vec::new();
        for (role, settings) in self.model.readers() {
            let kept = memfd::sealed_bytes("healthd-settings", &settings)
                .and_then(|fd| Ok((memfd::fingerprint(&fd)?, fd)));
            match kept {
                Ok((settings, fd)) => {
                    specs.push(ReaderSpec { role, settings });
                    fds.push(Arc::new(fd));
                }
                Err(e) => log::error!("{} gets no settings: {e}", role.as_str()),
            }
        }
        if let Err(e) = self.write_labels() {
            log::warn!("metrics have no labels of checks: {e}");
        }
        let readers = ToSupervisor::Readers(specs);
        self.fleet.supervisor.say_with(&readers, fds);
    }

    fn write_labels(&self) -> io::Result<()> {
        let Some(web) = self.model.web.as_ref().filter(|w| !w.labels.is_empty()) else {
            return Ok(());
        };
        let ids = self.checks.order().iter();
        let checks = ids.filter_map(|id| self.checks.get(*id));
        let labels = serde_json::to_vec(&web.chosen(checks.map(|check| &check.spec)))?;
        let path = self.args.runtime_dir.join(LABELS_FILE);
        let temp = path.with_extension("labels.new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MAP_MODE)
            .open(&temp)?;
        file.write_all(&labels)?;
        fs::rename(&temp, &path)
    }
}
