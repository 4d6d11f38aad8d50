//! A pool in which no worker is at work: a problem of healthd itself, told before the row of any check.

use healthd_core::wire::supervisor::WorkerClass;

/// A worker that has died is replaced long before that.
const DOWN_NS: u64 = 5_000_000_000;

/// Since when each class has had nobody at work, by CLOCK_MONOTONIC.
#[derive(Debug, Default)]
pub struct Pools([Option<Down>; WorkerClass::ALL.len()]);

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
    /// One look at a class that has workers, or should have: is one at work?
    pub fn look(&mut self, class: WorkerClass, at_work: bool, now: u64) -> Option<News> {
        let place = &mut self.0[class as usize];
        if at_work {
            let down = place.take().filter(|d| d.told)?;
            return Some(News::Up(now.saturating_sub(down.since_ns)));
        }
        let down = place.get_or_insert(Down {
            since_ns: now,
            told: false,
        });
        let is_news = !down.told && now.saturating_sub(down.since_ns) >= DOWN_NS;
        down.told |= is_news;
        is_news.then_some(News::Down)
    }

    /// Those that have been told of, and since when.
    pub fn down(&self) -> impl Iterator<Item = (WorkerClass, u64)> + '_ {
        WorkerClass::ALL.into_iter().filter_map(|class| {
            let down = self.0[class as usize].filter(|d| d.told)?;
            Some((class, down.since_ns))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn it_is_told_once_and_its_end_as_well() {
        let mut pools = Pools::default();
        let mut look = |at_work, at: u64| pools.look(WorkerClass::Io, at_work, at * S);
        assert_eq!(look(true, 1), None);
        assert_eq!(look(false, 2), None);
        assert_eq!(look(true, 3), None, "a death like any other");
        assert_eq!(look(false, 10), None);
        assert_eq!(look(false, 15), Some(News::Down));
        assert_eq!(look(false, 16), None);
        assert_eq!(
            pools.down().collect::<Vec<_>>(),
            [(WorkerClass::Io, 10 * S)]
        );
        let up = pools.look(WorkerClass::Io, true, 40 * S);
        assert_eq!(up, Some(News::Up(30 * S)));
        assert_eq!(pools.down().count(), 0);
    }
}
