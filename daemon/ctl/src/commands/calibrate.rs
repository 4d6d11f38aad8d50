//! `calibrate`: what a check's history says of how it is set.

use super::history::{ago, ns, open};
use crate::args::CalibrateArgs;
use crate::error::CtlError;
use crate::exit;
use crate::maps::real;
use crate::render::calibrate as render;
use crate::session::Session;
use healthd_core::wire::control::{Op, Reply};
use healthd_core::wire::events::EventRow;
use healthd_recorder::calibrate::{Hour, Now, calibrate};
use healthd_recorder::read::Rollup;
use healthd_recorder::report::State;
use jiff::Timestamp;

pub fn run(session: &mut Session, args: &CalibrateArgs) -> Result<u8, CtlError> {
    let history = open(session, args.file.as_deref())?;
    let op = Op::Show {
        name: args.name.clone(),
    };
    let detail = session.ask_one(op, "detail", |reply| match reply {
        Reply::Detail(detail) => Some(detail),
        _ => None,
    })?;
    let seconds = |ms: u64| ms as f64 / 1e3;
    let set = Now {
        attempts: detail.row.attempts.unwrap_or(1),
        retry_interval_s: seconds(detail.retry_interval_ms),
        timeout_s: seconds(detail.timeout_ms),
    };
    let now = Timestamp::now();
    let since = args.since.unwrap_or_else(|| ago(now, 30 * 24));
    let found = history
        .of_check(&args.name, ns(since), ns(now), real)
        .map_err(CtlError::History)?;
    let Some(found) = found else {
        let text = format!("there is no history of a check `{}`", args.name);
        return Err(CtlError::History(text));
    };
    let hours: Vec<Hour> = found.rollups.iter().filter_map(hour).collect();
    let calibration = calibrate(set, &problems(&found.events), &hours);
    if session.json {
        session.print_json(&calibration)?;
    } else {
        let look = session.screen.look();
        let text = render::page(&args.name, &calibration, &look);
        session.screen.print(&text)?;
    }
    Ok(exit::OK)
}

/// How long each has lasted that is over, in seconds.
fn problems(events: &[EventRow]) -> Vec<f64> {
    let mut since: Option<Timestamp> = None;
    let mut found = Vec::new();
    for event in events.iter().filter(|e| e.kind == "flipped") {
        let time = event.time.as_deref().and_then(|t| t.parse().ok());
        let state = event.to.as_deref().map(State::of);
        match (state, since, time) {
            (Some(State::Down), None, begun) => since = begun,
            (Some(State::Up), Some(begun), Some(over)) => {
                found.push(over.duration_since(begun).as_secs_f64());
                since = None;
            }
            // Nobody knows how it went on.
            (Some(State::Unknown), ..) => since = None,
            _ => {}
        }
    }
    found
}

fn hour(rollup: &Rollup) -> Option<Hour> {
    Some(Hour {
        bad: rollup.bad,
        p95: rollup.p95?,
        p99: rollup.p99?,
    })
}
