//! The `smtp` plugin: a mail server, up to the recipient. Options, metrics and verdicts are in `SMTP.md`.
//!
//! Runs in: the step lane. It never says DATA.

mod options;

use crate::report::{Report, Unit, seconds_text};
use crate::secure::{TlsMode, Wire, base64, connect, connector, upgrade};
use crate::target::Host;
use healthd_plugin::net::Lines;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::tls::{Connector, Reply};
use healthd_plugin::{Check, Cx, Metric, Status};
use options::Options;

const LINE_MAX: usize = 4 << 10;

pub struct Smtp {
    options: Options,
    host: Host,
    tls: Option<Connector>,
}

/// What came of the conversation.
struct Seen {
    /// To the last command.
    reply: Reply,
    /// The command.
    said: &'static str,
    banner_seconds: f64,
    seconds: f64,
    certificate_days: Option<f64>,
}

impl Check for Smtp {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let host = Host::new(&o.host, o.family)?;
        let tls = match o.tls {
            TlsMode::None if o.ca_file.is_some() || o.insecure || o.server_name.is_some() => {
                return Err("ca_file, insecure, server_name: need `tls`".into());
            }
            TlsMode::None => None,
            _ => Some(connector(
                &host,
                o.ca_file.as_deref(),
                o.insecure,
                o.server_name.as_deref(),
            )?),
        };
        if o.user.is_some() != o.password.is_some() {
            return Err("user, password: both or none".into());
        }
        if o.user.is_some() && o.tls == TlsMode::None {
            return Err("user: a password is only told inside of TLS; see the option tls".into());
        }
        if o.rcpt_to.is_some() && o.mail_from.is_none() {
            return Err("rcpt_to: needs `mail_from`".into());
        }
        let texts = [Some(&o.helo), o.mail_from.as_ref(), o.rcpt_to.as_ref()];
        let bad = |t: &&String| t.contains(|c: char| c.is_control() || "<> ".contains(c));
        if let Some(text) = texts.into_iter().flatten().find(bad) {
            return Err(format!("{text:?} is no name or address"));
        }
        Ok(Smtp {
            host,
            tls,
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

impl Smtp {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let begin = cx.now_ns();
        let since = || (cx.now_ns() - begin) as f64 / 1e9;
        let stream = connect(cx, &self.host, o.port, None).await?;
        let wire = match (&self.tls, o.tls) {
            (Some(tls), TlsMode::Implicit) => Wire::secure(cx, stream, tls).await?,
            _ => Wire::Plain(stream),
        };
        let mut lines = Lines::new(wire, LINE_MAX);
        let banner = reply(cx, &mut lines, "banner").await?;
        let banner_seconds = since();
        let mut last = ("banner", banner);
        if last.1.code != 220 {
            return self
                .end(cx, &mut lines, last, banner_seconds, since())
                .await;
        }
        let mut offer = self.hello(cx, &mut lines).await?;
        if let (Some(tls), TlsMode::StartTls) = (&self.tls, o.tls) {
            if !offer
                .lines
                .iter()
                .skip(1)
                .any(|l| l.eq_ignore_ascii_case("STARTTLS"))
            {
                return Err(cx.critical("the server offers no STARTTLS"));
            }
            let go = command(cx, &mut lines, "starttls", "STARTTLS").await?;
            if go.code != 220 {
                return Err(judged(cx, "STARTTLS", &go));
            }
            lines = upgrade(cx, lines, tls, LINE_MAX).await?;
            offer = self.hello(cx, &mut lines).await?;
        }
        last = ("EHLO", offer);
        if let (Some(user), Some(password)) = (&o.user, &o.password) {
            let plain = base64(format!("\0{user}\0{password}").as_bytes());
            let done = command(cx, &mut lines, "auth", &format!("AUTH PLAIN {plain}")).await?;
            if done.code != 235 {
                return Err(judged(cx, "AUTH", &done));
            }
            last = ("AUTH", done);
        }
        if let Some(from) = &o.mail_from {
            let done = command(cx, &mut lines, "mail", &format!("MAIL FROM:<{from}>")).await?;
            last = ("MAIL FROM", done);
        }
        if let Some(to) = o.rcpt_to.as_ref().filter(|_| last.1.code == 250) {
            let done = command(cx, &mut lines, "rcpt", &format!("RCPT TO:<{to}>")).await?;
            last = ("RCPT TO", done);
        }
        self.end(cx, &mut lines, last, banner_seconds, since())
            .await
    }

    async fn hello(&self, cx: Cx<'_>, lines: &mut Lines<Wire<'_>>) -> Result<Reply, Status> {
        let hello = command(cx, lines, "ehlo", &format!("EHLO {}", self.options.helo)).await?;
        match hello.code {
            250 => Ok(hello),
            _ => Err(judged(cx, "EHLO", &hello)),
        }
    }

    /// A server logs who leaves without a word; its answer to that is nothing to wait for.
    async fn end(
        &self,
        cx: Cx<'_>,
        lines: &mut Lines<Wire<'_>>,
        (said, reply): (&'static str, Reply),
        banner_seconds: f64,
        seconds: f64,
    ) -> Result<Seen, Status> {
        cx.phase("quit");
        let _ = lines.write(b"QUIT\r\n").await;
        Ok(Seen {
            reply,
            said,
            banner_seconds,
            seconds,
            certificate_days: lines.get_ref().certificate_days(),
        })
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let answer = format!("{}: {}", seen.said, seen.reply.text());
        let fine = o.expect.contains(&seen.reply.code);
        if !fine {
            report.add(gravity(&seen.reply), answer.as_str());
        }
        if let Some(days) = seen.certificate_days {
            let limits = Lower {
                warn: o.certificate_days_warn,
                crit: o.certificate_days_crit,
            };
            let text = format!("certificate is valid for {days:.1} days");
            report.lower(
                limits,
                Metric::new("certificate", days).unit("d"),
                days,
                &text,
                Unit::Days,
            );
        }
        cx.metric(
            Metric::new("banner", seen.banner_seconds)
                .unit("s")
                .min(0.0),
        );
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seen.seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seen.seconds));
        report.upper(limits, metric, seen.seconds, &text, Unit::Seconds);
        report.end(if fine { &answer } else { "" })
    }
}

/// "Try again later" (4xx: greylisting, a server that is full) is no refusal for good.
fn gravity(reply: &Reply) -> Status {
    match reply.code {
        // It closes the channel: nobody else can deliver either.
        421 => Status::Critical,
        400..=499 => Status::Warn,
        _ => Status::Critical,
    }
}

fn judged(cx: Cx<'_>, said: &str, reply: &Reply) -> Status {
    cx.message(format_args!("{said}: {}", reply.text()));
    gravity(reply)
}

async fn command(
    cx: Cx<'_>,
    lines: &mut Lines<Wire<'_>>,
    phase: &str,
    line: &str,
) -> Result<Reply, Status> {
    cx.phase(phase);
    let sent = lines.write(format!("{line}\r\n").as_bytes()).await;
    sent.map_err(|e| cx.fail(phase, &e))?;
    reply(cx, lines, phase).await
}

async fn reply(cx: Cx<'_>, lines: &mut Lines<Wire<'_>>, phase: &str) -> Result<Reply, Status> {
    cx.phase(phase);
    Reply::read(lines).await.map_err(|e| cx.fail(phase, &e))
}

#[cfg(test)]
mod tests;
