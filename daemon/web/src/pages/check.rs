//! The page of one check: what is, why it is so, who was told, and how it was. What the manager does not answer is left
//! out, and said.

use super::board::{self, held_back};
use super::chart::{self, Span};
use super::events::{Line, of_check};
use super::words::{Shown, of_verdict};
use super::{Top, html, picture, spark};
use crate::control::{self, PATIENCE, SHORT};
use crate::history::{self, NoHistory, Point};
use crate::problem::Problem;
use crate::query::check_path;
use crate::routes::{Answered, Call, Site};
use crate::times;
use askama::Template;
use healthd_core::check::outcome::{Metric, Phase};
use healthd_core::wire::alerts::{NoticeRow, SilenceRow};
use healthd_core::wire::control::{CheckDetail, CheckRow, Op, Reply, Why};
use healthd_scoreboard::samples_map::SamplesView;
use healthd_sys::clock;
use hyper::StatusCode;
use jiff::tz::TimeZone;
use std::rc::Rc;

#[derive(Template)]
#[template(path = "check.html")]
struct Page<'a> {
    top: Top,
    row: &'a CheckRow,
    shown: Shown,
    since: String,
    remark: String,
    spark: String,
    path: String,
    took: String,
    next: String,
    deeds: Deeds,
    /// Of the manager. None: it does not answer.
    detail: Option<Detail<'a>>,
    why: Option<Steps<'a>>,
    held: Option<&'a SilenceRow>,
    /// None: it is not known.
    notices: Option<Vec<&'a NoticeRow>>,
    zone: &'a TimeZone,
    span: Span,
    /// A day that was asked for, instead of the newest; empty: none.
    day: String,
    past: Past,
    events: Vec<Line>,
}

impl Page<'_> {
    /// On the clock of this machine.
    fn time(&self, rfc3339: &Option<String>) -> String {
        times::of_text(rfc3339.as_deref(), self.zone)
    }
}

/// What one may do to it here.
struct Deeds {
    may_change: bool,
    needs_token: bool,
    /// There is a problem, and somebody would be told of it.
    may_ack: bool,
    /// Its name for a shell.
    quoted: String,
}

/// What it is.
struct Detail<'a> {
    of: &'a CheckDetail,
    /// And within what time it has to end.
    every: String,
    phases: Vec<(String, String)>,
    metrics: Vec<(&'a Metric, [String; 3])>,
    config: Vec<(String, String)>,
}

impl<'a> Detail<'a> {
    fn new(of: &'a CheckDetail) -> Detail<'a> {
        let time = |ms: u64| times::latency(ms as f64);
        let metrics = of.row.metrics.iter().flatten();
        Detail {
            of,
            every: format!("{}, timeout {}", time(of.interval_ms), time(of.timeout_ms)),
            phases: phases(&of.phases, of.row.latency_ms),
            metrics: metrics.map(|m| (m, numbers(m))).collect(),
            config: flat(&of.config),
        }
    }
}

/// Why it is so: when, what, and more of it.
struct Steps<'a> {
    steps: Vec<(String, &'a str, &'a str)>,
    next: &'a str,
}

impl<'a> Steps<'a> {
    fn new(why: &'a Why, site: &Site) -> Steps<'a> {
        let time = |at: &Option<String>| times::of_text(at.as_deref(), &site.zone);
        let steps = why.steps.iter();
        Steps {
            steps: steps.map(|s| (time(&s.at), &*s.what, &*s.text)).collect(),
            next: &why.next,
        }
    }
}

pub async fn page(site: Rc<Site>, call: Call) -> Answered {
    let name = match call.name.is_empty() {
        true => call.value("name").unwrap_or_default(),
        false => call.name.clone(),
    };
    let (picture, alarm) = picture(&site);
    let at = picture
        .rows
        .iter()
        .position(|r| *r.name == *name && !name.is_empty());
    let Some(at) = at else {
        return Err(no_such(&name, picture.rows.iter().map(|r| &*r.name)));
    };
    let known = picture.rows[at].clone();
    drop(picture);
    let (detail, why) = match alarm.is_empty() {
        true => asked(&site, &name).await,
        false => (None, None),
    };
    let alerts = match detail.is_some() {
        true => board::alerts(&site).await,
        false => None,
    };
    let of_map = CheckRow {
        name: known.name.to_string(),
        title: known.title.to_string(),
        plugin: known.plugin.to_string(),
        verdict: known.verdict,
        status: known.status,
        message: Some(known.message.to_string()),
        paused: known.paused,
        disabled: known.disabled,
        quarantined: known.quarantined,
        stale: true,
        ..CheckRow::default()
    };
    let row = detail.as_ref().map_or(&of_map, |d| &d.row);
    let span = Span::of(&call.value("span").unwrap_or_default());
    let asked = call.value("day").unwrap_or_default();
    let day = chart::day(&asked);
    let past = past(&site, &name, span, day).await;
    let samples = SamplesView::open(&site.args.runtime_dir).ok();
    let last = samples.and_then(|s| s.read(at)).map(|s| s.last);
    let now = clock::monotonic_ns();
    let needs_token = site.settings.web.token.is_some();
    html(&Page {
        top: Top::new(&site, "/check", alarm),
        shown: match row.paused || row.disabled {
            true => Shown::Paused,
            false => row.verdict.map_or(Shown::Unknown, of_verdict),
        },
        since: times::age(known.since),
        remark: super::words::remark(&known, now),
        spark: last.as_deref().map_or_else(String::new, spark::drawing),
        path: check_path(&name),
        took: row.latency_ms.map_or_else(String::new, times::latency),
        next: match known.next_run.checked_sub(now) {
            Some(left) if !known.paused && known.next_run > 0 => times::span(left),
            _ => String::new(),
        },
        deeds: Deeds {
            may_change: needs_token || call.peer != crate::listen::Peer::Network,
            needs_token,
            may_ack: known.urgency(now) <= 2
                && alerts.as_deref().is_some_and(|r| !r.routes.is_empty()),
            quoted: shell(&name),
        },
        detail: detail.as_ref().map(Detail::new),
        why: why.as_ref().map(|why| Steps::new(why, &site)),
        held: alerts.as_deref().and_then(|r| held_back(r, &name)),
        notices: alerts.as_deref().map(|r| {
            let of_it = r.notices.iter().filter(|n| n.checks.contains(&name));
            of_it.collect()
        }),
        zone: &site.zone,
        span,
        day: day.map_or_else(String::new, |_| asked),
        past,
        events: of_check(&site, &name, 20),
        row,
    })
}

fn no_such<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Problem {
    let near = healthd_core::config::did_you_mean(name, known);
    let problem = Problem::new(StatusCode::NOT_FOUND, format!("there is no check `{name}`"));
    match near {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help("the overview has all"),
    }
}

async fn asked(site: &Site, name: &str) -> (Option<CheckDetail>, Option<Why>) {
    let show = Op::Show {
        name: name.to_owned(),
    };
    let detail = control::one(site, show, SHORT, |reply| match reply {
        Reply::Detail(detail) => Some(*detail),
        _ => None,
    });
    let Ok(detail) = detail.await else {
        return (None, None);
    };
    let why = Op::Why {
        name: name.to_owned(),
    };
    let why = control::one(site, why, PATIENCE, |reply| match reply {
        Reply::Why(why) => Some(*why),
        _ => None,
    });
    (Some(detail), why.await.ok())
}

#[derive(Default)]
struct Past {
    latency: String,
    uptime: String,
    uptime_words: String,
    report: String,
    /// Why there is nothing.
    none: String,
}

/// `day`: when one of them begins, s; None: the newest `span`.
async fn past(site: &Site, name: &str, span: Span, day: Option<u64>) -> Past {
    const DAY: u64 = 86_400_000_000_000;
    let now = clock::realtime_ns();
    let since = match day {
        Some(begin) => begin.saturating_mul(1_000_000_000).min(now),
        None => now.saturating_sub(span.days() * DAY),
    };
    let points = match history::points(site, name, since).await {
        Ok(points) => points,
        Err(NoHistory::Off) => {
            let none = "History is off: an empty [history] in healthd.toml begins it.";
            return Past {
                none: none.to_owned(),
                ..Past::default()
            };
        }
        Err(NoHistory::NoCheck) => {
            return Past {
                none: "Nothing is recorded yet.".to_owned(),
                ..Past::default()
            };
        }
        Err(NoHistory::Failed(why)) => {
            return Past {
                none: format!("History cannot be read: {why}."),
                ..Past::default()
            };
        }
    };
    let days = history::points(site, name, now.saturating_sub(90 * DAY)).await;
    let days = days.unwrap_or_default();
    let month = history::report(site, name, now.saturating_sub(30 * DAY)).await;
    let report = month.ok().and_then(|r| {
        let mut words = format!("30 days: {:.2} %", r.availability? * 100.0);
        if r.failures > 0 {
            let times = if r.failures == 1 { "time" } else { "times" };
            words += &format!(", down {} {times}", r.failures);
            if let Some(mttr) = r.mttr_s {
                words += &format!(
                    ", back after {} on average",
                    times::span((mttr * 1e9) as u64)
                );
            }
            words += &format!(", the longest {}", times::span((r.longest_s * 1e9) as u64));
        }
        Some(words)
    });
    let end = now / 1_000_000_000;
    let path = check_path(name);
    let link = match path.contains('?') {
        true => format!("{path}&amp;day="),
        false => format!("{path}?day="),
    };
    let (uptime, uptime_words) = chart::uptime(&days, end, &site.zone, Some(&link));
    let latency = match day {
        None => chart::latency(&points, span, end, &site.zone),
        Some(begin) => {
            let end = begin + 86_400;
            let of_day = |p: &Point| p.start >= begin && p.start < end;
            let points: Vec<Point> = points.into_iter().filter(of_day).collect();
            chart::latency(&points, Span::Day, end, &site.zone)
        }
    };
    Past {
        latency,
        uptime,
        uptime_words,
        report: report.unwrap_or_default(),
        none: String::new(),
    }
}

/// A phase ends where the next begins, the last with the run.
fn phases(phases: &[Phase], total_ms: Option<f64>) -> Vec<(String, String)> {
    let starts = phases.iter().map(|p| p.at_ns as f64 / 1e6);
    let ends = starts.clone().skip(1).map(Some).chain([total_ms]);
    let names = phases.iter().map(|p| p.name.clone());
    names
        .zip(starts.zip(ends))
        .map(|(name, (start, end))| {
            let took = end.map(|end| times::latency((end - start).max(0.0)));
            (name, took.unwrap_or_default())
        })
        .collect()
}

fn numbers(m: &Metric) -> [String; 3] {
    [m.value, m.warn, m.crit].map(|n| n.map_or_else(|| "-".to_owned(), |n| format!("{n}")))
}

/// `tls.ca = "..."`: as it is written. Secrets are `***` already.
fn flat(config: &serde_json::Value) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut open = vec![(String::new(), config)];
    while let Some((prefix, value)) = open.pop() {
        match value {
            serde_json::Value::Object(map) => {
                let inner = map.iter().rev().map(|(key, value)| match prefix.as_str() {
                    "" => (key.clone(), value),
                    prefix => (format!("{prefix}.{key}"), value),
                });
                open.extend(inner);
            }
            serde_json::Value::Null if prefix.is_empty() => {}
            value => all.push((prefix, value.to_string())),
        }
    }
    all
}

/// As one word of a shell.
fn shell(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./:@%+".contains(&b);
    match !name.is_empty() && name.bytes().all(plain) && !name.starts_with('-') {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_is_flat_and_in_order() {
        let config = serde_json::json!({ "a": 1, "tls": { "ca": "x", "key": "***" }, "z": [1] });
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            flat(&config),
            [
                pair("a", "1"),
                pair("tls.ca", "\"x\""),
                pair("tls.key", "\"***\""),
                pair("z", "[1]")
            ]
        );
        assert!(flat(&serde_json::Value::Null).is_empty());
    }

    #[test]
    fn a_name_is_one_word_of_a_shell() {
        assert_eq!(shell("shop/db"), "shop/db");
        assert_eq!(shell("it's $x"), "'it'\\''s $x'");
        assert_eq!(shell("-v"), "'-v'");
    }

    #[test]
    fn a_phase_ends_where_the_next_begins() {
        let phase = |name: &str, at_ms: u64| Phase {
            name: name.to_owned(),
            at_ns: at_ms * 1_000_000,
        };
        let found = phases(&[phase("dns", 0), phase("connect", 2)], Some(5.0));
        assert_eq!(found[0], ("dns".to_owned(), times::latency(2.0)));
        assert_eq!(found[1], ("connect".to_owned(), times::latency(3.0)));
    }
}
