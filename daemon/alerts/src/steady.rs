//! What is done to a result before the verdict is asked: `invert`, and `recover`, which counts oks in a row.

use healthd_core::check::outcome::Status;

/// `invert = true`: the check is well while its target is not. What could not be judged stays so.
pub fn invert(status: Status) -> Status {
    match status {
        Status::Ok => Status::Critical,
        Status::Warning | Status::Critical => Status::Ok,
        Status::Unknown => Status::Unknown,
    }
}

/// `recover = n`: a check with a problem needs so many oks in a row to be well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recover {
    oks: u32,
}

impl Recover {
    /// Whether this result counts. An ok that does not is one of those that are still too few: the verdict and its
    /// attempts stay as they are.
    pub fn counts(&mut self, status: Status, has_problem: bool, recover: u32) -> bool {
        if status != Status::Ok {
            self.oks = 0;
            return true;
        }
        self.oks = self.oks.saturating_add(1);
        !has_problem || self.oks >= recover.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Critical, Ok, Unknown, Warning};

    #[test]
    fn inverted_twice_a_clear_word_is_itself() {
        assert_eq!(
            [Ok, Warning, Critical, Unknown].map(invert),
            [Critical, Ok, Ok, Unknown]
        );
        assert_eq!(invert(invert(Ok)), Ok);
        assert_eq!(invert(invert(Critical)), Critical);
    }

    #[test]
    fn a_problem_ends_after_so_many_oks_in_a_row() {
        let mut recover = Recover::default();
        let counted: Vec<bool> = [Critical, Ok, Ok, Critical, Ok, Ok, Ok]
            .map(|s| recover.counts(s, true, 3))
            .into();
        assert_eq!(counted, [true, false, false, true, false, false, true]);
        // Who has no problem needs no proof.
        assert!(Recover::default().counts(Ok, false, 3));
    }
}
