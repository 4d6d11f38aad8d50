//! The `smtp` plugin: a mail server, up to the recipient. Options, metrics and verdicts are in `SMTP.md`.
//!
//! Runs in: the step lane. It never says DATA.

mod options;

use crate::mail::{account_is_safe, judge_conversation};
use crate::report::Report;
use healthd_client::server::Server;
use healthd_client::wire::{Begun, Wire};
use healthd_plugin::base64::base64;
use healthd_plugin::net::Lines;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::tls::Reply;
use healthd_plugin::{Check, Cx, Metric, Status};
use options::Options;

const LINE_MAX: usize = 4 << 10;

pub struct Smtp {
    options: Options,
    server: Server,
}

/// What came of the conversation.
struct Seen {
    /// To the last command.
    reply: Reply,
    /// The command.
    said: &'static str,
    banner_seconds: f64,
    seconds: f64,
    begun: Begun,
}

impl Check for Smtp {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let server = Server::new(&o.host, o.port, o.family)?.with_tls(
            o.tls,
            o.ca_file.as_deref(),
            o.insecure,
            o.server_name.as_deref(),
        )?;
        account_is_safe(&o.user, &o.password, o.tls)?;
        if o.rcpt_to.is_some() && o.mail_from.is_none() {
            return Err("rcpt_to: needs `mail_from`".into());
        }
        let texts = [Some(&o.helo), o.mail_from.as_ref(), o.rcpt_to.as_ref()];
        let bad = |t: &&String| t.contains(|c: char| c.is_control() || "<> ".contains(c));
        if let Some(text) = texts.into_iter().flatten().find(bad) {
            return Err(format!("{text:?} is no name or address"));
        }
        Ok(Smtp { server, options: o })
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
        let begin = cx.now_ns();
        let since = || (cx.now_ns() - begin) as f64 / 1e9;
        let lines = self.server.lines(cx, LINE_MAX).await;
        let mut lines = lines.map_err(|f| f.tell(cx))?;
        let banner = reply(cx, &mut lines, "banner").await?;
        let banner_seconds = since();
        let mut last = ("banner", banner);
        if last.1.code == 220 {
            (lines, last) = self.say(cx, lines).await?;
        }
        let seconds = since();
        cx.phase("quit");
        // A server logs who leaves without a word; its answer to that is nothing to wait for.
        let _ = lines.write(b"QUIT\r\n").await;
        Ok(Seen {
            said: last.0,
            reply: last.1,
            banner_seconds,
            seconds,
            begun: lines.get_ref().begun(),
        })
    }

    /// All that comes after the banner; the last command, as its phase, and the answer to it.
    async fn say<'a>(
        &self,
        cx: Cx<'a>,
        mut lines: Lines<Wire<'a>>,
    ) -> Result<(Lines<Wire<'a>>, (&'static str, Reply)), Status> {
        let o = &self.options;
        let mut offer = self.hello(cx, &mut lines).await?;
        if self.server.is_starttls() {
            if offers(&offer, "STARTTLS").is_none() {
                return Err(cx.critical("starttls: the server offers none"));
            }
            let go = command(cx, &mut lines, "starttls", "STARTTLS").await?;
            wanted(cx, "starttls", &go, 220)?;
            let secure = self.server.upgrade(lines).await;
            lines = secure.map_err(|f| f.tell(cx))?;
            offer = self.hello(cx, &mut lines).await?;
        }
        let mut last = ("ehlo", offer);
        if let (Some(user), Some(password)) = (&o.user, &o.password) {
            let done = auth(cx, &mut lines, &last.1, user, password).await?;
            wanted(cx, "auth", &done, 235)?;
            last = ("auth", done);
        }
        if let Some(from) = &o.mail_from {
            let line = format!("MAIL FROM:<{from}>");
            last = ("mail", command(cx, &mut lines, "mail", &line).await?);
        }
        if let Some(to) = o.rcpt_to.as_ref().filter(|_| last.1.code == 250) {
            let line = format!("RCPT TO:<{to}>");
            last = ("rcpt", command(cx, &mut lines, "rcpt", &line).await?);
        }
        Ok((lines, last))
    }

    async fn hello(&self, cx: Cx<'_>, lines: &mut Lines<Wire<'_>>) -> Result<Reply, Status> {
        let hello = command(cx, lines, "ehlo", &format!("EHLO {}", self.options.helo)).await?;
        wanted(cx, "ehlo", &hello, 250)?;
        Ok(hello)
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let answer = format!("{}: {}", seen.said, seen.reply.text());
        let fine = o.expect.contains(&seen.reply.code);
        if !fine {
            report.add(gravity(&seen.reply), answer.as_str());
        }
        let certificate = Lower {
            warn: o.certificate_days_warn,
            crit: o.certificate_days_crit,
        };
        let latency = Upper::of_durations(o.latency_warn, o.latency_crit);
        judge_conversation(&mut report, seen.begun, certificate, seen.seconds, latency);
        cx.metric(
            Metric::new("banner", seen.banner_seconds)
                .unit("s")
                .min(0.0),
        );
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

/// Another answer than this one is the outcome, with its message set.
fn wanted(cx: Cx<'_>, phase: &str, reply: &Reply, code: u16) -> Result<(), Status> {
    if reply.code == code {
        return Ok(());
    }
    cx.message(format_args!("{phase}: {}", reply.text()));
    Err(gravity(reply))
}

/// What stands behind a word in the answer to EHLO; None if it is not there.
fn offers<'r>(hello: &'r Reply, word: &str) -> Option<&'r str> {
    hello.lines.iter().skip(1).find_map(|line| {
        let (first, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
        first.eq_ignore_ascii_case(word).then_some(rest)
    })
}

/// By PLAIN, or by LOGIN if that is all a server offers.
async fn auth(
    cx: Cx<'_>,
    lines: &mut Lines<Wire<'_>>,
    hello: &Reply,
    user: &str,
    password: &str,
) -> Result<Reply, Status> {
    let ways = offers(hello, "AUTH").unwrap_or_default();
    let has = |way: &str| ways.split(' ').any(|w| w.eq_ignore_ascii_case(way));
    if has("PLAIN") {
        let plain = base64(format!("\0{user}\0{password}").as_bytes());
        return command(cx, lines, "auth", &format!("AUTH PLAIN {plain}")).await;
    }
    if !has("LOGIN") {
        return Err(cx.unknown("auth: the server offers neither PLAIN nor LOGIN"));
    }
    for line in ["AUTH LOGIN", &base64(user.as_bytes())] {
        let go_on = command(cx, lines, "auth", line).await?;
        wanted(cx, "auth", &go_on, 334)?;
    }
    command(cx, lines, "auth", &base64(password.as_bytes())).await
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
