//! The `redis` plugin: Redis and Valkey. Options, metrics and verdicts are in `REDIS.md`.
//!
//! Runs in: the step lane. PONG is not enough: a server may answer it and have lost its primary, its disk or its memory.

mod info;
mod options;
mod resp;

use crate::report::{Report, Unit, seconds_text};
use healthd_client::server::Server;
use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use healthd_plugin::options::{FirstCell, Thresholds, size_text};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Metric, Status};
use info::Info;
use options::{Options, Role};
use resp::{Value, answer, command, shown};

const LINE_MAX: usize = 64 << 10;

pub struct Redis {
    options: Options,
    server: Server,
}

struct Seen {
    ping_seconds: f64,
    /// None: not permitted.
    info: Option<Info>,
    answer: Option<Value>,
}

impl Check for Redis {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let server = Server::new(&o.host, o.port, o.family)?
            .or_socket(o.socket.as_deref())
            .with_tls(
                o.tls,
                o.ca_file.as_deref(),
                o.insecure,
                o.server_name.as_deref(),
            )?;
        if o.user.is_some() && o.password.is_none() {
            return Err("user: needs `password`".into());
        }
        if o.command.is_none() && o.db != 0 {
            return Err("db: needs `command`".into());
        }
        if o.command.is_none() && (o.expect.is_some() || o.warn.is_some() || o.crit.is_some()) {
            return Err("expect, warn, crit: need `command`".into());
        }
        Ok(Redis { server, options: o })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.talk(cx).await {
            Ok(seen) => self.judge(cx, &seen),
            Err(status) => status,
        }
    }
}

impl Redis {
    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let lines = self.server.lines(cx, LINE_MAX).await;
        let mut lines = lines.map_err(|f| f.tell(cx))?;
        if let Some(password) = &o.password {
            cx.phase("auth");
            let words: Vec<&str> = match &o.user {
                Some(user) => vec!["AUTH", user, password],
                None => vec!["AUTH", password],
            };
            match ask(cx, &mut lines, "auth", &words).await? {
                Value::Text(_) => {}
                other => {
                    return Err(cx.critical(format_args!("auth: {}", shown(&other.to_string()))));
                }
            }
        }
        cx.phase("ping");
        let begin = lines.get_ref().now_ns();
        let pong = ask(cx, &mut lines, "ping", &["PING"]).await?;
        let ping_seconds = lines.get_ref().seconds_since(begin);
        match &pong {
            Value::Text(text) if text == "PONG" => {}
            other => return Err(refused(cx, "ping", other)),
        }
        cx.phase("info");
        let info = match ask(cx, &mut lines, "info", &["INFO"]).await? {
            Value::Text(text) => Some(Info::parse(&text)),
            Value::Error(text) if text.starts_with("NOPERM") => None,
            other => return Err(refused(cx, "info", &other)),
        };
        let answer = match &o.command {
            None => None,
            Some(words) => {
                cx.phase("command");
                if o.db != 0 {
                    let db = o.db.to_string();
                    let chosen = ask(cx, &mut lines, "command", &["SELECT", &db]).await?;
                    if let Value::Error(_) = chosen {
                        return Err(refused(cx, "command", &chosen));
                    }
                }
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                match ask(cx, &mut lines, "command", &words).await? {
                    error @ Value::Error(_) => return Err(refused(cx, "command", &error)),
                    answer => Some(answer),
                }
            }
        };
        Ok(Seen {
            ping_seconds,
            info,
            answer,
        })
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("latency", seen.ping_seconds).unit("s").min(0.0);
        let text = format!("PING took {}", seconds_text(seen.ping_seconds));
        report.upper(limits, metric, seen.ping_seconds, &text, Unit::Seconds);
        let mut summary = match &seen.info {
            Some(info) => self.judge_info(cx, &mut report, info),
            None if o.role.is_some() || o.replicas_min.is_some() || o.lag_crit.is_some() => {
                report.add(Status::Unknown, "INFO is not permitted to this user");
                String::new()
            }
            None => "PONG; INFO is not permitted to this user".into(),
        };
        if let Some(answer) = &seen.answer {
            let text = answer.to_string();
            let cell = match answer {
                Value::Nothing => FirstCell::Null,
                _ => FirstCell::Text(&text),
            };
            let thresholds = Thresholds {
                warn: o.warn,
                crit: o.crit,
            };
            let verdict = cell.report(cx, o.expect.as_ref(), &thresholds);
            let text = format!("the command says {}", verdict.text);
            match verdict.status {
                Status::Ok => summary += &format!(", {text}"),
                status => report.add(status, text),
            }
        }
        report.end(&summary)
    }

    fn judge_info(&self, cx: Cx<'_>, report: &mut Report<'_>, info: &Info) -> String {
        let o = &self.options;
        let role = if info.is_replica() {
            Role::Replica
        } else {
            Role::Primary
        };
        let word = if info.is_replica() {
            "replica"
        } else {
            "master"
        };
        if o.role.is_some_and(|wanted| wanted != role) {
            report.add(Status::Critical, format!("it is a {word}"));
        }
        if info.text("loading").is_some_and(|l| l != "0") {
            report.add(Status::Critical, "it is loading its data");
        }
        if info.is_replica() {
            if info.text("master_link_status") != Some("up") {
                report.add(Status::Critical, "the link to its primary is down");
            }
            if let Some(lag) = info
                .number("master_last_io_seconds_ago")
                .filter(|n| *n >= 0.0)
            {
                let limits = Upper::of_durations(o.lag_warn, o.lag_crit);
                let text = format!("nothing heard of its primary for {lag} s");
                let metric = Metric::new("lag", lag).unit("s").min(0.0);
                report.upper(limits, metric, lag, &text, Unit::Seconds);
            }
        } else {
            let (replicas, behind) = info.replicas();
            cx.metric(Metric::new("replicas", replicas as f64).min(0.0));
            if let Some(bytes) = behind {
                cx.metric(Metric::new("replica_lag", bytes).unit("By").min(0.0));
            }
            if let Some(min) = o.replicas_min.filter(|min| replicas < *min as usize) {
                report.add(
                    Status::Critical,
                    format!("{replicas} replicas follow it, below {min}"),
                );
            }
        }
        for (key, what) in [
            ("rdb_last_bgsave_status", "the last RDB snapshot failed"),
            (
                "aof_last_bgrewrite_status",
                "the last rewrite of the AOF failed",
            ),
            ("aof_last_write_status", "the last write to the AOF failed"),
        ] {
            if info.text(key).is_some_and(|status| status != "ok") {
                report.add(Status::Warn, what);
            }
        }
        let used = info.number("used_memory").unwrap_or_default();
        cx.metric(Metric::new("memory", used).unit("By").min(0.0));
        if let Some(max) = info.number("maxmemory").filter(|max| *max > 0.0) {
            let percent = used / max * 100.0;
            let limits = Upper {
                warn: Some(o.memory_warn.0),
                crit: Some(o.memory_crit.0),
            };
            let metric = Metric::new("memory_used", percent).unit("%").min(0.0);
            let text = format!("{percent:.1} % of maxmemory in use");
            report.upper(limits, metric, percent, &text, Unit::Percent);
        }
        for (key, name) in [
            ("connected_clients", "clients"),
            ("evicted_keys", "evicted"),
            ("rejected_connections", "rejected"),
        ] {
            if let Some(n) = info.number(key) {
                let metric = Metric::new(name, n).min(0.0);
                cx.metric(if name == "clients" {
                    metric
                } else {
                    metric.counter()
                });
            }
        }
        let version = info.text("redis_version").unwrap_or("?");
        format!("{word}, version {version}, {} in use", size_text(used))
    }
}

async fn ask(
    cx: Cx<'_>,
    lines: &mut Lines<Wire<'_>>,
    phase: &str,
    words: &[&str],
) -> Result<Value, Status> {
    let sent = lines.write(&command(words)).await;
    sent.map_err(|e| cx.fail(phase, &e))?;
    answer(lines).await.map_err(|e| cx.fail(phase, &e))
}

/// What a server says that does not do what it was asked.
fn refused(cx: Cx<'_>, phase: &str, said: &Value) -> Status {
    let text = shown(&said.to_string());
    let word = text.split(' ').next().unwrap_or_default();
    match word {
        // Our config's fault: of the server nothing is known.
        "NOAUTH" => cx.unknown("the server wants a password; see the option password"),
        "NOPERM" => cx.unknown(format_args!("{phase}: {text}")),
        "LOADING" => cx.critical("it is loading its data"),
        "MASTERDOWN" => {
            cx.critical("the link to its primary is down, and it answers nothing meanwhile")
        }
        _ => cx.critical(format_args!("{phase}: {text}")),
    }
}

#[cfg(test)]
mod tests;
