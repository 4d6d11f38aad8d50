//! From where and how a socket sends: source address, interface, DSCP, TTL.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use super::source::RawAddr;

/// What a socket is told before it connects. The default leaves all to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// The address to send from; one of this machine's.
    pub source: Option<IpAddr>,
    /// The interface to send through (SO_BINDTODEVICE).
    pub interface: Option<String>,
    /// Differentiated services code point, 0 to 63.
    pub dscp: Option<u8>,
    /// Hops that a packet may make.
    pub ttl: Option<u8>,
}

impl Bind {
    /// A source of the other family could never reach `to`.
    pub fn allows(&self, to: IpAddr) -> bool {
        self.source
            .is_none_or(|source| source.is_ipv4() == to.is_ipv4())
    }

    pub(super) fn apply(&self, fd: &OwnedFd, to: IpAddr) -> io::Result<()> {
        if !self.allows(to) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the source address is of another family than the target",
            ));
        }
        if let Some(name) = &self.interface {
            set_bytes(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name.as_bytes())?;
        }
        if let Some(dscp) = self.dscp {
            let class = i32::from(dscp) << 2;
            match to {
                IpAddr::V4(_) => set(fd, libc::IPPROTO_IP, libc::IP_TOS, class)?,
                IpAddr::V6(_) => set(fd, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, class)?,
            }
        }
        if let Some(ttl) = self.ttl {
            match to {
                IpAddr::V4(_) => set(fd, libc::IPPROTO_IP, libc::IP_TTL, ttl.into())?,
                IpAddr::V6(_) => set(fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl.into())?,
            }
        }
        if let Some(source) = self.source {
            RawAddr::inet(&SocketAddr::new(source, 0)).bind(fd)?;
        }
        Ok(())
    }
}

pub(super) fn set(fd: &OwnedFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_bytes(fd, level, option, &value.to_ne_bytes())
}

pub(super) fn set_bytes(fd: &OwnedFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: an open socket; `value` is read for its length only.
    let r = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if r < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
