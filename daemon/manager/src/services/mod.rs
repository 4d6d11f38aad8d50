//! What plugins keep with the manager: maps and lists (`hd.map/1`), states (`hd.state/1`), and locks (`hd.lock/1`).

pub mod asked;
mod kept;
mod locks;
pub mod said;
pub mod states;

pub use locks::Locks;
pub use states::States;
use states::{Answered, Asked};

use self::asked::ASKS_A_SECOND;
use crate::director::Manager;
use crate::fleet::Fleet;
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
    pub states: States,
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
        if ask.op.is_state() {
            return self.state_asked(slot, ask.clone());
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
        answer(&mut self.fleet, slot, &ToWorker::Map(Box::new(reply)));
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

    /// What a check keeps over a restart: `ask.map` is its plugin, `ask.key` its name.
    fn state_asked(&mut self, slot: u32, ask: MapAsk) {
        let check = self
            .checks
            .find(&ask.key)
            .and_then(|id| self.checks.get(id));
        let is_its_own = check.is_some_and(|c| c.spec.plugin == ask.map);
        let number = ask.ask;
        let asked = match self.fleet.slots.get(&slot).map(|s| s.process.pid) {
            Some(pid) if is_its_own => {
                let path = self.args.state_dir.join(states::FILE);
                let inbox = &self.clockwork.inbox;
                let owners = || self.checks.owners();
                let asked = Asked { slot, pid, ask };
                let asked = self.services.states.ask(asked, path, inbox, owners);
                asked.map_err(|e| {
                    log::error!("no thread for what checks keep: {e}");
                    -e.raw_os_error().unwrap_or(libc::EAGAIN)
                })
            }
            _ => Err(error::INVALID),
        };
        if let Err(error) = asked {
            let reply = MapReply {
                ask: number,
                error,
                ..MapReply::default()
            };
            answer(&mut self.fleet, slot, &ToWorker::Map(Box::new(reply)));
        }
    }
}

fn answer(fleet: &mut Fleet, slot: u32, message: &ToWorker) {
    let slot = fleet.slots.get_mut(&slot);
    if let Some(link) = slot.and_then(|s| s.process.link.as_mut()) {
        link.queue(message);
    }
}

pub fn states_answered(fleet: &mut Fleet, answers: Vec<Answered>) {
    for Answered { slot, pid, reply } in answers {
        // Another worker may have its slot by now.
        if fleet.slots.get(&slot).is_some_and(|s| s.process.pid == pid) {
            answer(fleet, slot, &ToWorker::Map(Box::new(reply)));
        }
    }
}
