//! A connection that has to be polled beside whoever uses it: h2, hyper, tokio-postgres.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

/// `future`, with `connection` polled beside it in the same task; no runtime, no spawn.
///
/// `connection` is dropped when `future` is done. One that ends first is not polled again: what the end means is told
/// to `future` by the library.
pub async fn drive<C: Future, F: Future>(connection: C, future: F) -> F::Output {
    let (mut connection, mut future) = (pin!(connection), pin!(future));
    let mut ended = false;
    poll_fn(|task| {
        if let Poll::Ready(done) = future.as_mut().poll(task) {
            return Poll::Ready(done);
        }
        if !ended && connection.as_mut().poll(task).is_ready() {
            ended = true;
        }
        // What the connection just brought may be what `future` waits for, and not every library wakes for it.
        future.as_mut().poll(task)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::task::{Context, Waker};

    #[test]
    fn both_go_on_and_the_end_of_one_ends_both() {
        let polls = Cell::new(0);
        let connection = poll_fn(|_| {
            polls.set(polls.get() + 1);
            if polls.get() < 2 {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        });
        let user = poll_fn(|_| match polls.get() {
            0 | 1 => Poll::Pending,
            n => Poll::Ready(n),
        });
        let mut both = pin!(drive(connection, user));
        let mut task = Context::from_waker(Waker::noop());
        assert!(both.as_mut().poll(&mut task).is_pending());
        assert_eq!(both.as_mut().poll(&mut task), Poll::Ready(2));
        assert_eq!(polls.get(), 2);
    }
}
