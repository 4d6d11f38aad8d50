//! Places for connections: so many at once. When all are taken, the next client gets that of the one who has waited
//! longest: for a head, a body, or that its client takes the rest of an answer. So clients that are slow on purpose hold
//! up nobody, however many they are. Who is being answered keeps its place.

use crate::body::Answer;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::sync::Notify;

pub struct Places {
    most: usize,
    taken: Cell<usize>,
    /// One was told to go, and is still there.
    going: Cell<bool>,
    /// The next place in the order of those who wait.
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, Rc<Go>>>,
    /// A place is free, or there is one more who waits.
    changed: Notify,
}

/// How a connection is told that another one gets its place.
#[derive(Default)]
struct Go {
    told: Cell<bool>,
    notify: Notify,
}

impl Places {
    pub fn new(most: usize) -> Rc<Places> {
        Rc::new(Places {
            most,
            taken: Cell::new(0),
            going: Cell::new(false),
            next: Cell::new(0),
            waiting: RefCell::default(),
            changed: Notify::new(),
        })
    }

    /// One caller at a time.
    pub async fn take(self: &Rc<Places>) -> Rc<Seat> {
        while self.taken.get() >= self.most {
            if !self.going.get() {
                let longest = self.waiting.borrow_mut().pop_first();
                if let Some((_, go)) = longest {
                    self.going.set(true);
                    go.told.set(true);
                    go.notify.notify_one();
                }
            }
            self.changed.notified().await;
        }
        self.taken.set(self.taken.get() + 1);
        let seat = Seat {
            places: self.clone(),
            go: Rc::default(),
            waits: Cell::new(None),
        };
        seat.waits();
        Rc::new(seat)
    }

    pub fn taken(&self) -> usize {
        self.taken.get()
    }

    /// Until none is taken; nobody may take one meanwhile.
    pub async fn empty(&self) {
        while self.taken.get() > 0 {
            self.changed.notified().await;
        }
    }
}

/// The place of one connection, until it is dropped.
pub struct Seat {
    places: Rc<Places>,
    go: Rc<Go>,
    /// Where in the order; None: it is being answered.
    waits: Cell<Option<u64>>,
}

impl Seat {
    /// For its client, from now on.
    fn waits(&self) {
        if self.waits.get().is_some() || self.go.told.get() {
            return;
        }
        let places = &self.places;
        let number = places.next.replace(places.next.get() + 1);
        self.waits.set(Some(number));
        let mut waiting = places.waiting.borrow_mut();
        waiting.insert(number, self.go.clone());
        places.changed.notify_one();
    }

    /// Its client waits for us: it has said all of its request.
    pub fn is_answered(&self) {
        if let Some(number) = self.waits.take() {
            self.places.waiting.borrow_mut().remove(&number);
        }
    }

    /// Somebody else is to have it.
    pub async fn is_given_up(&self) {
        self.go.notify.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let places = &self.places;
        self.is_answered();
        if self.go.told.get() {
            places.going.set(false);
        }
        places.taken.set(places.taken.get() - 1);
        places.changed.notify_one();
    }
}

/// An answer that is under way; when hyper has all of it, it is its client that is waited for.
pub struct UnderWay {
    answer: Answer,
    seat: Rc<Seat>,
}

impl UnderWay {
    pub fn new(answer: Answer, seat: Rc<Seat>) -> UnderWay {
        UnderWay { answer, seat }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.seat.waits();
    }
}

impl Body for UnderWay {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.get_mut().answer).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::Waker;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        let mut cx = Context::from_waker(Waker::noop());
        match pin!(future).poll(&mut cx) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    fn goes(seat: &Rc<Seat>) -> bool {
        now(seat.is_given_up()).is_some()
    }

    #[test]
    fn who_has_waited_longest_goes_and_who_is_answered_stays() {
        let places = Places::new(3);
        let mut seats: Vec<Rc<Seat>> = (0..3).filter_map(|_| now(places.take())).collect();
        assert_eq!((seats.len(), places.taken()), (3, 3));
        seats[0].is_answered();
        // One is enough for one, however often it is looked.
        assert!(now(places.take()).is_none() && now(places.take()).is_none());
        assert!(!goes(&seats[0]) && goes(&seats[1]) && !goes(&seats[2]));
        drop(seats.remove(1));
        seats.push(now(places.take()).expect("a place is free"));
        // Its answer is all on its way: it waits again, after the others.
        drop(UnderWay::new(Answer::text("x"), seats[0].clone()));
        for longest in [1, 1, 0] {
            assert!(now(places.take()).is_none());
            // What it asks for at this moment comes too late, and is no way to stay.
            seats[longest].is_answered();
            drop(UnderWay::new(Answer::text("x"), seats[longest].clone()));
            let told: Vec<bool> = seats.iter().map(goes).collect();
            assert_eq!(told.iter().position(|told| *told), Some(longest));
            drop(seats.remove(longest));
            let next = now(places.take()).expect("a place is free");
            next.is_answered();
            seats.push(next);
        }
        assert_eq!(places.taken(), 3);
    }

    #[test]
    fn where_all_are_answered_the_next_one_waits() {
        let places = Places::new(1);
        let seat = now(places.take()).expect("it is free");
        seat.is_answered();
        assert!(now(places.take()).is_none());
        assert!(now(seat.is_given_up()).is_none());
        assert!(now(places.empty()).is_none());
        drop(seat);
        assert!(now(places.empty()).is_some());
        assert!(now(places.take()).is_some());
    }
}
