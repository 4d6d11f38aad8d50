//! One question and its servers: who is asked when, and what came of it. No I/O, no clock.
//!
//! The servers are asked in their order, one every *step* (`timeout` of resolv.conf, or a second if it says nothing), in
//! `attempts` rounds. An answer counts from whomever it comes, also late; who has said that he cannot tell is not asked again.

use crate::message::{Extras, Kind, Reply, Why};
use crate::resolv_conf::Settings;
use std::net::SocketAddr;

const SECOND: u64 = 1_000_000_000;
/// glibc waits so long where resolv.conf says nothing.
const TIMEOUT_S: u64 = 5;

#[derive(Debug)]
pub struct Query {
    pub name: String,
    pub kind: Kind,
    order: Vec<usize>,
    /// How often somebody was asked, and how often at most.
    asked: usize,
    most: usize,
    step_ns: u64,
    timeout_ns: u64,
    next_at: u64,
    over_at: u64,
    /// By place in `order`.
    said: Vec<Option<Said>>,
    extras: Extras,
    /// This server is asked once more, without EDNS, which it does not know.
    again: Option<usize>,
    pub end: Option<End>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Why(Why),
    /// It cannot be reached: an errno.
    Unreachable(i32),
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Told(Reply),
    /// Every server said that it cannot tell, or nobody said anything.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Ask(usize),
    Wait(u64),
    Over,
}

/// How the servers failed, as far as it decides whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// None of them can be reached.
    Unreachable,
    /// At least one is silent.
    Silent,
    /// All that can be reached refuse.
    Refused,
    /// They have tried, or do not know.
    Spoken,
}

impl Query {
    pub fn new(
        name: String,
        kind: Kind,
        order: Vec<usize>,
        settings: &Settings,
        now: u64,
    ) -> Query {
        Query {
            name,
            kind,
            said: vec![None; order.len()],
            most: order.len() * settings.attempts,
            order,
            asked: 0,
            step_ns: settings.timeout_s.unwrap_or(1) * SECOND,
            timeout_ns: settings.timeout_s.unwrap_or(TIMEOUT_S) * SECOND,
            next_at: now,
            over_at: u64::MAX,
            extras: Extras {
                edns0: settings.edns0,
                trust_ad: settings.trust_ad,
            },
            again: None,
            end: None,
        }
    }

    pub fn extras(&self) -> Extras {
        self.extras
    }

    /// What is to be done now. Asked again after an `Ask`.
    pub fn due(&mut self, now: u64) -> Due {
        if self.end.is_some() {
            return Due::Over;
        }
        if let Some(server) = self.again.take() {
            return Due::Ask(server);
        }
        if self.said.iter().all(Option::is_some) || now >= self.over_at {
            self.end = Some(End::Failed);
            return Due::Over;
        }
        while now >= self.next_at && self.asked < self.most {
            let place = self.asked % self.order.len();
            self.asked += 1;
            if self.said[place].is_none() {
                self.next_at = now + self.step_ns;
                if self.asked == self.most {
                    self.over_at = now + self.timeout_ns;
                }
                return Due::Ask(self.order[place]);
            }
        }
        if self.asked == self.most {
            // The last ones to ask had spoken already; those before have had their step.
            self.over_at = self
                .over_at
                .min(self.next_at.saturating_add(self.timeout_ns));
            return Due::Wait(self.over_at);
        }
        Due::Wait(self.next_at)
    }

    /// When `due` has something new to say.
    pub fn wake_at(&self) -> u64 {
        match () {
            () if self.end.is_some() => u64::MAX,
            () if self.asked < self.most => self.next_at,
            () => self.over_at,
        }
    }

    /// True: it is to be asked by TCP.
    pub fn heard(&mut self, server: usize, reply: Reply, now: u64) -> bool {
        match reply {
            Reply::Truncated => return true,
            Reply::Failed(Why::Code(FORMERR)) if self.extras.edns0 => {
                self.extras.edns0 = false;
                self.again = Some(server);
            }
            Reply::Failed(why) => self.said(server, Said::Why(why), now),
            told => self.end = self.end.take().or(Some(End::Told(told))),
        }
        false
    }

    pub fn unreachable(&mut self, server: usize, errno: i32, now: u64) {
        self.said(server, Said::Unreachable(errno), now);
    }

    fn said(&mut self, server: usize, said: Said, now: u64) {
        if let Some(place) = self.order.iter().position(|s| *s == server) {
            self.said[place].get_or_insert(said);
            // The next one need not wait for its step.
            self.next_at = self.next_at.min(now);
        }
    }

    pub fn failing(&self) -> Failing {
        let said = || self.said.iter();
        let refused = |s: &Said| *s == Said::Why(Why::Code(REFUSED));
        let unreachable = |s: &Said| matches!(s, Said::Unreachable(_));
        if said().any(Option::is_none) {
            Failing::Silent
        } else if said().flatten().all(unreachable) {
            Failing::Unreachable
        } else if said().flatten().all(|s| refused(s) || unreachable(s)) {
            Failing::Refused
        } else {
            Failing::Spoken
        }
    }

    /// `SERVFAIL from 192.0.2.1, 192.0.2.2 is silent`.
    pub fn words(&self, at: impl Fn(usize) -> SocketAddr) -> String {
        let one = |(server, said): (&usize, &Option<Said>)| {
            let server = host_of(at(*server));
            match said {
                None => format!("{server} is silent"),
                Some(Said::Unreachable(errno)) => format!("{server}: {}", errno_text(*errno)),
                Some(Said::Why(Why::Code(code))) => {
                    format!("{} from {server}", crate::message::code_text(*code))
                }
                Some(Said::Why(Why::Lame)) => {
                    format!("{server} does not resolve for others (lame)")
                }
                Some(Said::Why(Why::Broken(why))) => {
                    format!("the answer of {server} is broken: {why}")
                }
            }
        };
        let all: Vec<String> = self.order.iter().zip(&self.said).map(one).collect();
        all.join(", ")
    }
}

const FORMERR: u8 = 1;
const REFUSED: u8 = 5;

pub fn host_of(server: SocketAddr) -> String {
    match server.port() {
        53 => server.ip().to_string(),
        _ => server.to_string(),
    }
}

pub fn errno_text(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error ").next().unwrap_or(&text);
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = SECOND;

    fn query(servers: usize, options: impl Fn(&mut Settings)) -> Query {
        let mut settings = Settings::default();
        options(&mut settings);
        Query::new(
            "a.test".into(),
            Kind::A,
            (0..servers).collect(),
            &settings,
            0,
        )
    }

    fn at(n: usize) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, n as u8], 53))
    }

    /// Every ask with its second until it is over.
    fn asks(q: &mut Query) -> (Vec<(usize, u64)>, u64) {
        let (mut list, mut now) = (Vec::new(), 0);
        loop {
            match q.due(now) {
                Due::Ask(server) => list.push((server, now / S)),
                Due::Wait(until) => now = until,
                Due::Over => return (list, now / S),
            }
        }
    }

    #[test]
    fn silence_of_all() {
        let mut q = query(2, |_| {});
        assert_eq!(asks(&mut q), (vec![(0, 0), (1, 1), (0, 2), (1, 3)], 8));
        assert_eq!(
            (q.end.clone(), q.failing()),
            (Some(End::Failed), Failing::Silent)
        );
        assert_eq!(q.words(at), "192.0.2.0 is silent, 192.0.2.1 is silent");
        let mut q = query(1, |s| (s.timeout_s, s.attempts) = (Some(2), 3));
        assert_eq!(asks(&mut q), (vec![(0, 0), (0, 2), (0, 4)], 6));
    }

    #[test]
    fn who_cannot_tell_makes_room_for_the_next_at_once() {
        let mut q = query(3, |_| {});
        assert_eq!(q.due(0), Due::Ask(0));
        q.heard(0, Reply::Failed(Why::Code(2)), 1);
        assert_eq!(q.due(1), Due::Ask(1));
        q.unreachable(1, libc::ECONNREFUSED, 2);
        assert_eq!(q.due(2), Due::Ask(2));
        q.heard(2, Reply::Failed(Why::Lame), 3);
        assert_eq!((q.due(3), q.failing()), (Due::Over, Failing::Spoken));
        assert_eq!(
            q.words(at),
            "SERVFAIL from 192.0.2.0, 192.0.2.1: connection refused, 192.0.2.2 does not resolve for others (lame)"
        );
        // One that has spoken is passed over in the next round.
        let mut q = query(2, |_| {});
        assert_eq!(q.due(0), Due::Ask(0));
        q.heard(0, Reply::Failed(Why::Code(2)), 0);
        assert_eq!((q.due(0), q.due(0)), (Due::Ask(1), Due::Wait(S)));
        assert_eq!((q.due(S), q.due(S)), (Due::Ask(1), Due::Wait(6 * S)));
        assert_eq!(q.due(6 * S), Due::Over);
    }

    #[test]
    fn kinds_of_failure() {
        let failing = |said: [Said; 2]| {
            let mut q = query(2, |_| {});
            let [a, b] = said;
            q.said(0, a, 0);
            q.said(1, b, 0);
            q.failing()
        };
        let gone = || Said::Unreachable(libc::ENETUNREACH);
        let code = |c| Said::Why(Why::Code(c));
        assert_eq!(failing([gone(), gone()]), Failing::Unreachable);
        assert_eq!(failing([gone(), code(5)]), Failing::Refused);
        assert_eq!(failing([code(5), code(2)]), Failing::Spoken);
    }

    #[test]
    fn a_late_answer_counts_and_edns_is_left_out_for_who_does_not_know_it() {
        let mut q = query(2, |s| s.edns0 = true);
        assert_eq!((q.due(0), q.due(S)), (Due::Ask(0), Due::Ask(1)));
        assert!(q.heard(0, Reply::Truncated, S));
        q.heard(0, Reply::Failed(Why::Code(1)), S);
        assert_eq!((q.due(S), q.extras().edns0), (Due::Ask(0), false));
        q.heard(0, Reply::NoName { ttl_s: None }, S);
        assert_eq!(q.due(S), Due::Over);
        assert_eq!(q.end, Some(End::Told(Reply::NoName { ttl_s: None })));
    }
}
