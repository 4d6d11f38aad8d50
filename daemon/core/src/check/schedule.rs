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

/// The longest a check waits for its first run.
pub const FIRST_RUN_NS: u64 = 5_000_000_000;

/// First run after the daemon is ready (or the check is new): within min(interval, 5 s), spread by name.
pub fn first_due(name_hash: u64, ready_ns: u64, interval_ns: u64) -> u64 {
    ready_ns + name_hash % interval_ns.clamp(1, FIRST_RUN_NS)
}

/// The next point of the check's own grid after a run that was due at `last_ns`.
/// The first one comes half an interval later at the earliest, so that a first run off the grid
/// is not followed at once by one on it.
pub fn next_due(name_hash: u64, last_ns: u64, interval_ns: u64) -> u64 {
    let interval = interval_ns.max(1);
    let phase = name_hash % interval;
    let from = last_ns + interval / 2;
    from + (phase + interval - from % interval) % interval
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
            let first = first_due(h, 123_456_789, interval);
            assert!(first < 123_456_789 + interval);
            let second = next_due(h, first, interval);
            assert!(second - first >= interval / 2 && second - first < interval * 3 / 2);
            let third = next_due(h, second, interval);
            assert_eq!(third - second, interval);
            assert_eq!(third % interval, h % interval);
        }
    }

    #[test]
    fn ten_thousand_names_are_spread() {
        let mut buckets = [0u32; 20];
        for i in 0..10_000 {
            let h = hash(format!("web-{i}").as_bytes());
            buckets[(first_due(h, 0, 2_000_000_000) / 100_000_000) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|&n| (400..600).contains(&n)),
            "{buckets:?}"
        );
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
