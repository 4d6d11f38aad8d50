//! The cache on real lanes: one computation, handed over, never in a circle.

use healthd_plugin::mock::MockHost;
use healthd_plugin::{BlockingCheck, Cache, CacheError, Check, Cx, Status, options, plugins};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
const GOOD: Duration = Duration::from_secs(3600);

static SHARED: Cache<u32, String> = Cache::new("shared", 8);
static COMPUTED: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

options! {
    pub struct Options {
        /// What to do.
        what: String,
        /// Of which key.
        key: u32 = 0,
    }
}

struct Async(Options);

impl Async {
    async fn value(&self, cx: Cx<'_>) -> Result<u32, CacheError<String>> {
        let key = self.0.key as usize;
        SHARED
            .get_or_compute(cx, &format!("key-{key}"), async || {
                let n = COMPUTED[key].fetch_add(1, SeqCst);
                match self.0.what.as_str() {
                    // For ever, the first time: its task is dropped at its deadline.
                    "hang" if n == 0 => cx.sleep(LONG * 100).await,
                    _ => cx.sleep(Duration::from_millis(20)).await,
                }
                match self.0.what.as_str() {
                    "fail" => Err("it does not work".into()),
                    "panic" if n == 0 => panic!("in the middle"),
                    "short" => Ok((n, Duration::ZERO)),
                    "inner" => match Box::pin(self.other(cx)).await {
                        Err(e) => Err(e.to_string()),
                        Ok(n) => Ok((n, GOOD)),
                    },
                    _ => Ok((n, GOOD)),
                }
            })
            .await
    }

    /// Asks in a computation: of the same key it would wait for itself.
    async fn other(&self, cx: Cx<'_>) -> Result<u32, CacheError<String>> {
        SHARED
            .get_or_compute(cx, "key-6", async || Ok((7, GOOD)))
            .await
    }
}

impl Check for Async {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Async(options))
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.value(cx).await {
            Ok(n) => cx.ok(n),
            Err(e) => cx.unknown(e),
        }
    }
}

static BLOCKING: Cache<u32> = Cache::new("blocking", 2);
static BLOCKED: AtomicU32 = AtomicU32::new(0);
/// A computation, "held", arrives and stands here until the test lets it through.
static ARRIVED: Turns = Turns::new();
static THROUGH: Turns = Turns::new();

/// What one thread gives and another one takes, or waits for.
struct Turns(Mutex<u32>, Condvar);

impl Turns {
    const fn new() -> Self {
        Turns(Mutex::new(0), Condvar::new())
    }

    fn give(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.1.notify_all();
    }

    fn take(&self) {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut turns, late) = self
            .1
            .wait_timeout_while(turns, LONG, |n| *n == 0)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!late.timed_out(), "nobody gave a turn");
        *turns -= 1;
    }
}

struct Blocking(Options);

impl BlockingCheck for Blocking {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Blocking(options))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let key = format!("key-{}", self.0.key);
        let done = BLOCKING.get_or_compute_blocking(cx, &key, || {
            let n = BLOCKED.fetch_add(1, SeqCst);
            if self.0.what == "held" {
                ARRIVED.give();
                THROUGH.take();
            }
            Ok((n, GOOD))
        });
        match done {
            Ok(n) => cx.ok(n),
            Err(e) => cx.unknown(e),
        }
    }
}

plugins! {
    step Async { name: "async", summary: "asks a cache" }
    run Blocking { name: "blocking", summary: "asks a cache" }
}

fn check(plugin: &str, what: &str, key: u32) -> healthd_plugin::mock::MockCheck {
    let options = format!(r#"{{"what":"{what}","key":{key}}}"#);
    let plugin = MockHost::new(hd_plugin_v1).plugin(plugin);
    plugin.create(options).expect("fine")
}

fn computed(key: usize) -> u32 {
    COMPUTED[key].load(SeqCst)
}

#[test]
fn a_thousand_runs_compute_once() {
    let check = check("async", "count", 0);
    for o in check.run_many(1000, LONG) {
        assert_eq!((o.status, o.message.as_str()), (Status::Ok, "0"));
    }
    assert_eq!(check.run(LONG).message, "0");
    assert_eq!(computed(0), 1);
}

#[test]
fn an_error_is_told_to_those_who_wait_and_not_kept() {
    let failing = check("async", "fail", 1);
    for o in failing.run_many(10, LONG) {
        assert_eq!(
            (o.status, o.message.as_str()),
            (Status::Unknown, "it does not work")
        );
    }
    assert_eq!(computed(1), 1);
    assert_eq!(check("async", "count", 1).run(LONG).message, "1");
}

#[test]
fn a_run_that_is_dropped_hands_over() {
    let hanging = check("async", "hang", 2);
    // All have one deadline: they are dropped one after the other, the one that computes first.
    for o in hanging.run_many(3, Duration::from_millis(100)) {
        assert!(
            o.message.starts_with("timeout") || o.status == Status::Ok,
            "{o:?}"
        );
    }
    assert_eq!(hanging.run(LONG).status, Status::Ok);
    // Two threads with different deadlines: the one that waits takes over.
    let panicking = check("async", "panic", 3);
    let outcomes = panicking.run_many(3, LONG);
    assert_eq!(
        outcomes.iter().filter(|o| o.status == Status::Ok).count(),
        2,
        "{outcomes:?}"
    );
    assert_eq!(computed(3), 2);
}

#[test]
fn what_is_good_for_no_time_is_computed_each_time_but_not_by_those_who_wait() {
    let check = check("async", "short", 4);
    for o in check.run_many(5, LONG) {
        assert_eq!(o.message, "0");
    }
    assert_eq!(check.run(LONG).message, "1");
}

#[test]
fn a_computation_that_asks_is_refused_and_waits_for_nobody() {
    let o = check("async", "inner", 5).run(LONG);
    assert_eq!(o.status, Status::Unknown);
    assert!(o.message.contains("may not ask"), "{}", o.message);
    // And nothing is left of it.
    assert_eq!(check("async", "count", 5).run(LONG).message, "1");
}

/// One test, as the cache is one: full, the oldest goes; waiting on threads; a wait that ends at its deadline.
#[test]
fn on_threads() {
    let first = check("blocking", "quick", 1).run(LONG).message;
    let second = check("blocking", "quick", 2).run(LONG).message;
    assert_eq!(check("blocking", "quick", 1).run(LONG).message, first);
    check("blocking", "quick", 3).run(LONG);
    // The first was the oldest, though it was asked for last.
    assert_eq!(check("blocking", "quick", 2).run(LONG).message, second);
    assert_ne!(check("blocking", "quick", 1).run(LONG).message, first);
    std::thread::scope(|s| {
        let runs: Vec<_> = (0..4)
            .map(|_| s.spawn(|| check("blocking", "held", 9).run(LONG).message))
            .collect();
        // One of them computes, and only one: the others wait or find its value.
        ARRIVED.take();
        THROUGH.give();
        let said: Vec<String> = runs
            .into_iter()
            .map(|r| r.join().expect("no panic"))
            .collect();
        assert!(said.iter().all(|m| *m == said[0]), "{said:?}");
        let slow = s.spawn(|| check("blocking", "held", 10).run(LONG));
        ARRIVED.take();
        let hasty = check("blocking", "quick", 10).run(Duration::from_millis(50));
        assert!(hasty.message.contains("no value in time"), "{hasty:?}");
        THROUGH.give();
        assert_eq!(slow.join().expect("no panic").status, Status::Ok);
    });
}
