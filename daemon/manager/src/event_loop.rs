//! The loop: one wait; then messages, results, clients, timers, and what they asked for.

use crate::control::error;
use crate::director::{Chore, Manager, Phase};
use crate::fleet::descriptors::is_lack;
use crate::fleet::slots::{Link, Process, SlotState};
use crate::inbox::Message;
use crate::journal::Fact;
use crate::rollout::work::Work;
use crate::services::states::Fed;
use crate::services::states_answered;
use crate::time::MS;
use healthd_core::check::schedule::Standstill;
use healthd_core::wire::control::{ErrorCode, Reply};
use healthd_core::wire::events::EventKind;
use healthd_core::wire::frame::MAX_MESSAGE;
use healthd_core::wire::maps::state_header as h;
use healthd_core::wire::supervisor::ToManager;
use healthd_sys::{clock, logging};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{EpollEvent, EpollFlags, EpollTimeout};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Which fd an epoll event speaks of.
pub const TOKEN_SUPERVISOR: u64 = 1;
pub const TOKEN_LISTENER: u64 = 2;
pub const TOKEN_INBOX: u64 = 3;
pub const TOKEN_SLOT: u64 = 1 << 32;
/// The bits above are the client's serial: an event may be of one that this turn has ended, and whose place is taken again.
pub const TOKEN_CLIENT: u64 = 2 << 32;

/// The beat when nothing happens, and when workers have runs that could stall.
const WATCH_IDLE_NS: u64 = 1000 * MS;
const WATCH_BUSY_NS: u64 = 250 * MS;
/// A turn that is so much later than planned: we, or the machine, stood still.
const GAP_NS: u64 = 500 * MS;
/// From the end of a worker's link to its death, the burial of its children included.
const HUNG_UP_NS: u64 = 3000 * MS;
/// Lines of the log that wait for their reader are tried again so soon.
const LOG_MS: u64 = 20;
/// The most messages that one worker is heard for in a turn.
const MESSAGES_A_TURN: usize = 256;

impl Manager {
    /// Until the daemon stops or the supervisor is gone.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = vec![EpollEvent::empty(); 128];
        let mut buffer = vec![0; MAX_MESSAGE];
        let mut due = Vec::new();
        let mut chores = Vec::new();
        for chore in [Chore::Watch, Chore::EndIdleClients] {
            self.clockwork
                .chores
                .insert(clock::monotonic_ns() / MS, chore);
        }
        let (mut sweeping, mut log_waits) = (false, false);
        let mut turned = clock::monotonic_ns();
        while self.phase != Phase::Done {
            let now = clock::monotonic_ns();
            let wake = self
                .clockwork
                .chores
                .next_wake()
                .map(|ms| ms.saturating_mul(MS))
                .into_iter()
                .chain(self.due_wake())
                .chain(self.alerts.wake())
                .min();
            let timeout = match wake {
                _ if self.clients.are_pressing() || sweeping => 0,
                at if log_waits => {
                    at.map_or(LOG_MS, |at| at.saturating_sub(now).div_ceil(MS).min(LOG_MS)) as u16
                }
                Some(at) => at.saturating_sub(now).div_ceil(MS).min(1000) as u16,
                None => 1000,
            };
            let n = match self
                .clockwork
                .epoll
                .wait(&mut events, EpollTimeout::from(timeout))
            {
                Ok(n) => n,
                Err(Errno::EINTR) => 0,
                Err(e) => return Err(e.into()),
            };
            let woken = clock::monotonic_ns();
            let planned = now + u64::from(timeout) * MS;
            // Between two turns, or asleep for longer than was planned.
            let lasted_ns = (now.saturating_sub(turned)).max(woken.saturating_sub(planned));
            if lasted_ns > GAP_NS {
                if woken.saturating_sub(planned) > GAP_NS {
                    let stood = Fact::new(EventKind::StoodStill).lasts(woken - planned);
                    self.books.journal.record(stood);
                }
                self.clockwork.stood = Standstill {
                    until_ns: woken,
                    lasted_ns,
                };
            }
            turned = woken;
            for event in &events[..n] {
                self.dispatch_event(event, &mut buffer)?;
            }
            let now = clock::monotonic_ns();
            self.books.map.header(h::BEAT, now);
            self.clockwork.chores.advance(now / MS, &mut chores);
            for chore in chores.drain(..) {
                self.chore(chore, now);
            }
            if self.phase == Phase::Running {
                self.dispatch_due(now, &mut due);
            }
            self.drain_solo();
            self.drain_queues();
            self.admit_to_locks();
            // For those whose turn in a group has come.
            self.drain_solo();
            self.spread_chunks();
            self.tell_people(now);
            // In the map before it is on its way: no run id is given twice, whenever we die.
            self.publish_accounts();
            self.fleet.flush_links();
            if self.books.journal.take_news() {
                self.clients.tell_events();
            }
            self.serve_clients();
            sweeping = self.sweep_on();
            self.stop_progress();
            log_waits = logging::settle();
        }
        logging::finish();
        self.fleet.supervisor.flush();
        Ok(())
    }

    fn dispatch_event(&mut self, event: &EpollEvent, buffer: &mut [u8]) -> io::Result<()> {
        match event.data() {
            TOKEN_SUPERVISOR => {
                self.fleet.supervisor.flush();
                while let Some((message, fds)) = self.fleet.supervisor.next()? {
                    self.supervisor_says(message, fds, buffer);
                }
            }
            TOKEN_LISTENER => self.accept_clients(),
            TOKEN_INBOX => {
                for message in self.clockwork.inbox.take() {
                    match message {
                        Message::Loaded(result) => self.loaded(*result),
                        Message::Dropped => self.enqueue(Work::Dropped),
                        Message::AlertsWritten(written) => self.alerts.written(written),
                        Message::States(answers) => states_answered(&mut self.fleet, answers),
                        Message::Fed(fed) => fed.into_iter().for_each(|fed| self.was_fed(fed)),
                        Message::SecretsChanged => self.enqueue(Work::Secrets),
                    }
                }
            }
            token if token & TOKEN_CLIENT != 0 => {
                if let Some(key) = self.clients.of_event(token) {
                    self.client_ready(key, event.events());
                }
            }
            token => {
                let slot = (token & 0xffff_ffff) as u32;
                if event.events().contains(EpollFlags::EPOLLHUP)
                    && let Some(s) = self.fleet.slots.get(&slot)
                    && let Some(link) = &s.process.link
                    && is_hung_up(&link.fd)
                {
                    let at = (clock::monotonic_ns() + HUNG_UP_NS) / MS;
                    self.clockwork.chores.insert(
                        at,
                        Chore::HungUp {
                            slot,
                            pid: s.process.pid,
                        },
                    );
                    // The death will be told; until then the level-triggered event must not spin. Looked at again,
                    // as the event may be of the worker before: its successor's link can have come in the same turn.
                    let _ = self.clockwork.epoll.delete(&link.fd);
                }
                self.receive_from(slot, buffer, MESSAGES_A_TURN);
            }
        }
        Ok(())
    }

    /// Who has said it is told that it is kept, and the check runs at once, to see it.
    fn was_fed(&mut self, fed: Fed) {
        if let Some(client) = fed.asker.and_then(|asker| self.clients.place_of(asker)) {
            self.clients.reply(
                client,
                &match fed.result {
                    Ok(()) => Reply::End,
                    Err(why) => Reply::Error(error(ErrorCode::Busy, why, "try again later")),
                },
            );
        }
        let id = self.checks.find(&fed.check);
        if let Some((id, check)) = id.and_then(|id| Some((id, self.checks.get_mut(id)?))) {
            // A run that is under way may have looked before; the next one begins at its end.
            check.plan.again = true;
            if !check.stage.is_busy() {
                self.schedule.plan(check, id, clock::monotonic_ns());
            }
            self.publish(id);
        }
    }

    fn supervisor_says(&mut self, message: ToManager, mut fds: Vec<OwnedFd>, buffer: &mut [u8]) {
        match message {
            ToManager::Restore { .. } => log::error!("a restore that was not asked for"),
            ToManager::Started { slot, pid, birth } => {
                self.worker_started(slot, pid, birth, fds.pop());
            }
            ToManager::Died {
                slot,
                pid,
                death,
                left,
            } => self.worker_died(slot, pid, &death, left, buffer),
            ToManager::Buried { slot, pid } => self.worker_buried(slot, pid),
            ToManager::GivenUp {
                slot,
                retry_ms,
                reason,
            } => {
                let fields = format!("slot={slot} retry_ms={retry_ms} why=\"{reason}\"");
                let given_up = Fact::new(EventKind::WorkerGivenUp).slot(slot).why(&reason);
                self.books.journal.record(given_up.fields(fields));
                if self
                    .fleet
                    .slots
                    .get(&slot)
                    .is_some_and(|s| s.group.solo().is_some())
                {
                    return self.solo_failed(slot, &reason);
                }
                if let Some(s) = self.fleet.slots.get_mut(&slot) {
                    s.given_up = Some(match s.process.last_words.take() {
                        Some(words) => format!("{words} ({reason})"),
                        None => reason,
                    });
                    s.state = SlotState::Dead;
                }
                self.publish_slot(slot);
                let why = self.fleet.slots.get(&slot).and_then(|s| s.given_up.clone());
                self.abandon_replacement(slot, &why.unwrap_or_default());
                self.generation_progress();
            }
            ToManager::ReadersAre { pids } => self.clients.readers = pids,
            ToManager::Reload => self.begin_reload(None),
            ToManager::Stop { grace_ms } => self.begin_stop(grace_ms),
            ToManager::StopNow => self.stop_now(),
        }
    }

    fn worker_started(&mut self, slot: u32, pid: u32, birth: u64, fd: Option<OwnedFd>) {
        let known = self.fleet.slots.get_mut(&slot);
        // Started for a slot that is gone: at the end of its link it goes too.
        let Some(s) = known.filter(|s| s.spec.birth == birth) else {
            log::debug!("worker of a slot that is gone  slot={slot} pid={pid}");
            return;
        };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, TOKEN_SLOT | u64::from(slot));
        let link = match fd.map(|fd| (self.clockwork.epoll.add(fd.as_fd(), event), fd)) {
            Some((Ok(()), fd)) => Ok(Link::new(fd)),
            Some((Err(e), _)) => Err(format!("its link cannot be watched: {e}")),
            None => Err("the manager had no descriptor for its link".into()),
        };
        // Without a link it ends, its death is told, and the supervisor starts another, later and later.
        let (link, lost) = match link {
            Ok(link) => (Some(link), None),
            Err(why) => (None, Some(why)),
        };
        let is_linked = link.is_some();
        s.state = SlotState::Starting;
        s.process = Process {
            pid,
            started_ns: clock::monotonic_ns(),
            link,
            last_words: lost,
            ..Process::default()
        };
        self.publish_slot(slot);
        match is_linked {
            true => self.greet(slot),
            false => self.clockwork.lacks_descriptors("the link of a worker"),
        }
    }

    /// The worker makes its own map after its start: opened when it is first looked for.
    pub fn open_views(&mut self) {
        let dir = self.args.runtime_dir.clone();
        let mut lacks = false;
        for s in self.fleet.slots.values_mut().filter(|s| {
            (s.process.view.is_none() || s.process.held.gauge.is_none())
                && s.process.pid != 0
                && s.state != SlotState::Dead
        }) {
            // Before it has made its map there is none.
            lacks |= s.open_view(&dir).is_err_and(|e| is_lack(&e));
            lacks |= s.open_gauge().is_err_and(|e| is_lack(&e));
        }
        if lacks {
            self.clockwork.lacks_descriptors("the map of a worker");
        }
    }

    fn chore(&mut self, chore: Chore, now: u64) {
        match chore {
            Chore::Watch => {
                self.look_at_the_clock(now);
                self.open_views();
                let busy = self.look_at_workers(now);
                self.look_for_lost_runs(now);
                self.look_at_pools(now);
                self.watch_canaries(now);
                self.fleet.look_for_oom(now);
                self.expire_queues(now);
                self.look_at_dependents(now);
                self.expire_lines(now);
                self.store_if_due(now);
                if self.phase == Phase::Stopping {
                    self.tell_draining();
                }
                let next = match busy {
                    true => WATCH_BUSY_NS,
                    false => WATCH_IDLE_NS,
                };
                self.clockwork
                    .chores
                    .insert((now + next) / MS, Chore::Watch);
            }
            Chore::LookClosely { slot, pid } => self.look_again(slot, pid, now),
            Chore::Replace { slot, pid } => self.replace_now(slot, pid),
            Chore::HungUp { slot, pid } => self.still_hung_up(slot, pid),
            Chore::LockTimeout { slot, ask } => self.lock_timeout((slot, ask)),
            Chore::Solo => {}
            Chore::Listen => self.listen(),
            Chore::PauseEnds { id } => self.end_pause(id),
            Chore::WakeClients => self.clients.wake_resting(),
            Chore::EndIdleClients => self.end_idle_clients(now),
            Chore::Trials => self.end_trials(now),
            Chore::StopDeadline => self.stop_now(),
        }
    }

    fn look_at_the_clock(&mut self, now: u64) {
        if let Some(step) = self.clockwork.clock_watch.look(now, clock::realtime_ns()) {
            let why = "beyond the time that has passed: it was set, or the machine slept";
            self.alerts.touched();
            self.books
                .journal
                .record(Fact::new(EventKind::Clock).step(step).why(why));
        }
    }

    fn publish_accounts(&mut self) {
        for slot in self.fleet.slots.values() {
            self.books.map.slot(slot.spec.slot as usize, &slot.record());
        }
        self.books.map.header(h::NEXT_RUN, self.books.next_run);
        self.books.map.header(h::FINISHED, self.books.finished);
    }
}

fn is_hung_up(link: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(link.as_fd(), PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO).is_ok()
        && fds[0]
            .revents()
            .is_some_and(|r| r.contains(PollFlags::POLLHUP))
}
