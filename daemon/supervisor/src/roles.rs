//! The roles as a table, and the readers among them: which are to be, who lives, and who is started when.
//!
//! Pure: the event loop starts and ends processes, and says here what came of it. A new reader is a word in
//! `core/wire/roles.rs`, a row here, and a main in `bin/healthd.rs`.

use crate::reaper::Kind;
use crate::respawn::{self, Life, Pause, Policy, Record};
use healthd_core::wire::roles::Reader;
use healthd_core::wire::supervisor::ReaderSpec;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// What is different from role to role, for who starts and ends them.
#[derive(Debug)]
pub struct Row {
    /// How it is started again.
    pub policy: Policy,
    /// How it is ended. What ends in order gets SIGTERM, and SIGKILL if it is still there after `ENDING`.
    pub ends_by: Signal,
}

pub fn row(kind: Kind) -> &'static Row {
    match kind {
        Kind::Manager => &Row {
            policy: respawn::MANAGER,
            ends_by: Signal::SIGKILL,
        },
        Kind::Worker { .. } => &Row {
            policy: respawn::WORKER,
            ends_by: Signal::SIGKILL,
        },
        // What has something to write down, and what has somebody to answer.
        Kind::Reader(Reader::Recorder | Reader::Web) => &Row {
            policy: respawn::READER,
            ends_by: Signal::SIGTERM,
        },
    }
}

/// After that, ns, a reader that was asked to end is killed.
const ENDING: u64 = 2_000_000_000;

#[derive(Debug, Default)]
pub struct Readers(BTreeMap<Reader, Place>);

#[derive(Debug)]
struct Place {
    /// None: it is not wanted any more, and goes with its process.
    wanted: Option<Wanted>,
    state: State,
    record: Record,
}

#[derive(Clone, Debug)]
struct Wanted {
    fingerprint: u64,
    settings: Rc<OwnedFd>,
}

/// All times are CLOCK_MONOTONIC, ns.
#[derive(Debug)]
enum State {
    Empty {
        start_at: u64,
    },
    /// `until`: it was asked to end, and is killed then.
    Alive {
        pid: u32,
        since: u64,
        until: Option<u64>,
    },
}

impl Readers {
    /// The readers that are to be from now on, each with its settings. Returns whom to end.
    pub fn want(&mut self, specs: Vec<ReaderSpec>, fds: Vec<OwnedFd>, now: u64) -> Vec<Kind> {
        let mut specs: BTreeMap<Reader, Wanted> = specs
            .iter()
            .zip(fds)
            .map(|(spec, fd)| {
                let wanted = Wanted {
                    fingerprint: spec.settings,
                    settings: Rc::new(fd),
                };
                (spec.role, wanted)
            })
            .collect();
        let mut to_end = Vec::new();
        for (role, place) in &mut self.0 {
            let wanted = specs.remove(role);
            let print = |w: &Option<Wanted>| w.as_ref().map(|w| w.fingerprint);
            if print(&wanted) == print(&place.wanted) {
                continue;
            }
            place.wanted = wanted;
            // Its settings may have been what killed it.
            place.record.cleared();
            match &mut place.state {
                State::Empty { start_at } => *start_at = now,
                State::Alive { until, .. } => {
                    until.get_or_insert(now + ENDING);
                    to_end.push(Kind::Reader(*role));
                }
            }
        }
        for (role, wanted) in specs {
            let place = Place {
                wanted: Some(wanted),
                state: State::Empty { start_at: now },
                record: Record::default(),
            };
            self.0.insert(role, place);
        }
        self.forget_unwanted();
        to_end
    }

    fn forget_unwanted(&mut self) {
        let lives = |p: &Place| matches!(p.state, State::Alive { .. });
        self.0.retain(|_, p| p.wanted.is_some() || lives(p));
    }

    /// Of those that live.
    pub fn pids(&self) -> Vec<u32> {
        let pid = |place: &Place| match place.state {
            State::Alive { pid, .. } => Some(pid),
            State::Empty { .. } => None,
        };
        self.0.values().filter_map(pid).collect()
    }

    /// Those to be started now, with their settings.
    pub fn due(&self, now: u64) -> Vec<(Reader, Rc<OwnedFd>)> {
        self.empty()
            .filter(|(_, _, start_at)| *start_at <= now)
            .map(|(role, wanted, _)| (role, wanted.settings.clone()))
            .collect()
    }

    pub fn next_start(&self) -> Option<u64> {
        self.empty().map(|(_, _, start_at)| start_at).min()
    }

    fn empty(&self) -> impl Iterator<Item = (Reader, &Wanted, u64)> {
        self.0
            .iter()
            .filter_map(|(role, place)| match (&place.wanted, &place.state) {
                (Some(wanted), State::Empty { start_at }) => Some((*role, wanted, *start_at)),
                _ => None,
            })
    }

    pub fn started(&mut self, role: Reader, pid: u32, now: u64) {
        if let Some(place) = self.0.get_mut(&role) {
            place.state = State::Alive {
                pid,
                since: now,
                until: None,
            };
        }
    }

    /// It could not even be forked.
    pub fn not_started(&mut self, role: Reader, now: u64) -> Option<Pause> {
        let place = self.0.get_mut(&role)?;
        Some(place.pause(role, Life::NeverReady, now))
    }

    /// When there is another. None: it was to end.
    pub fn died(&mut self, role: Reader, pid: u32, now: u64) -> Option<Pause> {
        let place = self.0.get_mut(&role)?;
        let pause = match place.state {
            State::Alive {
                pid: of_now,
                since,
                until,
            } if of_now == pid => match until {
                None => {
                    let lived = Duration::from_nanos(now.saturating_sub(since));
                    Some(place.pause(role, Life::Ready(lived), now))
                }
                Some(_) => {
                    place.state = State::Empty { start_at: now };
                    None
                }
            },
            _ => None,
        };
        self.forget_unwanted();
        pause
    }

    /// The daemon stops: nobody comes back.
    pub fn stop(&mut self, now: u64) {
        for place in self.0.values_mut() {
            place.wanted = None;
            if let State::Alive { until, .. } = &mut place.state {
                until.get_or_insert(now + ENDING);
            }
        }
        self.forget_unwanted();
    }

    /// Pids of those that were asked to end and have not.
    pub fn overdue(&self, now: u64) -> Vec<u32> {
        self.0
            .values()
            .filter_map(|place| match place.state {
                State::Alive {
                    pid,
                    until: Some(until),
                    ..
                } if now >= until => Some(pid),
                _ => None,
            })
            .collect()
    }
}

impl Place {
    fn pause(&mut self, role: Reader, life: Life, now: u64) -> Pause {
        let pause = self.record.died(&row(Kind::Reader(role)).policy, life);
        let wait = u64::try_from(pause.wait.as_nanos()).unwrap_or(u64::MAX);
        self.state = State::Empty {
            start_at: now.saturating_add(wait),
        };
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn want(readers: &mut Readers, wanted: &[(Reader, u64)], now: u64) -> Vec<Kind> {
        let spec = |(role, settings): &(Reader, u64)| ReaderSpec {
            role: *role,
            settings: *settings,
        };
        let null = || {
            std::fs::File::open("/dev/null")
                .expect("it is there")
                .into()
        };
        let specs: Vec<ReaderSpec> = wanted.iter().map(spec).collect();
        let fds = specs.iter().map(|_| null()).collect();
        readers.want(specs, fds, now)
    }

    fn due(readers: &Readers, now: u64) -> Vec<Reader> {
        readers.due(now).into_iter().map(|(role, _)| role).collect()
    }

    #[test]
    fn a_reader_is_started_anew_later_and_later_unless_it_lived_for_long() {
        let mut readers = Readers::default();
        assert!(want(&mut readers, &[(Reader::Web, 1)], 5).is_empty());
        assert_eq!(due(&readers, 5), [Reader::Web]);
        readers.started(Reader::Web, 100, 5);
        assert_eq!(readers.next_start(), None);
        let first = readers.died(Reader::Web, 100, 6).expect("it is wanted");
        assert_eq!(first.wait, Duration::ZERO);
        readers.started(Reader::Web, 101, 6);
        assert_eq!(
            readers.died(Reader::Web, 100, 7),
            None,
            "of an older process"
        );
        let second = readers.died(Reader::Web, 101, 7).expect("it is wanted");
        assert_eq!(second.wait, Duration::from_millis(100));
        assert!(due(&readers, 7).is_empty());
        readers.started(Reader::Web, 102, S);
        let third = readers.died(Reader::Web, 102, 20 * S).expect("wanted");
        assert_eq!(third.wait, Duration::ZERO);
    }

    #[test]
    fn other_settings_end_it_and_the_next_one_comes_at_once() {
        let mut readers = Readers::default();
        let both = [(Reader::Recorder, 1), (Reader::Web, 1)];
        want(&mut readers, &both, 0);
        readers.started(Reader::Recorder, 100, 0);
        readers.started(Reader::Web, 101, 0);
        assert!(
            want(&mut readers, &both, S).is_empty(),
            "the same is no news"
        );
        let ended = want(&mut readers, &[(Reader::Recorder, 2)], S);
        let kinds = [Reader::Recorder, Reader::Web].map(Kind::Reader);
        assert_eq!(ended, kinds);
        assert!(readers.overdue(2 * S).is_empty());
        assert_eq!(readers.overdue(3 * S), [100, 101]);
        assert_eq!(readers.died(Reader::Web, 101, 3 * S), None);
        assert_eq!(readers.died(Reader::Recorder, 100, 3 * S), None);
        assert_eq!(due(&readers, 3 * S), [Reader::Recorder]);
    }

    #[test]
    fn a_stop_brings_nobody_back() {
        let mut readers = Readers::default();
        want(&mut readers, &[(Reader::Recorder, 1), (Reader::Web, 1)], 0);
        readers.started(Reader::Web, 101, 0);
        readers.stop(1);
        assert_eq!(readers.died(Reader::Web, 101, 2), None);
        assert_eq!(readers.next_start(), None);
    }
}
