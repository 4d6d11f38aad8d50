//! `heartbeat`: a dead man's switch. A job says that it has begun, is well, or has failed; if it says nothing in time, that
//! is the problem. Pure but for its state.

use crate::cron::Cron;
use crate::kept::{Kept, now, ns, span};
use healthd_plugin::{Check, Cx, Metric, Status, options};
use jiff::Timestamp;
use std::time::Duration;

options! {
    /// A job that says in time that it is well. It is fed by `healthctl heartbeat NAME [start|fail|EXITCODE]`.
    #[derive(Debug)]
    pub struct Options {
        /// The longest time between two words that it is well. This or `cron`.
        period: Option<Duration>,
        /// When it begins, as cron has it: minute, hour, day, month, weekday. `30 2 * * mon-fri`.
        cron: Option<String> { min_length: 1 },
        /// The zone of `cron`; the machine's if it is left out.
        zone: Option<String> { min_length: 1 },
        /// So long it may be late.
        grace: Duration = Duration::from_secs(300),
        /// So long it may take from its `start` on; `grace` if it is left out.
        max_run: Option<Duration>,
        /// What it is when it is late.
        late: Late = Late::Critical,
    }
}

options! {
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Late { Warning = "warning", Critical = "critical" }
}

pub struct Heartbeat {
    options: Options,
    rhythm: Rhythm,
}

#[derive(Clone, Debug)]
pub enum Rhythm {
    Period(u64),
    Cron(Box<Cron>),
}

impl Rhythm {
    /// When the next word is due after one at that time.
    fn after(&self, wall: u64) -> u64 {
        match self {
            Rhythm::Period(period) => wall.saturating_add(*period),
            Rhythm::Cron(cron) => cron.next(wall).unwrap_or(u64::MAX),
        }
    }
}

impl Check for Heartbeat {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        Heartbeat::of(o)
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let now = now();
        let kept = match Kept::of(cx, now).await {
            Ok(kept) => kept,
            Err(status) => return status,
        };
        if let Some(last) = &kept.last {
            cx.metric(Metric::seconds(
                "age",
                Duration::from_nanos(now.saturating_sub(last.at)),
            ));
            if let Some(took) = last.took {
                cx.metric(Metric::seconds("duration", Duration::from_nanos(took)));
            }
        }
        cx.metric(Metric::new("beats", kept.count as f64).counter());
        let (status, text) = self.judge(&kept, now);
        cx.message(text);
        status
    }
}

impl Heartbeat {
    pub fn of(o: Options) -> Result<Heartbeat, String> {
        let rhythm = match (o.period, &o.cron) {
            (Some(period), None) if period.is_zero() => {
                return Err("period: must be above 0s".to_owned());
            }
            (Some(period), None) => Rhythm::Period(ns(period)),
            (None, Some(cron)) => Rhythm::Cron(Box::new(Cron::parse(cron, o.zone.as_deref())?)),
            _ => return Err("period, cron: give one of the two".to_owned()),
        };
        if o.zone.is_some() && o.cron.is_none() {
            return Err("zone: is that of `cron`, which is not given".to_owned());
        }
        Ok(Heartbeat { options: o, rhythm })
    }

    pub fn judge(&self, kept: &Kept, now: u64) -> (Status, String) {
        let grace = ns(self.options.grace);
        let late = match self.options.late {
            Late::Warning => Status::Warn,
            Late::Critical => Status::Critical,
        };
        let ago = |at: u64| span(now.saturating_sub(at));
        let said = kept.last.as_ref().map_or("", |last| last.text.trim());
        let said = match said {
            "" => String::new(),
            said => format!(": {said}"),
        };
        if let Some(last) = kept.last.as_ref().filter(|last| last.status != 0) {
            let code = last.code.map(|code| format!(" with exit code {code}"));
            let code = code.unwrap_or_default();
            return (
                Status::Critical,
                format!("it failed {} ago{code}{said}", ago(last.at)),
            );
        }
        if let Some(started) = kept.started {
            let most = self.options.max_run.map_or(grace, ns);
            let ran = now.saturating_sub(started);
            if ran > most {
                let text = format!(
                    "it began {} ago and has not ended; {} is what it may take",
                    span(ran),
                    span(most)
                );
                return (late, text);
            }
            return (Status::Ok, format!("it began {} ago", span(ran)));
        }
        let since = kept.last_ok.or(kept.first).unwrap_or(now);
        let due = self.rhythm.after(since);
        let is_late = now > due.saturating_add(grace);
        match (&kept.last, is_late) {
            (None, false) => {
                let text = format!("no word yet; the first is due by {}", time(due));
                (Status::Ok, text)
            }
            (None, true) => (
                late,
                format!("no word ever; the first was due at {}", time(due)),
            ),
            (Some(last), true) => (
                late,
                format!(
                    "no word for {}; one was due at {}, {} ago",
                    ago(last.at),
                    time(due),
                    ago(due)
                ),
            ),
            (Some(last), false) => {
                let took = last.took.map(|took| format!(", it took {}", span(took)));
                let took = took.unwrap_or_default();
                let next = time(due);
                let text = format!("well {} ago{took}; next due at {next}{said}", ago(last.at));
                (Status::Ok, text)
            }
        }
    }
}

/// RFC 3339 in UTC, to the second.
fn time(wall: u64) -> String {
    let seconds = i64::try_from(wall / 1_000_000_000).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    time.to_string()
}
