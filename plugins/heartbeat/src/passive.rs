//! `passive`: the result that somebody else has found last, as long as it is fresh.

use crate::kept::{Kept, now, ns, span};
use crate::output::Output;
use healthd_plugin::{Check, Cx, Metric, Status, options};
use std::time::Duration;

options! {
    /// Results that somebody else finds and submits: `healthctl submit NAME STATUS TEXT`, as NSCA takes them.
    #[derive(Debug)]
    pub struct Options {
        /// For so long a result holds; without it for ever.
        freshness: Option<Duration>,
        /// What it is when it is too old, or none has come.
        stale: Stale = Stale::Unknown,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Stale { Ok = "ok", Warning = "warning", Critical = "critical", Unknown = "unknown" }
}

pub struct Passive(Options);

impl Check for Passive {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        match o.freshness {
            Some(freshness) if freshness.is_zero() => Err(
                "freshness: must be above 0s; leave it out for results that hold for ever".into(),
            ),
            _ => Ok(Passive(o)),
        }
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let now = now();
        let kept = match Kept::of(cx, now).await {
            Ok(kept) => kept,
            Err(status) => return status,
        };
        let Some(last) = &kept.last else {
            return self.without(cx, &kept, now);
        };
        let age = now.saturating_sub(last.at);
        cx.metric(Metric::seconds("age", Duration::from_nanos(age)));
        let output = Output::parse(last.text.as_bytes());
        let status = status(last.status);
        let said = match output.message.as_str() {
            "" => status_word(status),
            said => said,
        };
        if let Some(fresh) = self.0.freshness.map(ns).filter(|fresh| age > *fresh) {
            cx.message(format_args!(
                "no result for {} ({} is what one holds); the last was {}: {said}",
                span(age),
                span(fresh),
                status_word(status),
            ));
            return self.0.stale.status();
        }
        for entry in output.perfdata.entries.iter().take(METRICS) {
            cx.metric(entry.metric());
        }
        if !output.long.is_empty() {
            cx.detail(&output.long);
        }
        cx.message(said);
        status
    }
}

impl Passive {
    /// Nothing was submitted: that is no result, and after a while it is late.
    fn without(&self, cx: Cx<'_>, kept: &Kept, now: u64) -> Status {
        let waited = now.saturating_sub(kept.first.unwrap_or(now));
        match self.0.freshness.map(ns) {
            Some(fresh) if waited > fresh => {
                cx.message(format_args!(
                    "no result in {}, and none before",
                    span(waited)
                ));
                self.0.stale.status()
            }
            _ => cx.unknown("no result was submitted yet"),
        }
    }
}

impl Stale {
    fn status(self) -> Status {
        match self {
            Stale::Ok => Status::Ok,
            Stale::Warning => Status::Warn,
            Stale::Critical => Status::Critical,
            Stale::Unknown => Status::Unknown,
        }
    }
}

fn status(code: u8) -> Status {
    match code {
        0 => Status::Ok,
        1 => Status::Warn,
        2 => Status::Critical,
        _ => Status::Unknown,
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Warn => "warning",
        Status::Critical => "critical",
        Status::Unknown | Status::Resources | Status::Cancelled => "unknown",
    }
}

const METRICS: usize = 64;
