//! What is not sent yet: as much as there is room for, the newest last. What finds no room is the oldest, and is counted.

use healthd_scoreboard::traces_map::Mark;
use hyper::body::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use tokio::sync::Notify;

/// Bytes of all that wait together: hours of a hundred checks, minutes of ten thousand.
const MOST: usize = 16 << 20;

/// One request's.
#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    pub bytes: Bytes,
    /// How many series or spans it holds.
    pub points: u64,
    /// Written down when the receiver has said what it makes of it, so that nobody sends it again.
    pub mark: Option<Mark>,
}

#[derive(Default)]
pub struct Queue {
    waiting: RefCell<VecDeque<Body>>,
    news: Notify,
    pub sent: Cell<u64>,
    pub refused: Cell<u64>,
    pub dropped: Cell<u64>,
    pub failures: Cell<u64>,
    /// CLOCK_REALTIME, ns; 0: never.
    pub last_sent: Cell<u64>,
}

impl Queue {
    pub fn put(&self, body: Body) {
        self.waiting.borrow_mut().push_back(body);
        self.trim();
        self.news.notify_one();
    }

    /// The oldest, as soon as there is one.
    pub async fn next(&self) -> Body {
        loop {
            if let Some(body) = self.waiting.borrow_mut().pop_front() {
                return body;
            }
            self.news.notified().await;
        }
    }

    /// It was not sent, and is the next again.
    pub fn put_back(&self, body: Body) {
        self.waiting.borrow_mut().push_front(body);
        self.trim();
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    pub fn points(&self) -> u64 {
        self.waiting.borrow().iter().map(|b| b.points).sum()
    }

    fn trim(&self) {
        let mut waiting = self.waiting.borrow_mut();
        let mut bytes: usize = waiting.iter().map(|b| b.bytes.len()).sum();
        while bytes > MOST
            && let Some(oldest) = waiting.pop_front()
        {
            bytes -= oldest.bytes.len();
            self.dropped.set(self.dropped.get() + oldest.points);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(points: u64, bytes: usize) -> Body {
        Body {
            bytes: vec![0; bytes].into(),
            points,
            mark: None,
        }
    }

    #[test]
    fn the_oldest_goes_where_there_is_no_room_and_is_counted() {
        let queue = Queue::default();
        let half = MOST / 2;
        for points in [1, 10, 100] {
            queue.put(body(points, half));
        }
        assert_eq!((queue.dropped.get(), queue.points()), (1, 110));
        // What comes back is the oldest again.
        let taken = queue.waiting.borrow_mut().pop_front().expect("it is there");
        queue.put(body(1000, half));
        queue.put_back(taken);
        assert_eq!((queue.dropped.get(), queue.points()), (11, 1100));
        queue.put(body(10_000, MOST + 1));
        assert_eq!((queue.dropped.get(), queue.points()), (11_111, 0));
    }
}
