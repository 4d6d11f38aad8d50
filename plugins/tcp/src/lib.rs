//! The `tcp` plugin: connects and, if told so, says something and judges the answer. The options are in `README.md`.
//!
//! Runs in: the step lane of an io worker.

#![forbid(unsafe_code)]

mod dialogue;
mod escape;
mod options;

use dialogue::{Captured, Step};
use healthd_plugin::net::{self, TcpStream};
use healthd_plugin::tls::{
    Connector, Roots, Settings, Shown, Version, identity_from_options, starttls,
    versions_from_options,
};
use healthd_plugin::{Check, Cx, Metric, Status, host_name, plugins, thresholds};
use options::Options;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

plugins! {
    step Tcp { name: "tcp", summary: "connects to a TCP port, with TLS if wanted, and checks the answer" }
}

/// What is read of an answer at most: a banner or a status line, not a page.
const MAX_ANSWER: usize = 16 << 10;

pub struct Tcp {
    options: Options,
    /// A literal address, so that no run has to parse or resolve it.
    ip: Option<IpAddr>,
    /// As it is looked up.
    host: String,
    steps: Vec<Step>,
    tls: Option<Connector>,
}

/// When each phase ended, on the host's clock; 0: there was no such phase.
#[derive(Default)]
struct Times {
    begin: u64,
    dns: u64,
    connect: u64,
    tls: u64,
    /// The certificate of the chain that ends first.
    certificate: Option<Shown>,
    /// What `insecure` let pass.
    unverified: Option<String>,
    /// 0: when it is judged.
    end: u64,
}

impl Check for Tcp {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let ip = o
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .ok();
        if let Some(ip) = ip
            && !healthd_plugin::Family::from(o.family).allows(ip)
        {
            return Err(format!(
                "host: {ip} is not of the address family that `family` asks for"
            ));
        }
        let host = match ip {
            Some(ip) => ip.to_string(),
            None => host_name(&o.host)
                .map_err(|why| format!("host: {why}"))?
                .into_owned(),
        };
        Ok(Tcp {
            ip,
            host,
            steps: dialogue::steps(&o)?,
            tls: connector(&o)?,
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let mut times = Times {
            begin: cx.now_ns(),
            ..Times::default()
        };
        match self.talk(cx, &mut times).await {
            Ok(answer) => self.judge(cx, &times, &answer),
            Err(status) => status,
        }
    }
}

impl Tcp {
    /// The whole conversation. The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>, times: &mut Times) -> Result<Vec<u8>, Status> {
        let mut stream = self.connect(cx, times).await?;
        times.connect = cx.now_ns();
        let Some(tls) = &self.tls else {
            return self.speak(cx, &mut stream).await;
        };
        Box::pin(self.talk_tls(cx, tls, stream, times)).await
    }

    /// Boxed by its caller: a thousand checks that only connect shall not carry the room for TLS.
    async fn talk_tls(
        &self,
        cx: Cx<'_>,
        tls: &Connector,
        stream: TcpStream<'_>,
        times: &mut Times,
    ) -> Result<Vec<u8>, Status> {
        let stream = match self.options.starttls {
            None => stream,
            Some(dialect) => {
                cx.phase("starttls");
                let name = self.options.server_name.as_ref();
                starttls(stream, dialect, name.unwrap_or(&self.host))
                    .await
                    .map_err(|e| cx.fail("starttls", &e))?
            }
        };
        cx.phase("tls");
        let mut stream = tls.connect(stream).await.map_err(|e| cx.fail("tls", &e))?;
        times.tls = cx.now_ns();
        times.certificate.clone_from(&stream.seen().ends);
        times.unverified.clone_from(&stream.seen().unverified);
        if self.options.facts {
            for (key, value) in stream.facts() {
                cx.label(key, &value);
            }
        }
        let answer = self.speak(cx, &mut stream).await?;
        times.end = cx.now_ns();
        stream.refusal(cx).await.map_err(|e| cx.fail("tls", &e))?;
        Ok(answer)
    }

    async fn connect<'a>(&self, cx: Cx<'a>, times: &mut Times) -> Result<TcpStream<'a>, Status> {
        let port = self.options.port;
        if let Some(ip) = self.ip {
            cx.phase("connect");
            self.tell_address(cx, ip);
            return TcpStream::connect(cx, SocketAddr::new(ip, port))
                .await
                .map_err(|e| cx.fail("connect", &e));
        }
        cx.phase("dns");
        let family = self.options.family.into();
        let ips = cx
            .resolve(&self.host, family)
            .await
            .map_err(|e| cx.fail("dns", &e))?;
        times.dns = cx.now_ns();
        cx.phase("connect");
        let addresses: Vec<SocketAddr> = ips
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        let connected = TcpStream::connect_any(cx, &addresses).await;
        let to = connected.as_ref().map(TcpStream::peer).ok();
        if let Some(to) = to.or(addresses.first().copied()) {
            self.tell_address(cx, to.ip());
        }
        connected.map_err(|e| cx.fail("connect", &e))
    }

    fn tell_address(&self, cx: Cx<'_>, ip: IpAddr) {
        if self.options.facts {
            cx.label("address", &ip.to_string());
        }
    }

    async fn speak<S>(&self, cx: Cx<'_>, stream: &mut S) -> Result<Vec<u8>, Status>
    where
        S: net::AsyncRead + net::AsyncWrite + Unpin,
    {
        let mut answer = Vec::new();
        // What a step before has used up.
        let mut at = 0;
        // What had come when something was last said: only what follows can be the answer to it.
        let mut before = 0;
        let mut captured = Captured::new();
        for step in &self.steps {
            let words = step.words(&captured);
            if !words.is_empty() {
                cx.phase("send");
                net::write_all(stream, &words)
                    .await
                    .map_err(|e| cx.fail("send", &e))?;
                before = answer.len();
            }
            let Some(expect) = &step.expect else { continue };
            cx.phase("receive");
            // On the heap and not before it is needed, as TLS is in `talk`.
            let mut buffer = vec![0; 2048];
            let mut over = false;
            let mut looks = Looks::default();
            loop {
                if looks.are_long() {
                    // The others first.
                    cx.yield_now().await;
                }
                let begun = cx.now_ns();
                if let Some(used) = dialogue::matched(expect, &answer[at..], &mut captured) {
                    at += used;
                    break;
                }
                let said = &answer[at.max(before)..];
                if over {
                    if self.options.facts {
                        cx.label("broken_rule", "expect");
                    }
                    return Err(match said.is_empty() {
                        true => cx.critical("receive: connection closed without an answer"),
                        false => cx.critical(format_args!(
                            "answer {} does not match {expect}",
                            FirstLine(said)
                        )),
                    });
                }
                if !said.is_empty() {
                    // Stands behind the words of a time-out.
                    cx.message(format_args!("the server said {}", FirstLine(said)));
                }
                let next_look = looks.next(begun, cx.now_ns());
                over = more(
                    cx,
                    stream,
                    &mut buffer,
                    &mut answer,
                    at + MAX_ANSWER,
                    next_look,
                )
                .await
                .map_err(|e| cx.fail("receive", &e))?;
            }
        }
        for (name, bytes) in &captured {
            cx.label(name, &String::from_utf8_lossy(bytes));
        }
        Ok(answer)
    }

    fn judge(&self, cx: Cx<'_>, t: &Times, answer: &[u8]) -> Status {
        let o = &self.options;
        let end = if t.end == 0 { cx.now_ns() } else { t.end };
        let total = seconds(t.begin, end);
        let latency = thresholds::Upper::of_durations(o.latency_warn, o.latency_crit);
        cx.metric(latency.on(Metric::new("total", total).unit("s").min(0.0)));
        let phases = [
            ("dns", t.begin, t.dns),
            ("connect", t.begin.max(t.dns), t.connect),
            ("tls", t.connect, t.tls),
        ];
        for (name, from, to) in phases.into_iter().filter(|(_, _, to)| *to != 0) {
            cx.metric(Metric::new(name, seconds(from, to)).unit("s").min(0.0));
        }
        let mut certificate = Status::Ok;
        let mut too_few = String::new();
        let days = t.certificate.as_ref().map(Shown::days_left);
        if let Some(days) = days {
            let lower = thresholds::Lower {
                warn: o.certificate_warn_days,
                crit: o.certificate_crit_days,
            };
            cx.metric(lower.on(Metric::new("certificate", days).unit("d")));
            certificate = lower.judge(days);
            too_few = lower.passed_days(days);
        }
        let status = latency.judge(total).worst(certificate);
        let ms = total * 1e3;
        let unverified = t.unverified.as_ref();
        let unverified =
            unverified.map_or(String::new(), |what| format!(" (not verified: {what})"));
        if status != Status::Ok && certificate == status {
            cx.message(format_args!(
                "{} {}{too_few}",
                t.certificate.as_ref().map_or("certificate", |c| &c.whose),
                thresholds::validity(days.unwrap_or_default())
            ));
        } else if status != Status::Ok {
            cx.message(format_args!(
                "{ms:.2} ms{}{unverified}",
                latency.passed(total)
            ));
        } else if answer.is_empty() {
            cx.message(format_args!("connected in {ms:.2} ms{unverified}"));
        } else {
            cx.message(format_args!(
                "{} in {ms:.2} ms{unverified}",
                FirstLine(answer)
            ));
        }
        status
    }
}

/// How often an answer is looked at while it comes: in pieces as small as it likes, and with a pattern that may take a
/// millisecond on 16 KiB.
#[derive(Default)]
struct Looks {
    count: u32,
    /// What the last one took.
    took_ns: u64,
}

impl Looks {
    /// At most a tenth of the time is spent on so many, which do for any server that has something to say. Then one is
    /// talking on and on, perhaps many at once, and a hundredth must do.
    const FREE: u32 = 16;
    /// So much of a step is enough.
    const LONG_NS: u64 = 200_000;

    fn are_long(&self) -> bool {
        self.took_ns > Self::LONG_NS
    }

    /// When the next one may be.
    fn next(&mut self, begun_ns: u64, now_ns: u64) -> u64 {
        self.took_ns = now_ns - begun_ns;
        self.count = self.count.saturating_add(1);
        let rest = match self.count > Self::FREE {
            true => 99,
            false => 9,
        };
        now_ns + self.took_ns * rest
    }
}

/// Reads at least once, and until this time. True: there is no more, or no more room.
async fn more<S: net::AsyncRead + Unpin>(
    cx: Cx<'_>,
    stream: &mut S,
    buffer: &mut [u8],
    answer: &mut Vec<u8>,
    most: usize,
    until_ns: u64,
) -> io::Result<bool> {
    let before = answer.len();
    loop {
        let read = net::read(stream, buffer);
        let read = match answer.len() > before {
            false => read.await,
            true => {
                let left = Duration::from_nanos(until_ns.saturating_sub(cx.now_ns()));
                match cx.timeout(left, read).await {
                    Ok(read) => read,
                    Err(_) => return Ok(false),
                }
            }
        };
        let n = match read {
            // TLS says so when the peer ends without a goodbye: here it is the end.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        let room = most - answer.len();
        answer.extend_from_slice(&buffer[..n.min(room)]);
        if n == 0 || answer.len() == most {
            return Ok(true);
        }
        if cx.now_ns() >= until_ns {
            return Ok(false);
        }
    }
}

fn connector(o: &Options) -> Result<Option<Connector>, String> {
    let versions = (o.tls_min, o.tls_max);
    let set = [
        ("ca_file", o.ca_file.is_some()),
        ("insecure", o.insecure),
        ("server_name", o.server_name.is_some()),
        ("cert_file", o.cert_file.is_some()),
        ("key_file", o.key_file.is_some()),
        ("tls_min", versions.0 != Version::Tls12),
        ("tls_max", versions.1 != Version::Tls13),
        ("pins", !o.pins.is_empty()),
        ("certificate_warn_days", o.certificate_warn_days.is_some()),
        ("certificate_crit_days", o.certificate_crit_days.is_some()),
    ];
    if o.tls && o.starttls.is_some() {
        return Err("starttls: with `tls = true` there is nothing to ask for".into());
    }
    if !o.tls && o.starttls.is_none() {
        return match set.iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) => Err(format!("{name}: needs `tls = true` or `starttls`")),
            None => Ok(None),
        };
    }
    let (oldest, newest) = versions_from_options(o.tls_min, o.tls_max)?;
    let settings = Settings {
        roots: Roots::from_options(o.ca_file.as_deref(), o.insecure)?,
        identity: identity_from_options(o.cert_file.as_deref(), o.key_file.as_deref())?,
        may_identify: true,
        oldest,
        newest,
        pins: o.pins.clone(),
        ..Settings::default()
    };
    Connector::with(&settings, o.server_name.as_deref().unwrap_or(&o.host)).map(Some)
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

/// The beginning of what the peer said, for a one-line message.
struct FirstLine<'b>(&'b [u8]);

impl fmt::Display for FirstLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: usize = 60;
        let line = self
            .0
            .split(|b| matches!(b, b'\r' | b'\n'))
            .next()
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&line[..line.len().min(MAX)]);
        write!(f, "{:?}{}", text, if line.len() > MAX { "..." } else { "" })
    }
}

#[cfg(test)]
mod tests;
