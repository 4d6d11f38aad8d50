//! The `ldap` plugin: a directory server. Options, metrics and verdicts are in `LDAP.md`.
//!
//! Runs in: the step lane. It logs in by a simple bind and searches (RFC 4511); it changes nothing.

mod filter;
mod options;

use crate::ber::{INTEGER, OCTETS, Reader, SEQUENCE, integer, sequence, signed, tagged};
use crate::report::{Report, Unit, seconds_text};
use healthd_client::server::Server;
use healthd_client::wire::{TlsMode, Wire};
use healthd_plugin::net::Lines;
use healthd_plugin::options::Thresholds;
use healthd_plugin::thresholds::Upper;
use healthd_plugin::tls::{Dialect, starttls};
use healthd_plugin::{Check, Cx, Metric, Status};
use options::{Options, Scope};
use std::io;

const BIND: u8 = 0x60;
const BIND_DONE: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const REFERENCE: u8 = 0x73;
/// A server that says something on its own: that it goes down.
const NOTICE: u8 = 0x78;
const ENUMERATED: u8 = 0x0A;
const BOOLEAN: u8 = 0x01;

const MESSAGE_MAX: usize = 1 << 20;
const ENTRIES_MAX: i32 = 10_000;
const SIZE_LIMIT_EXCEEDED: i64 = 4;

pub struct Ldap {
    options: Options,
    server: Server,
    filter: Vec<u8>,
}

struct Seen {
    entries: u32,
    /// There were more than anybody may ask for.
    more: bool,
    certificate_days: Option<f64>,
    bind_seconds: Option<f64>,
    seconds: f64,
}

/// How a request ended.
struct Done {
    code: i64,
    text: String,
}

impl Check for Ldap {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let usual = if o.tls == TlsMode::Implicit { 636 } else { 389 };
        let port = o.port.unwrap_or(usual);
        let server = Server::new(&o.host, port, o.family)?
            .or_socket(o.socket.as_deref())
            .with_tls(
                o.tls,
                o.ca_file.as_deref(),
                o.insecure,
                o.server_name.as_deref(),
            )?;
        if o.user.is_some() != o.password.is_some() {
            return Err("user, password: both or none".into());
        }
        if o.user.is_some() && !server.is_private() {
            return Err(
                "user: a password is only told inside of TLS or over a socket; see the option tls"
                    .into(),
            );
        }
        let filter = filter::encode(&o.filter).map_err(|why| format!("filter: {why}"))?;
        Ok(Ldap {
            server,
            filter,
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

impl Ldap {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let begin = cx.now_ns();
        let wire = self.server.open(cx).await;
        let mut wire = wire.map_err(|f| f.tell(cx))?;
        if self.server.is_starttls() {
            cx.phase("starttls");
            let asked = starttls(wire, Dialect::Ldap, self.server.host().bare()).await;
            let asked = asked.map_err(|e| cx.fail("starttls", &e))?;
            let secure = self.server.secure(asked).await;
            wire = secure.map_err(|f| f.tell(cx))?;
        }
        let mut lines = Lines::new(wire, MESSAGE_MAX);
        let mut seen = Seen {
            entries: 0,
            more: false,
            certificate_days: lines.get_ref().certificate_days(),
            bind_seconds: None,
            seconds: 0.0,
        };
        if let (Some(user), Some(password)) = (&o.user, &o.password) {
            cx.phase("bind");
            let asked = lines.get_ref().now_ns();
            let done = bind(&mut lines, user, password).await;
            done.map_err(|e| cx.fail("bind", &e))?.fine(cx, "bind")?;
            seen.bind_seconds = Some(lines.get_ref().seconds_since(asked));
        }
        cx.phase("search");
        let done = self.search(&mut lines, &mut seen.entries).await;
        let done = done.map_err(|e| cx.fail("search", &e))?;
        match done.code {
            SIZE_LIMIT_EXCEEDED => seen.more = true,
            _ => done.fine(cx, "search")?,
        }
        seen.seconds = lines.get_ref().seconds_since(begin);
        cx.phase("unbind");
        let _ = lines.write(&message(3, UNBIND, &[])).await;
        Ok(seen)
    }

    async fn search(&self, lines: &mut Lines<Wire<'_>>, entries: &mut u32) -> io::Result<Done> {
        let o = &self.options;
        let scope = match o.scope {
            Scope::Base => 0,
            Scope::One => 1,
            Scope::Sub => 2,
        };
        // No attributes: it is only counted.
        let attributes = tagged(SEQUENCE, &tagged(OCTETS, b"1.1"));
        let request = [
            tagged(OCTETS, o.base.as_deref().unwrap_or_default().as_bytes()),
            tagged(ENUMERATED, &[scope]),
            tagged(ENUMERATED, &[0]),
            integer(ENTRIES_MAX),
            integer(0),
            tagged(BOOLEAN, &[0]),
            self.filter.clone(),
            attributes,
        ];
        lines.write(&message(2, SEARCH, &request.concat())).await?;
        loop {
            let (tag, content) = next(lines, 2).await?;
            match tag {
                ENTRY if *entries > ENTRIES_MAX as u32 => {
                    return Err(odd("it sends more entries than it was asked for"));
                }
                ENTRY => *entries += 1,
                REFERENCE => {}
                SEARCH_DONE => return Done::parse(&content),
                tag => return Err(odd(&format!("it answers a search with type {tag:#04x}"))),
            }
        }
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        if let Some(days) = seen.certificate_days {
            cx.metric(Metric::new("certificate", days).unit("d"));
        }
        if let Some(seconds) = seen.bind_seconds {
            cx.metric(Metric::new("bind", seconds).unit("s").min(0.0));
        }
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seen.seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seen.seconds));
        report.upper(limits, metric, seen.seconds, &text, Unit::Seconds);
        let limits = Thresholds {
            warn: o.entries_warn,
            crit: o.entries_crit,
        };
        let n = f64::from(seen.entries);
        cx.metric(limits.on(Metric::new("entries", n).min(0.0)));
        let entries = if seen.entries == 1 {
            "entry"
        } else {
            "entries"
        };
        let text = match seen.more {
            true => format!("{n} {entries} and more"),
            false => format!("{n} {entries}"),
        };
        let range = match limits.judge(n) {
            Status::Critical => o.entries_crit,
            Status::Warn => o.entries_warn,
            _ => None,
        };
        if let Some(range) = range {
            report.add(limits.judge(n), format!("{text}, outside of {range}"));
            return report.end("");
        }
        if seen.entries == 0 && limits == Thresholds::default() {
            report.add(Status::Critical, "nothing was found");
            return report.end("");
        }
        let who = match &o.user {
            Some(user) => format!("logged in as {user}, "),
            None => String::new(),
        };
        report.end(&format!("{who}{text} found"))
    }
}

/// A simple bind, version 3.
async fn bind(lines: &mut Lines<Wire<'_>>, user: &str, password: &str) -> io::Result<Done> {
    let request = [
        integer(3),
        tagged(OCTETS, user.as_bytes()),
        tagged(0x80, password.as_bytes()),
    ];
    lines.write(&message(1, BIND, &request.concat())).await?;
    match next(lines, 1).await? {
        (BIND_DONE, content) => Done::parse(&content),
        (tag, _) => Err(odd(&format!("it answers a bind with type {tag:#04x}"))),
    }
}

fn message(id: i32, tag: u8, content: &[u8]) -> Vec<u8> {
    tagged(SEQUENCE, &[integer(id), tagged(tag, content)].concat())
}

/// The type and the content of the next answer to a request.
async fn next(lines: &mut Lines<Wire<'_>>, id: i64) -> io::Result<(u8, Vec<u8>)> {
    let whole = sequence(lines, MESSAGE_MAX).await?;
    let mut reader = Reader(&whole);
    let read = |reader: &mut Reader<'_>| -> Result<(i64, u8, Vec<u8>), String> {
        let id = signed(reader.want(INTEGER)?)?;
        let (tag, content) = reader.next()?;
        Ok((id, tag, content.to_vec()))
    };
    let (of, tag, content) = read(&mut reader).map_err(|why| odd(&why))?;
    if of == 0 && tag == NOTICE {
        let done = Done::parse(&content)?;
        return Err(odd(&format!("the server hangs up: {}", done.words())));
    }
    match of == id {
        true => Ok((tag, content)),
        false => Err(odd("it answers another request")),
    }
}

impl Done {
    fn parse(content: &[u8]) -> io::Result<Done> {
        let mut reader = Reader(content);
        let read = |reader: &mut Reader<'_>| -> Result<Done, String> {
            let code = signed(reader.want(ENUMERATED)?)?;
            reader.want(OCTETS)?;
            let text = String::from_utf8_lossy(reader.want(OCTETS)?).into_owned();
            let text = text.chars().filter(|c| !c.is_control()).take(160).collect();
            Ok(Done { code, text })
        };
        read(&mut reader).map_err(|why| odd(&why))
    }

    /// Anything but success is the outcome, with its message set.
    fn fine(&self, cx: Cx<'_>, phase: &str) -> Result<(), Status> {
        match self.code {
            0 => Ok(()),
            // What this user may not do, or not in this way, says nothing about the server.
            8 | 13 | 50 => Err(cx.unknown(format_args!("{phase}: {}", self.words()))),
            _ => Err(cx.critical(format_args!("{phase}: {}", self.words()))),
        }
    }

    fn words(&self) -> String {
        let name = match self.code {
            1 => "operationsError",
            2 => "protocolError",
            3 => "timeLimitExceeded",
            8 => "strongerAuthRequired",
            10 => "referral",
            13 => "confidentialityRequired",
            32 => "noSuchObject",
            34 => "invalidDNSyntax",
            49 => "invalidCredentials",
            50 => "insufficientAccessRights",
            51 => "busy",
            52 => "unavailable",
            53 => "unwillingToPerform",
            _ => "",
        };
        let name = if name.is_empty() {
            format!("result {}", self.code)
        } else {
            name.to_owned()
        };
        match self.text.as_str() {
            "" => name,
            text => format!("{name}: {text}"),
        }
    }
}

fn odd(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
