//! The `websocket` plugin. Options, metrics and verdicts are in `WEBSOCKET.md`.
//!
//! Runs in: the step lane. Switching protocols is not enough: a proxy may do that before a dead server.

mod frame;
mod options;

use crate::report::{Report, Unit, seconds_text};
use frame::{CLOSE, Message, PING, PONG, TEXT, frame, next};
use healthd_client::server::Server;
use healthd_client::wire::Wire;
use healthd_plugin::base64::base64;
use healthd_plugin::net::Lines;
use healthd_plugin::pattern::Pattern;
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Metric, Status};
use options::Options;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::hash::{BuildHasher, RandomState};
use std::io;

const LINE_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 100;
/// So many messages are looked at for the one that is expected.
const MESSAGES_MAX: usize = 1000;
/// Behind the key; by its hash a server shows that it knows what it does.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

pub struct Websocket {
    options: Options,
    server: Server,
    expect: Option<Pattern>,
}

struct Seen {
    open_seconds: f64,
    ping_seconds: Option<f64>,
    seconds: f64,
    /// The message that was expected.
    message: Option<String>,
}

impl Check for Websocket {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let port = o.port.unwrap_or(if o.tls { 443 } else { 80 });
        let server = Server::new(&o.host, port, o.family)?.with_tls(
            o.tls,
            o.ca_file.as_deref(),
            o.insecure,
            o.server_name.as_deref(),
        )?;
        let bad = |t: &str| t.chars().any(|c| c.is_control());
        if bad(&o.path) || o.path.contains(' ') || !o.path.starts_with('/') {
            return Err(format!("path: {:?} is no path of a URL", o.path));
        }
        for (name, value) in &o.headers {
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) || bad(value) {
                return Err(format!(
                    "headers: {name:?} is no name, or its value has control characters"
                ));
            }
        }
        if o.protocol
            .as_deref()
            .is_some_and(|p| bad(p) || p.contains([' ', ',']))
        {
            return Err("protocol: one name".into());
        }
        let expect = o.expect.as_deref().map(Pattern::new).transpose();
        Ok(Websocket {
            expect: expect.map_err(|e| format!("expect: {e}"))?,
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

impl Websocket {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let begin = cx.now_ns();
        let lines = self.server.lines(cx, LINE_MAX).await;
        let mut lines = lines.map_err(|f| f.tell(cx))?;
        cx.phase("upgrade");
        self.upgrade(cx, &mut lines).await?;
        let mut seen = Seen {
            open_seconds: lines.get_ref().seconds_since(begin),
            ping_seconds: None,
            seconds: 0.0,
            message: None,
        };
        let mut pieces = None;
        if let Some(text) = &o.send {
            cx.phase("send");
            let sent = lines.write(&frame(TEXT, text.as_bytes(), random().0)).await;
            sent.map_err(|e| cx.fail("send", &e))?;
        }
        if let Some(expect) = &self.expect {
            cx.phase("expect");
            seen.message = Some(expected(cx, &mut lines, &mut pieces, expect).await?);
        }
        if o.ping {
            cx.phase("ping");
            let asked = lines.get_ref().now_ns();
            let done = ping(&mut lines, &mut pieces).await;
            done.map_err(|e| cx.fail("ping", &e))?;
            seen.ping_seconds = Some(lines.get_ref().seconds_since(asked));
        }
        seen.seconds = lines.get_ref().seconds_since(begin);
        cx.phase("close");
        // 1000: all is well. Its goodbye is nothing to wait for.
        let _ = lines
            .write(&frame(CLOSE, &1000u16.to_be_bytes(), random().0))
            .await;
        Ok(seen)
    }

    async fn upgrade(&self, cx: Cx<'_>, lines: &mut Lines<Wire<'_>>) -> Result<(), Status> {
        let o = &self.options;
        let key = base64(&random().1);
        let usual = self.server.port() == if o.tls { 443 } else { 80 };
        let bare = self.server.host().bare();
        let host = if bare.contains(':') {
            format!("[{bare}]")
        } else {
            bare.to_owned()
        };
        let port = if usual {
            String::new()
        } else {
            format!(":{}", self.server.port())
        };
        let mut request = format!(
            "GET {} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Version: 13\r\nUser-Agent: healthd\r\n",
            o.path
        );
        if !o
            .headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("host"))
        {
            request += &format!("Host: {host}{port}\r\n");
        }
        for (name, value) in &o.headers {
            request += &format!("{name}: {value}\r\n");
        }
        if let Some(protocol) = &o.protocol {
            request += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        }
        request += "\r\n";
        let fail = |e| cx.fail("upgrade", &e);
        lines.write(request.as_bytes()).await.map_err(fail)?;
        let status = shown(&lines.text().await.map_err(fail)?);
        if !status.starts_with("HTTP/1.1 101") {
            let why = match status.starts_with("HTTP/") {
                true => format!("the server answers {status:?} and not 101"),
                false => format!("{status:?} is no HTTP"),
            };
            return Err(cx.critical(format_args!("upgrade: {why}")));
        }
        let (mut accept, mut protocol, mut upgrade) = (None, None, false);
        for n in 0.. {
            let line = lines.text().await.map_err(fail)?;
            if line.is_empty() {
                break;
            }
            if n == HEADERS_MAX {
                return Err(cx.critical(format_args!("upgrade: more than {HEADERS_MAX} headers")));
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.trim().to_owned();
            match name.to_ascii_lowercase().as_str() {
                "sec-websocket-accept" => accept = Some(value),
                "sec-websocket-protocol" => protocol = Some(value),
                "upgrade" => upgrade = value.eq_ignore_ascii_case("websocket"),
                _ => {}
            }
        }
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
        if !upgrade || accept != Some(base64(hash.as_ref())) {
            let text = "upgrade: the server's 101 is no answer to this key (Sec-WebSocket-Accept)";
            return Err(cx.critical(text));
        }
        match (&o.protocol, protocol) {
            (Some(wanted), got) if got.as_deref() != Some(wanted) => Err(cx.critical(
                format_args!("upgrade: the server does not take the protocol {wanted}"),
            )),
            (None, Some(got)) => {
                let got = shown(&got);
                Err(cx.critical(format_args!(
                    "upgrade: the server wants the protocol {got}, which nobody offered"
                )))
            }
            _ => Ok(()),
        }
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        cx.metric(Metric::new("open", seen.open_seconds).unit("s").min(0.0));
        if let Some(seconds) = seen.ping_seconds {
            cx.metric(Metric::new("ping", seconds).unit("s").min(0.0));
        }
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seen.seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seen.seconds));
        report.upper(limits, metric, seen.seconds, &text, Unit::Seconds);
        let mut summary = format!("open after {}", seconds_text(seen.open_seconds));
        if let Some(message) = &seen.message {
            summary += &format!(", it says {message:?}");
        }
        if let Some(seconds) = seen.ping_seconds {
            summary += &format!(", ping came back after {}", seconds_text(seconds));
        }
        report.end(&summary)
    }
}

/// A message that matches.
async fn expected(
    cx: Cx<'_>,
    lines: &mut Lines<Wire<'_>>,
    pieces: &mut Option<Message>,
    expect: &Pattern,
) -> Result<String, Status> {
    for _ in 0..MESSAGES_MAX {
        let message = answered(lines, pieces).await;
        let message = message.map_err(|e| cx.fail("expect", &e))?;
        if message.kind == PONG {
            continue;
        }
        let text = String::from_utf8_lossy(&message.content).into_owned();
        if let Some(why) = expect.is_too_much(text.len()) {
            return Err(cx.unknown(format_args!("expect: {why}")));
        }
        let found = match expect.is_slow_on(text.len()) {
            false => expect.is_match(&text).then_some(text),
            // A long message, and a server may send many: the event loop is for others too.
            true => {
                let expect = expect.clone();
                let looked = cx.apart(move || expect.is_match(&text).then_some(text));
                looked.await.map_err(|e| cx.fail("expect", &e))?
            }
        };
        if let Some(text) = found {
            return Ok(shown(&text));
        }
    }
    Err(cx.critical(format_args!(
        "expect: none of {MESSAGES_MAX} messages matches {expect}"
    )))
}

/// Sends a ping and waits for its pong.
async fn ping(lines: &mut Lines<Wire<'_>>, pieces: &mut Option<Message>) -> io::Result<()> {
    let content = random().1;
    lines.write(&frame(PING, &content, random().0)).await?;
    for _ in 0..MESSAGES_MAX {
        let message = answered(lines, pieces).await?;
        if message.kind == PONG && message.content == content {
            return Ok(());
        }
    }
    Err(invalid(format!("no pong among {MESSAGES_MAX} messages")))
}

/// The next message; the server's own pings are answered on the way.
async fn answered(
    lines: &mut Lines<Wire<'_>>,
    pieces: &mut Option<Message>,
) -> io::Result<Message> {
    loop {
        let message = next(lines, pieces).await?;
        match message.kind {
            PING => {
                let pong = frame(PONG, &message.content, random().0);
                lines.write(&pong).await?;
            }
            CLOSE => {
                let code = message
                    .content
                    .first_chunk::<2>()
                    .map(|c| u16::from_be_bytes(*c));
                let text = message.content.get(2..).unwrap_or_default();
                let text = shown(&String::from_utf8_lossy(text));
                let code = code.map_or("no reason".into(), |c| c.to_string());
                let why = format!("the server closes: {code} {text}");
                return Err(invalid(why.trim_end().to_owned()));
            }
            _ => return Ok(message),
        }
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A mask, and what no other run has.
fn random() -> ([u8; 4], [u8; 16]) {
    let one = |n: u64| RandomState::new().hash_one(n).to_ne_bytes();
    let (a, b, c) = (one(0), one(1), one(2));
    let mut long = [0; 16];
    long[..8].copy_from_slice(&b);
    long[8..].copy_from_slice(&c);
    ([a[0], a[1], a[2], a[3]], long)
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests;
