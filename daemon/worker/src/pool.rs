//! A pool of threads that grows on demand to its limit and shrinks when idle.
//!
//! Demand is a job that waits, not a job that is there: ten thousand short calls at start must not make 64
//! threads. So beyond the first few a thread is added only when the queue has not moved for a moment.

use healthd_scoreboard::worker_map::WorkerMap;
use healthd_sys::threads::WorksFor;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub type Job = Box<dyn FnOnce() + Send>;

/// What a thread of a pool is there for.
pub trait Work: Send + 'static {
    fn work(self);
}

impl Work for Job {
    fn work(self) {
        self();
    }
}

const IDLE: Duration = Duration::from_secs(30);
/// So many threads are made at once when there is work.
const EAGER: usize = 2;
/// A queue that has not moved for so long needs more of them.
const PATIENCE: Duration = Duration::from_millis(5);
/// After the system has refused a thread.
const REST: Duration = Duration::from_millis(200);

thread_local! {
    static LINE: Cell<Option<usize>> = const { Cell::new(None) };
    static LEAVES: Cell<bool> = const { Cell::new(false) };
}

/// The calling thread's line in the worker's map.
pub fn current_line() -> Option<usize> {
    LINE.get()
}

pub fn set_current_line(line: Option<usize>) {
    LINE.set(line);
}

/// The calling thread is not what it was, and another must take its place.
pub fn leave_after_this_job() {
    LEAVES.set(true);
}

pub struct Pool<W = Job>(Arc<Inner<W>>);

impl<W> Clone for Pool<W> {
    fn clone(&self) -> Pool<W> {
        Pool(self.0.clone())
    }
}

struct Inner<W> {
    name: &'static str,
    /// Stack of the threads to come.
    stack: AtomicUsize,
    /// Where each thread claims a line; None for threads that never call a plugin.
    map: Option<(&'static WorkerMap, i32)>,
    state: Mutex<State<W>>,
    work: Condvar,
}

struct State<W> {
    queue: VecDeque<W>,
    idle: usize,
    threads: usize,
    /// Threads in a call that was written off: they do not count against the limit.
    stuck: usize,
    limit: usize,
    /// When a thread last took a job.
    moved: Instant,
    /// No thread could be made: until then it is not tried again.
    resting: Option<Instant>,
}

impl<W> State<W> {
    fn working(&self) -> usize {
        self.threads - self.stuck.min(self.threads)
    }
}

impl<W: Work> Pool<W> {
    /// `map`: the worker's map, and the nice value of the threads.
    pub fn new(
        name: &'static str,
        limit: usize,
        stack: usize,
        map: Option<(&'static WorkerMap, i32)>,
    ) -> Pool<W> {
        let state = State {
            queue: VecDeque::new(),
            idle: 0,
            threads: 0,
            stuck: 0,
            limit,
            moved: Instant::now(),
            resting: None,
        };
        Pool(Arc::new(Inner {
            name,
            stack: AtomicUsize::new(stack),
            map,
            state: Mutex::new(state),
            work: Condvar::new(),
        }))
    }

    /// False: there is no thread and none could be made; the job is given up.
    pub fn submit(&self, job: W) -> bool {
        let mut state = self.lock();
        if state.queue.is_empty() {
            state.moved = Instant::now();
        }
        state.queue.push_back(job);
        if state.idle >= state.queue.len() {
            drop(state);
            self.0.work.notify_one();
            return true;
        }
        let working = state.working();
        if working >= EAGER.min(state.limit) || self.spawn(state) || working > 0 {
            return true;
        }
        self.lock().queue.pop_back();
        false
    }

    /// Adds threads if jobs wait for one. Called by the reactor in each turn; Some: look again after this.
    pub fn grow(&self) -> Option<Duration> {
        let state = self.lock();
        let waiting = state.queue.len();
        if waiting == 0 || state.working() >= state.limit {
            return None;
        }
        let now = Instant::now();
        if let Some(until) = state.resting.filter(|until| now < *until) {
            return Some(until - now);
        }
        if now.duration_since(state.moved) < PATIENCE {
            return Some(PATIENCE);
        }
        // As many again as wait, so that a burst of blocking calls is not served one by one.
        let more = waiting.min(state.limit - state.working()).min(8);
        drop(state);
        for _ in 0..more {
            if !self.spawn(self.lock()) {
                break;
            }
        }
        Some(PATIENCE)
    }

    pub fn set_stack(&self, bytes: usize) {
        self.0.stack.store(bytes, Ordering::Relaxed);
    }

    pub fn threads(&self) -> usize {
        self.lock().threads
    }

    /// A thread is written off (or has come back after all).
    pub fn stuck(&self, more: bool) {
        let mut state = self.lock();
        state.stuck = if more {
            state.stuck + 1
        } else {
            state.stuck.saturating_sub(1)
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<W>> {
        self.0.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn spawn(&self, mut state: std::sync::MutexGuard<'_, State<W>>) -> bool {
        state.threads += 1;
        drop(state);
        let pool = self.clone();
        // Whoever has asked for it, it is not theirs.
        let _ours = WorksFor::nobody();
        let made = std::thread::Builder::new()
            .name(self.0.name.into())
            .stack_size(self.0.stack.load(Ordering::Relaxed))
            .spawn(move || pool.work());
        if let Err(e) = &made {
            log::warn!("cannot start a {} thread: {e}", self.0.name);
            let mut state = self.lock();
            state.threads -= 1;
            state.resting = Some(Instant::now() + REST);
        }
        made.is_ok()
    }

    fn work(&self) {
        let line = self.0.map.and_then(|(map, nice)| {
            if nice != 0 {
                let _ = healthd_sys::limits::nice_thread(healthd_sys::process::gettid(), nice);
            }
            map.claim_line()
        });
        set_current_line(line);
        while let Some(job) = self.next() {
            job.work();
            if LEAVES.get() {
                self.leave();
                break;
            }
        }
        if let (Some((map, _)), Some(line)) = (self.0.map, line) {
            map.release_line(line);
        }
    }

    fn leave(&self) {
        let mut state = self.lock();
        state.threads -= 1;
        // There may be nobody else for what waits.
        if !state.queue.is_empty() && state.working() < state.limit {
            self.spawn(state);
        }
    }

    /// None: idle for long, or more threads than the limit allows now.
    fn next(&self) -> Option<W> {
        let mut state = self.lock();
        loop {
            if state.working() > state.limit {
                break;
            }
            if let Some(job) = state.queue.pop_front() {
                state.moved = Instant::now();
                return Some(job);
            }
            state.idle += 1;
            let (back, timeout) = self
                .0
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(|e| e.into_inner());
            state = back;
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn grows_to_its_limit_and_no_further() {
        let pool = Pool::<Job>::new("test", 3, 128 << 10, None);
        let (started, starts) = mpsc::channel();
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        for _ in 0..5 {
            let (started, gate) = (started.clone(), gate.clone());
            assert!(pool.submit(Box::new(move || {
                started.send(()).expect("the test listens");
                let mut open = gate.0.lock().expect("not poisoned");
                while !*open {
                    open = gate.1.wait(open).expect("not poisoned");
                }
            })));
        }
        for _ in 0..3 {
            while pool.grow().is_some() {
                std::thread::yield_now();
            }
            starts
                .recv_timeout(Duration::from_secs(60))
                .expect("three start");
        }
        assert!(starts.try_recv().is_err());
        assert_eq!(pool.threads(), 3);
        *gate.0.lock().expect("not poisoned") = true;
        gate.1.notify_all();
        for _ in 0..2 {
            starts
                .recv_timeout(Duration::from_secs(60))
                .expect("the others follow");
        }
    }

    #[test]
    fn a_thread_that_leaves_is_replaced_while_there_is_work() {
        let pool = Pool::<Job>::new("test", 1, 128 << 10, None);
        let (told, threads) = mpsc::channel();
        for leaves in [true, false] {
            let told = told.clone();
            assert!(pool.submit(Box::new(move || {
                if leaves {
                    leave_after_this_job();
                }
                told.send(std::thread::current().id())
                    .expect("the test listens");
            })));
        }
        let mut seen = (0..2).map(|_| threads.recv_timeout(Duration::from_secs(60)));
        let first = seen.next().expect("two").expect("it runs");
        assert_ne!(seen.next().expect("two").expect("another runs it"), first);
        assert_eq!(pool.threads(), 1);
    }

    #[test]
    fn a_stuck_thread_makes_room_for_another() {
        let pool = Pool::<Job>::new("test", 1, 128 << 10, None);
        let (hold, held) = mpsc::channel::<()>();
        assert!(pool.submit(Box::new(move || {
            let _ = held.recv();
        })));
        pool.stuck(true);
        let (done, wait) = mpsc::channel();
        assert!(pool.submit(Box::new(move || done.send(()).expect("the test listens"))));
        wait.recv_timeout(Duration::from_secs(60))
            .expect("a second thread runs it");
        drop(hold);
    }
}
