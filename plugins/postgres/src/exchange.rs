//! One connection: address, TLS, log in, query. The connection's own future runs beside whatever waits for it.

use crate::target::{Place, SslMode, Target};
use crate::wire::{Offer, Wire, ask_for_tls};
use futures_core::Stream as _;
use healthd_plugin::net::{Stream, TcpStream, UnixStream};
use healthd_plugin::tls::Connector;
use healthd_plugin::{Cx, Status};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Connection, NoTls, SimpleQueryMessage};

/// What stops a check early: the message is set.
pub struct Failed(pub Status);

/// When each phase was over, on the host's clock; 0: it was not needed.
#[derive(Default)]
pub struct Times {
    pub begin: u64,
    pub dns: u64,
    pub connect: u64,
    pub tls: u64,
    pub auth: u64,
    pub query: u64,
}

/// The first row's first cell, as text.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// None: there was no row, or it has no column. Some(None): NULL.
    pub cell: Option<Option<String>>,
}

/// So many rows are waited for; then it is the query's mistake, and we leave.
const MAX_ROWS: usize = 10_000;
/// What a good-bye may take: sending it, not an answer.
const GOOD_BYE: Duration = Duration::from_millis(100);

pub struct Session<'a> {
    client: Client,
    connection: Connection<Wire<'a>, NoTlsStream>,
    peer: Peer,
}

/// Where a second connection, for a cancel request, goes.
enum Peer {
    Tcp(SocketAddr),
    Unix(std::path::PathBuf),
}

pub async fn log_in<'a>(
    cx: Cx<'a>,
    target: &Target,
    trust: Option<&Connector>,
    times: &mut Times,
) -> Result<Session<'a>, Failed> {
    let (stream, peer) = connect(cx, target, times).await?;
    let wire = secure(cx, stream, target, trust, times).await?;
    cx.phase("auth");
    // Boxed: its state would stay part of this future for the rest of the run.
    let started = Box::pin(target.config.connect_raw(wire, NoTls)).await;
    let (client, connection) = started.map_err(|e| report(cx, "auth", &e))?;
    times.auth = cx.now_ns();
    Ok(Session {
        client,
        connection,
        peer,
    })
}

async fn connect<'a>(
    cx: Cx<'a>,
    target: &Target,
    times: &mut Times,
) -> Result<(Stream<'a>, Peer), Failed> {
    let fail = |phase: &str, e: &io::Error| Failed(cx.fail(phase, e));
    let (stream, peer) = match &target.place {
        Place::Unix(path) => {
            cx.phase("connect");
            let stream = UnixStream::connect(cx, path)
                .await
                .map_err(|e| fail(&format!("connect to {}", path.display()), &e))?;
            (Stream::from(stream), Peer::Unix(path.clone()))
        }
        Place::Tcp { host, port } => {
            cx.phase("dns");
            let found = cx
                .resolve(host, target.family)
                .await
                .map_err(|e| fail(&format!("dns: {host}"), &e))?;
            if host.parse::<std::net::IpAddr>().is_err() {
                times.dns = cx.now_ns();
            }
            cx.phase("connect");
            let addresses: Vec<SocketAddr> = found.iter().map(|ip| (*ip, *port).into()).collect();
            let stream = TcpStream::connect_any(cx, &addresses)
                .await
                .map_err(|e| fail(&format!("connect to {host}:{port}"), &e))?;
            let peer = stream.peer();
            (Stream::from(stream), Peer::Tcp(peer))
        }
    };
    times.connect = cx.now_ns();
    Ok((stream, peer))
}

async fn secure<'a>(
    cx: Cx<'a>,
    mut stream: Stream<'a>,
    target: &Target,
    trust: Option<&Connector>,
    times: &mut Times,
) -> Result<Wire<'a>, Failed> {
    let Some(trust) = trust else {
        return Ok(Wire::plain(stream));
    };
    cx.phase("tls");
    let fail = |e: &io::Error| Failed(cx.fail("tls", e));
    let wire = match ask_for_tls(&mut stream).await.map_err(|e| fail(&e))? {
        Offer::Tls => Wire::tls(stream, trust).await.map_err(|e| fail(&e))?,
        Offer::Plain if target.ssl_mode == SslMode::Prefer => Wire::plain(stream),
        Offer::Plain => {
            return Err(Failed(cx.critical(
                "tls: the server offers no TLS, and sslmode requires it",
            )));
        }
    };
    times.tls = cx.now_ns();
    Ok(wire)
}

impl Session<'_> {
    /// The query and its whole answer. None: `time` was up first, and the server was told to cancel it.
    pub async fn query(
        &mut self,
        cx: Cx<'_>,
        query: &str,
        time: Duration,
    ) -> Result<Option<Answer>, Failed> {
        cx.phase("query");
        let client = &self.client;
        let asked = drive(&mut self.connection, first_cell(client, query));
        match cx.timeout(time, asked).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(e)) => Err(report(cx, "query", &e)),
            Err(_) => {
                self.cancel(cx).await;
                Ok(None)
            }
        }
    }

    /// Without this the server would go on with a query that nobody waits for, and the next run would add another.
    async fn cancel(&self, cx: Cx<'_>) {
        let stream = match &self.peer {
            Peer::Tcp(to) => TcpStream::connect(cx, *to).await.map(Stream::from),
            Peer::Unix(path) => UnixStream::connect(cx, path).await.map(Stream::from),
        };
        if let Ok(stream) = stream {
            // A cancel request is no log-in: the server wants neither TLS nor a password for it.
            let token = self.client.cancel_token();
            let _ = token.cancel_query_raw(stream, NoTls).await;
        }
    }

    /// Says good-bye, so that the server does not log a lost client.
    pub async fn end(self, cx: Cx<'_>) {
        drop(self.client);
        let _ = cx.timeout(GOOD_BYE, self.connection).await;
    }
}

async fn first_cell(client: &Client, query: &str) -> Result<Answer, tokio_postgres::Error> {
    let mut answer = Answer::default();
    let mut messages = pin!(client.simple_query_raw(query).await?);
    for _ in 0..MAX_ROWS {
        let message = poll_fn(|task| messages.as_mut().poll_next(task)).await;
        match message {
            None => break,
            Some(message) => {
                if let (SimpleQueryMessage::Row(row), None) = (message?, &answer.cell)
                    && !row.is_empty()
                {
                    answer.cell = Some(row.try_get(0)?.map(String::from));
                }
            }
        }
    }
    Ok(answer)
}

/// `future` with the connection beside it: it does the reading and writing that `future` waits for.
async fn drive<T>(
    connection: &mut Connection<Wire<'_>, NoTlsStream>,
    future: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, tokio_postgres::Error> {
    let mut future = pin!(future);
    let mut connection = pin!(connection);
    let mut lost = false;
    poll_fn(|task| {
        if let Poll::Ready(done) = future.as_mut().poll(task) {
            return Poll::Ready(done);
        }
        if !lost {
            match connection.as_mut().poll(task) {
                Poll::Pending => {}
                // Its error says more than the "connection closed" that the future would see.
                Poll::Ready(Err(e)) if !e.is_closed() => return Poll::Ready(Err(e)),
                Poll::Ready(_) => lost = true,
            }
        }
        // What the connection has read may be what the future waits for.
        future.as_mut().poll(task)
    })
    .await
}

/// The error as message and detail.
fn report(cx: Cx<'_>, phase: &str, e: &tokio_postgres::Error) -> Failed {
    if let Some(db) = e.as_db_error() {
        cx.label("sqlstate", db.code().code());
        for (name, more) in [("detail", db.detail()), ("hint", db.hint())] {
            if let Some(more) = more {
                cx.detail(format_args!("{name}: {more}\n"));
            }
        }
        return Failed(cx.critical(format_args!(
            "{phase}: {} {}: {}",
            db.severity(),
            db.code().code(),
            db.message()
        )));
    }
    let source = std::error::Error::source(e);
    if let Some(io) = source.and_then(|s| s.downcast_ref::<io::Error>()) {
        let closed = io.kind() == io::ErrorKind::UnexpectedEof;
        return Failed(if closed {
            cx.critical(format_args!("{phase}: the server closed the connection"))
        } else {
            cx.fail(phase, io)
        });
    }
    let text = match source {
        Some(cause) => cause.to_string(),
        None if e.is_closed() => "the server closed the connection".into(),
        None => e.to_string(),
    };
    Failed(if text == "password missing" {
        cx.critical(format_args!(
            "{phase}: the server asks for a password and none is configured; see the option password"
        ))
    } else {
        cx.critical(format_args!("{phase}: {text}"))
    })
}
