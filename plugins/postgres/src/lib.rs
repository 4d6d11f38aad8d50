//! `postgres`: logs in to a PostgreSQL server, asks a query and judges the first cell of the answer. Options, metrics
//! and verdicts are described in README.md beside this crate.
//!
//! Runs in: the step lane of an io worker.

#![forbid(unsafe_code)]

mod exchange;
mod guard;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use exchange::{Answer, Failed, Times, log_in};
use healthd_plugin::options::{FirstCell, Scalar, Thresholds};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::tls::{Connector, Roots};
use healthd_plugin::{Check, Cx, Metric, Range, Status, options, plugins};
use std::path::PathBuf;
use std::time::Duration;
use target::{SslMode, Target};

options! {
    /// Logs in to a PostgreSQL server and judges the first cell of a query's answer.
    pub struct Options {
        /// postgres://user@host:port/database?sslmode=verify-full. A host that begins with %2F is the folder of a unix
        /// socket. sslmode is disable, prefer, require, verify-ca or verify-full.
        url: String { pattern: "^postgres(ql)?://" },
        /// Password; better here, as a secret, than in the URL.
        password: Option<String>,
        /// What to ask.
        query: String { min_length: 1 } = "SELECT 1".into(),
        /// What the first cell must be: a text, a number or a boolean. Anything else is critical.
        expect: Option<Scalar>,
        /// Warning if the first cell, a number, is outside of this range.
        warn: Option<Range>,
        /// Critical if the first cell, a number, is outside of this range.
        crit: Option<Range>,
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// PEM file of the CA certificates to trust, instead of the machine's.
        ca_file: Option<String> { min_length: 1 },
        /// Warn when the whole check takes longer.
        latency_warn: Option<Duration>,
        /// Critical when the whole check takes longer.
        latency_crit: Option<Duration>,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Family { Any = "any", Ipv4 = "ipv4", Ipv6 = "ipv6" }
}

impl From<Family> for healthd_plugin::Family {
    fn from(f: Family) -> Self {
        match f {
            Family::Any => Self::Any,
            Family::Ipv4 => Self::Ipv4,
            Family::Ipv6 => Self::Ipv6,
        }
    }
}

/// A query that is cut off leaves this much of the timeout to tell the server so: a twentieth, within these bounds.
const CANCEL_TIME: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

struct Postgres {
    options: Options,
    target: Target,
    /// Made in `create`, because it reads files. None: no TLS.
    trust: Option<Connector>,
}

impl Check for Postgres {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        let mut target = Target::parse(&options.url, options.password.as_deref())?;
        target.family = options.family.into();
        if let Some(file) = &options.ca_file {
            if target.ca_file.is_some() {
                return Err("ca_file: sslrootcert stands in url; give it once".into());
            }
            target.ca_file = Some(PathBuf::from(file));
        }
        if options.query.contains('\0') {
            return Err("query: must not contain a NUL character".into());
        }
        let trust = trust(&target)?;
        Ok(Postgres {
            options,
            target,
            trust,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let mut times = Times {
            begin: cx.now_ns(),
            ..Times::default()
        };
        match self.exchange(cx, &mut times).await {
            Ok(Some(answer)) => self.judge(cx, &answer, &times),
            Ok(None) => {
                let waited = seconds(times.auth.max(times.begin), cx.now_ns());
                self.phases(cx, &times);
                cx.critical(format_args!(
                    "timeout after {waited:.1}s in phase query; the server was told to cancel it"
                ))
            }
            Err(Failed(status)) => {
                self.phases(cx, &times);
                status
            }
        }
    }
}

plugins! {
    step Postgres {
        name: "postgres",
        summary: "logs in to a PostgreSQL server and judges a query's answer",
    }
}

fn trust(target: &Target) -> Result<Option<Connector>, String> {
    // Over a unix socket there is no TLS, whatever sslmode says, as in libpq.
    let Some(host) = target
        .host()
        .filter(|_| target.ssl_mode != SslMode::Disable)
    else {
        return Ok(None);
    };
    let roots = match &target.ca_file {
        Some(file) => Roots::File(file.clone()),
        None => Roots::System,
    };
    let connector = match target.ssl_mode {
        SslMode::VerifyFull => Connector::new(&roots, host),
        SslMode::VerifyCa => Connector::any_name(&roots, host),
        _ => Connector::new(&Roots::Insecure, host),
    };
    match (connector, target.ssl_mode) {
        (Ok(connector), _) => Ok(Some(connector)),
        (Err(why), _) => Err(format!("TLS: {why}")),
    }
}

impl Postgres {
    async fn exchange(&self, cx: Cx<'_>, times: &mut Times) -> Result<Option<Answer>, Failed> {
        let all = cx.remaining();
        let mut session = log_in(cx, &self.target, self.trust.as_ref(), times).await?;
        let reserve = (all / 20).clamp(CANCEL_TIME[0], CANCEL_TIME[1]);
        let time = cx.remaining().saturating_sub(reserve);
        let answer = session.query(cx, &self.options.query, time).await?;
        if answer.is_some() {
            times.query = cx.now_ns();
        }
        session.end(cx).await;
        Ok(answer)
    }

    fn phases(&self, cx: Cx<'_>, t: &Times) {
        let mut before = t.begin;
        for (name, end) in [
            ("dns", t.dns),
            ("connect", t.connect),
            ("tls", t.tls),
            ("auth", t.auth),
            ("query", t.query),
        ] {
            if end != 0 {
                cx.metric(Metric::new(name, seconds(before, end)).unit("s").min(0.0));
                before = end;
            }
        }
    }

    fn judge(&self, cx: Cx<'_>, answer: &Answer, t: &Times) -> Status {
        let o = &self.options;
        let total = seconds(t.begin, t.query);
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        cx.metric(limits.on(Metric::new("total", total).unit("s").min(0.0)));
        self.phases(cx, t);
        let thresholds = Thresholds {
            warn: o.warn,
            crit: o.crit,
        };
        let cell = FirstCell::from(&answer.cell);
        let verdict = cell.report(cx, o.expect.as_ref(), &thresholds);
        let latency = limits.judge(total);
        let late = match latency {
            Status::Critical => limits.crit,
            Status::Warn => limits.warn,
            _ => None,
        };
        let late = late.map(|limit| format!(", slower than {limit}s"));
        cx.message(format_args!(
            "query returned {} in {total:.3}s{}",
            verdict.text,
            late.unwrap_or_default()
        ));
        verdict.status.worst(latency)
    }
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}
