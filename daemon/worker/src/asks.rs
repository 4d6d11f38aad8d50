//! What plugins ask of the manager, and who waits for which answer: a task for its next step, or a thread.
//!
//! Runs in: the reactor and every pool thread. The message itself always leaves through the reactor.

use crate::services::{Posted, shared};
use healthd_core::wire::asks::{LockAsk, MapAsk, MapReply};
use healthd_core::wire::worker::ToManager;
use healthd_loader::{Asker, Event};
use healthd_sys::clock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// So many answers may be waited for, and so often may be asked: a plugin that floods is refused here, and neither the
/// reactor nor the manager hear of it.
const OPEN_MAX: usize = 4096;
const BURST: f64 = 5000.0;
const A_SECOND: f64 = 5000.0;
/// How often a thread that waits looks whether its run was cancelled.
const LOOK_AROUND: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Asks {
    last: u64,
    open: HashMap<u64, Waiter>,
    /// The lock that a run holds, or waits for.
    locks: HashMap<u64, u64>,
    tokens: f64,
    filled_ns: u64,
}

enum Waiter {
    Task { task: u64, token: u32 },
    Thread(Arc<Seat>),
}

#[derive(Default)]
struct Seat {
    answer: Mutex<Option<Answer>>,
    came: Condvar,
}

enum Answer {
    Map(Box<MapReply>),
    Lock(i32),
}

static ASKS: Mutex<Option<Asks>> = Mutex::new(None);
/// Runs with locks, so that the end of a run without any costs nothing.
static LOCKED: AtomicUsize = AtomicUsize::new(0);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

fn with<R>(f: impl FnOnce(&mut Asks) -> R) -> R {
    let mut asks = lock(&ASKS);
    let asks = asks.get_or_insert_with(|| Asks {
        tokens: BURST,
        ..Asks::default()
    });
    let done = f(asks);
    LOCKED.store(asks.locks.len(), Relaxed);
    done
}

impl Asks {
    /// A number for a new ask; -EAGAIN: there are too many.
    fn open(&mut self, waiter: Waiter) -> Result<u64, i32> {
        let now = clock::monotonic_ns();
        let passed = now.saturating_sub(self.filled_ns) as f64 / 1e9;
        self.tokens = (self.tokens + passed * A_SECOND).min(BURST);
        self.filled_ns = now;
        if self.tokens < 1.0 || self.open.len() >= OPEN_MAX {
            return Err(-libc::EAGAIN);
        }
        self.tokens -= 1.0;
        self.last += 1;
        self.open.insert(self.last, waiter);
        Ok(self.last)
    }
}

fn say(message: ToManager) {
    shared().post(Posted::Say(message));
}

fn waiter(asker: Asker<'_>) -> (Waiter, Arc<Seat>) {
    let seat = Arc::new(Seat::default());
    let waiter = match asker {
        Asker::Task { task, token } => Waiter::Task { task, token },
        Asker::Thread { .. } => Waiter::Thread(seat.clone()),
    };
    (waiter, seat)
}

pub fn map(mut ask: MapAsk, asker: Asker<'_>, reply: &mut dyn FnMut(&MapReply)) -> i32 {
    let (waiter, seat) = waiter(asker);
    match with(|asks| asks.open(waiter)) {
        Ok(number) => ask.ask = number,
        Err(errno) => return errno,
    }
    let number = ask.ask;
    say(ToManager::Map(Box::new(ask)));
    match wait(&seat, asker) {
        Ok(Some(Answer::Map(answer))) => {
            reply(&answer);
            0
        }
        Ok(_) => 0,
        Err(errno) => {
            with(|asks| drop(asks.open.remove(&number)));
            errno
        }
    }
}

pub fn take_lock(mut ask: LockAsk, asker: Asker<'_>) -> i32 {
    let (waiter, seat) = waiter(asker);
    let run_id = ask.run_id;
    let opened = with(|asks| {
        if asks.locks.contains_key(&run_id) {
            return Err(-libc::EDEADLK);
        }
        let number = asks.open(waiter)?;
        asks.locks.insert(run_id, number);
        Ok(number)
    });
    match opened {
        Ok(number) => ask.ask = number,
        Err(errno) => return errno,
    }
    say(ToManager::Lock(Box::new(ask)));
    match wait(&seat, asker) {
        Ok(Some(Answer::Lock(error))) => error,
        Ok(_) => 0,
        Err(errno) => {
            unlock(run_id);
            errno
        }
    }
}

/// Gives back what a run holds or waits for. Called at each run's end, too.
pub fn unlock(run_id: u64) {
    if LOCKED.load(Relaxed) == 0 {
        return;
    }
    let held = with(|asks| {
        let number = asks.locks.remove(&run_id)?;
        asks.open.remove(&number);
        Some(number)
    });
    if let Some(ask) = held {
        say(ToManager::Unlock { ask });
    }
}

/// For a thread: the answer, or why there is none. For a task there is nothing to wait for here.
fn wait(seat: &Seat, asker: Asker<'_>) -> Result<Option<Answer>, i32> {
    let Asker::Thread {
        deadline_ns,
        cancel,
    } = asker
    else {
        return Ok(None);
    };
    let mut answer = lock(&seat.answer);
    loop {
        if let Some(answer) = answer.take() {
            return Ok(Some(answer));
        }
        let left = deadline_ns.saturating_sub(clock::monotonic_ns());
        if cancel.is_cancelled() {
            return Err(-libc::ECANCELED);
        }
        if left == 0 {
            return Err(-libc::ETIMEDOUT);
        }
        let time = Duration::from_nanos(left).min(LOOK_AROUND);
        (answer, _) = seat
            .came
            .wait_timeout(answer, time)
            .unwrap_or_else(|e| e.into_inner());
    }
}

/// An answer has come. What is to be told to which task.
pub fn map_answered(reply: Box<MapReply>) -> Option<(u64, Event)> {
    match with(|asks| asks.open.remove(&reply.ask))? {
        Waiter::Task { task, token } => Some((task, Event::Map { token, reply })),
        Waiter::Thread(seat) => {
            *lock(&seat.answer) = Some(Answer::Map(reply));
            seat.came.notify_one();
            None
        }
    }
}

pub fn lock_answered(ask: u64, error: i32) -> Option<(u64, Event)> {
    let waiter = with(|asks| {
        if error != 0 {
            asks.locks.retain(|_, held| *held != ask);
        }
        asks.open.remove(&ask)
    });
    match waiter? {
        Waiter::Task { task, token } => Some((task, Event::Lock { token, error })),
        Waiter::Thread(seat) => {
            *lock(&seat.answer) = Some(Answer::Lock(error));
            seat.came.notify_one();
            None
        }
    }
}
