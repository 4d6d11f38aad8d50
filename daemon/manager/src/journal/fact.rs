//! A fact: what has happened, for programs (an event) and for people (a line of the log).

use crate::time;
use healthd_core::check::outcome::Verdict;
use healthd_core::text::field;
use healthd_core::wire::events::{EventKind, EventRecord};
use healthd_sys::logging::MUST_TELL;
use log::Level;

pub struct Fact {
    event: EventRecord,
    /// The message in full.
    why: String,
    level: Level,
    title: &'static str,
    /// Fields of the line in place of those of the event.
    fields: Option<String>,
}

/// How the line of a kind begins, and how loud it is.
fn line(kind: EventKind) -> (Level, &'static str) {
    use EventKind as K;
    match kind {
        K::Started => (Level::Debug, "manager begins"),
        K::ManagerRestarted => (Level::Debug, "manager goes on where the last one stopped"),
        K::Stopping => (Level::Info, "stopping"),
        K::Flipped => (Level::Warn, "check changed"),
        K::NotJudged => (Level::Warn, "run not evaluated"),
        K::Held => (Level::Warn, "check held"),
        K::Quarantined => (Level::Error, "check quarantined"),
        K::Released => (Level::Info, "quarantine is over"),
        // Each by itself only for who wants to know it all: there may be 100,000.
        K::Paused => (Level::Debug, "check paused"),
        K::Resumed => (Level::Debug, "check resumed"),
        K::Added => (Level::Debug, "check added"),
        K::Changed => (Level::Debug, "check redefined"),
        K::Removed => (Level::Debug, "check removed"),
        K::Reloaded => (Level::Info, "reloaded"),
        K::ReloadRefused => (Level::Error, "reload refused"),
        K::Plugin => (Level::Info, "plugin"),
        K::WorkerReady => (Level::Debug, "worker ready"),
        K::WorkerDied => (Level::Warn, "worker died"),
        K::WorkerCondemned => (Level::Warn, "worker killed"),
        K::WorkerLeaving => (Level::Warn, "worker is to be replaced"),
        K::WorkerReplaced => (Level::Info, "worker recycled"),
        K::WorkerGivenUp => (Level::Error, "worker given up for now"),
        K::PoolDown => (Level::Error, "no worker of a pool is ready"),
        K::PoolUp => (Level::Warn, "the pool has a worker again"),
        K::Clock => (Level::Warn, "the wall clock was set"),
        K::StoodStill => (Level::Warn, "stood still"),
        K::Told => (Level::Info, "told"),
        K::Silenced => (Level::Info, "alerts held back"),
        K::Unsilenced => (Level::Info, "alerts held back no more"),
        K::NotTold => (Level::Warn, "not told"),
        K::MaintenanceBegun => (Level::Debug, "maintenance begun"),
        K::MaintenanceEnded => (Level::Debug, "maintenance is over"),
        K::Acted => (Level::Info, "acted on a change"),
        K::OverBudget => (Level::Warn, "a route tells too much"),
        K::NotActed => (Level::Warn, "did not act on a change"),
        K::Noted => (Level::Info, "incident note"),
        K::Gap | K::Other => (Level::Info, "event"),
    }
}

impl Fact {
    pub fn new(kind: EventKind) -> Fact {
        let (level, title) = line(kind);
        Fact {
            event: EventRecord {
                kind,
                ..EventRecord::default()
            },
            why: String::new(),
            level,
            title,
            fields: None,
        }
    }

    /// Of a plugin: what it is now.
    pub fn plugin(name: &str, to: &'static str) -> Fact {
        let mut fact = Fact::new(EventKind::Plugin);
        fact.event.plugin = name.to_owned();
        fact.event.to = to;
        fact
    }

    pub fn check(mut self, name: &str) -> Fact {
        self.event.check = name.to_owned();
        self
    }

    pub fn change(mut self, from: Verdict, to: Verdict) -> Fact {
        self.event.from = from.as_str();
        self.event.to = to.as_str();
        self
    }

    pub fn why(mut self, message: impl Into<String>) -> Fact {
        self.why = message.into();
        self
    }

    pub fn slot(mut self, slot: u32) -> Fact {
        self.event.slot = Some(slot);
        self
    }

    pub fn pid(mut self, pid: u32) -> Fact {
        self.event.pid = pid;
        self
    }

    pub fn lasts(mut self, ns: u64) -> Fact {
        self.event.amount = i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
        self
    }

    /// Of the clock: by how much it was set.
    pub fn step(mut self, ms: i64) -> Fact {
        self.event.amount = ms;
        self
    }

    pub fn cause(mut self, cause: impl std::fmt::Display) -> Fact {
        self.event.cause = cause.to_string();
        self
    }

    pub fn level(mut self, level: Level) -> Fact {
        self.level = level;
        self
    }

    /// How its line begins, where its kind does not say it all.
    pub fn titled(mut self, title: &'static str) -> Fact {
        self.title = title;
        self
    }

    /// The fields of its line: more than an event has room for.
    pub fn fields(mut self, fields: String) -> Fact {
        self.fields = Some(fields);
        self
    }

    pub fn log(&self) {
        if self.event.kind == EventKind::Flipped {
            // An outage is many of these, and each of them counts.
            log::log!(target: MUST_TELL, self.level, "{}  {}", self.title, self.line_fields());
        } else if log::log_enabled!(self.level) {
            log::log!(self.level, "{}  {}", self.title, self.line_fields());
        }
    }

    fn line_fields(&self) -> String {
        if let Some(fields) = &self.fields {
            return fields.clone();
        }
        let e = &self.event;
        let mut fields = Vec::new();
        let mut tell = |name: &str, value: &str| {
            if !value.is_empty() {
                fields.push(format!("{name}={value}"));
            }
        };
        if !e.check.is_empty() {
            tell("check", &field(&e.check));
        }
        tell("plugin", &e.plugin);
        tell("slot", &e.slot.map_or(String::new(), |n| n.to_string()));
        if e.pid != 0 {
            tell("pid", &e.pid.to_string());
        }
        tell("cause", &e.cause);
        if e.amount != 0 {
            let name = match e.kind {
                EventKind::Clock => "step",
                _ => "for",
            };
            let sign = if e.amount < 0 { "-" } else { "" };
            let span = time::span_field(e.amount.unsigned_abs().saturating_mul(1_000_000));
            tell(name, &format!("{sign}{span}"));
        }
        if !self.why.is_empty() {
            fields.push(format!("why=\"{}\"", self.why));
        }
        fields.join(" ")
    }

    pub fn into_event(self) -> EventRecord {
        EventRecord {
            message: self.why,
            ..self.event
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_line_has_the_fields_that_it_has() {
        let held = Fact::new(EventKind::Held)
            .check("web")
            .lasts(2_000_000_000)
            .why("its run has killed a worker");
        assert_eq!(
            held.line_fields(),
            "check=web for=2.0s why=\"its run has killed a worker\""
        );
        let died = Fact::new(EventKind::WorkerDied).slot(0).pid(7);
        assert_eq!(died.line_fields(), "slot=0 pid=7");
        let own = died.fields("culprit=none".into());
        assert_eq!(own.line_fields(), "culprit=none");
        assert_eq!(
            Fact::new(EventKind::Clock).step(-3_600_000).line_fields(),
            "step=-1h"
        );
    }
}
