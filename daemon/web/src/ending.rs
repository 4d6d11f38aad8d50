//! The end of this process: the supervisor's SIGTERM, and how whoever waits for something else hears of it.

use healthd_sys::signals::{Arrived, Sender, Signals};
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use tokio::sync::oneshot::{Receiver, channel};
use tokio::sync::watch;

/// Whether it has begun.
pub struct Ending(watch::Sender<bool>);

impl Default for Ending {
    fn default() -> Ending {
        Ending(watch::Sender::new(false))
    }
}

impl Ending {
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    pub async fn begun(&self) {
        // Err: nobody would say it any more, and it is us who could.
        let _ = self.0.subscribe().wait_for(|begun| *begun).await;
    }

    /// None: the end has begun first.
    pub async fn or<T>(&self, other: impl Future<Output = T>) -> Option<T> {
        unless(self.begun(), other).await
    }
}

/// None: `end` was there first.
pub async fn unless<T>(end: impl Future<Output = ()>, other: impl Future<Output = T>) -> Option<T> {
    let (mut end, mut other) = (pin!(end), pin!(other));
    poll_fn(|cx| match other.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => end.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// Comes when the supervisor says that we end. What others send, as a plugin to its whole process group, ends nobody.
/// A thread waits for it in the kernel.
pub fn asked_for(signals: Signals, supervisor: u32) -> io::Result<Receiver<()>> {
    let (asked, receiver) = channel();
    let wait = move || {
        let is_asked = |signal: Arrived| {
            let by = signal.sender;
            signal.is_term() && matches!(by, Sender::Process { pid, .. } if pid == supervisor)
        };
        while !std::iter::from_fn(|| signals.next()).any(is_asked) {
            signals.wait();
        }
        // Whoever would hear it has ended already.
        let _ = asked.send(());
    };
    let thread = std::thread::Builder::new().name("healthd-signals".to_owned());
    thread.stack_size(STACK).spawn(wait)?;
    Ok(receiver)
}

const STACK: usize = 64 << 10;
