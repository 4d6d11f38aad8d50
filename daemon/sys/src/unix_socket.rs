//! Unix sockets: message links with fds in them, listeners born with their mode, and who is at the other end.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, setsockopt, socketpair, sockopt,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// A pair of connected SOCK_SEQPACKET sockets: whole messages, in order, and EOF when the peer is gone.
pub fn link_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    for fd in [&a, &b] {
        // As much as the kernel gives without privilege, so that bursts do not block the sender.
        let _ = setsockopt(fd, sockopt::SndBuf, &(1 << 20));
    }
    Ok((a, b))
}

/// Sends one whole message. Ok(false): the peer's queue is full, try again when it is writable.
pub fn send(fd: &OwnedFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
    let raw: Vec<RawFd> = fds.iter().map(|f| f.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match sendmsg::<()>(
            fd.as_raw_fd(),
            &[IoSlice::new(message)],
            control,
            flags,
            None,
        ) {
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            // fds in flight are bounded as bytes are.
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS) => return Ok(false),
            Err(e) => return Err(e.into()),
        }
    }
}

pub enum Received {
    /// Bytes now in the buffer, and the fds that came with them.
    Message(usize, Vec<OwnedFd>),
    Empty,
    Closed,
}

/// Takes one message; more than `buffer` holds is an error, as then both ends disagree about the protocol.
pub fn receive(fd: &OwnedFd, buffer: &mut [u8], max_fds: bool) -> io::Result<Received> {
    if !max_fds {
        return receive_plain(fd, buffer);
    }
    receive_fds(fd, buffer, false)
}

/// As `receive` with fds, but a process that has no room for one gets the message without. For messages with one fd:
/// of several the first could have come, and would be lost.
pub fn receive_what_fits(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
    receive_fds(fd, buffer, true)
}

fn receive_fds(fd: &OwnedFd, buffer: &mut [u8], may_lack: bool) -> io::Result<Received> {
    let mut space = cmsg_space!([RawFd; 253]);
    loop {
        let mut io = [IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(fd.as_raw_fd(), &mut io, Some(&mut space), flags) {
            Ok(message) => {
                let truncated = |flag| message.flags.contains(flag);
                if truncated(MsgFlags::MSG_TRUNC) {
                    return Err(io::Error::other(
                        "a message larger than the protocol allows",
                    ));
                }
                let mut fds = Vec::new();
                let lacking = truncated(MsgFlags::MSG_CTRUNC);
                if lacking && !may_lack {
                    return Err(io::Error::other(
                        "no descriptor was left for what came with a message",
                    ));
                }
                // nix does not look into what was cut.
                let whole = (!lacking).then(|| message.cmsgs()).transpose()?;
                for control in whole.into_iter().flatten() {
                    if let ControlMessageOwned::ScmRights(numbers) = control {
                        for number in numbers {
                            // SAFETY: the kernel just put this fd into our table for this message.
                            fds.push(unsafe { OwnedFd::from_raw_fd(number) });
                        }
                    }
                }
                return Ok(match message.bytes {
                    0 if fds.is_empty() => Received::Closed,
                    n => Received::Message(n, fds),
                });
            }
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Received::Empty),
            Err(Errno::ECONNRESET) => return Ok(Received::Closed),
            Err(e) => return Err(e.into()),
        }
    }
}

/// The common case, without a control buffer; fds that come anyway are closed by the kernel.
fn receive_plain(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
    loop {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        match nix::sys::socket::recv(fd.as_raw_fd(), buffer, flags) {
            Ok(0) => return Ok(Received::Closed),
            Ok(n) if n > buffer.len() => {
                return Err(io::Error::other(
                    "a message larger than the protocol allows",
                ));
            }
            Ok(n) => return Ok(Received::Message(n, Vec::new())),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Received::Empty),
            Err(Errno::ECONNRESET) => return Ok(Received::Closed),
            Err(e) => return Err(e.into()),
        }
    }
}

/// A path of this many bytes or more does not fit a unix socket's address (unix(7)).
pub const MAX_PATH: usize = 108;

/// Binds with the mode in place from the first moment: umask(2) around bind(2), as there is no other way.
/// Process-wide, so call it while there is one thread.
pub fn listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let umask = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(!mode & 0o777));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(umask);
    let listener = listener?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
}

pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let c = nix::sys::socket::getsockopt(stream, sockopt::PeerCredentials)?;
    Ok(Peer {
        uid: c.uid(),
        gid: c.gid(),
        pid: c.pid() as u32,
    })
}

/// Has the process ended that connected? False where the kernel cannot tell (before Linux 6.5).
pub fn peer_has_ended(stream: &UnixStream) -> bool {
    match nix::sys::socket::getsockopt(stream, sockopt::PeerPidfd) {
        Ok(process) => {
            let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
        }
        // It is gone, and collected.
        Err(Errno::ESRCH | Errno::EINVAL) => true,
        Err(_) => false,
    }
}

/// The supplementary groups that the peer had when it connected (SO_PEERGROUPS, socket(7)).
pub fn peer_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0u32; 64];
    loop {
        let mut len = (groups.len() * size_of::<u32>()) as libc::socklen_t;
        // SAFETY: `groups` is writable for `len` bytes; the kernel writes no more and sets `len`.
        let r = unsafe {
            libc::getsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut len,
            )
        };
        let count = len as usize / size_of::<u32>();
        if r == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::ERANGE) && count > groups.len() => {
                groups.resize(count, 0)
            }
            e => return Err(e),
        }
    }
}
