//! One look-up: who waits for it, how far it is on its way through nsswitch.conf, and what was found so far.

use crate::answer::{Found, Key, Told, Waiter};
use crate::message::Kind;
use crate::name::Host;
use crate::nsswitch::{Source, Step};
use crate::query::{End, Failing, Query};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Debug)]
pub struct Lookup {
    pub key: Key,
    pub host: Host,
    pub waiting: Vec<Waiting>,
    pub stage: Stage,
    /// The steps that are not done; the first is under way.
    pub steps: VecDeque<Step>,
    /// When the first question of this step left.
    pub began: u64,
    /// Tells what is said to this stage from what was meant for one before.
    pub stamp: u32,
    pub candidates: Vec<String>,
    pub at: usize,
    pub queries: Vec<Query>,
    /// Asked once the first has its answer (`single-request`).
    pub then: Option<Kind>,
    /// When the first addresses came: the other kind has a little time from then.
    pub first_at: Option<u64>,
    /// When servers that have said nothing are probed.
    pub probe_at: u64,
    pub heard: Heard,
    /// What its timer stands at; earlier ones are void.
    pub wake_at: u64,
}

/// What the servers said of the candidates so far.
#[derive(Debug, Default)]
pub struct Heard {
    /// One of the names exists.
    pub no_data: Option<String>,
    /// Where nobody could tell, and the words for it.
    pub failed: Option<(Failing, String)>,
    /// The least of the times for which "no" may be kept; None: one of them may not.
    pub ttl_s: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All places are taken, or its zone has its part.
    Queued,
    Dns,
    Threads,
    /// It has failed; whose fault it is shows when somebody else is heard, or nobody is until then.
    Doubted {
        until: u64,
    },
}

#[derive(Debug)]
pub struct Waiting {
    pub waiter: Waiter,
    /// When it is told that there is no answer.
    pub tell_at: u64,
    /// In the queue since then, as far as that was not given back.
    pub queued_since: u64,
    /// Time in the queue that was not given back.
    pub owed_ns: u64,
}

/// Before its deadline a run is told that there is no answer, so that it can say so itself.
const MARGIN_NS: u64 = 20_000_000;

impl Waiting {
    pub fn new(waiter: Waiter, now: u64) -> Waiting {
        let left = waiter.deadline_ns.saturating_sub(now);
        Waiting {
            waiter,
            tell_at: waiter.deadline_ns.saturating_sub(MARGIN_NS.min(left / 5)),
            queued_since: now,
            owed_ns: 0,
        }
    }

    pub fn told(&self, found: &Arc<Found>) -> Told {
        Told {
            waiter: self.waiter,
            found: found.clone(),
            queued_ns: self.owed_ns,
        }
    }

    /// Time in the queue is not the target's: the deadline is as far away as before.
    pub fn begins(&mut self, now: u64) {
        let waited = now.saturating_sub(self.queued_since);
        self.owed_ns += waited;
        self.tell_at += waited;
        self.queued_since = now;
    }
}

/// The other kind of address has so long after the first came, or twice as long as the first took.
const OTHER_KIND_NS: u64 = 50_000_000;
const OTHER_KIND_MOST_NS: u64 = 1_000_000_000;
/// Addresses of one kind alone, because the other did not come, are kept no longer.
const PARTIAL_TTL_S: u32 = 5;

/// What came of one candidate.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not all questions are over.
    Open,
    Found {
        ips: Vec<IpAddr>,
        ttl_s: u32,
    },
    /// What it is, as `Heard` has it now.
    Not,
    /// Silent: what stands behind it in the search list may be another host.
    Stop,
}

impl Lookup {
    pub fn source(&self) -> Option<Source> {
        self.steps.front().map(|s| s.source)
    }

    /// How long the other kind is waited for.
    pub fn patience_until(&self) -> Option<u64> {
        let first = self.first_at?;
        let took = first.saturating_sub(self.began);
        Some(first + OTHER_KIND_NS.max(2 * took).min(OTHER_KIND_MOST_NS))
    }

    /// Judges the candidate that is asked. `now` decides whether the other kind is still waited for.
    pub fn outcome(
        &mut self,
        now: u64,
        at: impl Fn(usize) -> std::net::SocketAddr + Copy,
    ) -> Outcome {
        use crate::message::Reply;
        let open = self.queries.iter().any(|q| q.end.is_none()) || self.then.is_some();
        let (mut ips, mut ttl_s, mut missing) = (Vec::new(), u32::MAX, open);
        for query in &self.queries {
            match &query.end {
                Some(End::Told(Reply::Addresses {
                    ips: some,
                    ttl_s: ttl,
                })) => {
                    ips.extend(some.iter().copied());
                    ttl_s = ttl_s.min(*ttl);
                }
                Some(End::Failed) => missing = true,
                _ => {}
            }
        }
        if !ips.is_empty() && self.first_at.is_none() {
            self.first_at = Some(now);
        }
        let impatient = self.patience_until().is_some_and(|until| now >= until);
        if open && !impatient {
            return Outcome::Open;
        }
        if !ips.is_empty() {
            ttl_s = if missing {
                ttl_s.min(PARTIAL_TTL_S)
            } else {
                ttl_s
            };
            return Outcome::Found { ips, ttl_s };
        }
        let mut stop = false;
        for query in &self.queries {
            match &query.end {
                Some(End::Told(Reply::NoData { ttl_s, alias })) => {
                    let name = alias.as_ref().map_or_else(
                        || query.name.clone(),
                        |alias| format!("{} (an alias of {alias})", query.name),
                    );
                    self.heard.no_data.get_or_insert(name);
                    self.heard.ttl_s = self.heard.ttl_s.zip(*ttl_s).map(|(a, b)| a.min(b));
                }
                Some(End::Told(Reply::NoName { ttl_s })) => {
                    self.heard.ttl_s = self.heard.ttl_s.zip(*ttl_s).map(|(a, b)| a.min(b));
                }
                Some(End::Failed) => {
                    let failing = query.failing();
                    stop |= matches!(failing, Failing::Silent | Failing::Unreachable);
                    let text = format!("{}: {}", query.name, query.words(at));
                    self.heard.failed.get_or_insert((failing, text));
                }
                Some(End::Told(_)) | None => {}
            }
        }
        if stop { Outcome::Stop } else { Outcome::Not }
    }
}
