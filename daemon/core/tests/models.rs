//! The pure parts against models that are too simple to be wrong: proptest makes up the histories, and cuts
//! one that fails down to its least.

use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Metric, Phase, Status, Verdict};
use healthd_core::check::tracker::Tracker;
use healthd_core::check::wheel::Wheel;
use healthd_core::wire::glob;
use healthd_core::wire::sandbox::Layers;
use healthd_core::wire::worker::{Define, Ending, Finished, Growth, Run, ToManager, ToWorker};
use proptest::collection::vec;
use proptest::prelude::*;

// ---- the wheel: a list that is looked through ----

#[derive(Clone, Debug)]
enum Step {
    /// So many ticks from now; before now if negative.
    Insert(i64),
    /// One of those that are set.
    Cancel(prop::sample::Index),
    Advance(u64),
}

fn ticks() -> impl Strategy<Value = u64> {
    // Seven levels of the wheel; a start far from 0 reaches the eighth. 200 steps stay before its last tick.
    (0u32..40, any::<u64>()).prop_map(|(bits, n)| n & ((1 << bits) - 1))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => ticks().prop_map(|n| Step::Insert(n as i64)),
        1 => (1i64..1000).prop_map(|n| Step::Insert(-n)),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        3 => ticks().prop_map(Step::Advance),
    ]
}

proptest! {
    // What fails is printed in its least form; nothing is written beside the sources.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_wheel_is_a_sorted_list(start in 0..1u64 << 47, steps in vec(step(), 1..200)) {
        let mut now = start;
        let mut wheel = Wheel::new(now);
        let mut list = Vec::new();
        for (id, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(ticks) => {
                    let when = now.saturating_add_signed(ticks);
                    list.push((when, id, wheel.insert(when, id)));
                }
                Step::Cancel(which) if !list.is_empty() => {
                    let (_, id, key) = list.swap_remove(which.index(list.len()));
                    prop_assert_eq!(wheel.cancel(key), Some(id));
                    prop_assert_eq!(wheel.cancel(key), None);
                }
                Step::Cancel(_) => {}
                Step::Advance(ticks) => {
                    now += ticks;
                    let mut fired = Vec::new();
                    wheel.advance(now, &mut fired);
                    let when = |id: &usize| list.iter().find(|t| t.1 == *id).map(|t| t.0.max(start));
                    let times: Vec<_> = fired.iter().map(when).collect();
                    prop_assert!(times.iter().all(|t| t.is_some_and(|t| t <= now)));
                    let mut due: Vec<usize> =
                        list.extract_if(.., |t| t.0 <= now).map(|t| t.1).collect();
                    due.sort_unstable();
                    fired.sort_unstable();
                    prop_assert_eq!(fired, due);
                }
            }
            prop_assert_eq!(wheel.len(), list.len());
            // It never sleeps past a timer, and always wakes for one.
            let first = list.iter().map(|t| t.0.max(now)).min();
            prop_assert_eq!(wheel.next_wake().is_some(), first.is_some());
            prop_assert!(wheel.next_wake().zip(first).is_none_or(|(wake, first)| wake <= first));
        }
    }

    // ---- the tracker: the whole history, read anew each time ----

    #[test]
    fn the_tracker_says_what_the_history_says(
        history in vec(prop::sample::select(&Status::ALL[..]), 0..40),
        attempts in 1u32..6,
    ) {
        let mut tracker = Tracker::default();
        let mut before = Verdict::Pending;
        for end in 0..=history.len() {
            if end > 0 {
                let change = tracker.observe(history[end - 1], attempts);
                let (verdict, _) = told(&history[..end], attempts);
                prop_assert_eq!(change.is_some(), verdict != before);
                prop_assert!(change.is_none_or(|c| (c.from, c.to) == (before, verdict)));
                before = verdict;
            }
            let (verdict, bad) = told(&history[..end], attempts);
            prop_assert_eq!(tracker.verdict(), verdict);
            prop_assert_eq!(tracker.attempt(), bad.clamp(1, attempts));
            prop_assert_eq!(tracker.is_soft(attempts), bad > 0 && bad < attempts);
            // What a manager leaves to the next one is enough to go on.
            prop_assert_eq!(Tracker::restore(verdict, bad.min(attempts), false), tracker);
        }
    }

    // ---- globs: the rule as a child would say it ----

    #[test]
    fn a_glob_matches_as_its_rule_says(pattern in "[ab*?\\[\\]!-]{0,8}", name in "[ab!\\]-]{0,8}") {
        let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
        prop_assert_eq!(glob::matches(&pattern, &name), rule(&p, &n));
    }

    // ---- frames: what is sent arrives, and nothing else does ----

    #[test]
    fn any_records_arrive_in_one_message(
        to_worker in vec(to_worker(), 0..6), to_manager in vec(to_manager(), 0..6),
    ) {
        let mut bytes = Vec::new();
        to_worker.iter().for_each(|m| m.encode(&mut bytes));
        let mut rest = &bytes[..];
        let read = || ToWorker::decode(&mut rest).expect("we wrote it");
        prop_assert_eq!(std::iter::from_fn(read).collect::<Vec<_>>(), to_worker);
        bytes.clear();
        to_manager.iter().for_each(|m| m.encode(&mut bytes));
        let mut rest = &bytes[..];
        let read = || ToManager::decode(&mut rest).expect("we wrote it");
        prop_assert_eq!(std::iter::from_fn(read).collect::<Vec<_>>(), to_manager);
    }

    #[test]
    fn a_record_that_was_cut_is_an_error(message in to_manager(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let cut = 1 + cut.index(bytes.len() - 1);
        prop_assert!(ToManager::decode(&mut &bytes[..cut]).is_err());
    }
}

/// The verdict after this history, and how many results at its end are not ok.
fn told(history: &[Status], attempts: u32) -> (Verdict, u32) {
    let bad = history
        .iter()
        .rev()
        .take_while(|s| **s != Status::Ok)
        .count();
    let verdict = match history.last() {
        Some(last) if bad as u32 >= attempts => Verdict::from(*last),
        _ if bad == history.len() => Verdict::Pending,
        _ => Verdict::Ok,
    };
    (verdict, bad as u32)
}

fn rule(pattern: &[char], name: &[char]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return name.is_empty();
    };
    if *first == '*' {
        return (0..=name.len()).any(|taken| rule(rest, &name[taken..]));
    }
    let Some((message, after)) = name.split_first() else {
        return false;
    };
    match (first, class(pattern, *message)) {
        ('?', _) => rule(rest, after),
        ('[', Some((fits, length))) => fits && rule(&pattern[length..], after),
        _ => first == message && rule(rest, after),
    }
}

/// Whether the class that the pattern begins with has the letter, and its length; None: nothing closes it.
fn class(pattern: &[char], message: char) -> Option<(bool, usize)> {
    if pattern.first() != Some(&'[') {
        return None;
    }
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let begin = 1 + usize::from(negated);
    let mut members = Vec::new();
    let mut at = begin;
    while at < pattern.len() {
        if pattern[at] == ']' && at > begin {
            return Some((members.contains(&message) != negated, at + 1));
        }
        match pattern[at..] {
            [low, '-', high, ..] if high != ']' => {
                members.extend(low..=high);
                at += 3;
            }
            _ => {
                members.push(pattern[at]);
                at += 1;
            }
        }
    }
    None
}

fn status() -> impl Strategy<Value = Status> {
    prop::sample::select(&Status::ALL[..])
}

fn to_worker() -> impl Strategy<Value = ToWorker> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u16>(), any::<u64>());
    prop_oneof![
        Just(ToWorker::Start),
        Just(ToWorker::Drain),
        (any::<u16>(), any::<u32>(), ".*", ".*").prop_map(|(plugin, index, name, file)| {
            ToWorker::Load {
                plugin,
                index,
                name,
                file,
            }
        }),
        (numbers, status(), any::<u64>(), ".*", ".*").prop_map(
            |((check, epoch, plugin, timeout_ns), timeout_status, batch_ns, name, config)| {
                ToWorker::Define(Define {
                    check,
                    epoch,
                    plugin,
                    timeout_ns,
                    timeout_status,
                    batch_ns,
                    name,
                    config,
                    secrets: Vec::new(),
                })
            }
        ),
        (numbers, any::<u64>(), any::<[u8; 2]>(), any::<bool>()).prop_map(
            |((check, epoch, _, run_id), start_ns, [attempt, last_status], urgent)| {
                ToWorker::Run(Run {
                    run_id,
                    check,
                    epoch,
                    attempt,
                    start_ns,
                    last_status,
                    urgent,
                })
            }
        ),
        any::<(u64, u8)>().prop_map(|(run_id, attempt)| ToWorker::Cancel { run_id, attempt }),
        any::<(u32, u32)>().prop_map(|(check, epoch)| ToWorker::Forget { check, epoch }),
    ]
}

fn to_manager() -> impl Strategy<Value = ToManager> {
    prop_oneof![
        Just(ToManager::Drained),
        (any::<u32>(), 0u8..16).prop_map(|(threads, bits)| ToManager::Ready {
            threads,
            layers: Layers::from_bits(bits),
        }),
        ".*".prop_map(|reason| ToManager::Unwell { reason }),
        (any::<u16>(), ".*").prop_map(|(plugin, reason)| ToManager::LoadFailed { plugin, reason }),
        finished().prop_map(|f| ToManager::Finished(Box::new(f))),
    ]
}

fn finished() -> impl Strategy<Value = Finished> {
    let ending = prop_oneof![
        Just(Ending::Returned),
        prop::sample::select(Fault::ALL.to_vec()).prop_map(Ending::Fault),
        Just(Ending::Cancelled),
    ];
    let number = || prop::option::of(-1e300..1e300f64);
    let metric = (
        ".*",
        ".*",
        any::<bool>(),
        [number(), number(), number(), number(), number()],
    );
    let metric = metric.prop_map(
        |(name, unit, counter, [value, warn, crit, min, max])| Metric {
            name,
            value,
            unit,
            warn,
            crit,
            min,
            max,
            counter,
        },
    );
    let phase = (".*", any::<u64>()).prop_map(|(name, at_ns)| Phase { name, at_ns });
    (
        (
            any::<(u64, u32, u8)>(),
            status(),
            ending,
            any::<[u64; 4]>(),
            any::<(u32, u32, i32, i32)>(),
        ),
        (
            ".*",
            ".*",
            vec(metric, 0..4),
            vec((".*", ".*"), 0..4),
            vec(phase, 0..4),
        ),
    )
        .prop_map(|(head, (message, detail, metrics, labels, phases))| {
            let ((run_id, check, attempt), status, ending, times, counts) = head;
            let (steps, stalls, kb, fds) = counts;
            let [started_ns, finished_ns, queue_ns, cpu_ns] = times;
            Finished {
                run_id,
                check,
                attempt,
                status,
                ending,
                started_ns,
                finished_ns,
                queue_ns,
                cpu_ns,
                steps,
                stalls,
                blocked: stalls / 2,
                grew: Growth { kb, fds },
                message,
                detail,
                metrics,
                labels,
                phases,
            }
        })
}
