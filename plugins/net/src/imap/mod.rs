//! The `imap` plugin: an IMAP server and a mailbox. Options, metrics and verdicts are in `IMAP.md`.
//!
//! Runs in: the step lane. The mailbox is opened by EXAMINE: looking at it marks nothing as read.

mod options;
mod talk;

use crate::mail::{account_is_safe, judge_conversation};
use crate::report::{Report, Unit, seconds_text};
use healthd_client::server::Server;
use healthd_client::wire::{Begun, TlsMode, Wire};
use healthd_plugin::net::Lines;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{Check, Cx, Metric, Status};
use options::Options;
use std::time::{SystemTime, UNIX_EPOCH};
use talk::{Answer, command, internal_date, number_of, quoted, shown, starts};

const LINE_MAX: usize = 64 << 10;

pub struct Imap {
    options: Options,
    server: Server,
}

#[derive(Default)]
struct Seen {
    greeting: String,
    begun: Begun,
    /// None: nobody logged in.
    login_seconds: Option<f64>,
    messages: Option<u32>,
    unseen: Option<u32>,
    /// In seconds.
    oldest: Option<f64>,
    seconds: f64,
}

impl Check for Imap {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let usual = if o.tls == TlsMode::Implicit { 993 } else { 143 };
        let port = o.port.unwrap_or(usual);
        let server = Server::new(&o.host, port, o.family)?.with_tls(
            o.tls,
            o.ca_file.as_deref(),
            o.insecure,
            o.server_name.as_deref(),
        )?;
        account_is_safe(&o.user, &o.password, o.tls)?;
        for (name, text) in [
            ("user", &o.user),
            ("password", &o.password),
            ("mailbox", &Some(o.mailbox.clone())),
        ] {
            if text.as_deref().is_some_and(|t| quoted(t).is_none()) {
                return Err(format!("{name}: only printable ASCII characters"));
            }
        }
        let looks =
            o.unseen_warn.or(o.unseen_crit).is_some() || o.oldest_warn.or(o.oldest_crit).is_some();
        if looks && o.user.is_none() {
            return Err("unseen_*, oldest_*: need `user`".into());
        }
        Ok(Imap { server, options: o })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.talk(cx).await {
            Ok(seen) => self.judge(cx, &seen),
            Err(status) => status,
        }
    }
}

impl Imap {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let begin = cx.now_ns();
        let lines = self.server.lines(cx, LINE_MAX).await;
        let mut lines = lines.map_err(|f| f.tell(cx))?;
        cx.phase("greeting");
        let greeting = lines.text().await.map_err(|e| cx.fail("greeting", &e))?;
        let preauth = starts(&greeting, "* PREAUTH");
        if !starts(&greeting, "* OK") && !preauth {
            return Err(cx.critical(format_args!("greeting: {:?}", shown(&greeting))));
        }
        if self.server.is_starttls() {
            if preauth {
                return Err(
                    cx.critical("the server says PREAUTH, after which IMAP has no STARTTLS")
                );
            }
            let go = ask(cx, &mut lines, "starttls", "STARTTLS").await?;
            if !go.ok {
                return Err(cx.critical(format_args!("starttls: {}", go.text)));
            }
            let secure = self.server.upgrade(lines).await;
            lines = secure.map_err(|f| f.tell(cx))?;
        }
        let mut seen = Seen {
            greeting: words(&greeting),
            begun: lines.get_ref().begun(),
            ..Seen::default()
        };
        let able = ask(cx, &mut lines, "capability", "CAPABILITY").await?;
        if !able
            .untagged
            .iter()
            .any(|l| l.to_ascii_uppercase().contains("IMAP4"))
        {
            return Err(cx.critical("capability: the server does not say that it speaks IMAP4"));
        }
        if let (Some(user), Some(password)) = (&o.user, &o.password) {
            let login = lines.get_ref().now_ns();
            if !preauth {
                let words = [user, password].map(|t| quoted(t).unwrap_or_default());
                let done = ask(
                    cx,
                    &mut lines,
                    "login",
                    &format!("LOGIN {} {}", words[0], words[1]),
                )
                .await?;
                if !done.ok {
                    return Err(refused(cx, "login", &done));
                }
            }
            seen.login_seconds = Some(lines.get_ref().seconds_since(login));
            self.look(cx, &mut lines, &mut seen).await?;
        }
        seen.seconds = lines.get_ref().seconds_since(begin);
        cx.phase("logout");
        // Its goodbye is nothing to wait for.
        let _ = lines.write(b"a LOGOUT\r\n").await;
        Ok(seen)
    }

    async fn look(
        &self,
        cx: Cx<'_>,
        lines: &mut Lines<Wire<'_>>,
        seen: &mut Seen,
    ) -> Result<(), Status> {
        let name = quoted(&self.options.mailbox).unwrap_or_default();
        let status = ask(
            cx,
            lines,
            "status",
            &format!("STATUS {name} (MESSAGES UNSEEN)"),
        )
        .await?;
        if !status.ok {
            return Err(refused(cx, "status", &status));
        }
        let of = |word| status.untagged.iter().find_map(|l| number_of(l, word));
        (seen.messages, seen.unseen) = (of("MESSAGES"), of("UNSEEN"));
        let examine = ask(cx, lines, "examine", &format!("EXAMINE {name}")).await?;
        if !examine.ok {
            return Err(refused(cx, "examine", &examine));
        }
        // Message 1 is the first that came, and is still there.
        if seen.messages.is_some_and(|n| n > 0) {
            let fetch = ask(cx, lines, "fetch", "FETCH 1 (INTERNALDATE)").await?;
            let date = fetch.untagged.iter().find_map(|l| internal_date(l));
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default();
            seen.oldest = date.map(|at| (now.as_secs_f64() - at as f64).max(0.0));
        }
        Ok(())
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
        let Some(login) = seen.login_seconds else {
            return report.end(&seen.greeting);
        };
        cx.metric(Metric::new("login", login).unit("s").min(0.0));
        let (Some(messages), Some(unseen)) = (seen.messages, seen.unseen) else {
            report.add(
                Status::Unknown,
                "the server does not say how many messages there are",
            );
            return report.end("");
        };
        cx.metric(Metric::new("messages", messages.into()).min(0.0));
        let limits = Upper {
            warn: o.unseen_warn.map(f64::from),
            crit: o.unseen_crit.map(f64::from),
        };
        let text = format!("{unseen} unread messages");
        report.upper(
            limits,
            Metric::new("unseen", unseen.into()).min(0.0),
            unseen.into(),
            &text,
            Unit::Plain,
        );
        let limits = Upper::of_durations(o.oldest_warn, o.oldest_crit);
        match seen.oldest {
            Some(age) => {
                let text = format!("the oldest message is there for {}", seconds_text(age));
                report.upper(
                    limits,
                    Metric::new("oldest", age).unit("s").min(0.0),
                    age,
                    &text,
                    Unit::Seconds,
                );
            }
            None if messages > 0 && (limits.warn.is_some() || limits.crit.is_some()) => {
                report.add(
                    Status::Unknown,
                    "the server does not say how old the oldest message is",
                );
            }
            None => {}
        }
        report.end(&format!(
            "{}: {messages} messages, {unseen} unread",
            o.mailbox
        ))
    }
}

/// A greeting for people: without what the server can do, which may stand in it.
fn words(greeting: &str) -> String {
    let text = greeting.get(2..).unwrap_or_default();
    match text.split_once('[').zip(text.split_once("] ")) {
        Some(((before, _), (_, after))) => shown(&format!("{before}{after}")),
        None => shown(text),
    }
}

async fn ask(
    cx: Cx<'_>,
    lines: &mut Lines<Wire<'_>>,
    phase: &str,
    text: &str,
) -> Result<Answer, Status> {
    cx.phase(phase);
    command(lines, text).await.map_err(|e| cx.fail(phase, &e))
}

/// A server that is busy says UNAVAILABLE or INUSE (RFC 5530): that is no refusal for good.
fn refused(cx: Cx<'_>, phase: &str, answer: &Answer) -> Status {
    cx.message(format_args!("{phase}: {}", answer.text));
    match ["[UNAVAILABLE]", "[INUSE]", "[LIMIT]"]
        .iter()
        .any(|code| answer.text.contains(code))
    {
        true => Status::Warn,
        false => Status::Critical,
    }
}

#[cfg(test)]
mod tests;
