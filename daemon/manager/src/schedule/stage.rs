//! Where the run of a check is: nowhere, waiting, with a worker, or back with a result that waits itself.

use super::dependency::Doubted;
use crate::fleet::chunks::RunChunks;
use crate::fleet::leftovers::LivesOn;

#[derive(Default)]
pub enum Stage {
    #[default]
    Idle,
    /// It is due, and has no turn or no worker yet.
    Waiting(Waiting),
    Flying(InFlight),
    /// Its result waits for a word of the check that it needs.
    Doubted(Box<Doubted>),
}

#[derive(Clone, Debug, Default)]
pub struct Waiting {
    pub since_ns: u64,
    /// For its turn in a group, and not for a worker.
    pub in_line: bool,
    /// It is a run that died with its worker.
    pub again: Option<Again>,
}

#[derive(Clone, Debug)]
pub struct InFlight {
    pub run_id: u64,
    /// Of the definition that it was sent with.
    pub epoch: u32,
    pub attempt: u8,
    pub slot: u32,
    pub due_ns: u64,
    pub dispatched_ns: u64,
    pub lost: Vec<String>,
    pub chunks: RunChunks,
    /// Its program does not end.
    pub lives_on: Option<LivesOn>,
}

/// A run that is to be tried once more.
#[derive(Clone, Debug)]
pub struct Again {
    pub run_id: u64,
    pub attempt: u8,
    pub lost: Vec<String>,
}

impl Stage {
    pub fn is_busy(&self) -> bool {
        !matches!(self, Stage::Idle)
    }

    pub fn flight(&self) -> Option<&InFlight> {
        match self {
            Stage::Flying(flight) => Some(flight),
            _ => None,
        }
    }

    pub fn flight_mut(&mut self) -> Option<&mut InFlight> {
        match self {
            Stage::Flying(flight) => Some(flight),
            _ => None,
        }
    }

    pub fn waiting(&self) -> Option<&Waiting> {
        match self {
            Stage::Waiting(waiting) => Some(waiting),
            _ => None,
        }
    }

    pub fn doubted(&self) -> Option<&Doubted> {
        match self {
            Stage::Doubted(doubted) => Some(doubted),
            _ => None,
        }
    }

    /// The run that has no end yet: with a worker, or back and not judged.
    pub fn run(&self) -> Option<&InFlight> {
        self.flight().or(self.doubted().map(|d| &d.flight))
    }

    pub fn is_in_line(&self) -> bool {
        self.waiting().is_some_and(|w| w.in_line)
    }

    /// It waits since then; what is known of earlier tries stays known.
    pub fn wait(&mut self, since_ns: u64) {
        match self {
            Stage::Waiting(waiting) => waiting.since_ns = since_ns,
            other => {
                *other = Stage::Waiting(Waiting {
                    since_ns,
                    ..Waiting::default()
                })
            }
        }
    }

    pub fn set_in_line(&mut self, in_line: bool) {
        if let Stage::Waiting(waiting) = self {
            waiting.in_line = in_line;
        }
    }

    /// Its run has its end, if it is this one.
    pub fn land(&mut self, is_it: impl FnOnce(&InFlight) -> bool) -> Option<InFlight> {
        self.flight().filter(|f| is_it(f))?;
        match std::mem::take(self) {
            Stage::Flying(flight) => Some(flight),
            _ => None,
        }
    }

    pub fn stop_waiting(&mut self) -> Option<Waiting> {
        self.waiting()?;
        match std::mem::take(self) {
            Stage::Waiting(waiting) => Some(waiting),
            _ => None,
        }
    }

    pub fn settle(&mut self) -> Option<Doubted> {
        self.doubted()?;
        match std::mem::take(self) {
            Stage::Doubted(doubted) => Some(*doubted),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(run_id: u64) -> InFlight {
        InFlight {
            run_id,
            epoch: 1,
            attempt: 1,
            slot: 0,
            due_ns: 5,
            dispatched_ns: 6,
            lost: Vec::new(),
            chunks: RunChunks::default(),
            lives_on: None,
        }
    }

    #[test]
    fn what_is_known_of_an_earlier_try_stays_known_while_it_waits() {
        let mut stage = Stage::Waiting(Waiting {
            since_ns: 1,
            in_line: true,
            again: Some(Again {
                run_id: 7,
                attempt: 2,
                lost: vec!["its worker died".into()],
            }),
        });
        stage.wait(2);
        stage.set_in_line(false);
        let waiting = stage.stop_waiting().expect("it waits");
        assert_eq!((waiting.since_ns, waiting.in_line), (2, false));
        assert_eq!(waiting.again.map(|a| a.run_id), Some(7));
        assert!(!stage.is_busy());
    }

    #[test]
    fn only_the_run_that_is_in_flight_lands() {
        let mut stage = Stage::Flying(flight(7));
        assert!(stage.land(|f| f.run_id == 8).is_none());
        assert!(stage.is_busy() && stage.stop_waiting().is_none());
        assert_eq!(stage.land(|f| f.run_id == 7).map(|f| f.due_ns), Some(5));
        assert!(stage.run().is_none() && !stage.is_busy());
    }
}
