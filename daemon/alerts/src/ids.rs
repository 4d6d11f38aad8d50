//! Numbers for notices and messages, none of which ever comes twice.
//!
//! A number that left the machine was written down before. Where even that is lost, with the disk full and the power
//! cut, the wall clock has gone on: a start begins at its microseconds.

#[derive(Clone, Debug)]
pub struct Ids {
    next: u64,
}

impl Ids {
    /// `wall`: CLOCK_REALTIME in nanoseconds.
    pub fn starting(wall: u64) -> Ids {
        Ids {
            next: (wall / 1_000).max(1),
        }
    }

    /// This number was given before.
    pub fn seen(&mut self, id: u64) {
        self.next = self.next.max(id.saturating_add(1));
    }

    pub fn give(&mut self) -> u64 {
        let id = self.next;
        self.next = self.next.saturating_add(1);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_comes_twice() {
        let mut ids = Ids::starting(5_000);
        assert_eq!((ids.give(), ids.give()), (5, 6));
        ids.seen(6);
        assert_eq!(ids.give(), 7);
        ids.seen(1_000);
        ids.seen(9);
        assert_eq!(ids.give(), 1_001);
        assert_eq!(Ids::starting(0).give(), 1);
    }
}
