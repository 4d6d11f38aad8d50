//! Whether the wall clock can be believed: what is old is removed by it, and a clock that is wrong for an hour would
//! take years with it.

const MINUTE: u64 = 60_000_000_000;
/// After a step nothing is removed for so long: `max_size` keeps its word all the same.
const SETTLED: u64 = 24 * 60 * MINUTE;

/// By two clocks, ns: one that nobody sets, and the one on the wall.
#[derive(Debug, Default)]
pub struct Steady {
    last: Option<(u64, u64)>,
    stepped_at: Option<u64>,
}

impl Steady {
    /// As they are now. False: the wall clock was set lately.
    pub fn look(&mut self, mono: u64, wall: u64) -> bool {
        if let Some((mono_before, wall_before)) = self.last.replace((mono, wall)) {
            let expected = wall_before.saturating_add(mono.saturating_sub(mono_before));
            if expected.abs_diff(wall) > MINUTE {
                self.stepped_at = Some(mono);
            }
        }
        let settled = |at: u64| mono.saturating_sub(at) >= SETTLED;
        self.stepped_at.is_none_or(settled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_is_believed_a_day_later() {
        const YEAR: u64 = 365 * SETTLED;
        let mut clock = Steady::default();
        let wall = 50 * YEAR;
        assert!(clock.look(7, wall));
        // A slow correction is no step.
        assert!(clock.look(7 + MINUTE, wall + 2 * MINUTE - 1));
        assert!(!clock.look(8 + MINUTE, wall + 20 * YEAR));
        // Back is a step again.
        assert!(!clock.look(9 + MINUTE, wall));
        assert!(!clock.look(8 + MINUTE + SETTLED, wall + SETTLED));
        assert!(clock.look(9 + MINUTE + SETTLED, wall + SETTLED));
    }
}
