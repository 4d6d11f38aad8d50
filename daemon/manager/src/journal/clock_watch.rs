//! Was the wall clock set? It is compared with the one that nobody can set.

/// Smaller steps are those of a clock that is being disciplined.
const STEP_NS: i128 = 1_000_000_000;

/// Where the wall clock was, seen from the other one.
#[derive(Default)]
pub struct ClockWatch {
    offset_ns: Option<i128>,
}

impl ClockWatch {
    /// By how many ms it was set since the last look, if it was.
    pub fn look(&mut self, monotonic_ns: u64, realtime_ns: u64) -> Option<i64> {
        let offset = i128::from(realtime_ns) - i128::from(monotonic_ns);
        let step = offset - self.offset_ns.replace(offset)?;
        (step.abs() >= STEP_NS).then_some((step / 1_000_000) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_once_and_drift_is_none() {
        const S: u64 = 1_000_000_000;
        let mut watch = ClockWatch::default();
        assert_eq!(watch.look(S, 100 * S), None, "nothing to compare with");
        assert_eq!(watch.look(2 * S, 101 * S + S / 2), None);
        assert_eq!(watch.look(3 * S, 3702 * S), Some(3_599_500));
        assert_eq!(watch.look(4 * S, 3703 * S), None);
        assert_eq!(watch.look(5 * S, 104 * S), Some(-3_600_000));
    }
}
