//! Places for answers that hold a picture of all checks: each may be some megabytes. When all are taken, the next one gets
//! that of the one whose client has taken nothing for longest. Where all clients take what comes there is none.

use crate::places::Seat;
use std::cell::RefCell;
use std::rc::Rc;
use tokio::sync::Notify;

const AT_ONCE: usize = 8;

#[derive(Default)]
pub struct Larges {
    /// Of those who have one. None: it is pushed, and no client is waited for.
    seats: RefCell<Vec<Option<Rc<Seat>>>>,
    /// A place is free.
    freed: Notify,
}

/// Such a place, until it is dropped.
pub struct Large {
    larges: Rc<Larges>,
    seat: Option<Rc<Seat>>,
}

impl Larges {
    /// None: there is no place, and nobody who keeps one without need.
    pub async fn take(self: &Rc<Larges>, seat: Option<Rc<Seat>>) -> Option<Large> {
        while self.seats.borrow().len() >= AT_ONCE {
            let seats: Vec<Rc<Seat>> = self.seats.borrow().iter().flatten().cloned().collect();
            let waiting = seats.iter().filter(|seat| seat.waits_since().is_some());
            match waiting.min_by_key(|seat| seat.waits_since()) {
                Some(longest) => longest.give_up(),
                None if seats.iter().any(|seat| seat.is_told_to_go()) => {}
                None => return None,
            }
            self.freed.notified().await;
        }
        self.seats.borrow_mut().push(seat.clone());
        Some(Large {
            larges: self.clone(),
            seat,
        })
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        let own = self.seat.as_ref().map(Rc::as_ptr);
        let mut seats = self.larges.seats.borrow_mut();
        let at = seats.iter().position(|s| s.as_ref().map(Rc::as_ptr) == own);
        at.map(|at| seats.swap_remove(at));
        if seats.is_empty() {
            // The picture was large, and the next one may be a while away.
            healthd_sys::process::trim_heap();
        }
        self.larges.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Places;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn who_stands_longest_makes_way_and_who_takes_what_comes_does_not() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = |future: &mut (dyn Future<Output = Option<Large>> + Unpin)| {
            std::pin::Pin::new(future).poll(&mut cx)
        };
        let (places, larges) = (Places::new(20), Rc::new(Larges::default()));
        let seat = || {
            let mut cx = Context::from_waker(Waker::noop());
            let Poll::Ready(seat) = pin!(places.take()).poll(&mut cx) else {
                panic!("there are more than enough")
            };
            seat.is_answered();
            seat
        };
        let seats: Vec<Rc<Seat>> = (0..AT_ONCE).map(|_| seat()).collect();
        let mut held: Vec<Large> = Vec::new();
        for seat in &seats {
            let taken = poll(&mut pin!(larges.take(Some(seat.clone()))));
            match taken {
                Poll::Ready(Some(large)) => held.push(large),
                _ => panic!("{} are taken", held.len()),
            }
        }
        let mut refused = pin!(larges.take(Some(seat())));
        assert!(matches!(poll(&mut refused), Poll::Ready(None)));
        seats[5].stands();
        seats[3].stands();
        let (mut first, mut second) = (pin!(larges.take(None)), pin!(larges.take(None)));
        assert!(poll(&mut first).is_pending() && seats[5].is_told_to_go());
        assert!(poll(&mut second).is_pending() && seats[3].is_told_to_go());
        // Both are going, and there is nobody else.
        let mut third = pin!(larges.take(None));
        assert!(poll(&mut third).is_pending());
        drop(held.remove(5));
        drop(held.remove(3));
        let taken = [poll(&mut first), poll(&mut second)];
        assert!(taken.iter().all(|t| matches!(t, Poll::Ready(Some(_)))));
        assert!(matches!(poll(&mut third), Poll::Ready(None)));
    }
}
