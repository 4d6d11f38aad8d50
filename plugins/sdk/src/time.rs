//! Sleeping, giving up, and what of the time was not the target's, in the step lane.

use crate::cx::Cx;
use crate::host::host;
use crate::task::Head;
use healthd_abi::{EXT_GRACE, HdGrace};
use std::fmt;
use std::future::poll_fn;
use std::io;
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

impl From<Elapsed> for io::Error {
    fn from(_: Elapsed) -> Self {
        io::ErrorKind::TimedOut.into()
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
        let end = self
            .now_ns()
            .saturating_add(time.as_nanos().try_into().unwrap_or(u64::MAX));
        let mut sleep = pin!(self.sleep_until(end));
        poll_fn(|task| {
            // Whoever looks up a name in there is told before the time is up: then it is known whose fault it is.
            let head = self.head().ok();
            let outer = head.map_or(0, |h| h.limited_to.get());
            let inner = if outer == 0 { end } else { end.min(outer) };
            head.inspect(|h| h.limited_to.set(inner));
            let polled = future.as_mut().poll(task);
            head.inspect(|h| h.limited_to.set(outer));
            if let Poll::Ready(r) = polled {
                return Poll::Ready(Ok(r));
            }
            std::task::ready!(sleep.as_mut().poll(task));
            // That word is on its way, or its look-up waits for its turn, which is not the target's time.
            let told = |h: &Head| !h.told_by.borrow().iter().any(|(_, by)| *by <= end);
            match head.is_none_or(told) {
                true => Poll::Ready(Err(Elapsed)),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Step lane: gives back so much of the run's time, because it went into something of our own: a turn, a token, a
    /// lock. The deadline moves by as much, so that a target is not called late for it. All together that may be as much
    /// as the run's timeout; an error says that it is more, and nothing has moved: then end as
    /// [`Status::Resources`](crate::Status::Resources).
    pub fn give_back(self, time: Duration) -> io::Result<()> {
        let head = self.head()?;
        if time.is_zero() {
            return Ok(());
        }
        // SAFETY: what the host returns for this id is NULL or a static hd_grace.
        let table = unsafe { host().extension(EXT_GRACE).cast::<HdGrace>().as_ref() };
        let Some(give_back) = table.and_then(|t| t.give_back) else {
            let why = "this host gives no time back";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        };
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut moved_to = 0;
        // SAFETY: a live ctx on its own thread (head() proved the step lane); the host writes the time during this call.
        match unsafe { give_back(self.raw(), ns, &mut moved_to) } {
            0.. => head.moved_to.set(moved_to),
            e => return Err(io::Error::from_raw_os_error(-e)),
        }
        Ok(())
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
