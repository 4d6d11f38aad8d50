//! What the supervisor keeps for the manager after this one: the model in force and the plugins' bytes. So
//! that one does not depend on what the files say by then.

use crate::director::Manager;
use crate::fleet::supervisor_link::SupervisorLink;
use crate::rollout::plugins::{KeptVersions, Versions};
use healthd_catalog::{PluginEntry, PluginFile, Scan, Standing};
use healthd_core::config::{Model, PluginInfo, Refused};
use healthd_core::wire::supervisor::{FDS_A_MESSAGE, ToManager, ToSupervisor};
use healthd_sys::memfd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// The second memfd; the first is the model, and the files' copies follow in the order of the lists here.
#[derive(Serialize, Deserialize)]
struct Index {
    files: Vec<KeptFile>,
    refused: Vec<Refused>,
    previous: Vec<KeptFile>,
    versions: KeptVersions,
}

#[derive(Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    hash: u64,
    plugins: Vec<PluginEntry>,
    infos: Vec<PluginInfo>,
    standing: Standing,
}

impl KeptFile {
    fn of(file: &PluginFile) -> KeptFile {
        KeptFile {
            path: file.path.clone(),
            hash: file.hash,
            plugins: file.plugins.clone(),
            infos: file.infos.clone(),
            standing: file.standing.clone(),
        }
    }

    fn with(self, copy: OwnedFd) -> PluginFile {
        PluginFile {
            path: self.path,
            copy: Arc::new(copy),
            hash: self.hash,
            plugins: self.plugins,
            infos: self.infos,
            standing: self.standing,
        }
    }
}

/// A model may have 100,000 checks: written down by whoever has read it, and never in the loop.
pub fn pack(model: &Model) -> io::Result<Arc<OwnedFd>> {
    let bytes = serde_json::to_vec(model).map_err(io::Error::other)?;
    Ok(Arc::new(memfd::sealed_bytes("healthd-model", &bytes)?))
}

impl Manager {
    /// Hands the supervisor what a manager after us would need.
    pub fn keep(&mut self) {
        let settings = ToSupervisor::Settings {
            stop_grace_ms: self.model.daemon.stop_grace.as_millis() as u64,
            log: self.model.daemon.log.clone(),
        };
        self.fleet.supervisor.say(&settings);
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
                fds.extend(files.map(|f| f.copy.clone()));
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
}

/// What the manager before us left.
pub struct Restored {
    pub model: Model,
    /// None: it was not kept, but read.
    pub kept_model: Option<Arc<OwnedFd>>,
    pub scan: Scan,
    pub versions: Versions,
}

/// The first messages of the supervisor bring it.
pub fn restore(supervisor: &SupervisorLink) -> io::Result<(Restored, Option<OwnedFd>)> {
    let mut fds: VecDeque<OwnedFd> = VecDeque::new();
    let maps = loop {
        let mut poll_fds = [PollFd::new(supervisor.fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut poll_fds, PollTimeout::from(10_000u16))?;
        match supervisor.next_whole()? {
            Some((ToManager::Restore { last, maps }, part)) => {
                fds.extend(part);
                if last {
                    break if maps { fds.pop_back() } else { None };
                }
            }
            _ => {
                return Err(io::Error::other(
                    "the supervisor did not hand over what the last manager left",
                ));
            }
        }
    };
    let mut next = || {
        fds.pop_front()
            .ok_or_else(|| io::Error::other("what the last manager left is not whole"))
    };
    let kept_model = Arc::new(next()?);
    let model: Model =
        serde_json::from_slice(&memfd::read_all(&kept_model)?).map_err(io::Error::other)?;
    let index: Index =
        serde_json::from_slice(&memfd::read_all(&next()?)?).map_err(io::Error::other)?;
    let files: io::Result<Vec<PluginFile>> = index
        .files
        .into_iter()
        .map(|f| Ok(f.with(next()?)))
        .collect();
    let previous: io::Result<Vec<PluginFile>> = index
        .previous
        .into_iter()
        .map(|f| Ok(f.with(next()?)))
        .collect();
    let restored = Restored {
        model,
        kept_model: Some(kept_model),
        scan: Scan::with(files?, index.refused),
        versions: Versions::restored(previous?, index.versions),
    };
    Ok((restored, maps))
}
