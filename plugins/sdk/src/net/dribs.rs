//! A peer from which bytes come in dribs is read less often: each drib would be a wake-up, a read and a step of its own.

/// A read that brings less is a drib, if there was room for more.
const DRIB: usize = 512;
/// So many more of them than of others are free in a run: what is a dialogue of short lines has fewer.
const FREE: u32 = 64;
/// After one more than that the next read is not before the next multiple of this, on the host's clock. It is the same
/// moment for all, so that the event loop wakes once for them.
const PAUSE_NS: u64 = 5_000_000;

/// Of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Dribs {
    /// Those that the other reads have not made up for.
    count: u32,
    /// When the next read may be; 0: now.
    next_ns: u64,
}

impl Dribs {
    /// Some: a read has to wait until then.
    pub(crate) fn wait(&self, now_ns: impl FnOnce() -> u64) -> Option<u64> {
        (self.next_ns != 0 && now_ns() < self.next_ns).then_some(self.next_ns)
    }

    /// `n` bytes have come, and there was room for so many. `now_ns` is only asked for where it matters.
    #[must_use]
    pub(crate) fn read(self, n: usize, room: usize, now_ns: impl FnOnce() -> u64) -> Dribs {
        if n == 0 || n >= DRIB.min(room) {
            return Dribs {
                count: self.count.saturating_sub(u32::from(n >= DRIB)),
                next_ns: 0,
            };
        }
        let count = self.count.saturating_add(1);
        let next_ns = match count > FREE {
            true => (now_ns() / PAUSE_NS + 1) * PAUSE_NS,
            false => 0,
        };
        Dribs { count, next_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 4096;

    /// As many as this many reads of `n` bytes at this time.
    fn after(from: Dribs, times: u32, n: usize, now_ns: u64) -> Dribs {
        (0..times).fold(from, |dribs, _| dribs.read(n, ROOM, || now_ns))
    }

    #[test]
    fn the_first_are_free_and_the_others_wait_for_the_same_moment() {
        let free = after(Dribs::default(), FREE, 1, 7);
        assert_eq!(free.wait(|| 7), None);
        let begun = 3 * PAUSE_NS;
        for now in [begun, begun + 1, begun + PAUSE_NS - 1] {
            let slow = free.read(1, ROOM, || now);
            assert_eq!(slow.wait(|| now), Some(begun + PAUSE_NS));
            assert_eq!(slow.wait(|| begun + PAUSE_NS), None);
        }
        // Whoever has waited for longer than that anyway waits no more.
        let slow = free.read(1, ROOM, || begun);
        assert_eq!(slow.wait(|| begun + 9 * PAUSE_NS), None);
    }

    #[test]
    fn much_at_once_never_waits_and_makes_up_for_dribs() {
        let slow = after(Dribs::default(), FREE + 2, 1, 7);
        assert_eq!(slow.wait(|| 7), Some(PAUSE_NS));
        let read = after(slow, 1, DRIB, 7);
        assert_eq!(read.wait(|| 7), None);
        assert_eq!(after(read, 1, 1, 7).wait(|| 7), Some(PAUSE_NS));
        assert_eq!(after(read, 9, DRIB, 7).read(1, ROOM, || 7).wait(|| 7), None);
        let long = after(Dribs::default(), 100_000, DRIB, 7);
        assert_eq!(after(long, FREE, 1, 7).wait(|| 7), None);
    }

    #[test]
    fn a_reader_that_wants_few_bytes_and_the_end_are_no_dribs() {
        let mut dribs = after(Dribs::default(), FREE, 1, 7);
        for _ in 0..1000 {
            dribs = dribs.read(5, 5, || 7);
        }
        dribs = dribs.read(0, ROOM, || 7);
        assert_eq!(dribs.wait(|| 7), None);
    }
}
