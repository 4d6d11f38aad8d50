//! Who answered, how fast, how often: the numbers of one run.

use healthd_plugin::net::{Heard, Undelivered};
use std::net::IpAddr;

/// One entry a request.
#[derive(Default)]
pub struct Counts {
    requests: Vec<Request>,
    duplicates: usize,
    error: Option<Heard>,
    ttl: Option<u8>,
}

struct Request {
    sent_ns: u64,
    /// In nanoseconds.
    rtt: Option<u64>,
}

/// Round trips in seconds.
#[derive(Debug, PartialEq)]
pub struct Rtt {
    pub min: f64,
    pub average: f64,
    pub max: f64,
    pub stddev: f64,
}

impl Counts {
    pub fn send(&mut self, at_ns: u64) {
        self.requests.push(Request {
            sent_ns: at_ns,
            rtt: None,
        });
    }

    /// An answer to a number that was not sent, or to one that was answered, changes no round trip.
    pub fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Echo { seq, at_ns, ttl } => {
                let Some(request) = self.requests.get_mut(usize::from(seq)) else {
                    return;
                };
                if request.rtt.is_some() {
                    self.duplicates += 1;
                    return;
                }
                request.rtt = Some(at_ns.saturating_sub(request.sent_ns));
                self.ttl = ttl.or(self.ttl);
            }
            // A router may say so of one packet, and the host answers the next, or even the same.
            Heard::Error { .. } => self.error = Some(heard),
        }
    }

    pub fn sent(&self) -> usize {
        self.requests.len()
    }

    pub fn last_sent(&self) -> u64 {
        self.requests.last().map_or(0, |r| r.sent_ns)
    }

    pub fn answered(&self) -> usize {
        self.requests.iter().filter(|r| r.rtt.is_some()).count()
    }

    pub fn all_answered(&self) -> bool {
        self.requests.iter().all(|r| r.rtt.is_some())
    }

    pub fn loss_percent(&self) -> f64 {
        let lost = self.sent() - self.answered();
        lost as f64 * 100.0 / self.sent().max(1) as f64
    }

    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// The last ICMP error.
    pub fn error(&self) -> Option<Heard> {
        self.error
    }

    pub fn ttl(&self) -> Option<u8> {
        self.ttl
    }

    pub fn rtt(&self) -> Option<Rtt> {
        let all = || {
            self.requests
                .iter()
                .filter_map(|r| Some(r.rtt? as f64 / 1e9))
        };
        let n = all().count() as f64;
        let average = all().sum::<f64>() / n;
        let variance = all().map(|t| (t - average).powi(2)).sum::<f64>() / n;
        (n > 0.0).then(|| Rtt {
            min: all().fold(f64::INFINITY, f64::min),
            average,
            max: all().fold(0.0, f64::max),
            stddev: variance.sqrt(),
        })
    }
}

/// How many routers were on the way back, if the sender began with one of the usual numbers.
pub fn hops(ttl: u8) -> u8 {
    let from = [32, 64, 128, 255].into_iter().find(|from| ttl <= *from);
    from.unwrap_or(ttl) - ttl
}

/// What a router says, in words.
pub fn reason(to: IpAddr, why: Undelivered) -> String {
    let text = match (why, to.is_ipv4()) {
        (Undelivered::TimeExceeded, _) => "too many hops",
        (Undelivered::TooBig(mtu), _) => {
            return format!("the packet is too big for a link of {mtu} bytes");
        }
        (Undelivered::Unreachable(0), true) => "network unreachable",
        (Undelivered::Unreachable(1), true) => "host unreachable",
        (Undelivered::Unreachable(2), true) => "protocol unreachable",
        (Undelivered::Unreachable(3), true) | (Undelivered::Unreachable(4), false) => {
            "port unreachable"
        }
        (Undelivered::Unreachable(9 | 10 | 13), true) | (Undelivered::Unreachable(1), false) => {
            "forbidden by a firewall"
        }
        (Undelivered::Unreachable(0), false) => "no route",
        (Undelivered::Unreachable(3), false) => "address unreachable",
        (Undelivered::Unreachable(code), _) => return format!("unreachable, code {code}"),
        (Undelivered::Other(kind, code), _) => return format!("ICMP type {kind}, code {code}"),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(seq: u16, at_ns: u64) -> Heard {
        let ttl = Some(63);
        Heard::Echo { seq, at_ns, ttl }
    }

    #[test]
    fn answers_duplicates_and_strangers() {
        let mut counts = Counts::default();
        for at in [1_000, 2_000, 3_000, 4_000] {
            counts.send(at);
        }
        counts.hear(echo(1, 2_004));
        counts.hear(echo(1, 2_900));
        counts.hear(echo(0, 3_002));
        counts.hear(echo(9, 3_003));
        assert_eq!(
            (counts.sent(), counts.answered(), counts.duplicates()),
            (4, 2, 1)
        );
        assert_eq!(counts.loss_percent(), 50.0);
        let rtt = counts.rtt().unwrap();
        assert_eq!((rtt.min, rtt.max), (4e-9, 2_002e-9));
        assert!((rtt.average - 1_003e-9).abs() < 1e-15 && (rtt.stddev - 999e-9).abs() < 1e-15);
        let (from, seq, why) = (None, Some(2), Undelivered::Unreachable(1));
        let error = Heard::Error { from, seq, why };
        counts.hear(error);
        assert_eq!(counts.error(), Some(error));
        assert_eq!(counts.loss_percent(), 50.0);
        assert!(!counts.all_answered());
        assert_eq!(counts.ttl(), Some(63));
        assert!(Counts::default().rtt().is_none());
    }

    #[test]
    fn hops_of_the_usual_beginnings() {
        for (ttl, way) in [
            (64, 0),
            (63, 1),
            (128, 0),
            (117, 11),
            (255, 0),
            (30, 2),
            (0, 32),
        ] {
            assert_eq!(hops(ttl), way, "{ttl}");
        }
    }
}
