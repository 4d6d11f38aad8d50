//! What a counter grew between two runs: the first look, a wrap and a reset are told apart.

/// Follows one counter from run to run. Keep it in the check, behind [`Kept`](crate::Kept).
///
/// ```
/// # use healthd_plugin::{Delta, Growth, Width};
/// let mut packets = Delta::default();
/// assert_eq!(packets.next(Width::Bits64, 100, 1_000_000_000), Growth::First);
/// let grown = packets.next(Width::Bits64, 150, 3_000_000_000);
/// assert_eq!(grown, Growth::By { count: 50, seconds: 2.0 });
/// assert_eq!(grown.rate(), Some(25.0));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta {
    before: Option<(u64, u64)>,
}

/// After which number a counter begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Bits32,
    Bits64,
}

/// What became of a counter since the last look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Growth {
    /// There is nothing to compare with yet: say so, do not call it 0.
    First,
    /// It is smaller than before and has not wrapped: its source began anew.
    Reset,
    By {
        count: u64,
        seconds: f64,
    },
}

/// A counter that fell back has wrapped if it then grew by no more than this; a larger step is a reset. So of 32 bits
/// it must be looked at before it has grown by a quarter of its range.
const WRAP_MAX: u64 = 1 << 30;

impl Delta {
    /// The counter is `value` at `now_ns` ([`Cx::now_ns`](crate::Cx::now_ns), which no clock step moves).
    pub fn next(&mut self, width: Width, value: u64, now_ns: u64) -> Growth {
        let Some((before, at_ns)) = self.before.replace((value, now_ns)) else {
            return Growth::First;
        };
        let wrapped = match width {
            Width::Bits32 => (value as u32).wrapping_sub(before as u32) as u64,
            Width::Bits64 => value.wrapping_sub(before),
        };
        if value < before && wrapped > WRAP_MAX {
            return Growth::Reset;
        }
        Growth::By {
            count: wrapped,
            seconds: now_ns.saturating_sub(at_ns) as f64 / 1e9,
        }
    }

    /// Its source is another one now: what was seen before says nothing.
    pub fn forget(&mut self) {
        self.before = None;
    }
}

impl Growth {
    /// By how much; None if that cannot be said.
    pub fn count(self) -> Option<u64> {
        match self {
            Growth::By { count, .. } => Some(count),
            _ => None,
        }
    }

    /// Per second; None if that cannot be said, also if no time has passed.
    pub fn rate(self) -> Option<f64> {
        match self {
            Growth::By { count, seconds } if seconds > 0.0 => Some(count as f64 / seconds),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(width: Width, from: u64, to: u64) -> Growth {
        let mut delta = Delta::default();
        assert_eq!(delta.next(width, from, 0), Growth::First);
        delta.next(width, to, 1_000_000_000)
    }

    #[test]
    fn wraps_and_resets() {
        let by = |count| Growth::By {
            count,
            seconds: 1.0,
        };
        assert_eq!(step(Width::Bits64, 5, 5), by(0));
        assert_eq!(step(Width::Bits64, 5, u64::MAX), by(u64::MAX - 5));
        assert_eq!(step(Width::Bits64, u64::MAX, 4), by(5));
        assert_eq!(step(Width::Bits64, 1_000_000, 4), Growth::Reset);
        assert_eq!(step(Width::Bits32, u64::from(u32::MAX) - 9, 10), by(20));
        assert_eq!(step(Width::Bits32, 1_000_000, 10), Growth::Reset);
        // After 3/4 of its range a counter of 32 bits that falls to 0 may be either; it is called a wrap at the end only.
        assert_eq!(step(Width::Bits32, 3 << 30, 0), by(1 << 30));
        assert_eq!(step(Width::Bits32, (3 << 30) - 1, 0), Growth::Reset);
    }

    #[test]
    fn a_rate_needs_time_and_two_looks() {
        let mut delta = Delta::default();
        assert_eq!(delta.next(Width::Bits64, 1, 5).rate(), None);
        assert_eq!(delta.next(Width::Bits64, 9, 5).rate(), None);
        assert_eq!(
            delta.next(Width::Bits64, 9, 2_000_000_005).rate(),
            Some(0.0)
        );
        delta.forget();
        assert_eq!(delta.next(Width::Bits64, 9, 6), Growth::First);
    }
}
