//! The `mqtt` plugin: an MQTT broker. Options, metrics and verdicts are in `MQTT.md`.
//!
//! Runs in: the step lane. MQTT 3.1.1, which every broker speaks.

mod options;
mod packet;

use crate::report::{Report, Unit, seconds_text};
use healthd_client::server::Server;
use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use healthd_plugin::options::{FirstCell, Thresholds};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Metric, Status};
use options::Options;
use packet::{CONNACK, DISCONNECT, SUBACK, head, next, odd};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::time::Duration;

const LINE_MAX: usize = 64;
/// A broker sends a message that it keeps at once; so long is waited for it, and no longer than a third of a run.
const RETAINED_WAIT: Duration = Duration::from_secs(5);

pub struct Mqtt {
    options: Options,
    server: Server,
}

struct Seen {
    connect_seconds: f64,
    echo_seconds: Option<f64>,
    seconds: f64,
    /// Some(None): there is none.
    retained: Option<Option<String>>,
}

impl Check for Mqtt {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let port = o.port.unwrap_or(if o.tls { 8883 } else { 1883 });
        let server = Server::new(&o.host, port, o.family)?
            .or_socket(o.socket.as_deref())
            .with_tls(
                o.tls,
                o.ca_file.as_deref(),
                o.insecure,
                o.server_name.as_deref(),
            )?;
        if o.password.is_some() && o.user.is_none() {
            return Err("password: needs `user`".into());
        }
        for (name, topic) in [("topic", &o.topic), ("retained", &o.retained)] {
            if topic
                .as_deref()
                .is_some_and(|t| t.contains(['+', '#', '\0']))
            {
                return Err(format!("{name}: one topic, without + and #"));
            }
        }
        if o.retained.is_none() && (o.expect.is_some() || o.warn.or(o.crit).is_some()) {
            return Err("expect, warn, crit: need `retained`".into());
        }
        Ok(Mqtt { server, options: o })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.talk(cx).await {
            Ok(seen) => self.judge(cx, &seen),
            Err(status) => status,
        }
    }
}

impl Mqtt {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let begin = cx.now_ns();
        let lines = self.server.lines(cx, LINE_MAX).await;
        let mut lines = lines.map_err(|f| f.tell(cx))?;
        cx.phase("login");
        let code = self
            .login(&mut lines)
            .await
            .map_err(|e| cx.fail("login", &e))?;
        if code != 0 {
            return Err(refused(cx, code));
        }
        let mut seen = Seen {
            connect_seconds: lines.get_ref().seconds_since(begin),
            echo_seconds: None,
            seconds: 0.0,
            retained: None,
        };
        if let Some(topic) = &o.topic {
            cx.phase("echo");
            let asked = lines.get_ref().now_ns();
            let heard = echo(&mut lines, topic)
                .await
                .map_err(|e| cx.fail("echo", &e))?;
            if !heard {
                return Err(cx.unknown(format_args!("echo: this user may not read {topic}")));
            }
            seen.echo_seconds = Some(lines.get_ref().seconds_since(asked));
        }
        if let Some(topic) = &o.retained {
            cx.phase("retained");
            let fail = |e| cx.fail("retained", &e);
            if !subscribed(&mut lines, 2, topic).await.map_err(fail)? {
                return Err(cx.unknown(format_args!("retained: this user may not read {topic}")));
            }
            let kept = retained(cx, &mut lines, topic).await;
            seen.retained = Some(kept.map_err(fail)?);
        }
        seen.seconds = lines.get_ref().seconds_since(begin);
        let _ = lines.write(&DISCONNECT).await;
        Ok(seen)
    }

    /// The broker's code: 0 is a welcome.
    async fn login(&self, lines: &mut Lines<Wire<'_>>) -> io::Result<u8> {
        let o = &self.options;
        let client = format!("healthd-{:016x}", RandomState::new().hash_one(0));
        let hello = packet::connect(&client, o.user.as_deref(), o.password.as_deref());
        lines.write(&hello).await?;
        let answer = next(lines).await?;
        match answer.content[..] {
            [_, code] if answer.is(CONNACK) => Ok(code),
            _ => Err(odd("it answers a login with something else".into())),
        }
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        cx.metric(
            Metric::new("login", seen.connect_seconds)
                .unit("s")
                .min(0.0),
        );
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seen.seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seen.seconds));
        report.upper(limits, metric, seen.seconds, &text, Unit::Seconds);
        let mut summary = "logged in".to_owned();
        if let Some(seconds) = seen.echo_seconds {
            cx.metric(Metric::new("echo", seconds).unit("s").min(0.0));
            summary += &format!(", a message came back after {}", seconds_text(seconds));
        }
        if let (Some(topic), Some(retained)) = (&o.retained, &seen.retained) {
            match retained {
                None => report.add(Status::Critical, format!("no message is kept of {topic}")),
                Some(text) => {
                    let thresholds = Thresholds {
                        warn: o.warn,
                        crit: o.crit,
                    };
                    let verdict = FirstCell::Text(text).report(cx, o.expect.as_ref(), &thresholds);
                    let text = format!("{topic} is {}", verdict.text);
                    match verdict.status {
                        Status::Ok => summary = format!("{text}; {summary}"),
                        status => report.add(status, text),
                    }
                }
            }
        }
        report.end(&summary)
    }
}

fn refused(cx: Cx<'_>, code: u8) -> Status {
    let why = match code {
        1 => return cx.unknown("login: the broker does not speak MQTT 3.1.1"),
        2 => "it does not like our name",
        3 => "it is not available",
        4 => "user or password is wrong",
        5 => "this user may not log in",
        _ => return cx.critical(format_args!("login: the broker refuses with code {code}")),
    };
    cx.critical(format_args!("login: the broker refuses: {why}"))
}

/// Sends a message that must come back. False: this user may not read there.
async fn echo(lines: &mut Lines<Wire<'_>>, topic: &str) -> io::Result<bool> {
    if !subscribed(lines, 1, topic).await? {
        return Ok(false);
    }
    let content = format!("{:016x}", RandomState::new().hash_one(1));
    lines
        .write(&packet::publish(topic, content.as_bytes()))
        .await?;
    loop {
        let packet = next(lines).await?;
        let message = packet.message();
        if message.is_some_and(|m| m.topic == topic.as_bytes() && m.content == content.as_bytes()) {
            return Ok(true);
        }
    }
}

/// The message that the broker keeps, if it has one: it would begin to send it by now.
async fn retained(
    cx: Cx<'_>,
    lines: &mut Lines<Wire<'_>>,
    topic: &str,
) -> io::Result<Option<String>> {
    let wait = RETAINED_WAIT.min(cx.remaining() / 3);
    let begin = lines.get_ref().now_ns();
    loop {
        let waited = Duration::from_nanos(lines.get_ref().now_ns() - begin);
        let Some(left) = wait.checked_sub(waited) else {
            return Ok(None);
        };
        let Ok(begun) = cx.timeout(left, head(lines)).await else {
            return Ok(None);
        };
        let packet = begun?.rest(lines).await?;
        if let Some(m) = packet
            .message()
            .filter(|m| m.is_retained && m.topic == topic.as_bytes())
        {
            return Ok(Some(String::from_utf8_lossy(m.content).into_owned()));
        }
    }
}

/// False: the broker refuses.
async fn subscribed(lines: &mut Lines<Wire<'_>>, number: u16, topic: &str) -> io::Result<bool> {
    lines.write(&packet::subscribe(number, topic)).await?;
    loop {
        let answer = next(lines).await?;
        let [high, low] = number.to_be_bytes();
        match answer.content[..] {
            [h, l, code] if answer.is(SUBACK) && (h, l) == (high, low) => return Ok(code < 0x80),
            _ if answer.is(SUBACK) => return Err(odd("it answers another request".into())),
            // A message of the topic before this one.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
