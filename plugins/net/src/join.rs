//! Several futures of one run beside each other.

use std::future::poll_fn;
use std::task::Poll;

/// All results, in the order of the futures.
pub async fn join<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let one = |future| (Box::pin(future), None);
    let mut left: Vec<_> = futures.into_iter().map(one).collect();
    poll_fn(|task| {
        let mut pending = false;
        for (future, done) in left.iter_mut().filter(|(_, done)| done.is_none()) {
            match future.as_mut().poll(task) {
                Poll::Ready(output) => *done = Some(output),
                Poll::Pending => pending = true,
            }
        }
        match pending {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    })
    .await;
    left.into_iter().filter_map(|(_, done)| done).collect()
}
