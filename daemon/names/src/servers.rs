//! The name servers: which is asked first, which are silent, and whether any of them answers at all.
//!
//! A zone whose own servers are dead makes a name server look dead. So a silent one is *probed*: asked for the root, which
//! it has or knows to refuse. Only if that is silent too is the name server taken for dead.

use crate::message::{Reply, Why};
use std::net::SocketAddr;

/// A server whose probe has no answer for so long is silent, and is asked after the others.
const SILENT_AFTER_NS: u64 = 1_000_000_000;
/// One that is silent is probed again after so long.
const PROBE_AGAIN_NS: u64 = 10_000_000_000;

#[derive(Debug)]
pub struct Servers {
    list: Vec<Server>,
    rotate: bool,
    turn: usize,
    /// When somebody last gave a real answer, be it "no such name"; 0: never.
    good_at: u64,
    /// When somebody last said anything but SERVFAIL.
    alive_at: u64,
}

#[derive(Debug)]
struct Server {
    at: SocketAddr,
    heard_at: u64,
    probed_at: u64,
    /// The first probe without an answer; 0: none.
    unanswered_since: u64,
}

/// How much must have been heard of others before a failure is the zone's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Somebody has said something.
    Alive,
    /// Somebody has resolved a name.
    Good,
}

impl Servers {
    pub fn new(addresses: &[SocketAddr], rotate: bool) -> Servers {
        let server = |at: &SocketAddr| Server {
            at: *at,
            heard_at: 0,
            probed_at: 0,
            unanswered_since: 0,
        };
        Servers {
            list: addresses.iter().map(server).collect(),
            rotate,
            turn: 0,
            good_at: 0,
            alive_at: 0,
        }
    }

    pub fn at(&self, server: usize) -> SocketAddr {
        self.list[server].at
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whom to ask, first to last: as configured, with `rotate` each in turn, and the silent ones last.
    pub fn order(&mut self, now: u64) -> Vec<usize> {
        let n = self.list.len();
        let first = if self.rotate { self.turn % n } else { 0 };
        self.turn = self.turn.wrapping_add(1);
        let all = (0..n).map(|i| (first + i) % n);
        let (silent, well): (Vec<usize>, Vec<usize>) = all.partition(|i| self.is_silent(*i, now));
        [well, silent].concat()
    }

    pub fn is_silent(&self, server: usize, now: u64) -> bool {
        let since = self.list[server].unanswered_since;
        since != 0 && now.saturating_sub(since) >= SILENT_AFTER_NS
    }

    /// It has answered a question of ours.
    pub fn heard(&mut self, server: usize, reply: &Reply, now: u64) {
        let one = &mut self.list[server];
        one.heard_at = now;
        one.unanswered_since = 0;
        match reply {
            Reply::Failed(Why::Code(SERVFAIL)) => {}
            Reply::Failed(_) => self.alive_at = now,
            _ => (self.alive_at, self.good_at) = (now, now),
        }
    }

    /// Shall it be probed, because it has said nothing since `since`? Asked twice it says yes once.
    pub fn probes(&mut self, server: usize, since: u64, now: u64) -> bool {
        let one = &mut self.list[server];
        let recent = one.probed_at != 0 && now.saturating_sub(one.probed_at) < SILENT_AFTER_NS;
        if one.heard_at >= since || recent {
            return false;
        }
        one.probed_at = now;
        if one.unanswered_since == 0 {
            one.unanswered_since = now;
        }
        true
    }

    /// A silent one is looked after now and then, as long as anybody asks for anything.
    pub fn probes_silent(&mut self, server: usize, now: u64) -> bool {
        let due = now.saturating_sub(self.list[server].probed_at) >= PROBE_AGAIN_NS;
        due && self.is_silent(server, now) && self.probes(server, now, now)
    }

    pub fn proved(&self, proof: Proof, since: u64) -> bool {
        let at = match proof {
            Proof::Alive => self.alive_at,
            Proof::Good => self.good_at,
        };
        at >= since && at != 0
    }
}

const SERVFAIL: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn three(rotate: bool) -> Servers {
        let at = |n| SocketAddr::from(([192, 0, 2, n], 53));
        Servers::new(&[at(1), at(2), at(3)], rotate)
    }

    #[test]
    fn in_turn_and_the_silent_last() {
        let mut s = three(false);
        assert_eq!((s.order(S), s.order(S)), (vec![0, 1, 2], vec![0, 1, 2]));
        let mut s = three(true);
        assert_eq!((s.order(S), s.order(S)), (vec![0, 1, 2], vec![1, 2, 0]));
        let mut s = three(false);
        assert!(s.probes(0, S, S) && !s.probes(0, S, S + 1));
        assert_eq!(s.order(S + 1), [0, 1, 2]);
        assert_eq!(s.order(2 * S), [1, 2, 0]);
        assert!(!s.probes_silent(0, 2 * S) && !s.probes_silent(1, 99 * S));
        assert!(s.probes_silent(0, 11 * S) && !s.probes_silent(0, 12 * S));
        // A probe in vain changes nothing; a word does.
        assert_eq!(s.order(11 * S), [1, 2, 0]);
        s.heard(0, &Reply::Failed(Why::Code(2)), 12 * S);
        assert_eq!(s.order(12 * S), [0, 1, 2]);
        assert!(!s.probes(0, 12 * S, 13 * S), "it was heard since");
    }

    #[test]
    fn what_proves_what() {
        let mut s = three(false);
        let proved =
            |s: &Servers, since| (s.proved(Proof::Alive, since), s.proved(Proof::Good, since));
        assert_eq!(proved(&s, 0), (false, false));
        s.heard(0, &Reply::Failed(Why::Code(2)), S);
        assert_eq!(proved(&s, S), (false, false));
        s.heard(0, &Reply::Failed(Why::Code(5)), 2 * S);
        assert_eq!(proved(&s, 2 * S), (true, false));
        s.heard(1, &Reply::NoName { ttl_s: None }, 3 * S);
        assert_eq!(
            (proved(&s, 3 * S), proved(&s, 4 * S)),
            ((true, true), (false, false))
        );
    }
}
