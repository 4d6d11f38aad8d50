//! The beginning of every protocol over TCP: a name, an address, a connection or a unix socket, and TLS at once or later.

use crate::failure::Failure;
use crate::host::Host;
use crate::wire::{TlsMode, Wire};
use healthd_plugin::net::{Lines, Stream, UnixStream};
use healthd_plugin::tls::{Connector, Roots, Settings};
use healthd_plugin::{Cx, Family};
use std::io;
use std::path::PathBuf;

/// Where a server listens, and when TLS begins there.
pub struct Server {
    host: Host,
    port: u16,
    socket: Option<PathBuf>,
    mode: TlsMode,
    tls: Option<Connector>,
}

impl Server {
    pub fn new(host: &str, port: u16, family: impl Into<Family>) -> Result<Server, String> {
        Ok(Server {
            host: Host::new(host, family)?,
            port,
            socket: None,
            mode: TlsMode::None,
            tls: None,
        })
    }

    /// A unix socket, if there is one, instead of host and port.
    pub fn or_socket(self, socket: Option<&str>) -> Server {
        Server {
            socket: socket.map(PathBuf::from),
            ..self
        }
    }

    /// The server's certificate must be for its host, unless `server_name` says otherwise.
    pub fn with_tls(
        self,
        mode: impl Into<TlsMode>,
        ca_file: Option<&str>,
        insecure: bool,
        server_name: Option<&str>,
    ) -> Result<Server, String> {
        self.with_tls_for(&[], mode, ca_file, insecure, server_name)
    }

    /// As [`with_tls`](Self::with_tls), for protocols that are agreed on inside of TLS (ALPN).
    pub fn with_tls_for(
        mut self,
        protocols: &[&[u8]],
        mode: impl Into<TlsMode>,
        ca_file: Option<&str>,
        insecure: bool,
        server_name: Option<&str>,
    ) -> Result<Server, String> {
        self.mode = mode.into();
        if self.mode == TlsMode::None {
            return match ca_file.is_some() || insecure || server_name.is_some() {
                true => Err("ca_file, insecure, server_name: need `tls`".into()),
                false => Ok(self),
            };
        }
        let settings = Settings {
            roots: Roots::from_options(ca_file, insecure)?,
            protocols: protocols.iter().map(|p| p.to_vec()).collect(),
            ..Settings::default()
        };
        let name = server_name.unwrap_or_else(|| self.host.bare());
        self.tls = Some(Connector::with(&settings, name)?);
        Ok(self)
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn tls(&self) -> Option<&Connector> {
        self.tls.as_ref()
    }

    /// TLS begins in the middle, by the protocol's own words.
    pub fn is_starttls(&self) -> bool {
        self.mode == TlsMode::StartTls
    }

    /// Nobody on the way can read what is said, once TLS has begun.
    pub fn is_private(&self) -> bool {
        self.tls.is_some() || self.socket.is_some()
    }

    /// The phases `dns` and `connect`; to a unix socket only the latter.
    pub async fn connect<'a>(&self, cx: Cx<'a>) -> Result<Stream<'a>, Failure> {
        Ok(self.reach(cx).await?.0)
    }

    /// The same, and the seconds of the latter.
    async fn reach<'a>(&self, cx: Cx<'a>) -> Result<(Stream<'a>, f64), Failure> {
        let since = |begin: u64| (cx.now_ns() - begin) as f64 / 1e9;
        match &self.socket {
            Some(path) => {
                cx.phase("connect");
                let begin = cx.now_ns();
                let stream = UnixStream::connect(cx, path).await;
                let at = format!("connect to {}", path.display());
                Ok((stream.map_err(Failure::at(at))?.into(), since(begin)))
            }
            None => {
                let ips = self.host.resolve(cx).await?;
                let begin = cx.now_ns();
                let stream = self.host.reach(cx, ips, self.port).await?;
                Ok((stream.into(), since(begin)))
            }
        }
    }

    /// As [`connect`](Self::connect), and the phase `tls` if that begins at once.
    pub async fn open<'a>(&self, cx: Cx<'a>) -> Result<Wire<'a>, Failure> {
        let (stream, seconds) = self.reach(cx).await?;
        let wire = Wire::plain(cx, stream).after(seconds);
        match (&self.tls, self.mode) {
            (Some(tls), TlsMode::Implicit) => wire.secure(tls).await,
            _ => Ok(wire),
        }
    }

    /// The lines of a new connection; none is longer than `line_max` bytes.
    pub async fn lines<'a>(&self, cx: Cx<'a>, line_max: usize) -> Result<Lines<Wire<'a>>, Failure> {
        Ok(Lines::new(self.open(cx).await?, line_max))
    }

    /// TLS begins now. What the server has sent in plain behind its answer must not pass for something said inside of TLS.
    pub async fn upgrade<'a>(&self, lines: Lines<Wire<'a>>) -> Result<Lines<Wire<'a>>, Failure> {
        let line_max = lines.max();
        let wire = lines.into_stream().map_err(Failure::at("starttls"))?;
        Ok(Lines::new(self.secure(wire).await?, line_max))
    }

    /// TLS begins now: the phase `tls`.
    pub async fn secure<'a>(&self, wire: Wire<'a>) -> Result<Wire<'a>, Failure> {
        match &self.tls {
            Some(tls) => wire.secure(tls).await,
            None => {
                let why = io::Error::other("no TLS was asked for");
                Err(Failure::at("starttls")(why))
            }
        }
    }
}
