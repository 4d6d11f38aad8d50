//! Questions on the wire. Each question to each server has a socket of its own, so a port of its own, chosen by the
//! kernel, and an id of its own; connected, so that nobody else's datagrams come in.

use crate::engine::{Ask, Ticket};
use crate::message::{self, Kind, Reply, Why};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use slab::Slab;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;

/// What came of a question.
#[derive(Debug)]
pub enum News {
    Heard { asked: Asked, reply: Reply },
    Unreachable { asked: Asked, errno: i32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// None: a probe.
    pub ticket: Option<Ticket>,
    pub query: usize,
    pub server: usize,
    pub at: SocketAddr,
}

pub struct Sockets {
    open: Slab<Open>,
    by_ticket: HashMap<Ticket, Vec<usize>>,
    probes: Vec<usize>,
    random: RandomState,
    counter: u64,
    buffer: Vec<u8>,
    /// Tells an event of this use of a place from one of an earlier use.
    stamp: u32,
}

struct Open {
    asked: Asked,
    stamp: u32,
    id: u16,
    name: String,
    kind: Kind,
    wire: Wire,
}

enum Wire {
    Datagram(UdpSocket),
    Stream {
        stream: TcpStream,
        out: Vec<u8>,
        input: Vec<u8>,
    },
}

/// One turn takes no more from one socket, whatever somebody sends there.
const DATAGRAMS_A_TURN: usize = 64;
const MOST_PROBES: usize = 16;

impl Sockets {
    pub fn new() -> Sockets {
        Sockets {
            open: Slab::new(),
            by_ticket: HashMap::new(),
            probes: Vec::new(),
            random: RandomState::new(),
            counter: 0,
            buffer: vec![0; 1 << 16],
            stamp: 0,
        }
    }

    /// Some: it did not leave.
    pub fn ask(&mut self, epoll: &Epoll, ask: Ask) -> Option<News> {
        let asked = Asked {
            ticket: Some(ask.ticket),
            query: ask.query,
            server: ask.server,
            at: ask.at,
        };
        let again = self.by_ticket.get(&ask.ticket).and_then(|list| {
            let same = |n: &&usize| {
                self.open[**n].asked == asked && self.open[**n].is_stream() == ask.stream
            };
            list.iter().find(same).copied()
        });
        let sent = match again {
            // The same id and port: the answer to either is the answer.
            Some(n) => self.open[n].ask_again(ask.extras),
            None => self.open(epoll, asked, ask.name, ask.kind, ask.extras, ask.stream),
        };
        sent.err().map(|e| unreachable(asked, &e))
    }

    /// Asks for the root, which every server has or knows to refuse.
    pub fn probe(&mut self, epoll: &Epoll, server: usize, at: SocketAddr) {
        while self.probes.len() >= MOST_PROBES {
            let oldest = self.probes[0];
            self.close(oldest);
        }
        let asked = Asked {
            ticket: None,
            query: 0,
            server,
            at,
        };
        // One that cannot be asked proves nothing, which is known already.
        let _ = self.open(
            epoll,
            asked,
            String::new(),
            Kind::Ns,
            message::Extras::default(),
            false,
        );
    }

    fn open(
        &mut self,
        epoll: &Epoll,
        asked: Asked,
        name: String,
        kind: Kind,
        extras: message::Extras,
        stream: bool,
    ) -> io::Result<()> {
        self.counter += 1;
        let id = self.random.hash_one(self.counter) as u16;
        let question = message::question(id, &name, kind, extras);
        let wire = match stream {
            true => Wire::Stream {
                stream: begin_stream(asked.at)?,
                out: [&(question.len() as u16).to_be_bytes()[..], &question].concat(),
                input: Vec::new(),
            },
            false => {
                let socket = datagram(asked.at)?;
                socket.send(&question)?;
                Wire::Datagram(socket)
            }
        };
        self.stamp = self.stamp.wrapping_add(1);
        let open = Open {
            asked,
            stamp: self.stamp,
            id,
            name,
            kind,
            wire,
        };
        let place = self.open.vacant_key();
        let data = u64::from(self.stamp) << 32 | place as u64;
        let flags = match &open.wire {
            Wire::Datagram(_) => EpollFlags::EPOLLIN,
            Wire::Stream { .. } => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        };
        epoll.add(open.fd(), EpollEvent::new(flags, data))?;
        self.open.insert(open);
        match asked.ticket {
            Some(ticket) => self.by_ticket.entry(ticket).or_default().push(place),
            None => self.probes.push(place),
        }
        Ok(())
    }

    /// Whatever was asked for it is not wanted any more.
    pub fn close_all(&mut self, ticket: Ticket) {
        for place in self.by_ticket.remove(&ticket).unwrap_or_default() {
            self.open.remove(place);
        }
    }

    fn close(&mut self, place: usize) {
        let open = self.open.remove(place);
        match open.asked.ticket {
            None => self.probes.retain(|p| *p != place),
            Some(ticket) => {
                if let Some(list) = self.by_ticket.get_mut(&ticket) {
                    list.retain(|p| *p != place);
                    if list.is_empty() {
                        self.by_ticket.remove(&ticket);
                    }
                }
            }
        }
    }

    /// An event of epoll.
    pub fn ready(&mut self, epoll: &Epoll, data: u64, news: &mut Vec<News>) {
        let place = (data & 0xffff_ffff) as usize;
        let Some(open) = self
            .open
            .get_mut(place)
            .filter(|o| u64::from(o.stamp) == data >> 32)
        else {
            return;
        };
        let asked = open.asked;
        let heard = match &open.wire {
            Wire::Datagram(_) => open.receive(&mut self.buffer),
            Wire::Stream { .. } => open.converse(epoll, data),
        };
        match heard {
            Ok(None) => {}
            Ok(Some(reply)) => {
                self.close(place);
                news.push(News::Heard { asked, reply });
            }
            Err(e) => {
                self.close(place);
                news.push(unreachable(asked, &e));
            }
        }
    }
}

impl Open {
    fn is_stream(&self) -> bool {
        matches!(self.wire, Wire::Stream { .. })
    }

    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.wire {
            Wire::Datagram(socket) => socket.as_fd(),
            Wire::Stream { stream, .. } => stream.as_fd(),
        }
    }

    fn ask_again(&self, extras: message::Extras) -> io::Result<()> {
        match &self.wire {
            Wire::Datagram(socket) => {
                let question = message::question(self.id, &self.name, self.kind, extras);
                socket.send(&question).map(drop)
            }
            // What was written is on its way.
            Wire::Stream { .. } => Ok(()),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Option<Reply>> {
        let Wire::Datagram(socket) = &self.wire else {
            return Ok(None);
        };
        for _ in 0..DATAGRAMS_A_TURN {
            match socket.recv(buffer) {
                Ok(n) => {
                    let reply = message::read(self.id, &self.name, self.kind, &buffer[..n]);
                    if reply.is_some() {
                        return Ok(reply);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    fn converse(&mut self, epoll: &Epoll, data: u64) -> io::Result<Option<Reply>> {
        let Wire::Stream { stream, out, input } = &mut self.wire else {
            return Ok(None);
        };
        while !out.is_empty() {
            match stream.write(out) {
                Ok(n) => drop(out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
            if out.is_empty() {
                epoll.modify(&*stream, &mut EpollEvent::new(EpollFlags::EPOLLIN, data))?;
            }
        }
        let mut piece = [0; 4096];
        loop {
            if let Some(message) = whole(input) {
                let reply = message::read(self.id, &self.name, self.kind, message);
                let broken = |why: &str| Reply::Failed(Why::Broken(why.into()));
                return Ok(Some(match reply {
                    None => broken("it answers another question"),
                    Some(Reply::Truncated) => broken("cut off although it came over TCP"),
                    Some(reply) => reply,
                }));
            }
            match stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::ConnectionReset.into()),
                Ok(n) => input.extend_from_slice(&piece[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// The message behind its length, once all of it is there.
fn whole(input: &[u8]) -> Option<&[u8]> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

fn unreachable(asked: Asked, e: &io::Error) -> News {
    News::Unreachable {
        asked,
        errno: e.raw_os_error().unwrap_or(libc::ECONNRESET),
    }
}

fn datagram(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }?;
    socket.set_nonblocking(true)?;
    socket.connect(to)?;
    Ok(socket)
}

fn begin_stream(to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    match connect(
        std::os::fd::AsRawFd::as_raw_fd(&fd),
        &SockaddrStorage::from(to),
    ) {
        Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => Ok(fd.into()),
        Err(e) => Err(e.into()),
    }
}
