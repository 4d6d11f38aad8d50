//! What people ask of alerts over the control socket.

use super::{Alerts, both_clocks, rows};
use crate::control::{Asker, error};
use crate::journal::Fact;
use crate::schedule::pause::LONGEST_MS;
use crate::time::{self, MS};
use healthd_alerts::{Because, Hold, Scope, Until};
use healthd_core::check::outcome::Verdict;
use healthd_core::config::did_you_mean;
use healthd_core::wire::alerts::{SilenceAsk, SilenceRow, WhoRow};
use healthd_core::wire::control::{ControlError, ErrorCode};
use healthd_core::wire::events::EventKind;
use healthd_units::duration;
use std::collections::BTreeMap;

/// The row of the silence, and what is to be told of it.
pub type Silenced = Result<(SilenceRow, Fact), ControlError>;

impl Alerts {
    /// A silence or a maintenance, by the user whom the kernel saw at the socket.
    pub fn silence(&mut self, ask: SilenceAsk, uid: u32) -> Silenced {
        let now = both_clocks();
        let hold = Hold {
            scope: Scope::Matching(ask.matches.clone()),
            until: until(ask.for_ms, now.wall)?,
            reason: ask.reason,
            author: author(uid),
            since: now.wall,
            planned: ask.planned,
        };
        let id = self.engine.hold(hold, now).map_err(|wrong| {
            let message = format!("`{}` {wrong}", ask.matches);
            error(ErrorCode::BadRequest, message, wrong.help)
        })?;
        self.held(id)
    }

    /// The problem that this check has is somebody's: nobody else is told of it, until it is over.
    pub fn acknowledge(
        &mut self,
        name: &str,
        note: String,
        for_ms: Option<u64>,
        uid: u32,
    ) -> Silenced {
        let now = both_clocks();
        let until = until(for_ms, now.wall)?;
        let id = self.engine.acknowledge(name, author(uid), note, until, now);
        match id {
            Some(id) => self.held(id),
            None => Err(error(
                ErrorCode::Failed,
                format!("`{name}` has no problem that could be acknowledged"),
                "`healthctl alerts` shows the problems; a silence holds back those to come",
            )),
        }
    }

    fn held(&mut self, id: u64) -> Silenced {
        self.is_on = true;
        self.is_dirty = true;
        let row = self
            .silence_row(id)
            .ok_or_else(|| error(ErrorCode::Internal, "the silence is gone already", ""))?;
        let until = match (&row.until, row.kind.as_str()) {
            (Some(until), _) => until.clone(),
            (None, "ack") => "it is over".to_owned(),
            (None, _) => "unsilence".to_owned(),
        };
        let fact = Fact::new(EventKind::Silenced).cause(&row.kind).why(format!(
            "{} until {until} by {}: {}",
            row.matches, row.author, row.reason
        ));
        Ok((row, fact))
    }

    fn silence_row(&self, id: u64) -> Option<SilenceRow> {
        let silences = self.engine.report(both_clocks()).silences;
        silences.into_iter().find(|s| s.id == id).map(rows::silence)
    }

    pub fn unsilence(&mut self, id: &str, uid: u32) -> Silenced {
        let known = id
            .parse()
            .ok()
            .and_then(|id: u64| Some((id, self.silence_row(id)?)));
        let Some((id, row)) = known else {
            return Err(error(
                ErrorCode::BadRequest,
                format!("there is no silence `{id}`"),
                "`healthctl alerts` shows them with their ids",
            ));
        };
        self.engine.take_back(id, both_clocks());
        self.is_dirty = true;
        let fact = Fact::new(EventKind::Unsilenced)
            .cause(&row.kind)
            .why(format!("{} by {}", row.matches, author(uid)));
        Ok((row, fact))
    }

    /// A message that says that the way works; who asked is told what became of it.
    pub fn test(&mut self, route: &str, asker: Option<Asker>) -> Result<(), ControlError> {
        let Some(message) = self.engine.test(route, both_clocks()) else {
            let report = self.engine.report(both_clocks());
            let names = report.routes.iter().map(|r| &*r.name);
            let help = match did_you_mean(route, names) {
                Some(near) => format!("a route with a similar name exists: `{near}`"),
                None => "`healthctl alerts` shows the routes".to_owned(),
            };
            let message = format!("there is no route `{route}`");
            return Err(error(ErrorCode::BadRequest, message, help));
        };
        self.is_dirty = true;
        self.beside
            .testers
            .extend(asker.map(|asker| (message, asker)));
        Ok(())
    }

    /// Who would be told of a problem of this check, at that time of CLOCK_REALTIME.
    pub fn who(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        verdict: Verdict,
        at: Option<u64>,
    ) -> Vec<WhoRow> {
        let at = at.unwrap_or_else(|| both_clocks().wall);
        let answers = self.engine.who(name, labels, verdict, at);
        let rows = answers.into_iter().map(|answer| WhoRow {
            route: answer.route.to_string(),
            told: matches!(answer.because, Because::Told { .. }),
            why: why(&answer.because, verdict),
        });
        rows.collect()
    }
}

fn why(because: &Because, verdict: Verdict) -> String {
    let given = |reason: &str| match reason {
        "" => "no reason given".to_owned(),
        reason => reason.to_owned(),
    };
    match because {
        Because::Told { after } if after.is_zero() => "at once".to_owned(),
        Because::Told { after } => {
            format!("after {}, if it is still there", duration::show(*after))
        }
        Because::BackupOf(routes) => {
            let routes: Vec<&str> = routes.iter().map(|r| &**r).collect();
            format!(
                "only if {} fails for 5 min: it is the backup",
                routes.join(" or ")
            )
        }
        Because::Disabled => "the route is not enabled".to_owned(),
        Because::NoMatch(matches) => format!("its `match` does not fit: {matches}"),
        Because::On => format!("its `on` has no {verdict}"),
        Because::Closed { until } => match until.and_then(time::rfc3339) {
            Some(until) => format!("its `when` is closed until {until}"),
            None => "its `when` is closed for ever".to_owned(),
        },
        Because::Maintenance(reason) => format!("it is in maintenance: {}", given(reason)),
        Because::Silenced(reason) => format!("it is silenced: {}", given(reason)),
        Because::Acknowledged(note) => format!("somebody has it: {}", given(note)),
    }
}

fn until(for_ms: Option<u64>, wall: u64) -> Result<Until, ControlError> {
    match for_ms {
        None => Ok(Until::Further),
        Some(ms) if (1..=LONGEST_MS).contains(&ms) => Ok(Until::Time(wall + ms * MS)),
        Some(ms) => Err(error(
            ErrorCode::BadRequest,
            format!("`for_ms` is {ms}"),
            format!(
                "it lasts 1 ms to {} days, or until it is taken back",
                LONGEST_MS / 86_400_000
            ),
        )),
    }
}

/// Names of users may come from a network, for which we do not wait: healthctl finds them.
fn author(uid: u32) -> String {
    format!("uid {uid}")
}
