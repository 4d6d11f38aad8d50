//! Places for connections: so many at once. When all are taken, the next client gets that of the one who has waited
//! longest: for a head, a body, or that its client takes more of an answer. So clients that are slow on purpose hold
//! up nobody, however many they are. Who is being answered, and takes what comes, keeps its place.

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
    /// Those that were told to go, and are still there.
    going: Cell<usize>,
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
            going: Cell::new(0),
            next: Cell::new(0),
            waiting: RefCell::default(),
            changed: Notify::new(),
        })
    }

    /// One caller at a time.
    pub async fn take(self: &Rc<Places>) -> Rc<Seat> {
        while self.taken.get() >= self.most {
            if self.going.get() == 0 {
                let longest = self.waiting.borrow_mut().pop_first();
                longest.inspect(|(_, go)| self.tell(go));
            }
            self.changed.notified().await;
        }
        self.taken.set(self.taken.get() + 1);
        let seat = Seat {
            places: self.clone(),
            go: Rc::default(),
            waits: Cell::new(None),
            under_way: Cell::new(false),
        };
        seat.waits();
        Rc::new(seat)
    }

    fn tell(&self, go: &Go) {
        self.going.set(self.going.get() + 1);
        go.told.set(true);
        go.notify.notify_one();
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
    /// An answer is made for it, or a part of one still is to be.
    under_way: Cell<bool>,
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

    fn waits_no_more(&self) {
        if let Some(number) = self.waits.take() {
            self.places.waiting.borrow_mut().remove(&number);
        }
    }

    /// Its client waits for us: it has said all of its request.
    pub fn is_answered(&self) {
        self.under_way.set(true);
        self.waits_no_more();
    }

    /// Its client takes nothing of its answer.
    pub fn stands(&self) {
        self.waits();
    }

    /// Its client has taken something again: it is not the one who has waited longest.
    pub fn goes_on(&self) {
        self.waits_no_more();
        if !self.under_way.get() {
            self.waits();
        }
    }

    /// Since when it waits, in the order of those who do. None: it does not, or was told to go.
    pub fn waits_since(&self) -> Option<u64> {
        self.waits.get().filter(|_| !self.go.told.get())
    }

    pub fn is_told_to_go(&self) -> bool {
        self.go.told.get()
    }

    /// Somebody else is to have what it holds.
    pub fn give_up(&self) {
        self.waits_no_more();
        self.places.tell(&self.go);
    }

    /// Somebody else is to have it.
    pub async fn is_given_up(&self) {
        self.go.notify.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let places = &self.places;
        self.waits_no_more();
        if self.go.told.get() {
            places.going.set(places.going.get() - 1);
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
        self.seat.under_way.set(false);
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
    fn whose_client_takes_nothing_of_an_answer_goes_and_who_goes_on_is_the_last_to() {
        let places = Places::new(3);
        let mut seats: Vec<Rc<Seat>> = (0..3).filter_map(|_| now(places.take())).collect();
        for seat in &seats {
            seat.is_answered();
            seat.stands();
        }
        // The first takes more of an answer that is still being made, the second of one that is all made.
        seats[0].goes_on();
        drop(UnderWay::new(Answer::text("x"), seats[1].clone()));
        seats[1].goes_on();
        let mut others = Vec::new();
        for longest in [2, 1] {
            assert!(now(places.take()).is_none());
            let told: Vec<bool> = seats.iter().map(goes).collect();
            assert_eq!(told.iter().position(|told| *told), Some(longest));
            seats.remove(longest);
            others.push(now(places.take()).expect("a place is free"));
            others.iter().for_each(|other| other.is_answered());
            seats[0].stands();
            seats[0].goes_on();
        }
        // Told for another reason: it is waited for like any.
        seats[0].stands();
        assert!(seats[0].waits_since().is_some());
        seats[0].give_up();
        assert!(goes(&seats[0]) && seats[0].waits_since().is_none() && seats[0].is_told_to_go());
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
