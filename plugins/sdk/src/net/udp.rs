//! A connected UDP socket of the step lane.

use super::bind::Bind;
use super::source::{RawAddr, Source, domain, socket};
use super::tcp::said_at_once;
use crate::cx::Cx;
use healthd_abi::{IO_READ, IO_WRITE};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{self, SocketAddr};

/// As much as a datagram may have.
const WHOLE: usize = 1 << 16;

thread_local! {
    /// Where a thread's datagrams arrive.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A UDP socket that talks to one peer. A refusing peer (ICMP port unreachable) shows up as the next call's error.
pub struct UdpSocket<'a> {
    source: Source<'a, net::UdpSocket>,
}

impl<'a> UdpSocket<'a> {
    pub fn connect(cx: Cx<'a>, to: SocketAddr) -> io::Result<UdpSocket<'a>> {
        UdpSocket::connect_with(cx, to, &Bind::default())
    }

    /// As [`connect`](Self::connect), from where `bind` says.
    pub fn connect_with(cx: Cx<'a>, to: SocketAddr, bind: &Bind) -> io::Result<UdpSocket<'a>> {
        let fd = socket(domain(&to), libc::SOCK_DGRAM)?;
        bind.apply(&fd, to.ip())?;
        let connected = RawAddr::inet(&to).connect(&fd);
        connected.map_err(|e| said_at_once(e, to.ip()))?;
        Ok(UdpSocket {
            source: Source::new(cx, net::UdpSocket::from(fd))?,
        })
    }

    pub async fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        poll_fn(|task| self.source.retry(task, IO_WRITE, |io| io.send(datagram))).await
    }

    /// One datagram; what does not fit into `buf` is lost.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|task| self.source.retry(task, IO_READ, |io| io.recv(buf))).await
    }

    /// One datagram of any size. Room for it is there when it comes: thousands that wait need none.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        let receive = |io: &net::UdpSocket| {
            ROOM.with_borrow_mut(|room| {
                room.resize(WHOLE, 0);
                let n = io.recv(room)?;
                Ok(room[..n].to_vec())
            })
        };
        poll_fn(|task| self.source.retry(task, IO_READ, receive)).await
    }
}
