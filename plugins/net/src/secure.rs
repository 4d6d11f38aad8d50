//! A connection in plain or inside of TLS, so that a protocol is written once.

use crate::target::Host;
use healthd_plugin::net::{AsyncRead, AsyncWrite, Bind, Lines, ReadBuf, Stream, UnixStream};
use healthd_plugin::tls::{Connector, Roots, TlsStream, certificate_days_left};
use healthd_plugin::{Cx, Status, options};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

options! {
    /// When TLS begins.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum TlsMode { None = "none", StartTls = "starttls", Implicit = "implicit" }
}

/// A stream over TCP or a unix socket.
pub enum Wire<'a> {
    Plain(Stream<'a>),
    Tls(Box<TlsStream<Stream<'a>>>),
}

impl<'a> Wire<'a> {
    /// The phase `tls`.
    pub async fn secure(
        cx: Cx<'a>,
        stream: Stream<'a>,
        tls: &Connector,
    ) -> Result<Wire<'a>, Status> {
        cx.phase("tls");
        match tls.connect(stream).await {
            Ok(stream) => Ok(Wire::Tls(Box::new(stream))),
            Err(e) => Err(cx.fail("tls", &e)),
        }
    }

    /// Of the server's own certificate; None without TLS.
    pub fn certificate_days(&self) -> Option<f64> {
        match self {
            Wire::Plain(_) => None,
            Wire::Tls(stream) => certificate_days_left(stream),
        }
    }
}

/// TLS begins now. What the server has sent in plain behind its answer must not pass for something said inside of TLS.
pub async fn upgrade<'a>(
    cx: Cx<'a>,
    lines: Lines<Wire<'a>>,
    tls: &Connector,
    line_max: usize,
) -> Result<Lines<Wire<'a>>, Status> {
    match lines.into_stream().map_err(|e| cx.fail("starttls", &e))? {
        Wire::Plain(stream) => {
            let wire = Wire::secure(cx, stream, tls).await?;
            Ok(Lines::new(wire, line_max))
        }
        Wire::Tls(_) => Err(cx.unknown("starttls: TLS inside of TLS")),
    }
}

/// What is needed for TLS; None if it is not `wanted`. `host` is whom the certificate must be for, unless `server_name`
/// says otherwise.
pub fn connector(
    host: &Host,
    wanted: bool,
    ca_file: Option<&str>,
    insecure: bool,
    server_name: Option<&str>,
) -> Result<Option<Connector>, String> {
    if !wanted {
        return match ca_file.is_some() || insecure || server_name.is_some() {
            true => Err("ca_file, insecure, server_name: need `tls`".into()),
            false => Ok(None),
        };
    }
    let roots = Roots::from_options(ca_file, insecure)?;
    Connector::new(&roots, server_name.unwrap_or_else(|| host.bare())).map(Some)
}

/// The phases `dns` and `connect`; to a unix socket only the latter.
pub async fn connect<'a>(
    cx: Cx<'a>,
    host: &Host,
    port: u16,
    socket: Option<&Path>,
) -> Result<Stream<'a>, Status> {
    if let Some(path) = socket {
        cx.phase("connect");
        let stream = UnixStream::connect(cx, path).await;
        return match stream {
            Ok(stream) => Ok(stream.into()),
            Err(e) => Err(cx.fail(&format!("connect to {}", path.display()), &e)),
        };
    }
    let ips = host.addresses(cx).await?;
    Ok(host.connect(cx, ips, port, &Bind::default()).await?.into())
}

impl AsyncRead for Wire<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => AsyncRead::poll_read(Pin::new(s), cx, buf),
            Wire::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(s) => AsyncWrite::poll_write(Pin::new(s), cx, buf),
            Wire::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => Pin::new(s).poll_flush(cx),
            Wire::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Wire::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Wire::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// For user names and passwords (SASL PLAIN).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut bits = 0u32;
        for (i, byte) in three.iter().enumerate() {
            bits |= u32::from(*byte) << (16 - 8 * i);
        }
        for i in 0..4 {
            text.push(match i <= three.len() {
                true => char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]),
                false => '=',
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn the_examples_of_rfc_4648() {
        for (text, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
    }
}
