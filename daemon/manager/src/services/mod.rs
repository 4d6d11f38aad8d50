//! What plugins keep with the manager: maps and lists (`hd.map/1`), and locks (`hd.lock/1`).

pub mod asked;
mod kept;
mod locks;

pub use locks::Locks;

use self::asked::ASKS_A_SECOND;
use crate::director::Manager;
use healthd_core::objects::maps::{Change, Maps, error};
use healthd_core::wire::asks::{MapAsk, MapReply};
use healthd_core::wire::supervisor::ToSupervisor;
use healthd_core::wire::worker::ToWorker;
use healthd_sys::clock;
use kept::Log;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

pub struct Services {
    pub kept_maps: KeptMaps,
    pub locks: Locks,
}

/// The maps, and the memory in which they outlive us. None until something is in them.
#[derive(Default)]
pub struct KeptMaps {
    pub maps: Maps,
    log: Option<Log>,
}

impl KeptMaps {
    /// What a manager before us has left.
    pub fn restore(left: Option<OwnedFd>) -> KeptMaps {
        match left.map(Log::open) {
            None => KeptMaps::default(),
            Some(Ok((log, maps))) => KeptMaps {
                maps,
                log: Some(log),
            },
            Some(Err(e)) => {
                log::error!("plugins' maps of the manager before cannot be read: {e}");
                KeptMaps::default()
            }
        }
    }
}

impl Manager {
    /// False: the worker asks too much, and is replaced.
    fn may_ask(&mut self, slot: u32) -> bool {
        let now = clock::monotonic_ns();
        let Some(s) = self.fleet.slots.get_mut(&slot) else {
            return false;
        };
        if s.asks.once_more(now) {
            return true;
        }
        let why = format!("it asks for maps and locks more than {ASKS_A_SECOND} times a second");
        self.condemn(slot, why, None);
        false
    }

    pub fn map_asked(&mut self, slot: u32, ask: &MapAsk) {
        if !self.may_ask(slot) {
            return;
        }
        let (mut reply, change) = self.services.kept_maps.maps.ask(ask, clock::monotonic_ns());
        if let Some(change) = change
            && let Err(e) = self.keep_change(&change)
        {
            // It is done, but would not outlive us.
            log::error!("a change of a plugin's map cannot be kept: {e}");
            reply = MapReply {
                ask: ask.ask,
                error: error::NO_ROOM,
                ..MapReply::default()
            };
        }
        self.answer(slot, &ToWorker::Map(Box::new(reply)));
    }

    fn keep_change(&mut self, change: &Change) -> io::Result<()> {
        let long = match &mut self.services.kept_maps.log {
            Some(log) => {
                log.add(change)?;
                log.is_long(&self.services.kept_maps.maps)
            }
            None => true,
        };
        if long {
            let log = Log::of(&self.services.kept_maps.maps)?;
            let copy = std::sync::Arc::new(log.as_fd().try_clone_to_owned()?);
            self.fleet
                .supervisor
                .say_with(&ToSupervisor::KeepMaps, vec![copy]);
            self.services.kept_maps.log = Some(log);
        }
        Ok(())
    }

    fn answer(&mut self, slot: u32, message: &ToWorker) {
        if let Some(link) = self
            .fleet
            .slots
            .get_mut(&slot)
            .and_then(|s| s.process.link.as_mut())
        {
            link.queue(message);
        }
    }
}
