//! What is in force is left with the supervisor, for the manager after us.

use super::handover::{Index, KeptFile};
use crate::director::Manager;
use crate::role::MAP_MODE;
use healthd_core::config::{CheckSpec, LABELS_FILE, OBJECTIVES_FILE, objectives};
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
        if let Err(e) = self.write_objectives() {
            log::warn!("reports know no objectives: {e}");
        }
        let readers = ToSupervisor::Readers(specs);
        self.fleet.supervisor.say_with(&readers, fds);
    }

    fn write_labels(&self) -> io::Result<()> {
        let Some(web) = &self.model.web else {
            return Ok(());
        };
        let labels = serde_json::to_vec(&web.chosen(self.specs()))?;
        self.leave_word(LABELS_FILE, &labels)
    }

    fn write_objectives(&self) -> io::Result<()> {
        let Some(history) = &self.model.history else {
            return Ok(());
        };
        let all = objectives(&history.slo, self.specs());
        self.leave_word(OBJECTIVES_FILE, &serde_json::to_vec(&all)?)
    }

    fn specs(&self) -> impl Iterator<Item = &CheckSpec> + Clone {
        let ids = self.checks.order().iter();
        ids.filter_map(|id| self.checks.get(*id).map(|check| &check.spec))
    }

    /// A file for readers, whole or not at all.
    fn leave_word(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.args.runtime_dir.join(name);
        let temp = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MAP_MODE)
            .open(&temp)?;
        file.write_all(bytes)?;
        fs::rename(&temp, &path)
    }
}
