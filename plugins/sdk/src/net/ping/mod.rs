//! ICMP echo without root: the kernel's ping sockets, and raw sockets where those are not permitted.
//!
//! A ping socket's id is the kernel's, and only answers to that id arrive. A raw socket (CAP_NET_RAW) gets every
//! answer that its peer sends to this machine, so the id is looked at here.

mod idle;
mod message;

use super::bind::{Bind, set};
use super::source::{RawAddr, Source, domain, socket_of};
use crate::cx::Cx;
use healthd_abi::{IO_READ, IO_WRITE};
use idle::Fd;
use message::{Message, receive};
use std::cell::Cell;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

/// Sends echo requests to one address and hears what comes back.
pub struct PingSocket<'a> {
    source: Source<'a, Fd>,
    cx: Cx<'a>,
    to: IpAddr,
    /// On a raw socket the id is ours.
    raw_id: Option<u16>,
    /// At the begin of each payload: an answer to an earlier run, or to somebody else, has another.
    nonce: u64,
    packet: Vec<u8>,
    /// An error of an earlier request that was met on the way to send the next.
    met: Cell<Option<Heard>>,
}

/// What a [`PingSocket`] heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The answer to the request of this number.
    Echo {
        seq: u16,
        /// When the kernel got it, on the host's clock ([`Cx::now_ns`]).
        at_ns: u64,
        /// The hops it had left; None if the kernel does not say.
        ttl: Option<u8>,
    },
    /// A router, or the target, says that it could not be delivered.
    Error {
        from: Option<IpAddr>,
        /// The request that it speaks of, if its quote is long enough.
        seq: Option<u16>,
        why: Undelivered,
    },
}

/// Why a request was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// Destination unreachable, with the code of ICMP or ICMPv6.
    Unreachable(u8),
    TimeExceeded,
    /// It may not be fragmented, and the next link takes no more than so many bytes.
    TooBig(u32),
    /// Another type and code.
    Other(u8, u8),
}

const HEADER: usize = 8;
const NONCE: usize = 8;
/// The smallest payload: the nonce.
pub const PING_SIZE_MIN: usize = NONCE;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST6: u8 = 128;
const ECHO_REPLY6: u8 = 129;

impl<'a> PingSocket<'a> {
    /// `size` is that of the payload. With `dont_fragment` a packet that is too large for a link is an error.
    ///
    /// [`io::ErrorKind::PermissionDenied`], with what to do, if this process may open neither kind of socket.
    pub fn open(
        cx: Cx<'a>,
        to: IpAddr,
        size: usize,
        dont_fragment: bool,
        bind: &Bind,
    ) -> io::Result<PingSocket<'a>> {
        let is_usual = !dont_fragment && *bind == Bind::default();
        if let Some(fd) = Fd::idle(to).filter(|_| is_usual) {
            return PingSocket::on(cx, to, size, fd, false);
        }
        let (fd, raw) = open(to)?;
        bind.apply(&fd, to)?;
        set(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        let discover = |wanted, never| if dont_fragment { wanted } else { never };
        match to {
            IpAddr::V4(_) => {
                set(&fd, libc::IPPROTO_IP, libc::IP_RECVTTL, 1)?;
                set(&fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)?;
                // PROBE: also against what the kernel has learnt of the path, which is to be measured.
                let mode = discover(libc::IP_PMTUDISC_PROBE, libc::IP_PMTUDISC_DONT);
                set(&fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode)?;
            }
            IpAddr::V6(_) => {
                set(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
                set(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)?;
                let mode = discover(libc::IPV6_PMTUDISC_PROBE, libc::IPV6_PMTUDISC_DONT);
                set(&fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, mode)?;
            }
        }
        if raw {
            only_echo_replies(&fd, to)?;
            // Only the peer's packets are for this socket then.
            RawAddr::inet(&SocketAddr::new(to, 0)).connect(&fd)?;
        }
        let fd = Fd::new(fd, to, is_usual && !raw);
        PingSocket::on(cx, to, size, fd, raw)
    }

    fn on(cx: Cx<'a>, to: IpAddr, size: usize, fd: Fd, raw: bool) -> io::Result<PingSocket<'a>> {
        let nonce = RandomState::new().hash_one((cx.now_ns(), cx.run_id()));
        let raw_id = raw.then_some(nonce as u16);
        let mut packet = vec![0; HEADER + size.max(PING_SIZE_MIN)];
        packet[0] = if to.is_ipv4() {
            ECHO_REQUEST
        } else {
            ECHO_REQUEST6
        };
        packet[4..6].copy_from_slice(&raw_id.unwrap_or(0).to_be_bytes());
        packet[HEADER..HEADER + NONCE].copy_from_slice(&nonce.to_be_bytes());
        Ok(PingSocket {
            source: Source::new(cx, fd)?,
            cx,
            to,
            raw_id,
            nonce,
            packet,
            met: Cell::new(None),
        })
    }

    /// Sends request number `seq`. Returns when, on the host's clock.
    pub async fn send(&mut self, seq: u16) -> io::Result<u64> {
        self.packet[6..8].copy_from_slice(&seq.to_be_bytes());
        if self.raw_id.is_some() && self.to.is_ipv4() {
            self.packet[2..4].fill(0);
            let sum = checksum(&self.packet);
            self.packet[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let to = RawAddr::inet(&SocketAddr::new(self.to, 0));
        let connected = self.raw_id.is_some();
        poll_fn(|task| {
            self.source.retry(task, IO_WRITE, |fd| {
                loop {
                    let now = self.cx.now_ns();
                    match to.send(fd, &self.packet, connected) {
                        Ok(_) => return Ok(now),
                        Err(e) if is_passing(&e) => return Err(e),
                        // Of this request, or of an earlier one, perhaps of another run?
                        Err(e) => match receive(fd, libc::MSG_ERRQUEUE) {
                            Ok(message) if !message.is_local => {
                                let error = message.error.filter(|_| self.is_quoted(&message));
                                self.met.set(error.or(self.met.get()));
                            }
                            _ => {
                                fd.spoilt();
                                return Err(e);
                            }
                        },
                    }
                }
            })
        })
        .await
    }

    /// The next answer or error that belongs to this socket's own requests.
    pub async fn hear(&self) -> io::Result<Heard> {
        if let Some(error) = self.met.take() {
            return Ok(error);
        }
        poll_fn(|task| {
            self.source.retry(task, IO_READ, |fd| {
                loop {
                    let heard = match receive(fd, 0) {
                        Ok(message) => self.echo(&message),
                        Err(e) if is_passing(&e) => return Err(e),
                        // An ICMP error shows up as the socket's; what it was is in the queue of errors.
                        Err(e) => match receive(fd, libc::MSG_ERRQUEUE) {
                            Ok(message) => message.error.filter(|_| self.is_quoted(&message)),
                            Err(_) => {
                                fd.spoilt();
                                return Err(e);
                            }
                        },
                    };
                    if let Some(heard) = heard {
                        return Ok(heard);
                    }
                }
            })
        })
        .await
    }

    /// A raw socket also hears of what others sent to its peer, and any of what an earlier run sent. A router need not
    /// quote more than the begin, without the payload.
    fn is_quoted(&self, message: &Message) -> bool {
        let quoted = message.data();
        let is_ours = |at: usize, ours: &[u8]| {
            let said = quoted.get(at..at + ours.len());
            said.is_none_or(|said| said == ours)
        };
        message.from.is_none_or(|from| from == self.to)
            && self.raw_id.is_none_or(|id| is_ours(4, &id.to_be_bytes()))
            && is_ours(HEADER, &self.nonce.to_be_bytes())
    }

    fn echo(&self, message: &Message) -> Option<Heard> {
        let mut packet = message.data();
        if self.raw_id.is_some() && self.to.is_ipv4() {
            let header = usize::from(packet.first()? & 0x0F) * 4;
            packet = packet.get(header..)?;
        }
        let reply = if self.to.is_ipv4() {
            ECHO_REPLY
        } else {
            ECHO_REPLY6
        };
        let ours = packet.first() == Some(&reply)
            && packet.get(HEADER..HEADER + NONCE) == Some(&self.nonce.to_be_bytes())
            && self
                .raw_id
                .is_none_or(|id| packet[4..6] == id.to_be_bytes())
            && message.from == Some(self.to);
        ours.then(|| Heard::Echo {
            seq: u16::from_be_bytes([packet[6], packet[7]]),
            at_ns: arrival(|| self.cx.now_ns(), message.stamp_ns),
            ttl: message.ttl,
        })
    }
}

/// The caller waits, or tries again.
fn is_passing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// The host's time of a packet that the kernel stamped with the time of day.
fn arrival(now_ns: impl FnOnce() -> u64, stamp_ns: Option<u64>) -> u64 {
    /// Older than this: the clock was set meanwhile.
    const BELIEVED: u64 = 60_000_000_000;
    let day = SystemTime::now().duration_since(UNIX_EPOCH);
    let age = match (stamp_ns, day) {
        (Some(stamp), Ok(day)) => (day.as_nanos() as u64).checked_sub(stamp),
        _ => None,
    };
    // Last: whoever is put aside in between takes an answer for later, and never for earlier than its question.
    let now_ns = now_ns();
    now_ns - age.filter(|age| *age <= BELIEVED.min(now_ns)).unwrap_or(0)
}

/// A ping socket, or a raw one (true).
fn open(to: IpAddr) -> io::Result<(OwnedFd, bool)> {
    let domain = domain(&SocketAddr::new(to, 0));
    let protocol = match to {
        IpAddr::V4(_) => libc::IPPROTO_ICMP,
        IpAddr::V6(_) => libc::IPPROTO_ICMPV6,
    };
    match socket_of(domain, libc::SOCK_DGRAM, protocol) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        other => return other.map(|fd| (fd, false)),
    }
    match socket_of(domain, libc::SOCK_RAW, protocol) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "healthd may not ping: set the sysctl net.ipv4.ping_group_range to include its group \
             (\"0 2147483647\" for all), or give it CAP_NET_RAW",
        )),
        other => other.map(|fd| (fd, true)),
    }
}

/// Spares a raw socket what else comes in, its own requests on loopback among it.
fn only_echo_replies(fd: &OwnedFd, to: IpAddr) -> io::Result<()> {
    const SOL_RAW: i32 = 255;
    const ICMP_FILTER: i32 = 1;
    const ICMP6_FILTER: i32 = 1;
    match to {
        IpAddr::V4(_) => set(fd, SOL_RAW, ICMP_FILTER, !(1 << ECHO_REPLY)),
        IpAddr::V6(_) => {
            // A bit a type; set is blocked.
            let mut blocked = [0xFF; 32];
            let (word, bit) = (usize::from(ECHO_REPLY6 / 32), ECHO_REPLY6 % 32);
            blocked[word * 4..word * 4 + 4].copy_from_slice(&(!(1u32 << bit)).to_ne_bytes());
            super::bind::set_bytes(fd, libc::IPPROTO_ICMPV6, ICMP6_FILTER, &blocked)
        }
    }
}

fn checksum(packet: &[u8]) -> u16 {
    let mut sum: u32 = packet
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_rfc_1071() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            !0xddf2
        );
        assert_eq!(checksum(&[0xFF, 0xFF, 0xFF]), !0xFF00);
        let mut packet = [8, 0, 0, 0, 1, 2, 3, 4, 5, 6];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&packet), 0);
    }

    #[test]
    fn arrivals() {
        let day = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        let now = 100_000_000_000;
        assert_eq!(arrival(|| now, None), now);
        let at = arrival(|| now, Some(day - 1_000_000));
        assert!(
            (now - 30_000_000_000..=now - 1_000_000).contains(&at),
            "{at}"
        );
        // The clock was set back, or far ahead.
        assert_eq!(arrival(|| now, Some(day + 3_600_000_000_000)), now);
        assert_eq!(arrival(|| now, Some(day - 3_600_000_000_000)), now);
    }
}
