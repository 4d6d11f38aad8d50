//! When a dead process is started again: at once if it had come up, later and later if it had not.
//!
//! Pure: the reaper says how it lived, this says how long to wait.

use std::time::Duration;

/// How one kind of process is started again.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A life of this length after coming up clears the record. Zero: coming up is enough.
    pub steady: Duration,
    /// So many deaths in a row, and the process counts as given up (it is still retried).
    pub give_up_after: u32,
}

/// A worker that came up has proved that it can; what kills it later is a check's run, and that is held
/// back elsewhere.
pub const WORKER: Policy = Policy {
    steady: Duration::ZERO,
    give_up_after: 6,
};

/// Nothing but the manager itself can be the cause of its death, so coming up proves less.
pub const MANAGER: Policy = Policy {
    steady: Duration::from_secs(10),
    give_up_after: 6,
};

/// A reader is ready when it runs, so only a long life proves something.
pub const READER: Policy = Policy {
    steady: Duration::from_secs(10),
    give_up_after: 6,
};

/// How a process lived, for judging its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    NeverReady,
    /// For how long it had been ready.
    Ready(Duration),
}

/// How often in a row a process died too early.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    deaths: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    pub wait: Duration,
    pub given_up: bool,
}

impl Record {
    pub fn died(&mut self, policy: &Policy, life: Life) -> Pause {
        match life {
            Life::Ready(lived) if lived >= policy.steady => {
                self.deaths = 0;
                Pause {
                    wait: Duration::ZERO,
                    given_up: false,
                }
            }
            Life::Ready(_) | Life::NeverReady => {
                self.deaths = self.deaths.saturating_add(1);
                Pause {
                    wait: pause_after(self.deaths),
                    given_up: self.deaths >= policy.give_up_after,
                }
            }
        }
    }

    pub fn cleared(&mut self) {
        self.deaths = 0;
    }

    /// Early deaths in a row.
    pub fn deaths(&self) -> u32 {
        self.deaths
    }
}

/// 0, 100 ms, 200 ms, 400 ms, ... 30 s: one death may be chance, and a start costs a millisecond.
fn pause_after(deaths: u32) -> Duration {
    match deaths {
        0 | 1 => Duration::ZERO,
        n => FIRST.saturating_mul(1 << (n - 2).min(16)).min(LONGEST),
    }
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_had_come_up_is_replaced_at_once_each_time() {
        let mut record = Record::default();
        for _ in 0..100 {
            let pause = record.died(&WORKER, Life::Ready(Duration::ZERO));
            assert_eq!((pause.wait, pause.given_up), (Duration::ZERO, false));
        }
    }

    #[test]
    fn early_deaths_back_off_up_to_half_a_minute() {
        let mut record = Record::default();
        let waits: Vec<u64> = (0..12)
            .map(|_| record.died(&WORKER, Life::NeverReady).wait.as_millis() as u64)
            .collect();
        assert_eq!(
            waits,
            [
                0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000
            ]
        );
        for _ in 0..10_000 {
            let pause = record.died(&WORKER, Life::NeverReady);
            assert_eq!((pause.wait, pause.given_up), (LONGEST, true));
        }
    }

    #[test]
    fn giving_up_is_said_within_two_seconds_of_waiting() {
        let mut record = Record::default();
        let mut waited = Duration::ZERO;
        let pause = loop {
            let pause = record.died(&WORKER, Life::NeverReady);
            if pause.given_up {
                break pause;
            }
            waited += pause.wait;
        };
        assert!(waited < Duration::from_secs(2), "{waited:?}");
        assert!(pause.wait > Duration::from_secs(1), "retried slowly");
    }

    #[test]
    fn coming_up_clears_a_workers_record_and_a_steady_life_a_managers() {
        let mut record = Record::default();
        for _ in 0..8 {
            record.died(&WORKER, Life::NeverReady);
        }
        record.died(&WORKER, Life::Ready(Duration::ZERO));
        assert_eq!(record.deaths(), 0);

        for _ in 0..3 {
            record.died(&MANAGER, Life::Ready(Duration::from_secs(9)));
        }
        assert_eq!(record.deaths(), 3);
        record.died(&MANAGER, Life::Ready(Duration::from_secs(10)));
        assert_eq!(record.deaths(), 0);
    }
}
