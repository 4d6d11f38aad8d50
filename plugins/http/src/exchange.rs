//! One request and its answer over one connection, with the times of its phases.

use crate::failed::Failed;
use crate::h2;
use crate::idle::{self, Idle, Layer};
use crate::options::HttpVersion;
use crate::request::Request;
use crate::response::{Malformed, Response};
use crate::way::{self, Proxy, Way};
use healthd_client::http::{Fault, receive};
use healthd_plugin::net::{self, AsyncRead, AsyncWrite, Stream, TcpStream, UnixStream};
use healthd_plugin::tls::{Connector, Facts, Shown, TlsStream};
use healthd_plugin::{Cx, Family, Status};
use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// What ALPN calls it.
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub struct Target {
    pub place: Place,
    pub way: Arc<Way>,
    /// `place` is that of the way's proxy.
    pub via_proxy: bool,
    /// Where connections are kept between runs, if they are.
    pub kept: Option<Arc<idle::Place>>,
}

#[derive(Clone, Debug)]
pub enum Place {
    Addr(SocketAddr),
    Name {
        host: String,
        port: u16,
        family: Family,
    },
    Unix(PathBuf),
}

impl Target {
    /// For the next request, if connections are kept.
    pub fn keep(&self, idle: Option<Box<Idle>>) {
        if let (Some(place), Some(idle)) = (&self.kept, idle) {
            place.put(idle);
        }
    }
}

/// When each phase ended, on the host's clock; 0: there was no such phase.
#[derive(Debug, Default)]
pub struct Times {
    /// How long the requests before this one took together, whose answers led here.
    pub earlier: u64,
    pub begin: u64,
    pub dns: u64,
    pub connect: u64,
    pub tls: u64,
    pub ttfb: u64,
    pub end: u64,
    /// The certificate of the chain that ends first.
    pub certificate: Option<Shown>,
    /// What `insecure` let pass.
    pub unverified: Option<String>,
    pub http2: bool,
    /// Of TLS; only if the options ask for facts.
    pub facts: Option<Facts>,
    /// The connection, if another request may follow on it.
    pub idle: Option<Box<Idle>>,
}

impl Times {
    /// What the target took for its answer: time in which we waited between requests is none of its.
    pub fn total(&self) -> u64 {
        self.earlier + self.end.saturating_sub(self.begin)
    }
}

/// Sends the request and reads the whole answer into `response`.
pub async fn run(
    cx: Cx<'_>,
    target: &Target,
    tls: Option<&Connector>,
    request: &Request,
    response: &mut Response,
) -> Result<Times, Failed> {
    let mut times = Times {
        begin: cx.now_ns(),
        ..Times::default()
    };
    let proxy = target.way.proxy.as_ref().filter(|_| target.via_proxy);
    let idle = target.kept.as_ref().and_then(|place| place.take(cx));
    if let Some(idle) = idle {
        // Boxed, so that the many checks that keep none do not carry the room for it.
        if Box::pin(again(cx, idle, target, tls, request, response, &mut times)).await? {
            return done(cx, proxy, response, times);
        }
    }
    let stream = match proxy {
        None => connect(cx, target, &mut times).await?,
        Some(proxy) => Box::pin(connect_to_proxy(cx, proxy, target, &mut times)).await?,
    };
    if let (Some(version), Stream::Tcp(tcp)) = (target.way.proxy_protocol, &stream) {
        let first = tcp.connected().await;
        let first = first.and_then(|()| way::proxy_header(version, tcp));
        let sent = async { tcp.write_all(&first?).await };
        sent.await.map_err(|e| Failed::io("connect", &e))?;
    }
    if let (Some(proxy), true) = (proxy, request.url.https) {
        Box::pin(way::tunnel(cx, &stream, proxy, &request.url)).await?;
    }
    match tls {
        None if request.version == HttpVersion::Two => {
            if let Stream::Tcp(tcp) = &stream {
                let connected = tcp.connected().await;
                connected.map_err(|e| Failed::io("connect", &e))?;
            }
            times.connect = cx.now_ns();
            times.http2 = true;
            Box::pin(h2::run(cx, stream, request, response, &mut times)).await?;
        }
        None => {
            let bytes = bytes_for(proxy, request);
            plain(cx, stream, &bytes, response, target, &mut times).await?;
        }
        // Boxed, so that the many checks without TLS do not carry the room for it.
        Some(tls) => {
            times.facts = target.way.facts.then(Facts::new);
            Box::pin(secure(
                cx, stream, tls, request, response, target, &mut times,
            ))
            .await?;
        }
    }
    done(cx, proxy, response, times)
}

/// The whole answer is there.
fn done(
    cx: Cx<'_>,
    proxy: Option<&Proxy>,
    response: &Response,
    mut times: Times,
) -> Result<Times, Failed> {
    if let (Some(proxy), 407) = (proxy, response.status) {
        return Err(Failed::unknown(format!(
            "{proxy}: HTTP 407 Proxy Authentication Required"
        )));
    }
    // Room for the body is ours to find.
    times.end = cx.now_ns().saturating_sub(response.waited);
    Ok(times)
}

/// What a server hears in plain, or the proxy before it.
fn bytes_for<'r>(proxy: Option<&Proxy>, request: &'r Request) -> Cow<'r, [u8]> {
    match proxy {
        None => Cow::Borrowed(&request.bytes),
        Some(proxy) => request.to_proxy(proxy.authorization().as_deref()).into(),
    }
}

/// A proxy that does not work says nothing of the target.
async fn connect_to_proxy<'a>(
    cx: Cx<'a>,
    proxy: &Proxy,
    target: &Target,
    times: &mut Times,
) -> Result<Stream<'a>, Failed> {
    let connected = async {
        let stream = connect(cx, target, times).await?;
        if let Stream::Tcp(tcp) = &stream {
            let stands = tcp.connected().await;
            stands.map_err(|e| Failed::io("connect", &e))?;
        }
        Ok(stream)
    };
    connected.await.map_err(|failed: Failed| Failed {
        status: match failed.status {
            Status::Critical => Status::Unknown,
            own => own,
        },
        why: format!("{proxy}: {}", failed.why),
    })
}

async fn connect<'a>(cx: Cx<'a>, target: &Target, times: &mut Times) -> Result<Stream<'a>, Failed> {
    let bind = &target.way.bind;
    Ok(match &target.place {
        Place::Addr(to) => {
            cx.phase("connect");
            tell_address(cx, target, *to);
            // Not waited for: the first send tells, see TcpStream::start.
            let started = TcpStream::start_with(cx, *to, bind);
            Stream::from(started.map_err(|e| Failed::io("connect", &e))?)
        }
        Place::Name { host, port, family } => {
            Box::pin(connect_by_name(cx, (host, *port), *family, target, times))
                .await?
                .into()
        }
        Place::Unix(path) => {
            cx.phase("connect");
            UnixStream::connect(cx, path)
                .await
                .map_err(|e| Failed::io("connect", &e))?
                .into()
        }
    })
}

fn tell_address(cx: Cx<'_>, target: &Target, to: SocketAddr) {
    if target.way.facts {
        cx.label("address", &to.ip().to_string());
    }
}

async fn connect_by_name<'a>(
    cx: Cx<'a>,
    (host, port): (&str, u16),
    family: Family,
    target: &Target,
    times: &mut Times,
) -> Result<TcpStream<'a>, Failed> {
    let bind = &target.way.bind;
    cx.phase("dns");
    let ips = cx
        .resolve(host, family)
        .await
        .map_err(|e| Failed::io("dns", &e))?;
    times.dns = cx.now_ns();
    cx.phase("connect");
    let addresses: Vec<SocketAddr> = ips
        .into_iter()
        .filter(|ip| bind.allows(*ip))
        .map(|ip| SocketAddr::new(ip, port))
        .collect();
    let connected = match addresses.as_slice() {
        [] => {
            return Err(Failed::unknown(format!(
                "source_address: {host} has no address of its family"
            )));
        }
        [only] => TcpStream::start_with(cx, *only, bind),
        several => TcpStream::connect_any_with(cx, several, bind).await,
    };
    let to = match &connected {
        Ok(stream) => stream.peer(),
        Err(_) => addresses[0],
    };
    tell_address(cx, target, to);
    connected.map_err(|e| Failed::io("connect", &e))
}

async fn plain(
    cx: Cx<'_>,
    stream: Stream<'_>,
    bytes: &[u8],
    response: &mut Response,
    target: &Target,
    times: &mut Times,
) -> Result<(), Failed> {
    let sent = poll_fn(|task| stream.poll_write(task, bytes)).await;
    times.connect = cx.now_ns();
    let sent = sent.map_err(|e| {
        Failed::io(
            if stream.is_connecting() {
                "connect"
            } else {
                "send"
            },
            &e,
        )
    })?;
    cx.phase("ttfb");
    let mut early_end = Ok(());
    if sent < bytes.len() {
        early_end = stream.write_all(&bytes[sent..]).await;
    }
    let is_sent = early_end.is_ok();
    let mut stream = stream;
    times.ttfb = receive(cx, &mut stream, response, "ttfb", early_end).await?;
    if target.kept.is_some() && is_sent && response.allows_another() {
        times.idle = Some(Idle::new(times.connect, Layer::Plain(stream.leave())));
    }
    Ok(())
}

async fn secure(
    cx: Cx<'_>,
    stream: Stream<'_>,
    tls: &Connector,
    request: &Request,
    response: &mut Response,
    target: &Target,
    times: &mut Times,
) -> Result<(), Failed> {
    if let Stream::Tcp(tcp) = &stream {
        tcp.connected()
            .await
            .map_err(|e| Failed::io("connect", &e))?;
    }
    times.connect = cx.now_ns();
    cx.phase("tls");
    let mut stream = tls
        .connect(stream)
        .await
        .map_err(|e| Failed::io("tls", &e))?;
    times.tls = cx.now_ns();
    shown(&stream, times);
    // A server that wants a certificate refuses who has none only now.
    let first = match stream.wants_certificate() {
        true => "tls",
        false => "ttfb",
    };
    if stream.protocol() == Some(h2::PROTOCOL) {
        times.http2 = true;
        return h2::run(cx, stream, request, response, times).await;
    }
    if request.version == HttpVersion::Two {
        return Err(Failed::critical(
            "tls: the server does not agree on HTTP/2".into(),
        ));
    }
    cx.phase(first);
    let is_free = talk(cx, &mut stream, &request.bytes, response, first, times).await?;
    if target.kept.is_some() && is_free {
        let made = times.connect;
        times.idle = stream.leave().map(|idle| Idle::new(made, Layer::Tls(idle)));
    }
    Ok(())
}

/// What the server has shown.
fn shown(stream: &TlsStream<Stream<'_>>, times: &mut Times) {
    times.certificate.clone_from(&stream.seen().ends);
    times.unverified.clone_from(&stream.seen().unverified);
    if let Some(facts) = &mut times.facts {
        *facts = stream.facts();
    }
}

/// The request and its answer over a connection that stands. True: another request may follow on it.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    cx: Cx<'_>,
    stream: &mut S,
    bytes: &[u8],
    response: &mut Response,
    first: &'static str,
    times: &mut Times,
) -> Result<bool, Fault> {
    let sent = net::write_all(stream, bytes).await;
    let is_sent = sent.is_ok();
    times.ttfb = receive(cx, stream, response, first, sent).await?;
    Ok(is_sent && response.allows_another())
}

/// What became of a connection that an earlier run has left.
enum Went {
    /// It was closed before it served.
    Closed,
    Answered(Option<Layer>),
}

/// The request over a connection that an earlier run has left. False: it is closed, and a new one is to be made.
async fn again(
    cx: Cx<'_>,
    idle: Box<Idle>,
    target: &Target,
    tls: Option<&Connector>,
    request: &Request,
    response: &mut Response,
    times: &mut Times,
) -> Result<bool, Failed> {
    let Idle { made, layer } = *idle;
    let went = match (layer, tls) {
        (Layer::Plain(idle), None) => match idle.resume(cx) {
            None => Ok(Went::Closed),
            Some(mut stream) => {
                stands(cx, target, &stream);
                let proxy = target.way.proxy.as_ref().filter(|_| target.via_proxy);
                let bytes = bytes_for(proxy, request);
                let talked = talk(cx, &mut stream, &bytes, response, "ttfb", times).await;
                talked.map(|is_free| Went::Answered(is_free.then(|| Layer::Plain(stream.leave()))))
            }
        },
        (Layer::Tls(idle), Some(tls)) => match tls.resume(cx, idle).await {
            None => Ok(Went::Closed),
            Some(mut stream) => {
                stands(cx, target, stream.get_ref().0);
                times.facts = target.way.facts.then(Facts::new);
                shown(&stream, times);
                let bytes = &request.bytes;
                let talked = talk(cx, &mut stream, bytes, response, "ttfb", times).await;
                talked.map(|is_free| {
                    let idle = is_free.then(|| stream.leave()).flatten();
                    Went::Answered(idle.map(Layer::Tls))
                })
            }
        },
        _ => Ok(Went::Closed),
    };
    match went {
        Ok(Went::Answered(left)) => {
            times.idle = left.map(|layer| Idle::new(made, layer));
            Ok(true)
        }
        Err(fault) if !is_closed(&fault) => Err(fault.into()),
        _ => {
            let now = cx.now_ns();
            *times = Times {
                earlier: now.saturating_sub(times.begin),
                begin: now,
                ..Times::default()
            };
            Ok(false)
        }
    }
}

/// There was nothing to connect: what is done now is told, and to whom.
fn stands(cx: Cx<'_>, target: &Target, stream: &Stream<'_>) {
    cx.phase("ttfb");
    if let Stream::Tcp(tcp) = stream {
        tell_address(cx, target, tcp.peer());
    }
}

/// The server has ended the connection before it said anything.
fn is_closed(fault: &Fault) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    match fault {
        Fault::Malformed(_, why) => *why == Malformed::Empty,
        Fault::Io(phase, e) => {
            *phase != "transfer"
                && matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
        }
    }
}
