//! The `memcached` plugin. Options, metrics and verdicts are in `MEMCACHED.md`.
//!
//! Runs in: the step lane.

mod options;

use crate::report::{Report, Unit, seconds_text};
use healthd_client::server::Server;
use healthd_client::wire::Wire;
use healthd_plugin::net::Lines;
use healthd_plugin::options::size_text;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{Check, Cx, Delta, Kept, Metric, Status, Width, cut};
use options::Options;
use std::collections::BTreeMap;
use std::io;

const LINE_MAX: usize = 4 << 10;
const LINES_MAX: usize = 1000;

pub struct Memcached {
    options: Options,
    server: Server,
    before: Kept<Counters>,
}

#[derive(Default)]
struct Counters {
    evictions: Delta,
    hits: Delta,
    misses: Delta,
    uptime: Option<u64>,
}

type Stats = BTreeMap<String, String>;

impl Check for Memcached {
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
        Ok(Memcached {
            server,
            before: Kept::default(),
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.ask(cx).await {
            Ok((stats, seconds)) => self.judge(cx, &stats, seconds),
            Err(status) => status,
        }
    }
}

impl Memcached {
    /// The statistics and how long it took to get them. The error is the outcome, with its message set.
    async fn ask(&self, cx: Cx<'_>) -> Result<(Stats, f64), Status> {
        let begin = cx.now_ns();
        let lines = self.server.lines(cx, LINE_MAX).await;
        let mut lines = lines.map_err(|f| f.tell(cx))?;
        cx.phase("stats");
        let stats = stats(&mut lines).await.map_err(|e| cx.fail("stats", &e))?;
        let seconds = (cx.now_ns() - begin) as f64 / 1e9;
        let _ = lines.write(b"quit\r\n").await;
        Ok((stats, seconds))
    }

    fn judge(&self, cx: Cx<'_>, stats: &Stats, seconds: f64) -> Status {
        let o = &self.options;
        let number = |key: &str| stats.get(key).and_then(|n| n.parse::<u64>().ok());
        let mut report = Report::new(cx);
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seconds));
        report.upper(limits, metric, seconds, &text, Unit::Seconds);
        for (key, name, unit, counter) in [
            ("uptime", "uptime", "s", false),
            ("curr_items", "items", "", false),
            ("bytes", "memory", "By", false),
            ("curr_connections", "connections", "", false),
            ("evictions", "evictions", "", true),
            ("get_hits", "hits", "", true),
            ("get_misses", "misses", "", true),
        ] {
            if let Some(n) = number(key) {
                let metric = Metric::new(name, n as f64).unit(unit).min(0.0);
                cx.metric(if counter { metric.counter() } else { metric });
            }
        }
        if let (Some(now), Some(max)) = (number("curr_connections"), number("max_connections")) {
            let percent = now as f64 / max.max(1) as f64 * 100.0;
            let limits = Upper {
                warn: Some(o.connections_warn.0),
                crit: Some(o.connections_crit.0),
            };
            let metric = Metric::new("connections_used", percent).unit("%").min(0.0);
            let text = format!("{now} of {max} connections in use ({percent:.1} %)");
            report.upper(limits, metric, percent, &text, Unit::Percent);
        }
        // Each connection that finds no room is counted there and told nobody.
        if stats.get("accepting_conns").is_some_and(|n| n == "0") {
            report.add(Status::Critical, "it accepts no more connections");
        }
        self.judge_rates(cx, &mut report, &number);
        let used = number("bytes").unwrap_or(0) as f64;
        let version = stats.get("version").map_or("?", |v| cut(v, 40));
        let items = number("curr_items").unwrap_or(0);
        report.end(&format!(
            "version {version}, {items} items, {} in use",
            size_text(used)
        ))
    }

    fn judge_rates(
        &self,
        cx: Cx<'_>,
        report: &mut Report<'_>,
        number: &dyn Fn(&str) -> Option<u64>,
    ) {
        let o = &self.options;
        let now = cx.now_ns();
        let (evictions, hits, misses) = self.before.with(|before| {
            let uptime = number("uptime");
            // Another life: its counters began anew.
            if uptime
                .zip(before.uptime)
                .is_some_and(|(now, then)| now < then)
            {
                *before = Counters::default();
            }
            before.uptime = uptime;
            let next = |delta: &mut Delta, key: &str| {
                number(key).map(|n| delta.next(Width::Bits64, n, now))
            };
            (
                next(&mut before.evictions, "evictions"),
                next(&mut before.hits, "get_hits"),
                next(&mut before.misses, "get_misses"),
            )
        });
        if let Some(rate) = evictions.and_then(|e| e.rate()) {
            let limits = Upper {
                warn: o.evictions_warn,
                crit: o.evictions_crit,
            };
            let metric = Metric::new("eviction_rate", rate).unit("1/s").min(0.0);
            let text = format!("{rate:.1} evictions a second");
            report.upper(limits, metric, rate, &text, Unit::Plain);
        }
        let counts = hits
            .and_then(|h| h.count())
            .zip(misses.and_then(|m| m.count()));
        // Nobody asked: there is no share.
        if let Some((hits, misses)) = counts.filter(|(h, m)| h + m > 0) {
            let percent = hits as f64 / (hits + misses) as f64 * 100.0;
            let limits = Lower {
                warn: o.hits_warn.map(|p| p.0),
                crit: o.hits_crit.map(|p| p.0),
            };
            let metric = Metric::new("hit_ratio", percent).unit("%").min(0.0);
            let text = format!("{percent:.1} % of what is asked for is there");
            report.lower(limits, metric, percent, &text, Unit::Percent);
        }
    }
}

/// `STAT name value`, up to END.
async fn stats(lines: &mut Lines<Wire<'_>>) -> io::Result<Stats> {
    lines.write(b"stats\r\n").await?;
    let mut all = Stats::new();
    for _ in 0..LINES_MAX {
        let line = lines.text().await?;
        if line == "END" {
            return Ok(all);
        }
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("STAT"), Some(name), value) => {
                all.insert(name.to_owned(), value.unwrap_or_default().to_owned());
            }
            _ => {
                let shown: String = line.chars().filter(|c| !c.is_control()).take(80).collect();
                let why = match shown.starts_with("ERROR") || shown.starts_with("SERVER_ERROR") {
                    true => format!("the server says {shown}"),
                    false => format!("{shown:?} is nothing that memcached says"),
                };
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
    }
    let why = format!("an answer of more than {LINES_MAX} lines");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests;
