//! The `pop3` plugin: a POP3 server and how much mail waits there. Options, metrics and verdicts are in `POP3.md`.
//!
//! Runs in: the step lane.

mod options;

use crate::mail::{account_is_safe, judge_conversation};
use crate::report::{Report, Unit};
use healthd_client::server::Server;
use healthd_client::wire::{Begun, TlsMode, Wire};
use healthd_plugin::net::Lines;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{Check, Cx, Metric, Status};
use options::Options;

const LINE_MAX: usize = 4 << 10;

pub struct Pop3 {
    options: Options,
    server: Server,
}

struct Seen {
    greeting: String,
    begun: Begun,
    /// How many, and how many bytes; None: nobody logged in.
    messages: Option<(f64, f64)>,
    seconds: f64,
}

impl Check for Pop3 {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let usual = if o.tls == TlsMode::Implicit { 995 } else { 110 };
        let port = o.port.unwrap_or(usual);
        let server = Server::new(&o.host, port, o.family)?.with_tls(
            o.tls,
            o.ca_file.as_deref(),
            o.insecure,
            o.server_name.as_deref(),
        )?;
        account_is_safe(&o.user, &o.password, o.tls)?;
        for (name, text) in [("user", &o.user), ("password", &o.password)] {
            if text
                .as_deref()
                .is_some_and(|t| t.contains(char::is_control))
            {
                return Err(format!("{name}: control characters"));
            }
        }
        if o.messages_warn.or(o.messages_crit).is_some() && o.user.is_none() {
            return Err("messages_*: need `user`".into());
        }
        Ok(Pop3 { server, options: o })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.talk(cx).await {
            Ok(seen) => self.judge(cx, &seen),
            Err(status) => status,
        }
    }
}

impl Pop3 {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let begin = cx.now_ns();
        let lines = self.server.lines(cx, LINE_MAX).await;
        let mut lines = lines.map_err(|f| f.tell(cx))?;
        let greeting = answer(cx, &mut lines, "greeting").await?;
        if self.server.is_starttls() {
            ask(cx, &mut lines, "stls", "STLS").await?;
            let secure = self.server.upgrade(lines).await;
            lines = secure.map_err(|f| f.tell(cx))?;
        }
        let begun = lines.get_ref().begun();
        let mut messages = None;
        if let (Some(user), Some(password)) = (&o.user, &o.password) {
            ask(cx, &mut lines, "login", &format!("USER {user}")).await?;
            ask(cx, &mut lines, "login", &format!("PASS {password}")).await?;
            let stat = ask(cx, &mut lines, "stat", "STAT").await?;
            let mut words = stat.split(' ').map(|w| w.parse::<u64>().ok());
            let (Some(Some(n)), Some(Some(size))) = (words.next(), words.next()) else {
                return Err(cx.critical(format_args!("stat: {stat:?} is no count of messages")));
            };
            messages = Some((n as f64, size as f64));
        }
        let seconds = (cx.now_ns() - begin) as f64 / 1e9;
        cx.phase("quit");
        // Its goodbye is nothing to wait for.
        let _ = lines.write(b"QUIT\r\n").await;
        Ok(Seen {
            greeting,
            begun,
            messages,
            seconds,
        })
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let certificate = Lower {
            warn: o.certificate_days_warn,
            crit: o.certificate_days_crit,
        };
        let latency = Upper::of_durations(o.latency_warn, o.latency_crit);
        judge_conversation(&mut report, seen.begun, certificate, seen.seconds, latency);
        let Some((messages, size)) = seen.messages else {
            return report.end(&seen.greeting);
        };
        cx.metric(Metric::new("size", size).unit("By").min(0.0));
        let limits = Upper {
            warn: o.messages_warn.map(f64::from),
            crit: o.messages_crit.map(f64::from),
        };
        let text = format!("{messages} messages");
        report.upper(
            limits,
            Metric::new("messages", messages).min(0.0),
            messages,
            &text,
            Unit::Plain,
        );
        report.end(&format!("{messages} messages wait"))
    }
}

async fn ask(
    cx: Cx<'_>,
    lines: &mut Lines<Wire<'_>>,
    phase: &str,
    text: &str,
) -> Result<String, Status> {
    cx.phase(phase);
    let sent = lines.write(format!("{text}\r\n").as_bytes()).await;
    sent.map_err(|e| cx.fail(phase, &e))?;
    answer(cx, lines, phase).await
}

/// What stands behind +OK. A mailbox in use or a server in trouble (RFC 2449, 3206) is no refusal for good.
async fn answer(cx: Cx<'_>, lines: &mut Lines<Wire<'_>>, phase: &str) -> Result<String, Status> {
    cx.phase(phase);
    let line = lines.text().await.map_err(|e| cx.fail(phase, &e))?;
    let shown: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
    if let Some(rest) = shown.strip_prefix("+OK") {
        return Ok(rest.trim_start().to_owned());
    }
    cx.message(format_args!("{phase}: {shown}"));
    match shown.strip_prefix("-ERR").map(str::trim_start) {
        Some(rest)
            if ["[IN-USE]", "[SYS/TEMP]", "[LOGIN-DELAY]"]
                .iter()
                .any(|c| rest.starts_with(c)) =>
        {
            Err(Status::Warn)
        }
        Some(_) => Err(Status::Critical),
        None => Err(cx.critical(format_args!("{phase}: {shown:?} is nothing that POP3 says"))),
    }
}

#[cfg(test)]
mod tests;
