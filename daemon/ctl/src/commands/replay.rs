//! `alerts replay`: what the routes of a configuration would have sent while verdicts flipped as they did.

use crate::args::ReplayArgs;
use crate::error::CtlError;
use crate::exit;
use crate::healthd::Helper;
use crate::render::alerts::{Messages, replayed};
use crate::session::Session;
use healthd_core::wire::control::{Events, Op, Reply};
use healthd_core::wire::events::EventRow;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;

/// As `healthd --replay` prints it.
#[derive(Deserialize, Serialize)]
struct Answer {
    flips: usize,
    sent: Vec<Sent>,
}

#[derive(Deserialize, Serialize)]
struct Sent {
    at: u64,
    route: String,
    kind: String,
    notice: String,
    checks: Vec<String>,
}

pub fn run(session: &mut Session, args: &ReplayArgs) -> Result<u8, CtlError> {
    let mut rows: Vec<EventRow> = Vec::new();
    let asked = Events {
        since: Some(args.since.to_string()),
        ..Events::default()
    };
    session.ask_all(Op::Events(asked), |reply| match reply {
        Reply::Event(row) => {
            rows.push(*row);
            true
        }
        _ => false,
    })?;
    let now = Timestamp::now();
    let was_sent = rows.iter().filter(|row| row.kind == "told").count();
    let missed: u64 = rows.iter().filter_map(|row| row.missed).sum();
    let flips: Vec<Value> = rows.iter().filter_map(flip).collect();
    let question = json!({ "flips": flips, "until": ns(now) }).to_string();
    let config = match &args.config {
        Some(config) => config.clone(),
        None => session.config_in_force()?,
    };
    let ended = Helper {
        input: Some(question.into_bytes()),
        ..Helper::default()
    }
    .run(&[OsStr::new("--replay"), config.as_os_str()])?;
    if ended.output.status.code() == Some(78) {
        // Its mistakes stand on standard error.
        return Ok(exit::CRITICAL);
    }
    let answer: Answer = ended.answer()?;
    if session.json {
        let times = |sent: &Sent| {
            json!({
                "time": Timestamp::from_nanosecond(i128::from(sent.at)).unwrap_or_default().to_string(),
                "route": sent.route, "kind": sent.kind, "notice": sent.notice, "checks": sent.checks,
            })
        };
        let sent: Vec<Value> = answer.sent.iter().map(times).collect();
        let said = json!({
            "since": args.since.to_string(), "flips": answer.flips, "missed": missed, "was_sent": was_sent, "sent": sent,
        });
        session.print_json(&said)?;
        return Ok(exit::OK);
    }
    if missed > 0 {
        let text = format!("healthd has not all of it any more: {missed} events are gone");
        session.screen.note("note", &text);
    }
    let mut routes: BTreeMap<String, Messages> = BTreeMap::new();
    let look = session.screen.look();
    for sent in &answer.sent {
        let messages = routes.entry(sent.route.clone()).or_default();
        match sent.kind.as_str() {
            "problem" => messages.problems += 1,
            "recovery" => messages.recoveries += 1,
            _ => messages.others += 1,
        }
        let at = Timestamp::from_nanosecond(i128::from(sent.at)).unwrap_or_default();
        let hour = at.to_zoned_datetime(look.zone.clone()).hour();
        messages.at_night += u64::from(!(6..22).contains(&hour));
    }
    let text = replayed(&routes, answer.flips, was_sent, &look);
    session.screen.print(&text)?;
    Ok(exit::OK)
}

/// Of an event that alerts go by.
fn flip(row: &EventRow) -> Option<Value> {
    let at = ns(row.time.as_deref()?.parse().ok()?);
    let name = row.check.as_deref()?;
    match row.kind.as_str() {
        "flipped" => Some(json!({
            "at": at, "name": name, "was": row.from, "verdict": row.to, "message": row.message.as_deref().unwrap_or_default(),
        })),
        "removed" => Some(json!({ "at": at, "name": name, "was": "pending", "verdict": null })),
        _ => None,
    }
}

fn ns(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}
