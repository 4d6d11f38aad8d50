//! The `dns` plugin: asks servers a question. Options, metrics and verdicts are in `DNS.md`.
//!
//! Runs in: the step lane. All servers are asked at once.

mod ask;
mod options;
mod wire;

use crate::join::join;
use crate::report::{Report, Unit, seconds_text};
use ask::{Asked, Failed, Server};
use healthd_client::host::{Host, host_and_port};
use healthd_plugin::thresholds::{Lower, Upper, validity};
use healthd_plugin::tls::{Connector, Roots};
use healthd_plugin::{Check, Cx, Metric, Status};
use options::{Class, Options, Protocol, Type};
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wire::{Answer, Question, rcode_text, wanted};

/// So many records stand in a message.
const SHOWN: usize = 4;

pub struct Dns {
    options: Options,
    servers: Vec<Server>,
    question: Question,
}

impl Check for Dns {
    type Options = Options;

    fn create(mut o: Options, _: Cx<'_>) -> Result<Self, String> {
        let name = match (o.r#type, o.name.parse::<IpAddr>()) {
            (Type::Ptr, Ok(ip)) => Question::reverse(ip),
            _ => o.name.clone(),
        };
        let class = match o.class {
            Class::In => 1,
            Class::Ch => 3,
        };
        let mut question = Question::new(&name, o.r#type.code(), class)?;
        question.recurse = o.recurse;
        question.signatures = o.rrsig_days_warn.is_some() || o.rrsig_days_crit.is_some();
        question.validated = o.require_ad;
        if (o.serial_same || o.serial_min.is_some()) && o.r#type != Type::Soa {
            return Err("serial_same, serial_min: need type = \"SOA\"".into());
        }
        for list in [
            &mut o.answers_exact,
            &mut o.answers_contain,
            &mut o.answers_none,
        ] {
            for text in list.iter_mut().flatten() {
                *text = wanted(text);
            }
        }
        let server = |text: &String| server(&o, text);
        let servers = o.servers.iter().map(server).collect::<Result<_, _>>()?;
        Ok(Dns {
            servers,
            question,
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let tcp = self.options.protocol == Protocol::Tcp;
        let asked = self.servers.iter().map(|s| s.ask(cx, &self.question, tcp));
        let all = join(asked.collect()).await;
        self.judge(cx, &all)
    }
}

fn server(o: &Options, text: &str) -> Result<Server, String> {
    let usual = if o.protocol == Protocol::Tls { 853 } else { 53 };
    let (host, port) = host_and_port(text, usual).map_err(|e| format!("servers: {e}"))?;
    let tls = match o.protocol {
        Protocol::Tls => {
            let roots = Roots::from_options(o.ca_file.as_deref(), o.insecure)?;
            Some(Connector::new(
                &roots,
                o.server_name.as_deref().unwrap_or(&host),
            )?)
        }
        _ if o.ca_file.is_some() || o.insecure || o.server_name.is_some() => {
            return Err("ca_file, insecure, server_name: need protocol = \"tls\"".into());
        }
        _ => None,
    };
    let host = Host::new(&host, o.family)?;
    Ok(Server {
        host,
        port,
        tls,
        facts: o.facts,
    })
}

impl Dns {
    fn judge(&self, cx: Cx<'_>, all: &[Result<Asked, Failed>]) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        for (server, asked) in self.servers.iter().zip(all) {
            // With one server everybody knows which.
            let prefix = match all.len() {
                1 => String::new(),
                _ => format!("{}: ", server.host.name()),
            };
            match asked {
                Err((status, text)) => report.add(*status, prefix + text),
                Ok(asked) => {
                    for (status, text) in self.faults(&asked.answer) {
                        report.add(status, format!("{prefix}{text}"));
                    }
                }
            }
        }
        let answers: Vec<&Asked> = all.iter().flatten().collect();
        let serials = || answers.iter().filter_map(|a| a.answer.serial);
        if o.serial_same
            && let (Some(low), Some(high)) = (serials().min(), serials().max())
            && low != high
        {
            let each = self.servers.iter().zip(all).filter_map(|(s, a)| {
                let serial = a.as_ref().ok()?.answer.serial?;
                Some(format!("{} has {serial}", s.host.name()))
            });
            let each: Vec<String> = each.collect();
            report.add(
                Status::Critical,
                format!("serial numbers differ: {}", each.join(", ")),
            );
        }
        let Some(slowest) = answers.iter().map(|a| a.seconds).reduce(f64::max) else {
            return report.end("");
        };
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let text = format!("query took {}", seconds_text(slowest));
        let metric = Metric::new("query", slowest).unit("s").min(0.0);
        report.upper(limits, metric, slowest, &text, Unit::Seconds);
        self.metrics(cx, &answers);
        if o.facts {
            tell(cx, &answers[0].answer);
        }
        let first = &answers[0].answer;
        let texts: Vec<&str> = first.records.iter().map(|r| r.text.as_str()).collect();
        let shown = texts[..texts.len().min(SHOWN)].join(", ");
        let more = match texts.len().saturating_sub(SHOWN) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let what = match texts.is_empty() {
            true => rcode_text(first.rcode),
            false => format!("{shown}{more}"),
        };
        report.end(&format!("{what} in {}", seconds_text(slowest)))
    }

    /// What is wrong with one server's answer.
    fn faults(&self, a: &Answer) -> Vec<(Status, String)> {
        let o = &self.options;
        let mut faults = Vec::new();
        let mut bad = |status, text| faults.push((status, text));
        if a.rcode != o.rcode.code() {
            let (got, wanted) = (rcode_text(a.rcode), rcode_text(o.rcode.code()));
            bad(Status::Critical, format!("{got}, expected {wanted}"));
            return faults;
        }
        let has = |text: &String| a.records.iter().any(|r| r.text.eq_ignore_ascii_case(text));
        let said = || match a.records.is_empty() {
            true => "there is no such record".to_owned(),
            false => {
                let all: Vec<&str> = a.records.iter().map(|r| r.text.as_str()).collect();
                format!("the records are {}", all.join(", "))
            }
        };
        let empty_is_right = o.answers_exact.as_ref().is_some_and(Vec::is_empty);
        if let Some(exact) = &o.answers_exact {
            let extra = a
                .records
                .iter()
                .any(|r| !exact.iter().any(|t| r.text.eq_ignore_ascii_case(t)));
            if extra || !exact.iter().all(has) {
                bad(
                    Status::Critical,
                    format!("{}, expected exactly [{}]", said(), exact.join(", ")),
                );
            }
        } else if a.records.is_empty() && a.rcode == 0 {
            bad(
                Status::Critical,
                "NOERROR, but no record of this type".into(),
            );
            return faults;
        }
        for text in o.answers_contain.iter().flatten().filter(|t| !has(t)) {
            bad(
                Status::Critical,
                format!("{}, expected {text} among them", said()),
            );
        }
        for text in o.answers_none.iter().flatten().filter(|t| has(t)) {
            bad(Status::Critical, format!("{text} is among the records"));
        }
        if o.require_aa && !a.authoritative {
            bad(
                Status::Critical,
                "the answer is not authoritative (AA)".into(),
            );
        }
        if o.require_ad && !a.validated {
            bad(Status::Critical, "the answer is not validated (AD)".into());
        }
        if let (Some(min), Some(serial)) = (o.serial_min, a.serial)
            && serial < min
        {
            bad(Status::Critical, format!("serial {serial}, below {min}"));
        }
        for record in &a.records {
            let ttl = u64::from(record.ttl);
            let kept = format!("{} may be kept {ttl} s", record.text);
            let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
            if let Some(min) = seconds(o.ttl_min).filter(|min| ttl < *min) {
                bad(Status::Warn, format!("{kept}, below {min} s"));
            }
            if let Some(max) = seconds(o.ttl_max).filter(|max| ttl > *max) {
                bad(Status::Warn, format!("{kept}, above {max} s"));
            }
        }
        let signed = Lower {
            warn: o.rrsig_days_warn,
            crit: o.rrsig_days_crit,
        };
        if self.question.signatures && !empty_is_right {
            match a.signed_until.map(days_until) {
                None if signed.crit.is_some() => {
                    bad(Status::Critical, "the records are not signed".into())
                }
                None => bad(Status::Warn, "the records are not signed".into()),
                Some(days) => match signed.judge(days) {
                    Status::Ok => {}
                    status => {
                        let (left, limit) = (validity(days), signed.passed_days(days));
                        bad(status, format!("a signature {left}{limit}"));
                    }
                },
            }
        }
        faults
    }

    fn metrics(&self, cx: Cx<'_>, answers: &[&Asked]) {
        let o = &self.options;
        let least = |of: &dyn Fn(&Answer) -> Option<f64>| {
            answers
                .iter()
                .filter_map(|a| of(&a.answer))
                .reduce(f64::min)
        };
        if let Some(n) = least(&|a| Some(a.records.len() as f64)) {
            cx.metric(Metric::new("answers", n).min(0.0));
        }
        if let Some(ttl) = least(&|a| a.records.iter().map(|r| f64::from(r.ttl)).reduce(f64::min)) {
            cx.metric(Metric::new("ttl", ttl).unit("s").min(0.0));
        }
        if let Some(serial) = least(&|a| a.serial.map(f64::from)) {
            cx.metric(Metric::new("serial", serial));
        }
        if let Some(size) = least(&|a| Some(a.size as f64)) {
            cx.metric(Metric::new("size", size).unit("By").min(0.0));
        }
        if let Some(days) = least(&|a| a.signed_until.map(days_until)) {
            let limits = Lower {
                warn: o.rrsig_days_warn,
                crit: o.rrsig_days_crit,
            };
            cx.metric(limits.on(Metric::new("rrsig", days).unit("d")));
        }
    }
}

fn tell(cx: Cx<'_>, a: &Answer) {
    cx.label("rcode", &rcode_text(a.rcode));
    for (part, records) in ["answers", "authorities", "additional"].iter().zip(a.parts) {
        cx.label(part, &records.to_string());
    }
}

/// The number is modulo 2^32 (RFC 4034): the nearest of those times is meant.
fn days_until(at: u32) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |n| n.as_secs()) as u32;
    f64::from(at.wrapping_sub(now) as i32) / 86_400.0
}

#[cfg(test)]
mod tests;
