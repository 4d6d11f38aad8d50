//! A connected UDP socket of the step lane.

use super::bind::Bind;
use super::source::{RawAddr, Source, domain, socket};
use super::tcp::said_at_once;
use crate::cx::Cx;
use healthd_abi::{IO_READ, IO_WRITE};
use std::future::poll_fn;
use std::io;
use std::net::{self, SocketAddr};

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
}
