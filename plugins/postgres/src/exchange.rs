//! One connection: address, TLS, log in, query. The connection's own future runs beside whatever waits for it.

use crate::guard::Guard;
use crate::target::{Place, SslMode, Target, Wanted};
use crate::wire::{KeepsOpen, Offer, Wire, ask_for_tls};
use futures_core::Stream as _;
use healthd_plugin::net::{Stream, TcpStream, UnixStream};
use healthd_plugin::tls::{Connector, Shown};
use healthd_plugin::{Cx, Status, failure};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls, SimpleQueryMessage};

/// What stops a try, or the check.
pub struct Failed {
    pub status: Status,
    pub text: String,
    /// Another server would say the same.
    pub for_all: bool,
    /// One was asked for, and there is none.
    pub no_password: bool,
}

impl Failed {
    fn critical(text: impl Into<String>) -> Failed {
        Failed {
            status: Status::Critical,
            text: text.into(),
            for_all: false,
            no_password: false,
        }
    }

    fn unknown(text: String) -> Failed {
        Failed {
            status: Status::Unknown,
            ..Failed::critical(text)
        }
    }

    fn of(phase: &str, e: &io::Error) -> Failed {
        let (status, text) = failure(phase, e);
        Failed {
            status,
            text,
            for_all: false,
            no_password: false,
        }
    }
}

/// When each phase was over, on the host's clock; 0: it was not needed.
#[derive(Default)]
pub struct Times {
    pub begin: u64,
    pub dns: u64,
    pub connect: u64,
    pub tls: u64,
    pub auth: u64,
    pub query: u64,
    /// When the query was given up.
    pub gave_up: u64,
    /// The certificate of the server's chain that ends first.
    pub certificate: Option<Shown>,
}

/// The first row's first cell, as text.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// None: there was no row, or it has no column. Some(None): NULL.
    pub cell: Option<Option<String>>,
}

/// So many rows are waited for; then it is the query's mistake, and we leave.
const MAX_ROWS: usize = 10_000;
/// Beside what is left of its time a cancel request may take the first of these that the host gives.
const CANCEL_MORE: [Duration; 2] = [Duration::from_millis(300), Duration::from_millis(100)];
/// What a good-bye may take: sending it, not an answer.
const GOOD_BYE: Duration = Duration::from_millis(100);

pub struct Session<'a> {
    client: Client,
    connection: Connection<Wire<'a>, NoTlsStream>,
    peer: Peer,
    /// A cancel request is as private as the session.
    trust: Option<Connector>,
    direct: bool,
    pub certificate: Option<Shown>,
}

/// Where a second connection, for a cancel request, goes.
enum Peer {
    Tcp(SocketAddr),
    Unix(std::path::PathBuf),
}

/// A session at the first server that is there and as wanted.
pub async fn log_in<'a>(
    cx: Cx<'a>,
    target: &Target,
    trust: &[Option<Connector>],
    times: &mut Times,
) -> Result<Session<'a>, Failed> {
    let count = target.places.len();
    let first = match target.shuffle {
        // One after the other, and each begins elsewhere: no two checks at once, and no randomness needed.
        true => cx.now_ns() as usize / 1000 % count,
        false => 0,
    };
    let order = (0..count).map(|n| (first + n) % count);
    let rounds: &[Wanted] = match target.wanted {
        Wanted::PreferStandby => &[Wanted::Standby, Wanted::Any],
        ref other => std::slice::from_ref(other),
    };
    let tries: Vec<(Wanted, usize)> = rounds
        .iter()
        .flat_map(|wanted| order.clone().map(|n| (*wanted, n)))
        .collect();
    let mut said: Vec<String> = Vec::new();
    let mut not_judged = None;
    let mut no_password = false;
    for (n, (wanted, at)) in tries.iter().enumerate() {
        let (place, trust) = (&target.places[*at], trust[*at].as_ref());
        let config = target.config_for(*at);
        let one = Box::pin(log_in_at(
            cx,
            target,
            (place, &*config),
            trust,
            *wanted,
            times,
        ));
        let left = (tries.len() - n) as u32;
        let share = (left > 1).then(|| cx.remaining() / left);
        let tried = match [share, target.patience].into_iter().flatten().min() {
            None => one.await,
            Some(time) => match cx.timeout(time, one).await {
                Ok(tried) => tried,
                Err(_) => Err(Failed::critical(format!(
                    "no answer within {:.1}s",
                    time.as_secs_f64()
                ))),
            },
        };
        match tried {
            Ok(session) => return Ok(session),
            Err(failed) if count == 1 && tries.len() == 1 || failed.for_all => return Err(failed),
            Err(failed) => {
                said.push(format!("{place}: {}", failed.text));
                no_password |= failed.no_password;
                not_judged = not_judged.or(Some(failed.status).filter(|s| *s != Status::Critical));
            }
        }
    }
    // One that could not be judged might have been well.
    let status = not_judged.unwrap_or(Status::Critical);
    said.dedup();
    Err(Failed {
        status,
        text: said.join("; "),
        for_all: true,
        no_password,
    })
}

async fn log_in_at<'a>(
    cx: Cx<'a>,
    target: &Target,
    (place, config): (&Place, &Config),
    trust: Option<&Connector>,
    wanted: Wanted,
    times: &mut Times,
) -> Result<Session<'a>, Failed> {
    let (stream, peer) = connect(cx, target, place, times).await?;
    let mut wire = secure(cx, stream, target, trust, times).await?;
    cx.phase("auth");
    let (tls, certificate) = (wire.is_tls(), wire.certificate().cloned());
    if let Some(password) = config.get_password() {
        wire.answers_scram(cx, password);
    }
    // Boxed: its state would stay part of this future for the rest of the run.
    let started = Box::pin(config.connect_raw(wire, NoTls)).await;
    let (client, connection) = started.map_err(|e| report(cx, "auth", &e))?;
    times.auth = cx.now_ns();
    let mut session = Session {
        client,
        connection,
        peer,
        trust: trust.filter(|_| tls).cloned(),
        direct: target.direct,
        certificate,
    };
    match session.is_as(cx, wanted).await? {
        None => Ok(session),
        Some(what) => {
            session.end(cx).await;
            Err(Failed::critical(format!("it is {what}")))
        }
    }
}

async fn connect<'a>(
    cx: Cx<'a>,
    target: &Target,
    place: &Place,
    times: &mut Times,
) -> Result<(Stream<'a>, Peer), Failed> {
    let fail = Failed::of;
    let (stream, peer) = match place {
        Place::Unix(path) => {
            cx.phase("connect");
            let stream = UnixStream::connect(cx, path)
                .await
                .map_err(|e| fail(&format!("connect to {}", path.display()), &e))?;
            (Stream::from(stream), Peer::Unix(path.clone()))
        }
        Place::Tcp {
            host,
            address,
            port,
        } => {
            cx.phase("dns");
            let found = match address {
                Some(address) => vec![*address],
                None => cx
                    .resolve(host, target.family)
                    .await
                    .map_err(|e| fail(&format!("dns: {host}"), &e))?,
            };
            if address.is_none() && host.parse::<std::net::IpAddr>().is_err() {
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
    let guard = |private| Guard::new(&target.auth, private);
    let Some(trust) = trust else {
        let local = matches!(stream, Stream::Unix(_));
        return Ok(Wire::plain(stream, guard(local)));
    };
    cx.phase("tls");
    let fail = |e: &io::Error| Failed::of("tls", e);
    let offer = match target.direct {
        true => Offer::Tls,
        false => ask_for_tls(&mut stream).await.map_err(|e| fail(&e))?,
    };
    let wire = match offer {
        Offer::Tls => Wire::tls(stream, trust, guard(true))
            .await
            .map_err(|e| fail(&e))?,
        Offer::Plain if target.ssl_mode == SslMode::Prefer => Wire::plain(stream, guard(false)),
        Offer::Plain => {
            return Err(Failed::critical(
                "tls: the server offers no TLS, and sslmode requires it",
            ));
        }
    };
    times.tls = cx.now_ns();
    Ok(wire)
}

impl Session<'_> {
    /// The query and its whole answer. None: `time` was up first, and the server goes on with it.
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
            Err(_) => Ok(None),
        }
    }

    /// None: it is as wanted. Some: what it is instead.
    async fn is_as(&mut self, cx: Cx<'_>, wanted: Wanted) -> Result<Option<&'static str>, Failed> {
        // A standby is read-only too, whatever it says of its transactions.
        let (query, good, instead) = match wanted {
            Wanted::Any | Wanted::PreferStandby => return Ok(None),
            Wanted::ReadWrite => (
                READ_ONLY,
                "f",
                "read-only, and target_session_attrs wants read-write",
            ),
            Wanted::ReadOnly => (
                READ_ONLY,
                "t",
                "read-write, and target_session_attrs wants read-only",
            ),
            Wanted::Primary => (
                STANDBY,
                "f",
                "a standby, and target_session_attrs wants the primary",
            ),
            Wanted::Standby => (
                STANDBY,
                "t",
                "the primary, and target_session_attrs wants a standby",
            ),
        };
        let client = &self.client;
        let asked = drive(&mut self.connection, first_cell(client, query)).await;
        let answer = asked.map_err(|e| report(cx, "auth", &e))?;
        let is = answer.cell.flatten();
        Ok((is.as_deref() != Some(good)).then_some(instead))
    }

    /// Without this the server would go on with a query that nobody waits for, and the next run would add another.
    pub async fn cancel(&self, cx: Cx<'_>) {
        // The verdict is made; what takes longer now is a busy machine, and PgBouncer dies of a client that goes too soon.
        let _ = CANCEL_MORE.iter().find(|more| cx.give_back(**more).is_ok());
        let time = cx.remaining() * 9 / 10;
        let _ = cx.timeout(time, self.ask_to_cancel(cx)).await;
    }

    async fn ask_to_cancel(&self, cx: Cx<'_>) -> io::Result<()> {
        let mut stream = match &self.peer {
            Peer::Tcp(to) => TcpStream::connect(cx, *to).await.map(Stream::from)?,
            Peer::Unix(path) => UnixStream::connect(cx, path).await.map(Stream::from)?,
        };
        // It is no log-in: the server wants no password for it. What it answers is nothing.
        let guard = Guard::default();
        let mut wire = match &self.trust {
            None => Wire::plain(stream, guard),
            Some(trust) => {
                if !self.direct
                    && let Offer::Plain = ask_for_tls(&mut stream).await?
                {
                    return Ok(());
                }
                Wire::tls(stream, trust, guard).await?
            }
        };
        let token = self.client.cancel_token();
        let _ = token.cancel_query_raw(KeepsOpen(&mut wire), NoTls).await;
        // As libpq does: until the server closes, which it does once it has passed the request on.
        let mut nothing = [0; 64];
        while healthd_plugin::net::read(&mut wire, &mut nothing).await? > 0 {}
        Ok(())
    }

    /// Says good-bye, so that the server does not log a lost client.
    pub async fn end(self, cx: Cx<'_>) {
        drop(self.client);
        let _ = cx.timeout(GOOD_BYE, self.connection).await;
    }
}

const READ_ONLY: &str =
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";
const STANDBY: &str = "SELECT pg_is_in_recovery()";

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

/// The error as text and detail.
fn report(cx: Cx<'_>, phase: &str, e: &tokio_postgres::Error) -> Failed {
    if let Some(db) = e.as_db_error() {
        cx.label("sqlstate", db.code().code());
        for (name, more) in [("detail", db.detail()), ("hint", db.hint())] {
            if let Some(more) = more {
                cx.detail(format_args!("{name}: {more}\n"));
            }
        }
        let text = format!(
            "{phase}: {} {}: {}",
            db.severity(),
            db.code().code(),
            db.message()
        );
        return Failed {
            // A wrong password is wrong everywhere, and each try with it counts against the account.
            for_all: phase == "auth" && db.code().code().starts_with("28"),
            ..Failed::critical(text)
        };
    }
    let source = std::error::Error::source(e);
    if let Some(io) = source.and_then(|s| s.downcast_ref::<io::Error>()) {
        let closed = io.kind() == io::ErrorKind::UnexpectedEof;
        return match closed {
            true => Failed::critical(format!("{phase}: the server closed the connection")),
            false => Failed::of(phase, io),
        };
    }
    let text = match source {
        Some(cause) => cause.to_string(),
        None if e.is_closed() => "the server closed the connection".into(),
        None => e.to_string(),
    };
    // Of the server nothing is known then: it is our side that cannot answer.
    match text.as_str() {
        "password missing" => Failed {
            no_password: true,
            ..Failed::unknown(format!(
                "{phase}: the server asks for a password and none is configured; see the option password"
            ))
        },
        "unsupported authentication method" | "unsupported SASL mechanism" => {
            Failed::unknown(format!(
                "{phase}: the server asks who we are in a way that cannot be answered here ({text})"
            ))
        }
        _ => Failed::critical(format!("{phase}: {text}")),
    }
}
