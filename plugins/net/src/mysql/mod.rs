//! The `mysql` plugin: MariaDB and MySQL. Options, metrics and verdicts are in `MYSQL.md`.
//!
//! Runs in: the step lane. It logs in, reads status and variables, and runs a query that can only read.

mod login;
mod options;
mod packet;
mod query;
mod replica;

use crate::report::{Report, Unit, seconds_text};
use healthd_client::server::Server;
use healthd_client::wire::TlsMode;
use healthd_plugin::options::{FirstCell, Thresholds};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Metric, Status};
use login::{Account, login};
use options::Options;
use packet::{PACKET_MAX, Packets};
use query::Table;
use std::io;

/// What every user may read.
const VARIABLES: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
    ('max_connections', 'read_only', 'super_read_only', 'wsrep_on')";
const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Aborted_connects', 'Questions', 'Slow_queries', \
    'Threads_connected', 'Threads_running', 'Uptime', 'wsrep_cluster_size', 'wsrep_cluster_status', \
    'wsrep_local_state_comment', 'wsrep_ready')";

pub struct Mysql {
    options: Options,
    server: Server,
}

struct Seen {
    version: String,
    variables: Table,
    status: Table,
    replica: Option<Table>,
    /// Of the query.
    answer: Option<Table>,
    login_seconds: f64,
    seconds: f64,
}

/// Why a conversation goes no further.
#[derive(Debug)]
pub enum Trouble {
    Io(io::Error),
    /// The server says no.
    Server {
        code: u16,
        text: String,
    },
    /// The check cannot do what it should; of the server this says nothing.
    Ours(String),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Trouble::Io(e)
    }
}

impl Trouble {
    /// What no server of this protocol says.
    fn odd(why: impl Into<String>) -> Trouble {
        io::Error::new(io::ErrorKind::InvalidData, why.into()).into()
    }

    /// The outcome, with its message set.
    fn told(self, cx: Cx<'_>, phase: &str) -> Status {
        match self {
            Trouble::Io(e) => cx.fail(phase, &e),
            Trouble::Ours(text) => cx.unknown(format_args!("{phase}: {text}")),
            Trouble::Server { code, text } => {
                cx.message(format_args!("{phase}: {text} ({code})"));
                gravity(code)
            }
        }
    }
}

/// Of an error's number. What comes of our rights, our query or our address says nothing about the server.
fn gravity(code: u16) -> Status {
    match code {
        // This machine is blocked or may not connect.
        1129 | 1130 => Status::Unknown,
        // A syntax error; no right on a table, a column, a routine, a statement; more than one statement or result.
        1064 | 1142 | 1143 | 1227 | 1312 | 1370 => Status::Unknown,
        // The query writes.
        1792 => Status::Unknown,
        _ => Status::Critical,
    }
}

/// An error packet: 0xFF, a number, '#' and a state of five letters, a text.
fn server_error(packet: &[u8]) -> Trouble {
    let Some((code, text)) = packet.get(1..).and_then(|p| p.split_at_checked(2)) else {
        return Trouble::odd("its error is cut short");
    };
    let text = match text {
        [b'#', rest @ ..] => rest.get(5..).unwrap_or_default(),
        text => text,
    };
    Trouble::Server {
        code: u16::from_le_bytes([code[0], code[1]]),
        text: shown(&String::from_utf8_lossy(text)),
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}

impl Check for Mysql {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        // TLS begins after the greeting.
        let mode = match o.tls {
            true => TlsMode::StartTls,
            false => TlsMode::None,
        };
        let server = Server::new(&o.host, o.port, o.family)?
            .or_socket(o.socket.as_deref())
            .with_tls(
                mode,
                o.ca_file.as_deref(),
                o.insecure,
                o.server_name.as_deref(),
            )?;
        if o.query.is_none() && (o.expect.is_some() || o.warn.is_some() || o.crit.is_some()) {
            return Err("expect, warn, crit: need `query`".into());
        }
        if o.galera_size_min.is_some() && !o.galera {
            return Err("galera_size_min: needs `galera = true`".into());
        }
        let texts = [Some(&o.user), o.password.as_ref(), o.database.as_ref()];
        if texts.into_iter().flatten().any(|t| t.contains('\0')) {
            return Err("user, password, database: a NUL byte".into());
        }
        Ok(Mysql { server, options: o })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.talk(cx).await {
            Ok(seen) => self.judge(cx, &seen),
            Err(status) => status,
        }
    }
}

impl Mysql {
    fn looks_at_replica(&self) -> bool {
        let o = &self.options;
        o.replica || o.lag_warn.is_some() || o.lag_crit.is_some()
    }

    /// The error is the outcome, with its message set.
    async fn talk(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let o = &self.options;
        let begin = cx.now_ns();
        let lines = self.server.lines(cx, PACKET_MAX).await;
        let packets = Packets::new(lines.map_err(|f| f.tell(cx))?);
        let account = Account {
            user: &o.user,
            password: o.password.as_deref().unwrap_or_default(),
            database: o.database.as_deref(),
            private: self.server.is_private(),
        };
        let (mut packets, version) = login(cx, packets, &self.server, &account).await?;
        let login_seconds = packets.seconds_since(begin);
        cx.phase("status");
        let failed = |t: Trouble| t.told(cx, "status");
        let variables = packets.ask(VARIABLES).await.map_err(failed)?;
        let status = packets.ask(STATUS).await.map_err(failed)?;
        let mut replica = None;
        if self.looks_at_replica() {
            cx.phase("replica");
            let asked = replica::ask(&mut packets, &version).await;
            replica = Some(asked.map_err(|t| t.told(cx, "replica"))?);
        }
        let mut answer = None;
        if let Some(query) = &o.query {
            cx.phase("query");
            let asked = read_only(cx, &mut packets, &version, query).await;
            answer = Some(asked.map_err(|t| t.told(cx, "query"))?);
        }
        let seconds = packets.seconds_since(begin);
        cx.phase("quit");
        packets.quit().await;
        Ok(Seen {
            version,
            variables,
            status,
            replica,
            answer,
            login_seconds,
            seconds,
        })
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seen.seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seen.seconds));
        report.upper(limits, metric, seen.seconds, &text, Unit::Seconds);
        cx.metric(Metric::new("login", seen.login_seconds).unit("s").min(0.0));
        let mut summary = format!("version {}", seen.version);
        if let Some(used) = self.judge_connections(cx, &mut report, seen) {
            summary += &format!(", {used}");
        }
        self.judge_read_only(&mut report, seen);
        if let Some(table) = &seen.replica {
            let lag = Upper::of_durations(o.lag_warn, o.lag_crit);
            if let Some(text) = replica::judge(&mut report, table, lag, o.replica) {
                summary += &format!(", {text}");
            }
        }
        if o.galera {
            self.judge_galera(cx, &mut report, seen);
        }
        if let Some(answer) = &seen.answer {
            let first = answer.first();
            let thresholds = Thresholds {
                warn: o.warn,
                crit: o.crit,
            };
            let verdict = FirstCell::from(&first).report(cx, o.expect.as_ref(), &thresholds);
            let text = format!("the query says {}", verdict.text);
            match verdict.status {
                Status::Ok => summary = format!("{text}; {summary}"),
                status => report.add(status, text),
            }
        }
        report.end(&summary)
    }

    /// How many of the allowed connections there are, for people.
    fn judge_connections(
        &self,
        cx: Cx<'_>,
        report: &mut Report<'_>,
        seen: &Seen,
    ) -> Option<String> {
        for (key, name, counter) in [
            ("Threads_running", "running", false),
            ("Uptime", "uptime", false),
            ("Questions", "queries", true),
            ("Slow_queries", "slow_queries", true),
            ("Aborted_connects", "aborted_connects", true),
        ] {
            if let Some(n) = number(&seen.status, key) {
                let metric = Metric::new(name, n).min(0.0);
                let metric = if name == "uptime" {
                    metric.unit("s")
                } else {
                    metric
                };
                cx.metric(if counter { metric.counter() } else { metric });
            }
        }
        let now = number(&seen.status, "Threads_connected")?;
        cx.metric(Metric::new("connections", now).min(0.0));
        let max = number(&seen.variables, "max_connections").filter(|max| *max > 0.0)?;
        let percent = now / max * 100.0;
        let limits = Upper {
            warn: Some(self.options.connections_warn.0),
            crit: Some(self.options.connections_crit.0),
        };
        let metric = Metric::new("connections_used", percent).unit("%").min(0.0);
        let text = format!("{now} of {max} connections in use ({percent:.1} %)");
        report.upper(limits, metric, percent, &text, Unit::Percent);
        Some(format!("{now} of {max} connections"))
    }

    fn judge_read_only(&self, report: &mut Report<'_>, seen: &Seen) {
        let Some(wanted) = self.options.read_only else {
            return;
        };
        match seen.variables.value("read_only") {
            None => report.add(Status::Unknown, "it does not say whether it is read-only"),
            Some(value) => {
                // New servers have more words than ON for it: NO_LOCK.
                let is = !is_off(value);
                if is != wanted {
                    let not = if is { "" } else { "not " };
                    report.add(Status::Critical, format!("it is {not}read-only"));
                }
            }
        }
    }

    fn judge_galera(&self, cx: Cx<'_>, report: &mut Report<'_>, seen: &Seen) {
        let value = |key| seen.status.value(key).unwrap_or("unknown");
        if !seen.variables.value("wsrep_on").is_some_and(is_on) {
            return report.add(Status::Critical, "it is no node of a Galera cluster");
        }
        let component = value("wsrep_cluster_status");
        if !component.eq_ignore_ascii_case("Primary") {
            let text = format!(
                "its part of the cluster is {}, not Primary",
                shown(component)
            );
            return report.add(Status::Critical, text);
        }
        let state = value("wsrep_local_state_comment");
        match state {
            "Synced" => {}
            // It gives a copy to another node, or catches up.
            "Donor/Desynced" | "Joined" => {
                report.add(Status::Warn, format!("its state is {state}, not Synced"));
            }
            _ => {
                let text = format!("its state is {}, not Synced", shown(state));
                report.add(Status::Critical, text);
            }
        }
        if !is_on(value("wsrep_ready")) {
            report.add(Status::Critical, "it takes no queries (wsrep_ready is off)");
        }
        if let Some(size) = number(&seen.status, "wsrep_cluster_size") {
            cx.metric(Metric::new("cluster_size", size).min(0.0));
            if let Some(min) = self
                .options
                .galera_size_min
                .filter(|min| size < f64::from(*min))
            {
                let text = format!("the cluster has {size} nodes, below {min}");
                report.add(Status::Critical, text);
            }
        }
    }
}

/// The query, in a session in which the server refuses to write, and gives up in time.
async fn read_only(
    cx: Cx<'_>,
    packets: &mut Packets<'_>,
    version: &str,
    query: &str,
) -> Result<Table, Trouble> {
    packets.ask("SET SESSION TRANSACTION READ ONLY").await?;
    let ms = cx.remaining().as_millis() as u64;
    // A little before our deadline, so that nothing is left running there, and we hear of it.
    let ms = (ms - (ms / 10).min(1000)).max(1);
    let limit = match version.contains("MariaDB") {
        true => format!("SET SESSION max_statement_time = {}", ms as f64 / 1e3),
        false => format!("SET SESSION max_execution_time = {ms}"),
    };
    match packets.ask(&limit).await {
        // Older servers have no such variable: the query may go on there after our deadline.
        Ok(_) | Err(Trouble::Server { code: 1193, .. }) => packets.ask(query).await,
        Err(trouble) => Err(trouble),
    }
}

fn number(table: &Table, key: &str) -> Option<f64> {
    let n = table.value(key)?.parse().ok();
    n.filter(|n: &f64| n.is_finite())
}

fn is_on(value: &str) -> bool {
    value.eq_ignore_ascii_case("ON") || value == "1"
}

fn is_off(value: &str) -> bool {
    value.eq_ignore_ascii_case("OFF") || value == "0"
}

#[cfg(test)]
mod tests;
