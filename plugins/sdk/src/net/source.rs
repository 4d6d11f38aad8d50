//! A non-blocking descriptor and what the host knows of it.

use crate::cx::Cx;
use crate::host::host;
use crate::task::Head;
use crate::text::own_fault;
use healthd_abi::IO_READ;
use std::cell::Cell;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::task::{Context, Poll};

pub(super) struct Source<'a, S: AsRawFd> {
    pub(super) io: S,
    cx: Cx<'a>,
    head: &'a Head,
    /// What the host watches for, and 0 is nothing; None: it knows nothing of it.
    watched: Cell<Option<u32>>,
}

impl<'a, S: AsRawFd> Source<'a, S> {
    /// `io` must be non-blocking.
    pub(super) fn new(cx: Cx<'a>, io: S) -> io::Result<Self> {
        Ok(Source {
            io,
            head: cx.head()?,
            cx,
            watched: Cell::new(None),
        })
    }

    /// Runs a system call until it succeeds; on EAGAIN the task waits for `mask`. So many succeed in a step, see `Head`.
    pub(super) fn retry<T>(
        &self,
        task: &Context<'_>,
        mask: u32,
        mut op: impl FnMut(&S) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        if !self.head.may_transfer(task) {
            return Poll::Pending;
        }
        loop {
            match op(&self.io) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return self.wait(task, mask),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => {
                    self.head.transferred();
                    return Poll::Ready(done);
                }
            }
        }
    }

    /// As `retry`, of bytes of a stream into so much room. While it pauses between dribs the host does not watch, so that
    /// what comes wakes nobody; each step polls the whole task, so one that waits to write tries again then.
    pub(super) fn read(
        &self,
        task: &Context<'_>,
        room: usize,
        op: impl FnMut(&S) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        if !self.head.may_read(task) {
            self.be_quiet();
            return Poll::Pending;
        }
        let read = self.retry(task, IO_READ, op);
        if let Poll::Ready(Ok(n)) = read {
            self.head.has_read(n, room);
        }
        read
    }

    /// Pending until a step; `mask` is added to what the host watches for.
    pub(super) fn wait<T>(&self, task: &Context<'_>, mask: u32) -> Poll<io::Result<T>> {
        let old = self.watched.get().unwrap_or(0);
        if old & mask != mask {
            if let Err(e) = host().io_watch(self.cx.raw(), self.io.as_raw_fd(), old | mask) {
                return Poll::Ready(Err(e));
            }
            self.watched.set(Some(old | mask));
        }
        self.head.park(task);
        Poll::Pending
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.get().is_some_and(|mask| mask != 0)
    }

    /// Not io_unwatch: for the host that is the word before a close, after which an event may still come, and finds nobody.
    fn be_quiet(&self) {
        if self.is_watched()
            && host()
                .io_watch(self.cx.raw(), self.io.as_raw_fd(), 0)
                .is_ok()
        {
            self.watched.set(Some(0));
        }
    }
}

impl<S: AsRawFd> Source<'_, S> {
    /// The descriptor, which stays open; the host knows nothing of it any more.
    pub(super) fn into_io(self) -> S {
        self.be_forgotten();
        let this = ManuallyDrop::new(self);
        // SAFETY: a valid field of `this`, which is neither used nor dropped any more; its other fields own nothing.
        unsafe { std::ptr::read(&raw const this.io) }
    }

    fn be_forgotten(&self) {
        if self.watched.get().is_some() {
            host().io_unwatch(self.cx.raw(), self.io.as_raw_fd());
        }
    }
}

impl<S: AsRawFd> Drop for Source<'_, S> {
    fn drop(&mut self) {
        // Before the close, which follows when `io` drops.
        self.be_forgotten();
    }
}

/// Nothing has come to a socket: no byte, no end, no error.
pub(super) fn is_quiet(io: &impl AsRawFd) -> bool {
    let mut byte = 0u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: room for one byte.
    let n = unsafe { libc::recv(io.as_raw_fd(), (&raw mut byte).cast(), 1, flags) };
    n < 0 && io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
}

pub(super) fn socket(domain: i32, kind: i32) -> io::Result<OwnedFd> {
    socket_of(domain, kind, 0)
}

pub(super) fn socket_of(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers.
    let fd = unsafe { libc::socket(domain, kind, protocol) };
    if fd < 0 {
        return Err(no_socket(domain, io::Error::last_os_error()));
    }
    // SAFETY: just opened, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// That this machine speaks no IPv6, say, is no fault of the target.
fn no_socket(domain: i32, e: io::Error) -> io::Error {
    let family = match domain {
        libc::AF_INET => "IPv4",
        libc::AF_INET6 => "IPv6",
        _ => return e,
    };
    match e.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => own_fault(format!(
            "this machine does not speak {family}, or RestrictAddressFamilies of the unit forbids it"
        )),
        _ => e,
    }
}

pub(super) fn domain(to: &SocketAddr) -> i32 {
    if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}

/// A socket address in the kernel's form.
pub(super) struct RawAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl RawAddr {
    /// `T` is one of the kernel's sockaddr types.
    fn of<T: Copy>(addr: T) -> RawAddr {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        // SAFETY: all zeroes is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        // SAFETY: the storage is as large (asserted) and made to be aligned for any T.
        unsafe { (&raw mut storage).cast::<T>().write(addr) };
        RawAddr {
            storage,
            len: size_of::<T>() as libc::socklen_t,
        }
    }

    pub(super) fn inet(to: &SocketAddr) -> RawAddr {
        match to {
            SocketAddr::V4(v4) => RawAddr::of(inet4(v4)),
            SocketAddr::V6(v6) => RawAddr::of(inet6(v6)),
        }
    }

    pub(super) fn unix(path: &[u8]) -> io::Result<RawAddr> {
        // SAFETY: all zeroes is a valid sockaddr_un.
        let mut un: libc::sockaddr_un = unsafe { std::mem::zeroed() };
        if path.len() >= un.sun_path.len() || path.contains(&0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "unix socket path too long",
            ));
        }
        un.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in un.sun_path.iter_mut().zip(path) {
            *to = *from as libc::c_char;
        }
        Ok(RawAddr::of(un))
    }

    /// connect(2). EINPROGRESS comes back as an error like any other.
    pub(super) fn connect(&self, fd: &impl AsRawFd) -> io::Result<()> {
        // SAFETY: storage holds `len` bytes of a sockaddr.
        let r =
            unsafe { libc::connect(fd.as_raw_fd(), (&raw const self.storage).cast(), self.len) };
        if r < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// sendto(2), to this address unless the socket is connected.
    pub(super) fn send(
        &self,
        fd: &impl AsRawFd,
        data: &[u8],
        connected: bool,
    ) -> io::Result<usize> {
        let (to, len) = match connected {
            true => (std::ptr::null(), 0),
            false => ((&raw const self.storage).cast(), self.len),
        };
        let fd = fd.as_raw_fd();
        // SAFETY: data is read for its length; the address is NULL or `len` bytes of a sockaddr.
        let n = unsafe { libc::sendto(fd, data.as_ptr().cast(), data.len(), 0, to, len) };
        if n < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(n as usize)
        }
    }

    /// bind(2).
    pub(super) fn bind(&self, fd: &impl AsRawFd) -> io::Result<()> {
        // SAFETY: storage holds `len` bytes of a sockaddr.
        let r = unsafe { libc::bind(fd.as_raw_fd(), (&raw const self.storage).cast(), self.len) };
        if r < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

fn inet4(to: &SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: to.ip().to_bits().to_be(),
        },
        sin_zero: [0; 8],
    }
}

fn inet6(to: &SocketAddrV6) -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: to.port().to_be(),
        sin6_flowinfo: to.flowinfo(),
        sin6_addr: libc::in6_addr {
            s6_addr: to.ip().octets(),
        },
        sin6_scope_id: to.scope_id(),
    }
}
