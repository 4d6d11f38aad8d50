//! Every order of the steps of `word`, `record` and `line`, as loom finds them. `tests/loom` runs them, and
//! shows that each fails when one ordering of the code is weakened.
//!
//! A reader is another process: a `pread` is taken as relaxed loads of its words in any order, and two of them
//! as ordered by an acquire fence, which a system call is at the least.

use super::line::{self, Call, Lines};
use super::sync::{AtomicU64, Ordering, fence};
use super::{record, word};
use healthd_core::wire::maps::{Entry, LINE_WORDS, LineRecord, whole};
use loom::sync::Arc;
use loom::thread;

fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // Without a bound the longest of these models takes hours; a mistake seldom needs more than two switches.
    builder.preemption_bound = Some(3);
    builder.check(run);
}

fn words(n: usize) -> Arc<Vec<AtomicU64>> {
    Arc::new((0..n).map(|_| AtomicU64::new(0)).collect())
}

/// What a `pread` sees, from the first word to the last or the other way round. Words that the model lacks
/// are zeros, as they are in a new map.
fn copy<const N: usize>(words: &[AtomicU64], backwards: bool) -> [u64; N] {
    let mut copy = [0; N];
    for i in 0..words.len() {
        let at = if backwards { words.len() - 1 - i } else { i };
        copy[at] = words[at].load(Ordering::Relaxed);
    }
    copy
}

#[test]
fn a_record_that_two_copies_agree_on_is_whole() {
    for backwards in [false, true] {
        model(move || {
            let map = words(3);
            let writer = thread::spawn({
                let map = Arc::clone(&map);
                move || {
                    record::publish(&map, &[0, 1, 1]);
                    record::publish(&map, &[0, 2, 2]);
                }
            });
            let first: [u64; 3] = copy(&map, backwards);
            fence(Ordering::Acquire);
            let second: [u64; 3] = copy(&map, backwards);
            if whole(&first, &second) {
                assert_eq!(first[1], first[2], "half of one and half of another");
            }
            writer.join().expect("the writer ends");
            assert_eq!(copy(&map, false), [4, 2, 2]);
        });
    }
}

/// A place in the ring of events has had another event before: a reader that asks for one by its number gets that one.
#[test]
fn an_event_is_never_taken_for_the_one_before_it_in_its_place() {
    for backwards in [false, true] {
        model(move || {
            let map = words(3);
            record::publish_numbered(&map, &[2, 1, 1]);
            let writer = thread::spawn({
                let map = Arc::clone(&map);
                move || {
                    record::publish_numbered(&map, &[10, 5, 5]);
                    record::publish_numbered(&map, &[18, 9, 9]);
                }
            });
            let first: [u64; 3] = copy(&map, backwards);
            fence(Ordering::Acquire);
            let second: [u64; 3] = copy(&map, backwards);
            if whole(&first, &second) {
                let number = first[0] >> 1;
                assert_eq!(first, [number << 1, number, number]);
            }
            writer.join().expect("the writer ends");
            assert_eq!(copy(&map, false), [18, 9, 9]);
        });
    }
}

/// After a writer died inside, the record is odd for ever, or until another one writes there.
#[test]
fn a_record_whose_writer_died_inside_is_never_taken_for_whole() {
    model(|| {
        let map = words(3);
        map[0].store(5, Ordering::Relaxed);
        map[1].store(9, Ordering::Relaxed);
        let writer = thread::spawn({
            let map = Arc::clone(&map);
            move || record::publish(&map, &[0, 1, 1])
        });
        let first: [u64; 3] = copy(&map, false);
        fence(Ordering::Acquire);
        if whole(&first, &copy(&map, false)) {
            assert_eq!(first, [6, 1, 1]);
        }
        writer.join().expect("the writer ends");
    });
}

fn call(run_id: u64) -> Call {
    Call {
        // The same word each time: only the rest tells one call from another.
        entry: Entry::Step,
        plugin: 1,
        check: run_id as u32 * 10,
        run_id,
        attempt: 1,
        since_ns: run_id * 100,
    }
}

fn read(map: &[AtomicU64], backwards: bool) -> LineRecord {
    line::read(|| Some(copy::<LINE_WORDS>(map, backwards))).expect("a copy is always there")
}

#[test]
fn a_line_never_mixes_two_calls() {
    for backwards in [false, true] {
        model(move || {
            let map = words(4);
            let worker = thread::spawn({
                let map = Arc::clone(&map);
                move || {
                    for run_id in 1..=2 {
                        line::enter(&map, call(run_id));
                        line::leave(&map);
                    }
                }
            });
            let seen = read(&map, backwards);
            if seen.entry != Entry::Idle {
                let of = call(seen.run_id);
                assert!((1..=2).contains(&seen.run_id), "an entry before its call");
                assert_eq!((seen.check, seen.since), (of.check, of.since_ns));
            }
            worker.join().expect("the worker ends");
            assert_eq!(read(&map, false).entry, Entry::Idle);
        });
    }
}

/// The reactor writes a call off while it returns, and the thread takes the next one.
#[test]
fn a_call_written_off_late_does_not_mark_the_next_one() {
    model(|| {
        let map = words(6);
        line::enter(&map, call(1));
        let reactor = thread::spawn({
            let map = Arc::clone(&map);
            move || line::stuck(&map, 1)
        });
        line::leave(&map);
        line::enter(&map, call(2));
        let seen = read(&map, false);
        assert_eq!((seen.run_id, seen.stuck), (2, false));
        reactor.join().expect("the reactor ends");
        assert!(!read(&map, false).stuck);
    });
}

#[test]
fn a_line_has_one_thread() {
    model(|| {
        let lines = Arc::new(Lines::new(2));
        let taken = words(2);
        let work = {
            let (lines, taken) = (Arc::clone(&lines), Arc::clone(&taken));
            move || {
                for _ in 0..2 {
                    let line = lines.claim().expect("two threads, two lines");
                    assert_eq!(taken[line].swap(1, Ordering::Relaxed), 0, "taken twice");
                    taken[line].store(0, Ordering::Relaxed);
                    lines.release(line);
                }
            }
        };
        let other = thread::spawn(work.clone());
        work();
        other.join().expect("the other ends");
    });
}

#[test]
fn who_gets_no_line_takes_none_away() {
    model(|| {
        let lines = Arc::new(Lines::new(1));
        let claim = {
            let lines = Arc::clone(&lines);
            move || lines.claim()
        };
        let (a, b) = (thread::spawn(claim.clone()), thread::spawn(claim));
        let got = [a.join(), b.join()].map(|line| line.expect("it ends"));
        assert!(matches!(got, [Some(0), None] | [None, Some(0)]), "{got:?}");
        lines.release(0);
        assert_eq!((lines.claim(), lines.claim()), (Some(0), None));
    });
}

#[test]
fn counters_lose_nothing() {
    model(|| {
        let map = words(1);
        let count = {
            let map = Arc::clone(&map);
            move || {
                word::add(&map[0], 1);
                word::add(&map[0], 2);
            }
        };
        let other = thread::spawn(count.clone());
        count();
        other.join().expect("the other ends");
        assert_eq!(word::get(&map[0]), 6);
    });
}
