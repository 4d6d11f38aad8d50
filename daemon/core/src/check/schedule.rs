//! When a check is due: a fixed phase on CLOCK_MONOTONIC, so that load is spread and stays spread.

/// FNV-1a, 64 bit (Fowler, Noll, Vo), finished by SplitMix64's mixer: FNV alone spreads its low bits
/// badly over names that differ in the last letter.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for &b in bytes {
        h = (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    }
    mix(h)
}

pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// First run after the daemon is ready (or the check is new): within min(interval, `spread_ns`), spread by name. At
/// once for all would be a storm.
pub fn first_due(name_hash: u64, ready_ns: u64, interval_ns: u64, spread_ns: u64) -> u64 {
    ready_ns + name_hash % interval_ns.min(spread_ns).max(1)
}

/// Points of a grid lie so far apart: each wake-up of a worker then starts some runs, where there are many.
const MOST_APART_NS: u64 = 10_000_000;

/// The point of its interval at which a check is due, in steps of a two-hundredth of it: 10 ms at most.
fn phase(name_hash: u64, interval_ns: u64) -> u64 {
    let phase = name_hash % interval_ns;
    phase - phase % (interval_ns / 200).clamp(1, MOST_APART_NS)
}

/// The next point of the check's own grid after a run that was due at `last_ns`, half an interval later at the earliest
/// and one at the latest. Where that point is nearer, as after a first run off the grid, a run comes in between.
pub fn next_due(name_hash: u64, last_ns: u64, interval_ns: u64) -> u64 {
    let interval = interval_ns.max(1);
    let to_grid = interval - (last_ns + interval - phase(name_hash, interval)) % interval;
    match to_grid < interval / 2 {
        true => last_ns + to_grid + interval / 2,
        false => last_ns + to_grid,
    }
}

/// What fell due while everything stood still is put off: spread over as long as that took, but never over more than it
/// would be after a start. At once for all would be a storm. Once: a machine that stands still again and again would
/// never run it. None: it starts now.
pub fn put_off(
    name_hash: u64,
    due_ns: u64,
    was_put_off: bool,
    stood: Standstill,
    interval_ns: u64,
    spread_ns: u64,
) -> Option<u64> {
    if was_put_off || due_ns >= stood.until_ns {
        return None;
    }
    let spread_ns = spread_ns.min(stood.lasted_ns);
    Some(first_due(name_hash, stood.until_ns, interval_ns, spread_ns))
}

/// The machine, or the daemon, did not run. CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standstill {
    /// 0: it never did.
    pub until_ns: u64,
    pub lasted_ns: u64,
}

impl Standstill {
    /// From when on time counts that began then: nobody is judged by what came before.
    pub fn since(&self, began_ns: u64) -> u64 {
        began_ns.max(self.until_ns)
    }
}

/// For a check that is new, changed or resumed: soon, not at the same time as all others, and no later than an interval
/// after its last run (0: none), if that is yet to come.
pub fn due_anew(name_hash: u64, now: u64, last_ns: u64, interval_ns: u64, spread_ns: u64) -> u64 {
    let first = first_due(name_hash, now, interval_ns, spread_ns);
    let at_most = match last_ns {
        0 => u64::MAX,
        last => last.saturating_add(interval_ns),
    };
    match at_most > now {
        true => first.min(at_most),
        false => first,
    }
}

/// Rendezvous hashing (Thaler and Ravishankar): each check has its own order of preference over the
/// workers, so a worker that comes or goes moves only its own checks.
pub fn rendezvous(name_hash: u64, candidate: u64) -> u64 {
    mix(name_hash ^ mix(candidate.wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_follow_each_other_one_interval_apart() {
        for name in ["a", "web-1", "web-2"] {
            let h = hash(name.as_bytes());
            let interval = 2_000_000_000;
            for begin in 0..40 {
                let first = first_due(h, 123_456_789 * begin, interval, interval);
                assert!(first < 123_456_789 * begin + interval);
                let mut due = first;
                for _ in 0..2 {
                    let next = next_due(h, due, interval);
                    assert!(next - due >= interval / 2 && next - due <= interval);
                    due = next;
                }
                // From here on it is on its grid.
                assert_eq!(due % interval, phase(h, interval));
                assert_eq!(next_due(h, due, interval) - due, interval);
            }
        }
    }

    #[test]
    fn checks_of_one_interval_are_due_together_and_not_all_at_once() {
        const MS: u64 = 1_000_000;
        for (interval, apart) in [
            (500, 2_500_000),
            (1_000, 5 * MS),
            (2_000, 10 * MS),
            (10_000, 10 * MS),
            (60_000, 10 * MS),
        ] {
            let interval = interval * MS;
            let mut due = std::collections::BTreeMap::new();
            for i in 0..10_000 {
                let h = hash(format!("web-{i}").as_bytes());
                let next = next_due(h, 7 * interval, interval);
                assert!(next > 7 * interval && next <= 8 * interval + interval / 2);
                *due.entry(phase(h, interval)).or_insert(0) += 1;
            }
            assert!(due.keys().all(|at| at % apart == 0 && *at < interval));
            let points = interval / apart;
            let most = due.values().max().expect("not empty");
            assert!(
                *most <= 3 * 10_000u64.div_ceil(points).max(4),
                "{most} of {points} points"
            );
        }
        assert_eq!((phase(7, 1), phase(12_345, 199)), (0, 12_345 % 199));
    }

    #[test]
    fn ten_thousand_names_are_spread() {
        let mut buckets = [0u32; 20];
        for i in 0..10_000 {
            let h = hash(format!("web-{i}").as_bytes());
            buckets[(first_due(h, 0, 2_000_000_000, 5_000_000_000) / 100_000_000) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|&n| (400..600).contains(&n)),
            "{buckets:?}"
        );
    }

    #[test]
    fn what_fell_due_in_a_standstill_is_no_storm() {
        const S: u64 = 1_000_000_000;
        for (lasted, interval, spread, most) in [
            (100, 10, 60, 10),
            (100, 300, 60, 60),
            (20, 300, 60, 20),
            (1, 300, 60, 1),
        ] {
            let stood = Standstill {
                until_ns: 1000 * S,
                lasted_ns: lasted * S,
            };
            let mut seconds = vec![0; most as usize];
            for i in 0..1000 {
                let h = hash(format!("web-{i}").as_bytes());
                let put_off = |due, again| put_off(h, due, again, stood, interval * S, spread * S);
                assert_eq!(put_off(1000 * S, false), None, "it was not due by then");
                assert_eq!(put_off(999 * S, true), None, "not again");
                let due = put_off(999 * S, false).expect("it is put off");
                seconds[((due - stood.until_ns) / S) as usize] += 1;
            }
            let each = 1000 / most;
            assert!(
                seconds.iter().all(|n| (each / 3..=each * 2).contains(n)),
                "{seconds:?}"
            );
        }
    }

    #[test]
    fn a_changed_interval_leaves_no_gap_of_more_than_one() {
        const S: u64 = 1_000_000_000;
        for i in 0..1000 {
            let h = hash(format!("web-{i}").as_bytes());
            let due = due_anew(h, 100 * S, 91 * S, 60 * S, 60 * S);
            assert!((100 * S..=151 * S).contains(&due), "{due}");
            // Its last run is too long ago: all at once would be a storm.
            let late = due_anew(h, 100 * S, 10 * S, 60 * S, 60 * S);
            assert_eq!(late, first_due(h, 100 * S, 60 * S, 60 * S));
            assert_eq!(due_anew(h, 100 * S, 0, 60 * S, 60 * S), late);
        }
    }

    #[test]
    fn a_lost_worker_moves_only_its_own_checks() {
        let home = |h, set: &[u64]| {
            *set.iter()
                .max_by_key(|&&w| rendezvous(h, w))
                .expect("not empty")
        };
        let mut counts = [0u32; 4];
        for i in 0..4_000 {
            let h = hash(format!("c{i}").as_bytes());
            let before = home(h, &[0, 1, 2, 3]);
            counts[before as usize] += 1;
            if before != 2 {
                assert_eq!(home(h, &[0, 1, 3]), before);
            }
        }
        assert!(
            counts.iter().all(|&n| (850..1150).contains(&n)),
            "{counts:?}"
        );
    }
}
