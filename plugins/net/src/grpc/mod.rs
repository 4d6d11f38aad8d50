//! The `grpc` plugin: the health of a gRPC server. Options, metrics and verdicts are in `GRPC.md`.
//!
//! Runs in: the step lane, with the `h2` crate driven by the check's own task.

mod message;
mod options;

use crate::report::{Report, Unit, seconds_text};
use bytes::Bytes;
use h2::{Reason, RecvStream};
use healthd_client::server::Server;
use healthd_plugin::net::drive;
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Metric, Status, cut};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, Request, Uri};
use message::Health;
use options::Options;
use std::io;

const PATH: &str = "/grpc.health.v1.Health/Check";

pub struct Grpc {
    options: Options,
    server: Server,
    request: Request<()>,
}

/// What a server answers, and how long it took.
struct Seen {
    answer: Result<Health, Refusal>,
    connect_seconds: f64,
    seconds: f64,
}

/// The status of a call that failed.
struct Refusal {
    code: u32,
    text: String,
}

impl Check for Grpc {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let port = match (o.port, &o.socket) {
            (Some(port), _) => port,
            (None, Some(_)) => 0,
            (None, None) => return Err("port: missing (or give a socket)".into()),
        };
        let server = Server::new(&o.host, port, o.family)?.or_socket(o.socket.as_deref());
        let server = server.with_tls_for(
            &[b"h2"],
            o.tls,
            o.ca_file.as_deref(),
            o.insecure,
            o.server_name.as_deref(),
        )?;
        Ok(Grpc {
            request: request(&o, port)?,
            server,
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.talk(cx).await {
            Ok(seen) => self.judge(cx, &seen),
            Err(status) => status,
        }
    }
}

fn request(o: &Options, port: u16) -> Result<Request<()>, String> {
    let authority = match (&o.authority, &o.socket) {
        (Some(authority), _) => authority.clone(),
        (None, Some(_)) => "localhost".into(),
        (None, None) if o.host.contains(':') && !o.host.starts_with('[') => {
            format!("[{}]:{port}", o.host)
        }
        (None, None) => format!("{}:{port}", o.host),
    };
    let parsed: Authority = authority
        .parse()
        .map_err(|_| format!("authority: {authority:?} is no name of a server"))?;
    let uri = Uri::builder()
        .scheme(if o.tls { "https" } else { "http" })
        .authority(parsed)
        .path_and_query(PATH)
        .build();
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.map_err(|e| format!("authority: {e}"))?;
    let headers = request.headers_mut();
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "healthd"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in &o.metadata {
        let bad = || format!("metadata: {name:?} is no name, or its value has control characters");
        if name.starts_with("grpc-") {
            return Err(format!("metadata: {name}: such names are gRPC's own"));
        }
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(request)
}

impl Grpc {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let begin = cx.now_ns();
        let since = || (cx.now_ns() - begin) as f64 / 1e9;
        let wire = self.server.open(cx).await;
        let wire = wire.map_err(|f| f.tell(cx))?;
        let connect_seconds = since();
        cx.phase("call");
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false).max_header_list_size(64 << 10);
        let handshake = builder.handshake::<_, Bytes>(wire).await;
        let (mut sender, connection) = handshake.map_err(|e| failed(cx, &e))?;
        let call = async {
            let mut request = self.request.clone();
            // The server may give up when nobody waits any more.
            let left = format!("{}m", cx.remaining().as_millis().min(99_999_999));
            if let Ok(left) = HeaderValue::try_from(left) {
                request.headers_mut().insert("grpc-timeout", left);
            }
            let sent = sender.send_request(request, false);
            let (answer, mut sending) = sent.map_err(|e| failed(cx, &e))?;
            let question = Bytes::from(message::question(&self.options.service));
            let sent = sending.send_data(question, true);
            sent.map_err(|e| failed(cx, &e))?;
            let (head, body) = answer.await.map_err(|e| failed(cx, &e))?.into_parts();
            hear(cx, &head, body).await
        };
        // Boxed: its state would stay part of each run's future.
        let answer = Box::pin(drive(connection, call)).await?;
        Ok(Seen {
            answer,
            connect_seconds,
            seconds: since(),
        })
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let metric = Metric::new("connect", seen.connect_seconds);
        cx.metric(metric.unit("s").min(0.0));
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seen.seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seen.seconds));
        report.upper(limits, metric, seen.seconds, &text, Unit::Seconds);
        let whom = match o.service.as_str() {
            "" => "the server".to_owned(),
            service => format!("the service {service:?}"),
        };
        match &seen.answer {
            Ok(Health::Serving) => return report.end(&format!("{whom} is SERVING")),
            Ok(Health::NotServing) => {
                report.add(Status::Critical, format!("{whom} is NOT_SERVING"))
            }
            Ok(Health::Unknown) => {
                report.add(
                    Status::Unknown,
                    format!("{whom} is UNKNOWN, the server says"),
                );
            }
            Ok(Health::ServiceUnknown) => {
                report.add(Status::Unknown, format!("the server does not know {whom}"));
            }
            Ok(Health::Other(n)) => {
                report.add(
                    Status::Unknown,
                    format!("{whom} has health {n}, which is not known here"),
                );
            }
            Err(refusal) => {
                let (status, text) = refusal.judge(&whom);
                report.add(status, text);
            }
        }
        report.end("")
    }
}

/// The answer, or the status of a call that failed. The error is the outcome, with its message set.
async fn hear(
    cx: Cx<'_>,
    head: &http::response::Parts,
    mut body: RecvStream,
) -> Result<Result<Health, Refusal>, Status> {
    // An answer that is a refusal has its status in the head, and no body ("trailers only").
    if let Some(refusal) = Refusal::of(&head.headers) {
        return match refusal.code {
            0 => Err(cx.critical("call: the server says OK, and answers nothing")),
            _ => Ok(Err(refusal)),
        };
    }
    let kind = head.headers.get("content-type");
    let is_grpc = kind.is_some_and(|k| k.as_bytes().starts_with(b"application/grpc"));
    if head.status != 200 || !is_grpc {
        let kind = kind.map_or("no type".into(), |k| String::from_utf8_lossy(k.as_bytes()));
        let code = head.status.as_u16();
        return Err(cx.critical(format_args!(
            "call: not gRPC: HTTP {code}, {}",
            cut(&kind, 80)
        )));
    }
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(|e| failed(cx, &e))?;
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend_from_slice(&piece);
        if bytes.len() > message::MESSAGE_MAX + 5 {
            return Err(cx.critical("call: its answer has no end"));
        }
        message::length(&bytes).map_err(|why| cx.critical(format_args!("call: {why}")))?;
    }
    let trailers = body.trailers().await.map_err(|e| failed(cx, &e))?;
    match trailers.as_ref().and_then(Refusal::of) {
        None => Err(cx.critical("call: its answer ends without a status")),
        Some(refusal) if refusal.code != 0 => Ok(Err(refusal)),
        Some(_) => match message::answer(&bytes) {
            Ok(health) => Ok(Ok(health)),
            Err(why) => Err(cx.critical(format_args!("call: {why}"))),
        },
    }
}

impl Refusal {
    /// None: there is no status.
    fn of(headers: &HeaderMap) -> Option<Refusal> {
        let code = headers.get("grpc-status")?;
        let text = headers
            .get("grpc-message")
            .map_or(&b""[..], |m| m.as_bytes());
        let text = String::from_utf8_lossy(text);
        Some(Refusal {
            // A status that is no number is one of those that nobody knows.
            code: code.to_str().ok().and_then(|c| c.parse().ok()).unwrap_or(2),
            text: text.chars().filter(|c| !c.is_control()).take(160).collect(),
        })
    }

    /// What comes of our question says nothing about the health of who was asked.
    fn judge(&self, whom: &str) -> (Status, String) {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        let name = NAMES
            .get(self.code as usize)
            .copied()
            .unwrap_or("a status of its own");
        let text = match self.text.as_str() {
            "" => name.to_owned(),
            text => format!("{name}: {text}"),
        };
        match name {
            "NOT_FOUND" => (
                Status::Unknown,
                format!("the server does not know {whom} ({text})"),
            ),
            "UNIMPLEMENTED" => (
                Status::Unknown,
                format!("the server has no health service ({text})"),
            ),
            "PERMISSION_DENIED" | "UNAUTHENTICATED" => (Status::Unknown, format!("call: {text}")),
            _ => (Status::Critical, format!("call: {text}")),
        }
    }
}

/// Sets the message of a call that HTTP/2 could not carry.
fn failed(cx: Cx<'_>, error: &h2::Error) -> Status {
    if let Some(e) = error.get_io() {
        return match e.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
                cx.critical("call: connection closed within HTTP/2")
            }
            _ => cx.fail("call", e),
        };
    }
    match error.reason() {
        // Said by us of its first bytes: they are no frames.
        Some(Reason::FRAME_SIZE_ERROR | Reason::PROTOCOL_ERROR) if error.is_library() => {
            cx.critical("call: the server does not speak HTTP/2")
        }
        Some(reason) if error.is_go_away() => cx.critical(format_args!(
            "call: the server ends the connection: {reason:?}"
        )),
        Some(reason) => cx.critical(format_args!("call: the server ends the call: {reason:?}")),
        None => cx.critical(format_args!("call: {error}")),
    }
}

#[cfg(test)]
mod tests;
