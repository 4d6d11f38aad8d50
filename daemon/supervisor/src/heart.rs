//! The manager's beat: is it alive, must it be replaced, may the service manager be told that all is well.
//!
//! Pure. The beat is a word in `state.map` that the manager renews at least once a second. What counts is
//! the time at which we saw it move, by our own clock.

/// A manager that has turned before and is silent for so long is stuck.
const SILENT: u64 = 10_000_000_000;
/// One that has never turned may still be reading a large config, or probing plugins.
const STARTUP: u64 = 60_000_000_000;

#[derive(Debug)]
pub struct Heart {
    state: State,
    /// WATCHDOG_USEC/2, ns: within it a replaced manager has to turn. None: no watchdog.
    patience: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// No manager, or one whose beat has not been seen: since when there is none that turns.
    Outage {
        since: u64,
        started: Option<u64>,
    },
    Beating {
        beat: u64,
        moved: u64,
    },
}

impl Heart {
    pub fn new(watchdog_ns: Option<u64>, now: u64) -> Heart {
        Heart {
            state: State::Outage {
                since: now,
                started: None,
            },
            patience: watchdog_ns.map(|w| w / 2),
        }
    }

    pub fn manager_started(&mut self, now: u64) {
        let since = match self.state {
            State::Outage { since, .. } => since,
            State::Beating { .. } => now,
        };
        let started = Some(now);
        self.state = State::Outage { since, started };
    }

    pub fn manager_died(&mut self, now: u64) {
        let since = match self.state {
            // A crash loop is one outage, from the death of the last one that turned.
            State::Outage { since, .. } => since,
            State::Beating { .. } => now,
        };
        let started = None;
        self.state = State::Outage { since, started };
    }

    /// What the map says now; None: nothing yet by this manager.
    pub fn observe(&mut self, beat: Option<u64>, now: u64) {
        let Some(beat) = beat else { return };
        match &mut self.state {
            State::Beating { beat: last, .. } if *last == beat => {}
            state => *state = State::Beating { beat, moved: now },
        }
    }

    /// The manager does not turn any more: kill it.
    pub fn is_silent(&self, now: u64) -> bool {
        match self.state {
            State::Beating { moved, .. } => now.saturating_sub(moved) > SILENT,
            State::Outage { started, .. } => {
                started.is_some_and(|s| now.saturating_sub(s) > STARTUP)
            }
        }
    }

    /// A silent manager is ours to replace and no reason to be killed ourselves; one that cannot be
    /// replaced is.
    pub fn may_pet(&self, now: u64) -> bool {
        match (&self.state, self.patience) {
            (State::Beating { .. }, _) | (_, None) => true,
            (State::Outage { since, .. }, Some(patience)) => now.saturating_sub(*since) <= patience,
        }
    }

    /// We stood still ourselves (SIGSTOP, a paused machine), and so perhaps did the manager: it has a full
    /// period from now.
    pub fn forgive_gap(&mut self, now: u64) {
        match &mut self.state {
            State::Beating { moved, .. } => *moved = now,
            State::Outage { since, started } => {
                *since = now;
                *started = started.map(|_| now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_moving_beat_pets_and_a_silent_manager_is_found_in_time() {
        let mut heart = Heart::new(Some(30 * S), 0);
        heart.manager_started(0);
        assert!(!heart.is_silent(59 * S));
        assert!(heart.is_silent(61 * S), "it never turned");
        for t in 1..100 {
            heart.observe(Some(t), t * S);
            assert!(!heart.is_silent(t * S) && heart.may_pet(t * S));
        }
        heart.observe(Some(99), 105 * S);
        assert!(!heart.is_silent(109 * S));
        assert!(heart.is_silent(110 * S));
        assert!(heart.may_pet(110 * S), "it is replaced, and that is ours");
    }

    #[test]
    fn petting_stops_only_if_the_replacement_does_not_turn() {
        let mut heart = Heart::new(Some(30 * S), 0);
        heart.manager_started(0);
        heart.observe(Some(1), 0);
        heart.manager_died(100 * S);
        heart.manager_started(101 * S);
        assert!(heart.may_pet(115 * S));
        // It dies too, and so does the next: the same outage.
        heart.manager_died(110 * S);
        heart.manager_started(114 * S);
        assert!(!heart.may_pet(116 * S));
        heart.observe(Some(7), 117 * S);
        assert!(heart.may_pet(117 * S));
    }

    #[test]
    fn a_gap_of_our_own_is_not_held_against_the_manager() {
        let mut heart = Heart::new(Some(4 * S), 0);
        heart.manager_started(0);
        heart.observe(Some(1), S);
        heart.forgive_gap(500 * S);
        assert!(!heart.is_silent(509 * S));
        assert!(heart.is_silent(511 * S));
        heart.manager_died(511 * S);
        heart.forgive_gap(600 * S);
        assert!(heart.may_pet(601 * S));
        assert!(!heart.is_silent(700 * S), "there is none to be silent");
    }

    #[test]
    fn without_a_watchdog_there_is_nothing_to_withhold() {
        let mut heart = Heart::new(None, 0);
        heart.manager_started(0);
        assert!(heart.may_pet(1000 * S));
        heart.observe(None, S);
        assert!(heart.is_silent(61 * S));
    }
}
