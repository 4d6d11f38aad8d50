//! ICMP echo without root: the kernel's ping sockets, and raw sockets where those are not permitted.
//!
//! A ping socket's id is the kernel's, and only answers to that id arrive. A raw socket (CAP_NET_RAW) gets every
//! answer that its peer sends to this machine, so the id is looked at here.

use super::bind::{Bind, set};
use super::source::{RawAddr, Source, domain, socket_of};
use crate::cx::Cx;
use healthd_abi::{IO_READ, IO_WRITE};
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::null_mut;
use std::time::{SystemTime, UNIX_EPOCH};

/// Sends echo requests to one address and hears what comes back.
pub struct PingSocket<'a> {
    source: Source<'a, OwnedFd>,
    cx: Cx<'a>,
    to: IpAddr,
    /// On a raw socket the id is ours.
    raw_id: Option<u16>,
    /// At the begin of each payload: an answer to an earlier run, or to somebody else, has another.
    nonce: u64,
    packet: Vec<u8>,
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
        let nonce = RandomState::new().hash_one((cx.now_ns(), cx.run_id()));
        let raw_id = raw.then_some(nonce as u16);
        if raw {
            only_echo_replies(&fd, to)?;
            // Only the peer's packets are for this socket then.
            RawAddr::inet(&SocketAddr::new(to, 0)).connect(&fd)?;
        }
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
                let now = self.cx.now_ns();
                to.send(fd, &self.packet, connected).map(|_| now)
            })
        })
        .await
    }

    /// The next answer or error that belongs to this socket's own requests.
    pub async fn hear(&self) -> io::Result<Heard> {
        poll_fn(|task| {
            self.source.retry(task, IO_READ, |fd| {
                loop {
                    let heard = match receive(fd, 0) {
                        Ok(message) => self.echo(&message),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Err(e),
                        Err(e) if e.kind() == io::ErrorKind::Interrupted => None,
                        // An ICMP error shows up as the socket's; what it was is in the queue of errors.
                        Err(e) => match receive(fd, libc::MSG_ERRQUEUE) {
                            Ok(message) => message.error.filter(|_| self.is_quoted(&message)),
                            Err(_) => return Err(e),
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

    /// A raw socket also hears of what others sent to its peer.
    fn is_quoted(&self, message: &Message) -> bool {
        let id = message.data().get(4..6);
        self.raw_id
            .is_none_or(|ours| id.is_none_or(|id| id == ours.to_be_bytes()))
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
            at_ns: arrival(self.cx.now_ns(), message.stamp_ns),
            ttl: message.ttl,
        })
    }
}

/// The host's time of a packet that the kernel stamped with the time of day.
fn arrival(now_ns: u64, stamp_ns: Option<u64>) -> u64 {
    /// Older than this: the clock was set meanwhile.
    const BELIEVED: u64 = 60_000_000_000;
    let day = SystemTime::now().duration_since(UNIX_EPOCH);
    let age = match (stamp_ns, day) {
        (Some(stamp), Ok(day)) => (day.as_nanos() as u64).checked_sub(stamp),
        _ => None,
    };
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

/// What one recvmsg gave.
struct Message {
    data: [u8; 128],
    len: usize,
    from: Option<IpAddr>,
    stamp_ns: Option<u64>,
    ttl: Option<u8>,
    /// From the queue of errors. None if it is about something else.
    error: Option<Heard>,
}

impl Message {
    fn data(&self) -> &[u8] {
        &self.data[..self.len.min(self.data.len())]
    }
}

fn receive(fd: &OwnedFd, flags: i32) -> io::Result<Message> {
    let mut message = Message {
        data: [0; 128],
        len: 0,
        from: None,
        stamp_ns: None,
        ttl: None,
        error: None,
    };
    // u64: aligned as cmsghdr wants.
    let mut control = [0u64; 64];
    // SAFETY: all zeroes is a valid sockaddr_storage.
    let mut name: libc::sockaddr_storage = unsafe { zeroed() };
    let mut vec = libc::iovec {
        iov_base: message.data.as_mut_ptr().cast(),
        iov_len: message.data.len(),
    };
    // SAFETY: all zeroes is a valid msghdr: no buffers.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of_val(&name) as libc::socklen_t;
    header.msg_iov = &raw mut vec;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: every pointer of the header is to a live buffer of the length beside it.
    let n = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header, flags) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    message.len = n as usize;
    header.msg_iov = null_mut();
    message.from = address(&name);
    // SAFETY: the kernel filled header and control, which live on.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    // SAFETY: NULL or a whole cmsghdr within control.
    while let Some(one) = unsafe { at.as_ref() } {
        // SAFETY: `at` is such a header.
        let data = unsafe { libc::CMSG_DATA(at) };
        let overhead = data.addr() - at.addr();
        #[allow(clippy::unnecessary_cast, reason = "another type with musl")]
        let len = (one.cmsg_len as usize).saturating_sub(overhead);
        // SAFETY: the kernel says that so many bytes follow, all within control.
        let data = unsafe { std::slice::from_raw_parts(data, len) };
        message.take(one.cmsg_level, one.cmsg_type, data);
        // SAFETY: `at` is a header of this msghdr.
        at = unsafe { libc::CMSG_NXTHDR(&raw const header, at) };
    }
    Ok(message)
}

impl Message {
    fn take(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let number = |at: usize| Some(i64::from_ne_bytes(*data.get(at..)?.first_chunk()?));
                // Both are 64 bits wide on 64-bit machines; elsewhere there is no stamp and the reading counts.
                if data.len() == 16 {
                    self.stamp_ns = number(0).zip(number(8)).and_then(|(s, ns)| {
                        u64::try_from(s)
                            .ok()?
                            .checked_mul(1_000_000_000)?
                            .checked_add(ns as u64)
                    });
                }
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                let ttl = data.first_chunk().map(|b| i32::from_ne_bytes(*b));
                self.ttl = ttl.and_then(|ttl| u8::try_from(ttl).ok());
            }
            (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) => {
                self.error = self.undelivered(data);
            }
            _ => {}
        }
    }

    /// `data` is a sock_extended_err with the offender's address behind it; the message itself is what was quoted.
    fn undelivered(&self, data: &[u8]) -> Option<Heard> {
        let &[
            _,
            _,
            _,
            _,
            origin,
            kind,
            code,
            _,
            a,
            b,
            c,
            d,
            _,
            _,
            _,
            _,
            ..,
        ] = data
        else {
            return None;
        };
        let info = u32::from_ne_bytes([a, b, c, d]);
        let why = match (origin, kind, code) {
            (libc::SO_EE_ORIGIN_LOCAL, ..) => Undelivered::TooBig(info),
            (libc::SO_EE_ORIGIN_ICMP, 3, 4) | (libc::SO_EE_ORIGIN_ICMP6, 2, _) => {
                Undelivered::TooBig(info)
            }
            (libc::SO_EE_ORIGIN_ICMP, 3, code) | (libc::SO_EE_ORIGIN_ICMP6, 1, code) => {
                Undelivered::Unreachable(code)
            }
            (libc::SO_EE_ORIGIN_ICMP, 11, _) | (libc::SO_EE_ORIGIN_ICMP6, 3, _) => {
                Undelivered::TimeExceeded
            }
            _ => Undelivered::Other(kind, code),
        };
        let quoted = self.data();
        Some(Heard::Error {
            from: offender(&data[16..]),
            seq: quoted
                .get(6..8)
                .map(|seq| u16::from_be_bytes([seq[0], seq[1]])),
            why,
        })
    }
}

fn offender(raw: &[u8]) -> Option<IpAddr> {
    let family = i32::from(u16::from_ne_bytes(*raw.first_chunk()?));
    match family {
        libc::AF_INET => Some(Ipv4Addr::from(*raw.get(4..)?.first_chunk::<4>()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(*raw.get(8..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<IpAddr> {
    let len = size_of::<libc::sockaddr_in6>();
    // SAFETY: a sockaddr_storage is longer than a sockaddr_in6, and every byte of it was written.
    let raw = unsafe { std::slice::from_raw_parts((&raw const *name).cast::<u8>(), len) };
    offender(raw)
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
        assert_eq!(arrival(now, None), now);
        let at = arrival(now, Some(day - 1_000_000));
        assert!(
            (now - 1_000_000_000..=now - 1_000_000).contains(&at),
            "{at}"
        );
        // The clock was set back, or far ahead.
        assert_eq!(arrival(now, Some(day + 3_600_000_000_000)), now);
        assert_eq!(arrival(now, Some(day - 3_600_000_000_000)), now);
    }

    #[test]
    fn errors_with_short_quotes() {
        let mut message = Message {
            data: [0; 128],
            len: 8,
            from: None,
            stamp_ns: None,
            ttl: None,
            error: None,
        };
        message.data[7] = 9;
        let mut data = vec![0; 32];
        (data[4], data[5], data[6]) = (libc::SO_EE_ORIGIN_ICMP, 3, 1);
        data[16..18].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        data[20..24].copy_from_slice(&[192, 0, 2, 1]);
        let from = Some(IpAddr::from([192, 0, 2, 1]));
        let why = Undelivered::Unreachable(1);
        let seq = Some(9);
        assert_eq!(
            message.undelivered(&data),
            Some(Heard::Error { from, seq, why })
        );
        message.len = 4;
        let seq = None;
        assert_eq!(
            message.undelivered(&data),
            Some(Heard::Error { from, seq, why })
        );
        for end in 0..16 {
            assert_eq!(message.undelivered(&data[..end]), None);
        }
        let from = None;
        for end in 16..24 {
            assert_eq!(
                message.undelivered(&data[..end]),
                Some(Heard::Error { from, seq, why })
            );
        }
    }
}
