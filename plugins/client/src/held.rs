//! What the answers of all checks of a library take together, as far as they are kept. Who wants more when that is used up waits for others, in time that
//! is not the target's, and does not read on meanwhile.
//!
//! Those who have the room may be in no hurry: their servers decide that. So one of those who wait goes on without room,
//! `PATIENCE` after the last.

use healthd_plugin::Cx;
use std::future::poll_fn;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// An answer up to this size is kept, and not counted.
pub const KEPT: usize = 64 << 10;
/// Of answers that are longer than that.
const ALL: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_millis(100);

static ROOM: Mutex<Room> = Mutex::new(Room::new());

/// Bytes that are counted, until it is dropped.
#[derive(Debug, Default)]
pub struct Held(usize);

impl Held {
    pub fn bytes(&self) -> usize {
        self.0
    }

    /// Before `bytes` of an answer are kept, as a `Vec` grows; else as [`grow`](Self::grow).
    pub async fn keep(&mut self, cx: Cx<'_>, bytes: usize, most: usize) -> io::Result<u64> {
        if bytes <= self.0.max(KEPT) {
            return Ok(0);
        }
        // Boxed: most answers are short, and all would carry the room for it.
        Box::pin(self.grow(cx, bytes.next_power_of_two(), most)).await
    }

    /// Counts `to` bytes, or more: `most` is what is needed at the very most. Returns how long that had to be waited for, in
    /// nanoseconds; the error is an own fault.
    pub async fn grow(&mut self, cx: Cx<'_>, to: usize, most: usize) -> io::Result<u64> {
        let begun = cx.now_ns();
        let wish = Wish { to, most };
        if self.take(|room, own| room.grant(own, wish)) {
            return Ok(0);
        }
        let place = Place(room().enter(begun));
        let turn = poll_fn(|task| {
            let now = cx.now_ns();
            match self.take(|room, own| room.grant_in_turn(place.0, own, wish, now)) {
                true => Poll::Ready(()),
                false => {
                    room().wait(place.0, task.waker().clone());
                    Poll::Pending
                }
            }
        });
        let too_long = "the answers of other checks take all the memory that there is for answers";
        cx.own_wait(turn, too_long).await?;
        Ok(cx.now_ns().saturating_sub(begun))
    }

    fn take(&mut self, granted: impl FnOnce(&mut Room, usize) -> Option<usize>) -> bool {
        let granted = granted(&mut room(), self.0);
        self.0 = granted.unwrap_or(self.0);
        granted.is_some()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.0 > 0 {
            let waiting = room().release(self.0);
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

/// In the row of those who wait.
struct Place(u64);

impl Drop for Place {
    fn drop(&mut self) {
        room().waiting.retain(|(place, _)| *place != self.0);
    }
}

#[derive(Clone, Copy)]
struct Wish {
    to: usize,
    most: usize,
}

struct Room {
    used: usize,
    waiting: Vec<(u64, Option<Waker>)>,
    last_place: u64,
    /// From when on the first in the row goes on without room.
    over_at: u64,
}

fn room() -> MutexGuard<'static, Room> {
    ROOM.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Room {
    const fn new() -> Room {
        Room {
            used: 0,
            waiting: Vec::new(),
            last_place: 0,
            over_at: 0,
        }
    }

    /// What `own` is from now on. One alone has as much as it wants.
    fn grant(&mut self, own: usize, wish: Wish) -> Option<usize> {
        let others = self.used - own;
        let fits = others == 0 || others.saturating_add(wish.to) <= ALL;
        fits.then(|| self.set(others, wish.to))
    }

    fn grant_in_turn(&mut self, place: u64, own: usize, wish: Wish, now: u64) -> Option<usize> {
        let granted = self.grant(own, wish);
        let is_first = self
            .waiting
            .first()
            .is_some_and(|(first, _)| *first == place);
        if granted.is_some() || !is_first || now < self.over_at {
            return granted;
        }
        self.over_at = after(now);
        Some(self.set(self.used - own, wish.most.max(wish.to)))
    }

    fn set(&mut self, others: usize, own: usize) -> usize {
        self.used = others.saturating_add(own);
        own
    }

    fn enter(&mut self, now: u64) -> u64 {
        if self.waiting.is_empty() {
            self.over_at = self.over_at.max(after(now));
        }
        self.last_place += 1;
        self.waiting.push((self.last_place, None));
        self.last_place
    }

    fn wait(&mut self, place: u64, waker: Waker) {
        if let Some((_, kept)) = self.waiting.iter_mut().find(|(p, _)| *p == place) {
            *kept = Some(waker);
        }
    }

    /// Who is to look again.
    fn release(&mut self, bytes: usize) -> Vec<Waker> {
        self.used -= bytes;
        let waiting = self.waiting.iter_mut();
        waiting.filter_map(|(_, waker)| waker.take()).collect()
    }
}

fn after(now: u64) -> u64 {
    now.saturating_add(u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Wish = Wish {
        to: ALL / 2,
        most: ALL,
    };

    #[test]
    fn what_is_used_up_is_waited_for() {
        let mut room = Room::new();
        assert_eq!(room.grant(0, HALF), Some(ALL / 2));
        assert_eq!(room.grant(0, HALF), Some(ALL / 2));
        assert_eq!(room.grant(0, HALF), None);
        // Who has some counts it once.
        let more = Wish {
            to: ALL / 2 + 1,
            most: ALL,
        };
        assert_eq!(room.grant(ALL / 2, more), None);
        room.release(ALL / 2);
        assert_eq!(room.grant(ALL / 2, more), Some(ALL / 2 + 1));
        room.release(ALL / 2 + 1);
        assert_eq!(room.used, 0);
    }

    #[test]
    fn one_alone_has_what_it_wants() {
        let mut room = Room::new();
        let large = Wish {
            to: 4 * ALL,
            most: 4 * ALL,
        };
        assert_eq!(room.grant(0, large), Some(4 * ALL));
        assert_eq!(room.grant(0, HALF), None);
    }

    #[test]
    fn those_who_hurry_not_keep_the_others_for_so_long() {
        let mut room = Room::new();
        let slow = room.grant(0, HALF).and_then(|_| room.grant(0, HALF));
        assert_eq!(slow, Some(ALL / 2));
        let patience = after(0);
        let (first, second) = (room.enter(7), room.enter(8));
        assert_eq!(room.grant_in_turn(first, 0, HALF, 6 + patience), None);
        assert_eq!(room.grant_in_turn(second, 0, HALF, 7 + patience), None);
        // All that it can need, so that it does not wait again.
        assert_eq!(room.grant_in_turn(first, 0, HALF, 7 + patience), Some(ALL));
        room.waiting.remove(0);
        assert_eq!(room.grant_in_turn(second, 0, HALF, 8 + patience), None);
        let later = 7 + 2 * patience;
        assert_eq!(room.grant_in_turn(second, 0, HALF, later), Some(ALL));
        for bytes in [ALL / 2, ALL / 2, ALL, ALL] {
            room.release(bytes);
        }
        assert_eq!(room.used, 0);
    }
}
