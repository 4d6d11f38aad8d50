//! What the supervisor keeps for the manager after this one: the model in force and the plugins' bytes. So
//! that one does not depend on what the files say by then.

use crate::fleet::supervisor_link::SupervisorLink;
use crate::rollout::plugins::{KeptVersions, Versions};
use healthd_catalog::{PluginEntry, PluginFile, Scan, Standing};
use healthd_core::config::{Model, PluginInfo, Refused};
use healthd_core::wire::supervisor::ToManager;
use healthd_sys::memfd;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

/// The second memfd; the first is the model, and the files' copies follow in the order of the lists here.
#[derive(Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) files: Vec<KeptFile>,
    pub(super) refused: Vec<Refused>,
    pub(super) previous: Vec<KeptFile>,
    pub(super) versions: KeptVersions,
}

#[derive(Serialize, Deserialize)]
pub(super) struct KeptFile {
    path: PathBuf,
    hash: u64,
    plugins: Vec<PluginEntry>,
    infos: Vec<PluginInfo>,
    standing: Standing,
    #[serde(default)]
    shipped: bool,
    /// Its copy is among the fds.
    copied: bool,
    owners: Vec<u32>,
}

impl KeptFile {
    pub(super) fn of(file: &PluginFile) -> KeptFile {
        KeptFile {
            path: file.path.clone(),
            hash: file.hash,
            plugins: file.plugins.clone(),
            infos: file.infos.clone(),
            standing: file.standing.clone(),
            shipped: file.shipped,
            copied: file.copy.is_some(),
            owners: file.owners.clone(),
        }
    }

    fn with(self, copy: Option<OwnedFd>) -> PluginFile {
        PluginFile {
            path: self.path,
            copy: copy.map(Arc::new),
            owners: self.owners,
            hash: self.hash,
            plugins: self.plugins,
            infos: self.infos,
            standing: self.standing,
            shipped: self.shipped,
        }
    }
}

/// A model may have 100,000 checks: written down by whoever has read it, and never in the loop.
pub fn pack(model: &Model) -> io::Result<Arc<OwnedFd>> {
    let bytes = serde_json::to_vec(model).map_err(io::Error::other)?;
    Ok(Arc::new(memfd::sealed_bytes("healthd-model", &bytes)?))
}

/// Packs the model beside what a start does with it meanwhile: of 100,000 checks both take long. `kept`: it is packed
/// already.
pub fn packed_beside<T>(
    model: &Model,
    kept: Option<Arc<OwnedFd>>,
    meanwhile: impl FnOnce() -> T,
) -> (io::Result<Arc<OwnedFd>>, T) {
    if let Some(kept) = kept {
        return (Ok(kept), meanwhile());
    }
    thread::scope(|s| {
        let named = thread::Builder::new().name("pack".into());
        let packing = named.spawn_scoped(s, || pack(model));
        let done = meanwhile();
        let packed = match packing.map(|thread| thread.join()) {
            Ok(Ok(packed)) => packed,
            Ok(Err(_)) => Err(io::Error::other("the thread that packs it panicked")),
            Err(_) => pack(model),
        };
        (packed, done)
    })
}

/// What the manager before us left.
pub struct Restored {
    pub model: Model,
    /// None: it was not kept, but read.
    pub kept_model: Option<Arc<OwnedFd>>,
    pub scan: Scan,
    pub versions: Versions,
}

/// Memory that outlives a manager.
#[derive(Default)]
pub struct Left {
    /// Of the plugins' maps.
    pub maps: Option<OwnedFd>,
    /// Of who was told of what.
    pub alerts: Option<OwnedFd>,
}

/// The first messages of the supervisor bring it.
pub fn restore(supervisor: &SupervisorLink) -> io::Result<(Restored, Left)> {
    let mut fds: VecDeque<OwnedFd> = VecDeque::new();
    let left = loop {
        let mut poll_fds = [PollFd::new(supervisor.fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut poll_fds, PollTimeout::from(10_000u16))?;
        match supervisor.next_whole()? {
            Some((ToManager::Restore { last, maps, alerts }, part)) => {
                fds.extend(part);
                if last {
                    // The last one first.
                    let alerts = alerts.then(|| fds.pop_back()).flatten();
                    let maps = maps.then(|| fds.pop_back()).flatten();
                    break Left { maps, alerts };
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
    let mut whole = |kept: KeptFile| {
        let copy = if kept.copied { Some(next()?) } else { None };
        Ok(kept.with(copy))
    };
    let files: io::Result<Vec<PluginFile>> = index.files.into_iter().map(&mut whole).collect();
    let previous: io::Result<Vec<PluginFile>> =
        index.previous.into_iter().map(&mut whole).collect();
    let restored = Restored {
        model,
        kept_model: Some(kept_model),
        scan: Scan::with(files?, index.refused),
        versions: Versions::restored(previous?, index.versions),
    };
    Ok((restored, left))
}
