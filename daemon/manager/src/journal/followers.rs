//! Those who are told of events: how far each has come. The ring itself is what waits for them, so a slow one costs
//! nothing, and is told how much it missed.

use super::{Journal, gap};
use healthd_core::wire::events::EventRecord;

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follow {
    /// The number that it was told last.
    pub after: u64,
    /// CLOCK_REALTIME: nothing from before that. 0: all.
    pub since_ns: u64,
    /// It asked from a certain place, so that it must know what is missing there.
    pub exact: bool,
    /// It waits for what comes.
    pub forever: bool,
}

impl Journal {
    /// A reader that asks for what came after this number, or since this time (CLOCK_REALTIME).
    pub fn reader(&self, after: Option<u64>, since_ns: u64, forever: bool) -> Follow {
        let oldest = self.ring.as_ref().map_or(0, |r| r.ring().oldest());
        let oldest = self.ring.as_ref().and_then(|r| r.read(oldest));
        // What is gone may be of that time.
        let too_far = since_ns > 0 && oldest.is_some_and(|e| e.number > 1 && e.time > since_ns);
        Follow {
            after: after.unwrap_or(0),
            since_ns,
            exact: after.is_some() || too_far,
            forever,
        }
    }

    /// The next event for this reader; None: it has them all.
    pub fn next_for(&self, reader: &mut Follow) -> Option<EventRecord> {
        let ring = self.ring.as_ref()?;
        loop {
            let (number, missed) = ring.ring().begin(reader.after);
            let event = ring.read(number)?;
            if missed > 0 && reader.exact {
                reader.after = number - 1;
                return Some(gap(missed, &event));
            }
            reader.after = number;
            // From its first event on it must know what it misses.
            if event.time >= reader.since_ns {
                reader.exact = true;
                return Some(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{dirs, leave, pause};
    use super::*;
    use healthd_core::wire::events::EventKind;

    fn told(journal: &Journal, reader: &mut Follow) -> Vec<(u64, EventKind, i64)> {
        std::iter::from_fn(|| journal.next_for(reader))
            .map(|e| (e.number, e.kind, e.amount))
            .collect()
    }

    #[test]
    fn a_slow_reader_gets_one_gap_and_then_the_rest() {
        let (run, state) = dirs("slow");
        let mut journal = Journal::open(&run, &state, 0, 0o600);
        pause(&mut journal, 3);
        let mut slow = journal.reader(Some(1), 0, true);
        let told_of = |from: u64, to: u64| (from..=to).map(|n| (n, EventKind::Paused, 0));
        assert_eq!(told(&journal, &mut slow), Vec::from_iter(told_of(2, 3)));
        pause(&mut journal, 4096 + 10);
        let mut seen = told(&journal, &mut slow);
        assert_eq!(seen.remove(0), (13, EventKind::Gap, 10));
        assert_eq!(seen, Vec::from_iter(told_of(14, 4109)));
        // Who has not said where to begin misses nothing.
        let mut any = journal.reader(None, 0, false);
        assert_eq!(told(&journal, &mut any)[0], (14, EventKind::Paused, 0));
        for mut all in [
            journal.reader(Some(0), 0, false),
            journal.reader(None, 1, false),
        ] {
            assert_eq!(told(&journal, &mut all)[0], (13, EventKind::Gap, 13));
        }
        let mut late = journal.reader(None, u64::MAX, false);
        assert_eq!(told(&journal, &mut late), []);
        leave(journal);
        std::fs::remove_dir_all(run.parent().expect("a folder")).expect("remove");
    }
}
