//! Work that would keep the event loop: done on threads of this library, so that it costs its own check alone.

use crate::barrier::catch;
use crate::cx::Cx;
use crate::text::own_fault;
use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// At once; each does one piece of work after the other.
const THREADS: usize = 2;
/// One that nobody needs ends.
const IDLE: Duration = Duration::from_secs(10);
const STACK: usize = 1 << 20;
/// The event loop goes first.
const NICE: i32 = 10;
/// So much of the run's time is given back before it is waited for: it is none of the target's.
const SLICE: Duration = Duration::from_millis(100);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Of them, those that wait for work.
    idle: usize,
}

static QUEUE: Mutex<Option<Queue>> = Mutex::new(None);
static CAME: Condvar = Condvar::new();

/// Where a result is left, and who waits for it.
struct Seat<T> {
    done: Option<Result<T, Box<dyn Any + Send>>>,
    waker: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cx<'_> {
    /// Step lane: the result of `work`, which is done on another thread. For what takes more than a millisecond of a
    /// processor: a large body, a pattern that is slow on it. The time is given back ([`Cx::give_back`]); if it becomes
    /// too much, that is an [`own fault`](crate::own_fault), and what is not begun by then is not done.
    ///
    /// A panic of `work` goes on here.
    pub async fn apart<T: Send + 'static>(
        self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let seat = Arc::new(Mutex::new(Seat {
            done: None,
            waker: None,
        }));
        let theirs = seat.clone();
        submit(Box::new(move || {
            // Nobody waits any more.
            if Arc::strong_count(&theirs) == 1 {
                return;
            }
            let done = catch(work);
            let mut seat = lock(&theirs);
            seat.done = Some(done);
            if let Some(waker) = seat.waker.take() {
                waker.wake();
            }
        }))?;
        let done = poll_fn(|task| {
            let mut seat = lock(&seat);
            match seat.done.take() {
                Some(done) => Poll::Ready(done),
                None => {
                    seat.waker = Some(task.waker().clone());
                    Poll::Pending
                }
            }
        });
        match self
            .own_wait(done, "this machine takes too long over it")
            .await?
        {
            Ok(result) => Ok(result),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Step lane: what `future` comes to, which waits for something of our own: a thread, a place, memory. The time is given
    /// back ([`Cx::give_back`]); if it becomes too much, that is an [`own fault`](crate::own_fault) of the name `too_long`.
    /// The future is polled every 100 ms, also if nobody wakes it.
    pub async fn own_wait<T>(
        self,
        future: impl Future<Output = T>,
        too_long: &str,
    ) -> io::Result<T> {
        let mut future = pin!(future);
        loop {
            match self.give_back(SLICE) {
                Ok(()) => {}
                // A host that gives nothing back: then the run's own time must do.
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
                Err(_) => return Err(own_fault(too_long)),
            }
            if let Ok(done) = self.timeout(SLICE, future.as_mut()).await {
                return Ok(done);
            }
        }
    }
}

fn submit(job: Job) -> io::Result<()> {
    let mut queue = lock(&QUEUE);
    let queue = queue.get_or_insert_default();
    queue.jobs.push_back(job);
    if queue.jobs.len() > queue.idle && queue.threads < THREADS {
        let thread = std::thread::Builder::new()
            .name("apart".into())
            .stack_size(STACK);
        match thread.spawn(work_off) {
            Ok(_) => queue.threads += 1,
            // Another one does it, if there is one.
            Err(e) if queue.threads == 0 => {
                queue.jobs.pop_back();
                return Err(own_fault(format!("no thread could be started: {e}")));
            }
            Err(_) => {}
        }
    }
    CAME.notify_one();
    Ok(())
}

fn work_off() {
    // SAFETY: plain numbers; 0 is this thread. One that may not be nicer is as it was.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    let mut queue = lock(&QUEUE);
    loop {
        if let Some(job) = queue.as_mut().and_then(|q| q.jobs.pop_front()) {
            drop(queue);
            job();
            queue = lock(&QUEUE);
            continue;
        }
        if let Some(q) = queue.as_mut() {
            q.idle += 1;
        }
        let (woken, waited) = CAME
            .wait_timeout(queue, IDLE)
            .unwrap_or_else(PoisonError::into_inner);
        queue = woken;
        let Some(q) = queue.as_mut() else { return };
        q.idle -= 1;
        if waited.timed_out() && q.jobs.is_empty() {
            q.threads -= 1;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_submitted_is_done_in_turn() {
        let (tell, told) = std::sync::mpsc::channel();
        for n in 0..100 {
            let tell = tell.clone();
            submit(Box::new(move || {
                let _ = tell.send(n);
            }))
            .expect("a thread");
        }
        drop(tell);
        let mut all: Vec<i32> = told.iter().collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        let threads = lock(&QUEUE).as_ref().map_or(0, |q| q.threads);
        assert!((1..=THREADS).contains(&threads), "{threads}");
    }
}
