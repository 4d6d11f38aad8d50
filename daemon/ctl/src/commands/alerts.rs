//! `alerts`: who is told of what, and who would be.

use super::replay;
use crate::args::{AlertsAction, AlertsArgs};
use crate::error::CtlError;
use crate::session::Session;
use crate::{exit, render::alerts};
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::alerts::{SilenceRow, WhoRow};
use healthd_core::wire::control::{Op, Reply};
use jiff::Timestamp;

pub fn run(session: &mut Session, args: &AlertsArgs) -> Result<u8, CtlError> {
    match &args.action {
        None => show(session),
        Some(AlertsAction::Replay(args)) => replay::run(session, args),
        Some(AlertsAction::Test { route }) => test(session, route),
        Some(AlertsAction::Who { name, at, verdict }) => who(session, name, *at, verdict.verdict()),
    }
}

fn show(session: &mut Session) -> Result<u8, CtlError> {
    let mut report = None;
    session.ask_all(Op::Alerts, |reply| match reply {
        Reply::Alerts(told) => {
            report = Some(told);
            true
        }
        _ => false,
    })?;
    let mut report = report.unwrap_or_default();
    report.silences = report.silences.into_iter().map(named).collect();
    if session.json {
        session.print_json(&report)?;
        return Ok(exit::OK);
    }
    if report.routes.is_empty() {
        session.screen.note(
            "note",
            "nobody is told of anything: no `[[notify]]` is configured",
        );
    }
    let look = session.screen.look();
    session.screen.print(&alerts::show(&report, &look))?;
    Ok(exit::OK)
}

/// Exit code as of a check: accepted, refused, or nobody knows.
fn test(session: &mut Session, route: &str) -> Result<u8, CtlError> {
    let mut told = None;
    let op = Op::AlertsTest {
        route: route.to_owned(),
    };
    session.ask_all(op, |reply| match reply {
        Reply::Tested(tested) => {
            told = Some(tested);
            true
        }
        _ => false,
    })?;
    let tested = told.unwrap_or_default();
    if session.json {
        session.print_json(&tested)?;
    } else {
        session.screen.print_line(&alerts::tested(&tested))?;
    }
    Ok(match tested.outcome.as_str() {
        "accepted" => exit::OK,
        "refused" => exit::CRITICAL,
        _ => exit::UNKNOWN,
    })
}

/// Exit code 0: somebody would be told; 1: nobody.
fn who(
    session: &mut Session,
    name: &str,
    at: Option<Timestamp>,
    verdict: Verdict,
) -> Result<u8, CtlError> {
    let mut rows: Vec<WhoRow> = Vec::new();
    let op = Op::AlertsWho {
        name: name.to_owned(),
        at: at.map(|at| at.to_string()),
        verdict: Some(verdict),
    };
    session.ask_all(op, |reply| match reply {
        Reply::Who(row) => {
            rows.push(row);
            true
        }
        _ => false,
    })?;
    if session.json {
        session.print_json_array(&rows)?;
    } else if rows.is_empty() {
        session
            .screen
            .note("note", "nobody is told: no `[[notify]]` is configured");
    } else {
        let look = session.screen.look();
        session.screen.print(&alerts::who(&rows, &look))?;
    }
    Ok(match rows.iter().any(|row| row.told) {
        true => exit::OK,
        false => exit::WARNING,
    })
}

/// With its author's name: the daemon knows a number, as it waits for no directory of users.
pub fn named(row: SilenceRow) -> SilenceRow {
    let uid = row.author.strip_prefix("uid ");
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = uid.and_then(|uid| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then(|| name.to_owned())
        })
    });
    SilenceRow {
        author: name.unwrap_or(row.author),
        ..row
    }
}
