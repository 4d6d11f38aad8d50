//! The verdict of a check: what the daemon believes after its attempts, and how far the last results speak
//! against it. Pure: every run is one `observe`.

use super::outcome::{Status, Verdict};

/// Soft states, as in Nagios: a problem must be seen `attempts` times in a row before it becomes the
/// verdict; a recovery counts at once; a verdict that is a problem follows the kind of problem at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracker {
    verdict: Verdict,
    /// Results in a row that are not ok, up to `attempts`.
    attempt: u32,
    /// It is UNKNOWN because nobody could judge, and not by results.
    assumed: bool,
}

/// The verdict flipped: this, and nothing else, is news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    pub from: Verdict,
    pub to: Verdict,
}

impl Default for Tracker {
    fn default() -> Tracker {
        Tracker {
            verdict: Verdict::Pending,
            attempt: 0,
            assumed: false,
        }
    }
}

impl Tracker {
    /// `assumed`: the verdict is UNKNOWN as nobody could judge.
    pub fn restore(verdict: Verdict, against: u32, assumed: bool) -> Tracker {
        Tracker {
            verdict,
            attempt: against,
            assumed: assumed && verdict == Verdict::Unknown,
        }
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Results in a row that are not ok, up to the attempts.
    pub fn against(&self) -> u32 {
        self.attempt
    }

    /// 1 while ok; else the number of the last attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt.max(1)
    }

    /// A problem was seen that is not yet the verdict: the next run comes after `retry_interval`.
    pub fn is_soft(&self, attempts: u32) -> bool {
        self.attempt > 0 && self.attempt < attempts
    }

    pub fn observe(&mut self, status: Status, attempts: u32) -> Option<Change> {
        let attempts = attempts.max(1);
        if status == Status::Ok {
            self.attempt = 0;
            return self.flip(Verdict::Ok);
        }
        let hard = !self.assumed && !matches!(self.verdict, Verdict::Ok | Verdict::Pending);
        self.attempt = if hard {
            attempts
        } else {
            (self.attempt + 1).min(attempts)
        };
        if self.attempt == attempts {
            self.flip(status.into())
        } else {
            None
        }
    }

    /// Nobody could judge for so long that nothing is known any more. A problem that was known before is one again at
    /// once; else a problem needs all its attempts.
    pub fn give_up(&mut self) -> Option<Change> {
        if self.verdict == Verdict::Unknown {
            return None;
        }
        let change = self.flip(Verdict::Unknown);
        self.assumed = true;
        change
    }

    /// The verdict is UNKNOWN as nobody could judge.
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    fn flip(&mut self, to: Verdict) -> Option<Change> {
        self.assumed = false;
        let from = std::mem::replace(&mut self.verdict, to);
        (from != to).then_some(Change { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Critical, Ok, Unknown, Warning};

    fn run(statuses: &[Status], attempts: u32) -> Vec<(Verdict, u32, bool)> {
        let mut t = Tracker::default();
        statuses
            .iter()
            .map(|&s| {
                let news = t.observe(s, attempts).is_some();
                (t.verdict(), t.attempt(), news)
            })
            .collect()
    }

    #[test]
    fn the_first_ok_counts_at_once() {
        assert_eq!(run(&[Ok], 3), [(Verdict::Ok, 1, true)]);
    }

    #[test]
    fn a_problem_needs_all_its_attempts_and_a_recovery_one() {
        assert_eq!(
            run(&[Ok, Critical, Critical, Critical, Critical, Ok], 3),
            [
                (Verdict::Ok, 1, true),
                (Verdict::Ok, 1, false),
                (Verdict::Ok, 2, false),
                (Verdict::Critical, 3, true),
                (Verdict::Critical, 3, false),
                (Verdict::Ok, 1, true),
            ]
        );
    }

    #[test]
    fn an_ok_between_starts_the_count_again() {
        let last = *run(&[Ok, Critical, Critical, Ok, Critical, Critical], 3)
            .last()
            .expect("six");
        assert_eq!(last, (Verdict::Ok, 2, false));
    }

    #[test]
    fn mixed_problems_count_together_and_the_last_one_names_the_verdict() {
        assert_eq!(
            run(&[Warning, Unknown, Critical], 3)[2],
            (Verdict::Critical, 3, true)
        );
    }

    #[test]
    fn a_known_problem_changes_its_kind_at_once() {
        assert_eq!(
            run(&[Critical, Warning, Unknown], 1),
            [
                (Verdict::Critical, 1, true),
                (Verdict::Warning, 1, true),
                (Verdict::Unknown, 1, true),
            ]
        );
    }

    #[test]
    fn what_was_given_up_takes_its_attempts_again_unless_it_was_a_problem() {
        let mut t = Tracker::default();
        t.observe(Ok, 3);
        assert_eq!(t.give_up().map(|c| c.from), Some(Verdict::Ok));
        assert_eq!(t.give_up(), None);
        assert!(t.is_assumed());
        let seen: Vec<_> = [Critical, Critical, Critical]
            .map(|s| t.observe(s, 3).map(|c| c.to))
            .into();
        assert_eq!(seen, [None, None, Some(Verdict::Critical)]);
        assert!(!t.is_assumed());
        t.give_up();
        let to = t.observe(Warning, 3).map(|c| c.to);
        assert_eq!(to, Some(Verdict::Warning), "it was a problem before");
        t.give_up();
        assert_eq!(t.observe(Ok, 3).map(|c| c.to), Some(Verdict::Ok));
    }

    #[test]
    fn pending_stays_pending_until_the_problem_is_sure() {
        assert_eq!(run(&[Critical], 2), [(Verdict::Pending, 1, false)]);
    }
}
