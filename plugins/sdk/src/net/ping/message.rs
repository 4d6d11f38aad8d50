//! What one recvmsg of a ping socket gives: an echo with its time and TTL, or an error out of the socket's queue.

use super::{Heard, Undelivered};
use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

pub(super) struct Message {
    data: [u8; 128],
    len: usize,
    pub(super) from: Option<IpAddr>,
    pub(super) stamp_ns: Option<u64>,
    pub(super) ttl: Option<u8>,
    /// From the queue of errors. None if it is about something else.
    pub(super) error: Option<Heard>,
    /// This machine itself could not send it.
    pub(super) is_local: bool,
}

impl Message {
    pub(super) fn data(&self) -> &[u8] {
        &self.data[..self.len.min(self.data.len())]
    }
}

pub(super) fn receive(fd: &impl AsRawFd, flags: i32) -> io::Result<Message> {
    let mut message = Message {
        data: [0; 128],
        len: 0,
        from: None,
        stamp_ns: None,
        ttl: None,
        error: None,
        is_local: false,
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
                self.is_local = data.get(4) == Some(&libc::SO_EE_ORIGIN_LOCAL);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_with_short_quotes() {
        let mut message = Message {
            data: [0; 128],
            len: 8,
            from: None,
            stamp_ns: None,
            ttl: None,
            error: None,
            is_local: false,
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
