//! Sleeping and giving up, in the step lane.

use crate::cx::Cx;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What [`Cx::timeout`] returns when the time was up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

impl<'a> Cx<'a> {
    /// Step lane: waits until the host's clock ([`now_ns`](Cx::now_ns)) shows `at_ns`.
    ///
    /// # Panics
    /// In the run lane, which has `std::thread::sleep`.
    pub fn sleep_until(self, at_ns: u64) -> impl Future<Output = ()> + 'a {
        poll_fn(move |task| {
            if self.now_ns() >= at_ns {
                return Poll::Ready(());
            }
            let head = self.head().expect("sleep is for the step lane");
            head.want_timer(at_ns);
            head.park(task);
            Poll::Pending
        })
    }

    /// Step lane: waits so long.
    pub fn sleep(self, time: Duration) -> impl Future<Output = ()> + 'a {
        self.sleep_until(
            self.now_ns()
                .saturating_add(time.as_nanos().try_into().unwrap_or(u64::MAX)),
        )
    }

    /// Step lane: `future`, or [`Elapsed`] if it takes longer. The run's own deadline needs no such thing.
    pub async fn timeout<F: Future>(self, time: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut sleep = pin!(self.sleep(time));
        poll_fn(|task| {
            if let Poll::Ready(r) = future.as_mut().poll(task) {
                return Poll::Ready(Ok(r));
            }
            sleep.as_mut().poll(task).map(|()| Err(Elapsed))
        })
        .await
    }

    /// Step lane: lets the other tasks of the reactor go first. For long work between two waits: a step should stay
    /// below a millisecond.
    pub fn yield_now(self) -> impl Future<Output = ()> + 'a {
        let mut yielded = false;
        poll_fn(move |task| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            let head = self.head().expect("yield_now is for the step lane");
            head.want_timer(1);
            head.park(task);
            Poll::Pending
        })
    }
}
