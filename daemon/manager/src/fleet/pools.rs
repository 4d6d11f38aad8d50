//! A pool in which no worker is at work: a problem of healthd itself, told before the row of any check.

use crate::fleet::pool_key::PoolKey;
use std::collections::BTreeMap;

/// A worker that has died is replaced long before that.
const DOWN_NS: u64 = 5_000_000_000;

/// Since when each pool has had nobody at work, by CLOCK_MONOTONIC; those that have somebody are not in it.
#[derive(Debug, Default)]
pub struct Pools(BTreeMap<PoolKey, Down>);

#[derive(Clone, Copy, Debug)]
struct Down {
    since_ns: u64,
    told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Down,
    /// After so long, in ns.
    Up(u64),
}

impl Pools {
    /// One look at a pool that has workers, or should have, or has no more: is one at work?
    pub fn look(&mut self, pool: PoolKey, at_work: bool, now: u64) -> Option<News> {
        if at_work {
            let down = self.0.remove(&pool).filter(|d| d.told)?;
            return Some(News::Up(now.saturating_sub(down.since_ns)));
        }
        let down = self.0.entry(pool).or_insert(Down {
            since_ns: now,
            told: false,
        });
        let is_news = !down.told && now.saturating_sub(down.since_ns) >= DOWN_NS;
        down.told |= is_news;
        is_news.then_some(News::Down)
    }

    /// Those that have been told of, and since when.
    pub fn down(&self) -> impl Iterator<Item = (PoolKey, u64)> + '_ {
        let told = self.0.iter().filter(|(_, d)| d.told);
        told.map(|(pool, d)| (*pool, d.since_ns))
    }

    /// All that have nobody at work, told of or not.
    pub fn known(&self) -> impl Iterator<Item = PoolKey> + '_ {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::pool_key::SHARED;
    use healthd_core::wire::supervisor::WorkerClass;

    const S: u64 = 1_000_000_000;

    #[test]
    fn it_is_told_once_and_its_end_as_well() {
        let mut pools = Pools::default();
        let io = PoolKey {
            class: WorkerClass::Io,
            group: SHARED,
        };
        let own = PoolKey { group: 1, ..io };
        assert_eq!(pools.look(own, true, S), None);
        let mut look = |at_work, at: u64| pools.look(io, at_work, at * S);
        assert_eq!(look(true, 1), None);
        assert_eq!(look(false, 2), None);
        assert_eq!(look(true, 3), None, "a death like any other");
        assert_eq!(look(false, 10), None);
        assert_eq!(look(false, 15), Some(News::Down));
        assert_eq!(look(false, 16), None);
        assert_eq!(pools.down().collect::<Vec<_>>(), [(io, 10 * S)]);
        let up = pools.look(io, true, 40 * S);
        assert_eq!(up, Some(News::Up(30 * S)));
        assert_eq!(pools.down().count(), 0);
    }
}
