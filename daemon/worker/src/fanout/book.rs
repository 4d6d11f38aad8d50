//! Which chunk of a fan-out is where. No I/O and no clock: time is an argument.

use healthd_abi as abi;
use healthd_core::wire::fanout::{Tally, Work};
use healthd_loader::fanout::Done;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Without a size of the plugin's own: so many chunks a worker, that the last one to finish is not late by much.
const CHUNKS_A_WORKER: u64 = 16;
/// So many chunks may be away, or done and not told: each may hold an fd.
const WINDOW: usize = 128;
/// A chunk that died once is for another helper first: the run's own worker is not risked if one comes soon.
const PATIENCE_NS: u64 = 1_000_000_000;

/// How the work is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub items: u64,
    pub chunk: u64,
    pub count: u32,
}

impl Cut {
    /// Err: an errno.
    pub fn new(items: u64, chunk: u64, workers: u32) -> Result<Cut, i32> {
        let chunk = match chunk {
            0 => items
                .div_ceil(CHUNKS_A_WORKER * u64::from(workers.max(1)))
                .max(items.div_ceil(u64::from(abi::FANOUT_MAX_CHUNKS)))
                .max(1),
            n => n,
        };
        let count = items.div_ceil(chunk);
        if count > u64::from(abi::FANOUT_MAX_CHUNKS) {
            return Err(libc::E2BIG);
        }
        Ok(Cut {
            items,
            chunk,
            count: count as u32,
        })
    }

    pub fn work(&self, index: u32, kind: u32, deadline_ns: u64) -> Work {
        let from = u64::from(index) * self.chunk;
        Work {
            kind,
            index,
            count: self.count,
            from,
            to: from.saturating_add(self.chunk).min(self.items),
            deadline_ns,
        }
    }
}

pub struct Book {
    count: u32,
    ordered: bool,
    /// The first that was never begun.
    fresh: u32,
    /// Given away and come back as they were.
    back: VecDeque<u32>,
    /// The parent has nothing to do: the first that comes back is its own, or the helpers would have it again
    /// before it wakes.
    idle: bool,
    /// Died with a helper, and since when they wait to be begun again.
    died: VecDeque<(u32, u64)>,
    died_once: BTreeSet<u32>,
    away: BTreeSet<u32>,
    done: BTreeMap<u32, Arc<Done>>,
    /// In which order they were done.
    finished: VecDeque<u32>,
    told: u32,
    /// The manager believes that there are chunks for others.
    wanted: bool,
    pub tally: Tally,
    /// A chunk died twice: what that says of the run.
    pub lost: Option<String>,
    pub closed: bool,
}

impl Book {
    pub fn new(count: u32, ordered: bool) -> Book {
        Book {
            count,
            ordered,
            fresh: 0,
            back: VecDeque::new(),
            idle: false,
            died: VecDeque::new(),
            died_once: BTreeSet::new(),
            away: BTreeSet::new(),
            done: BTreeMap::new(),
            finished: VecDeque::new(),
            told: 0,
            wanted: false,
            tally: Tally {
                chunks: count,
                ..Tally::default()
            },
            lost: None,
            closed: false,
        }
    }

    fn take_fresh(&mut self) -> Option<u32> {
        if self.fresh >= self.count || self.away.len() + self.done.len() >= WINDOW {
            return None;
        }
        self.fresh += 1;
        Some(self.fresh - 1)
    }

    pub fn for_helper(&mut self) -> Option<u32> {
        if self.closed {
            return None;
        }
        let index = match self.died.pop_front() {
            Some((index, _)) => Some(index),
            None if self.back.len() > usize::from(self.idle) => self.back.pop_front(),
            None => self.take_fresh(),
        };
        match index {
            Some(index) => drop(self.away.insert(index)),
            None => self.wanted = false,
        }
        index
    }

    pub fn for_parent(&mut self, now: u64) -> Option<u32> {
        let found = self.found_for_parent(now);
        self.idle = found.is_none();
        found
    }

    fn found_for_parent(&mut self, now: u64) -> Option<u32> {
        if let Some(index) = self.back.pop_front().or_else(|| self.take_fresh()) {
            return Some(index);
        }
        let (_, since) = self.died.front()?;
        (since + PATIENCE_NS <= now).then(|| self.died.pop_front().map(|d| d.0))?
    }

    /// When the parent looks again by itself.
    pub fn look_again(&self) -> Option<u64> {
        self.died.front().map(|(_, since)| since + PATIENCE_NS)
    }

    /// True, once: the manager must be told that there are chunks for others.
    pub fn begins_to_want(&mut self) -> bool {
        let fresh = self.fresh < self.count && self.away.len() + self.done.len() < WINDOW;
        let back = self.back.len() > usize::from(self.idle);
        let some = fresh || back || !self.died.is_empty();
        let begins = some && !self.wanted && !self.closed;
        self.wanted |= begins;
        begins
    }

    pub fn is_away(&self, index: u32) -> bool {
        self.away.contains(&index)
    }

    pub fn any_away(&self) -> bool {
        !self.away.is_empty()
    }

    fn add(&mut self, done: Done) {
        self.finished.push_back(done.index);
        self.done.insert(done.index, Arc::new(done));
    }

    pub fn own_done(&mut self, done: Done) {
        self.tally.own += 1;
        self.add(done);
    }

    pub fn away_done(&mut self, done: Done) {
        if self.away.remove(&done.index) {
            self.tally.away += 1;
            self.add(done);
        }
    }

    pub fn returned(&mut self, index: u32) {
        if self.away.remove(&index) {
            self.back.push_back(index);
        }
    }

    /// It died with its helper: once is bad luck, twice is its own doing.
    pub fn died(&mut self, index: u32, why: String, now: u64) {
        if !self.away.remove(&index) {
            return;
        }
        if self.died_once.insert(index) {
            self.tally.again += 1;
            self.died.push_back((index, now));
            return;
        }
        let why = format!(
            "chunk {} of {} died twice with its worker: {why}",
            index + 1,
            self.count
        );
        self.lost.get_or_insert_with(|| why.clone());
        self.add(Done {
            index,
            code: abi::E_LOST,
            output: None,
            size: 0,
            cpu_ns: 0,
            message: why,
        });
    }

    /// The next that the plugin is told of, if it is there.
    pub fn tell(&mut self) -> Option<Arc<Done>> {
        let index = match self.ordered {
            true => self.told,
            false => self.finished.pop_front()?,
        };
        let done = self.done.remove(&index)?;
        self.told += 1;
        Some(done)
    }

    pub fn all_told(&self) -> bool {
        self.told >= self.count
    }

    pub fn close(&mut self) {
        self.closed = true;
        self.done.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(index: u32) -> Done {
        Done {
            index,
            code: 0,
            output: None,
            size: 0,
            cpu_ns: 0,
            message: String::new(),
        }
    }

    fn told(book: &mut Book) -> Vec<u32> {
        std::iter::from_fn(|| book.tell())
            .map(|d| d.index)
            .collect()
    }

    #[test]
    fn work_is_cut_without_a_gap() {
        for (items, chunk, workers) in [
            (0, 0, 1),
            (1, 0, 4),
            (1000, 0, 2),
            (1001, 7, 2),
            (u64::MAX, 0, 64),
            (u64::MAX, u64::MAX, 1),
        ] {
            let cut = Cut::new(items, chunk, workers).expect("not too many");
            let mut at = 0;
            for index in 0..cut.count {
                let work = cut.work(index, 0, 0);
                assert_eq!(work.from, at, "{items} by {chunk}");
                assert!(work.to > at);
                at = work.to;
            }
            assert_eq!(at, items);
        }
        assert_eq!(Cut::new(1000, 0, 2).expect("fits").count, 32);
        assert_eq!(Cut::new(4097, 1, 2), Err(libc::E2BIG));
    }

    #[test]
    fn in_order_and_as_completed() {
        for (ordered, first) in [(true, vec![]), (false, vec![2, 1])] {
            let mut book = Book::new(3, ordered);
            assert_eq!(book.for_helper(), Some(0));
            assert_eq!(book.for_parent(0), Some(1));
            assert_eq!(book.for_helper(), Some(2));
            assert_eq!((book.for_helper(), book.for_parent(0)), (None, None));
            book.away_done(done(2));
            book.own_done(done(1));
            assert_eq!(told(&mut book), first);
            book.away_done(done(0));
            assert_eq!(told(&mut book).len(), 3 - first.len());
            assert!(book.all_told());
            assert_eq!((book.tally.own, book.tally.away), (1, 2));
        }
    }

    #[test]
    fn what_comes_back_is_run_by_the_parent() {
        let mut book = Book::new(2, true);
        assert!(book.begins_to_want() && !book.begins_to_want());
        assert_eq!((book.for_helper(), book.for_helper()), (Some(0), Some(1)));
        assert_eq!(book.for_helper(), None);
        assert_eq!(book.for_parent(0), None);
        book.returned(1);
        // It waits for that one, and no helper gets it before it wakes.
        assert!(!book.begins_to_want());
        assert_eq!(book.for_helper(), None);
        book.returned(0);
        // Not known to the manager any more: it is told again.
        assert!(book.begins_to_want());
        assert_eq!((book.for_helper(), book.for_parent(0)), (Some(1), Some(0)));
        book.returned(1);
        assert_eq!(book.for_parent(0), Some(1));
        // What was not away, or is no chunk, changes nothing.
        book.returned(1);
        book.away_done(done(77));
        book.died(77, String::new(), 0);
        assert_eq!(book.for_parent(0), None);
    }

    #[test]
    fn a_death_is_forgiven_once() {
        let mut book = Book::new(1, true);
        assert_eq!(book.for_helper(), Some(0));
        book.died(0, "SIGSEGV".into(), 5);
        assert_eq!(book.for_parent(6), None, "a helper first");
        assert_eq!(book.look_again(), Some(5 + PATIENCE_NS));
        assert_eq!(book.for_helper(), Some(0));
        book.died(0, "SIGBUS".into(), 9);
        let end = book.tell().expect("its end is told");
        assert_eq!(end.code, abi::E_LOST);
        assert_eq!(
            book.lost.as_deref(),
            Some("chunk 1 of 1 died twice with its worker: SIGBUS")
        );
        // Without a helper the parent takes it in the end.
        let mut book = Book::new(1, true);
        book.for_helper();
        book.died(0, "SIGSEGV".into(), 5);
        assert_eq!(book.for_parent(5 + PATIENCE_NS), Some(0));
    }

    #[test]
    fn no_more_is_begun_than_the_window_holds() {
        let mut book = Book::new(4096, true);
        let mut away = Vec::new();
        while let Some(index) = book.for_helper() {
            away.push(index);
        }
        assert_eq!(away.len(), WINDOW);
        assert_eq!(book.for_parent(0), None);
        for index in away.into_iter().rev() {
            assert!(!book.begins_to_want(), "the window is full until 0 is told");
            book.away_done(done(index));
        }
        assert!(book.tell().is_some());
        assert!(book.begins_to_want());
        assert_eq!(book.for_parent(0), Some(WINDOW as u32));
    }
}
