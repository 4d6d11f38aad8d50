//! The loop of a step-lane run: edge-triggered, with a bell for what other threads deliver.

use super::shared;
use healthd_abi::{self as abi, HdAddrs, HdEvent, HdStr};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null;
use std::sync::mpsc::{Receiver, Sender, channel};

pub(super) struct Reactor {
    epoll: OwnedFd,
    bell: OwnedFd,
    outbox: Sender<(usize, Delivery)>,
    inbox: std::sync::Mutex<Receiver<(usize, Delivery)>>,
}

pub(super) enum Delivery {
    Wake,
    Resolved {
        token: u32,
        answer: Result<Vec<SocketAddr>, i32>,
    },
    Exec {
        token: u32,
        done: crate::ExecOutput,
    },
    Map {
        token: u32,
        reply: shared::Reply,
    },
    Lock {
        token: u32,
        error: i32,
    },
}

fn check_fd(fd: i32) -> OwnedFd {
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: just opened, and nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Reactor {
    pub(super) fn new() -> Reactor {
        // SAFETY: plain numbers.
        let epoll = check_fd(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        // SAFETY: plain numbers.
        let bell = check_fd(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) });
        let (outbox, inbox) = channel();
        let reactor = Reactor {
            epoll,
            bell,
            outbox,
            inbox: inbox.into(),
        };
        assert_eq!(
            reactor.ctl(
                libc::EPOLL_CTL_ADD,
                reactor.bell.as_raw_fd(),
                libc::EPOLLIN as u32,
                u64::MAX
            ),
            0
        );
        reactor
    }

    pub(super) fn ctl(&self, op: i32, fd: i32, events: u32, data: u64) -> i32 {
        let mut event = libc::epoll_event { events, u64: data };
        // SAFETY: open fds and a live event.
        let r = unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), op, fd, &mut event) };
        if r < 0 {
            -io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EINVAL)
        } else {
            0
        }
    }

    pub(super) fn send(&self, slot: usize, delivery: Delivery) {
        let _ = self.outbox.send((slot, delivery));
        // SAFETY: an open eventfd and eight bytes.
        unsafe { libc::write(self.bell.as_raw_fd(), (&raw const ONE).cast(), 8) };
    }

    pub(super) fn wait(&self, nanos: u64, mut step: impl FnMut(usize, &[HdEvent])) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 64];
        let millis = nanos.div_ceil(1_000_000).min(i32::MAX as u64) as i32;
        // SAFETY: room for 64 events.
        let n =
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.as_mut_ptr(), 64, millis) };
        for event in events.iter().take(n.max(0) as usize) {
            let (bits, data) = (event.events as i32, event.u64);
            if data == u64::MAX {
                let mut count = 0u64;
                // SAFETY: an open eventfd and eight bytes.
                unsafe { libc::read(self.bell.as_raw_fd(), (&raw mut count).cast(), 8) };
                continue;
            }
            let broken = bits & (libc::EPOLLERR | libc::EPOLLHUP) != 0;
            let mut ready = 0;
            if broken || bits & libc::EPOLLIN != 0 {
                ready |= abi::IO_READ;
            }
            if broken || bits & libc::EPOLLOUT != 0 {
                ready |= abi::IO_WRITE;
            }
            let fd = (data & 0xFFFF_FFFF) as i32;
            step(
                (data >> 32) as usize,
                &[HdEvent {
                    kind: abi::EV_IO,
                    ready,
                    fd,
                    token: 0,
                    data: null(),
                }],
            );
        }
        loop {
            let Ok((slot, delivery)) = self.inbox.lock().expect("one reader").try_recv() else {
                return;
            };
            deliver(slot, delivery, &mut step);
        }
    }
}

static ONE: u64 = 1;

fn deliver(slot: usize, delivery: Delivery, step: &mut impl FnMut(usize, &[HdEvent])) {
    let event = |kind, token, data| HdEvent {
        kind,
        ready: 0,
        fd: -1,
        token,
        data,
    };
    match delivery {
        Delivery::Wake => step(slot, &[event(abi::EV_WAKE, 0, null())]),
        Delivery::Resolved { token, answer } => {
            let (error, addresses) = match answer {
                Ok(addresses) => (0, addresses),
                Err(code) => (code, Vec::new()),
            };
            let raw: Vec<libc::sockaddr_in6> = addresses.iter().map(raw_address).collect();
            let addrs = HdAddrs {
                struct_size: size_of::<HdAddrs>() as u32,
                error,
                n: raw.len() as u32,
                stride: size_of::<libc::sockaddr_in6>() as u32,
                sockaddrs: raw.as_ptr().cast(),
                deadline_ns: 0,
                reason: HdStr::EMPTY,
                own: 0,
                reserved: 0,
            };
            step(
                slot,
                &[event(abi::EV_RESOLVED, token, (&raw const addrs).cast())],
            );
        }
        Delivery::Map { token, reply } => reply.with_abi(|raw| {
            step(
                slot,
                &[event(abi::EV_EXT, token, std::ptr::from_ref(raw).cast())],
            );
        }),
        Delivery::Lock { token, error } => {
            let raw = abi::HdLockDone {
                struct_size: size_of::<abi::HdLockDone>() as u32,
                error,
            };
            step(slot, &[event(abi::EV_EXT, token, (&raw const raw).cast())]);
        }
        Delivery::Exec { token, done } => {
            let raw = abi::HdExecDone {
                struct_size: size_of::<abi::HdExecDone>() as u32,
                exit_code: done.exit_code.unwrap_or(-1),
                term_signal: done.signal.unwrap_or(0),
                truncated: (i32::from(done.out_truncated) * abi::EXEC_TRUNC_OUT)
                    | (i32::from(done.err_truncated) * abi::EXEC_TRUNC_ERR),
                dropped: done.dropped,
                cpu_ns: done.cpu.as_nanos() as u64,
                out: HdStr::from_bytes(&done.out),
                err: HdStr::from_bytes(&done.err),
                ended: abi::EXEC_ENDED,
                signal_sent: 0,
                ran_ns: done.ran.as_nanos() as u64,
                pid: done.pid,
                open: u32::from(done.open),
                left: HdStr::new(&done.left),
            };
            step(slot, &[event(abi::EV_EXT, token, (&raw const raw).cast())]);
        }
    }
}

/// A sockaddr_in is shorter than a sockaddr_in6, so one stride serves both.
fn raw_address(a: &SocketAddr) -> libc::sockaddr_in6 {
    // SAFETY: all zeroes is a valid sockaddr_in6.
    let mut out: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    match a {
        SocketAddr::V4(v4) => {
            // SAFETY: all zeroes is a valid sockaddr_in.
            let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_addr.s_addr = v4.ip().to_bits().to_be();
            // SAFETY: out is larger and aligned at least as strictly.
            unsafe { (&raw mut out).cast::<libc::sockaddr_in>().write(raw) };
        }
        SocketAddr::V6(v6) => {
            out.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            out.sin6_addr.s6_addr = v6.ip().octets();
        }
    }
    out
}
