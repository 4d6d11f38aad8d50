//! The service manager's side: what sd_notify(3) says, without ever waiting for it.
//!
//! The socket is our own instead of `sd_notify::notify`, which blocks when the queue is full and knows no
//! abstract address; the words are the crate's. Without NOTIFY_SOCKET all of this does nothing.

use crate::lifecycle::Notice;
use healthd_sys::spawn;
use sd_notify::NotifyState;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

pub struct ServiceManager {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// Not taken yet, oldest first.
    waiting: VecDeque<String>,
    complained: bool,
    status: String,
    watchdog_ns: Option<u64>,
    /// What it listens on for us (sd_listen_fds(3)): the web process gets it.
    socket: Option<OwnedFd>,
}

/// The first of what was handed over, if it is meant for us.
fn handed_over() -> Option<OwnedFd> {
    const FIRST: i32 = 3;
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID")? != std::process::id() {
        return None;
    }
    match number("LISTEN_FDS")? {
        0 => return None,
        1 => {}
        n => log::warn!("{n} sockets were handed over, and only the first is used"),
    }
    spawn::adopt_fd(FIRST)
        .inspect_err(|e| log::warn!("the socket that was handed over cannot be used: {e}"))
        .ok()
}

impl ServiceManager {
    pub fn from_env() -> ServiceManager {
        let to = std::env::var_os("NOTIFY_SOCKET").and_then(|path| match address(&path) {
            Ok(to) => Some(to),
            Err(e) => {
                log::warn!("service manager not reachable  socket={path:?} why=\"{e}\"");
                None
            }
        });
        let watchdog = sd_notify::watchdog_enabled().filter(|w| !w.is_zero());
        ServiceManager {
            watchdog_ns: watchdog
                .filter(|_| to.is_some())
                .map(|w| u64::try_from(w.as_nanos()).unwrap_or(u64::MAX)),
            to,
            waiting: VecDeque::new(),
            complained: false,
            status: String::new(),
            socket: handed_over(),
        }
    }

    pub fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// WATCHDOG_USEC, in ns.
    pub fn watchdog_ns(&self) -> Option<u64> {
        self.watchdog_ns
    }

    pub fn notify(&mut self, notice: &Notice) {
        match notice {
            Notice::Ready { status } => {
                self.status = one_line(status);
                let status = self.status.clone();
                let pid = NotifyState::MainPid(std::process::id());
                self.send(&[NotifyState::Ready, pid, NotifyState::Status(&status)]);
            }
            Notice::Reloading => {
                // Type=notify-reload needs the time to tell this reload from an older one.
                let mut words = vec![NotifyState::Reloading, NotifyState::Status("Reloading")];
                words.extend(NotifyState::monotonic_usec_now());
                self.status = "Reloading".into();
                self.send(&words);
            }
            Notice::Stopping => {
                self.status = "Stopping".into();
                self.send(&[NotifyState::Stopping, NotifyState::Status("Stopping")]);
            }
            Notice::ExtendTimeout { ns } => {
                let usec = u32::try_from(ns / 1000).unwrap_or(u32::MAX);
                self.send(&[NotifyState::ExtendTimeoutUsec(usec)]);
            }
            Notice::Status(status) => {
                let status = one_line(status);
                if status != self.status {
                    self.send(&[NotifyState::Status(&status)]);
                    self.status = status;
                }
            }
        }
    }

    pub fn pet(&mut self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Is something still waiting to be taken?
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    fn send(&mut self, words: &[NotifyState<'_>]) {
        if self.to.is_none() {
            return;
        }
        let mut message = String::new();
        for word in words {
            let _ = writeln!(message, "{word}");
        }
        if self.waiting.len() >= WAITING_MAX {
            // Old status lines are what such a queue is full of.
            self.waiting.pop_front();
        }
        self.waiting.push_back(message);
        self.flush();
    }

    pub fn flush(&mut self) {
        let Some((socket, address)) = &self.to else {
            return;
        };
        while let Some(message) = self.waiting.front() {
            match socket.send_to_addr(message.as_bytes(), address) {
                Ok(_) => self.complained = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // Its queue is full: later.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => {
                    if !self.complained {
                        log::warn!("service manager not told  why=\"{e}\"");
                        self.complained = true;
                    }
                }
            }
            self.waiting.pop_front();
        }
    }
}

fn address(path: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(path)?,
        _ => return Err(io::Error::other("neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(STATUS_MAX)
        .collect()
}

const WAITING_MAX: usize = 32;
const STATUS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    /// The service manager's end, on an abstract address of its own.
    fn pair(name: &str) -> (ServiceManager, UnixDatagram) {
        let name = format!("healthd-test-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let theirs = UnixDatagram::bind_addr(&address).expect("nobody else has this name");
        theirs.set_nonblocking(true).expect("a socket");
        let ours = ServiceManager {
            to: Some(super::address(&format!("@{name}").into()).expect("an address")),
            waiting: VecDeque::new(),
            complained: false,
            status: String::new(),
            watchdog_ns: None,
            socket: None,
        };
        (ours, theirs)
    }

    fn next(theirs: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 4096];
        let n = theirs.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..n]).into_owned())
    }

    #[test]
    fn each_notice_has_its_words() {
        let (mut ours, theirs) = pair("words");
        let status = "3 checks\nREADY=0".to_owned();
        ours.notify(&Notice::Ready { status });
        let pid = std::process::id();
        assert_eq!(
            next(&theirs),
            Some(format!("READY=1\nMAINPID={pid}\nSTATUS=3 checks READY=0\n"))
        );
        ours.notify(&Notice::Reloading);
        let reloading = next(&theirs).expect("a message");
        assert!(reloading.starts_with("RELOADING=1\nSTATUS=Reloading\nMONOTONIC_USEC="));
        ours.notify(&Notice::Stopping);
        assert_eq!(
            next(&theirs),
            Some("STOPPING=1\nSTATUS=Stopping\n".to_owned())
        );
        ours.notify(&Notice::ExtendTimeout { ns: 10_000_000_000 });
        assert_eq!(
            next(&theirs),
            Some("EXTEND_TIMEOUT_USEC=10000000\n".to_owned())
        );
        ours.pet();
        assert_eq!(next(&theirs), Some("WATCHDOG=1\n".to_owned()));
        ours.notify(&Notice::Status("a".into()));
        ours.notify(&Notice::Status("a".into()));
        assert_eq!(next(&theirs), Some("STATUS=a\n".to_owned()));
        assert_eq!(next(&theirs), None, "the same text is no news");
    }

    #[test]
    fn a_full_queue_blocks_nobody_and_loses_only_the_oldest() {
        let (mut ours, theirs) = pair("full");
        for i in 0..5000 {
            ours.notify(&Notice::Status(format!("line {i}")));
        }
        assert!(ours.is_waiting());
        ours.notify(&Notice::Stopping);
        let mut last = String::new();
        while ours.is_waiting() {
            while let Some(message) = next(&theirs) {
                last = message;
            }
            ours.flush();
        }
        while let Some(message) = next(&theirs) {
            last = message;
        }
        assert!(last.starts_with("STOPPING=1"), "{last}");
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        assert!(address(&"vsock:2:1234".into()).is_err());
        assert!(address(&"".into()).is_err());
        assert!(address(&"/run/no/such/socket".into()).is_ok());
    }
}
