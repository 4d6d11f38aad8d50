//! `history` and `report`: what the recorder has written, read from its file. healthd need not run.

use crate::args::{HistoryArgs, ReportArgs};
use crate::error::CtlError;
use crate::maps::{directory, real};
use crate::render::history as render;
use crate::session::Session;
use crate::{exit, render::json};
use healthd_core::config::{OBJECTIVES_FILE, Objective, did_you_mean};
use healthd_core::wire::glob;
use healthd_core::wire::history::HISTORY_FILE;
use healthd_recorder::burn::burn;
use healthd_recorder::read::{History, status};
use healthd_recorder::report::{Row, together};
use healthd_sys::files;
use jiff::Timestamp;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn history(session: &mut Session, args: &HistoryArgs) -> Result<u8, CtlError> {
    let history = open(session, args.file.as_deref())?;
    let now = Timestamp::now();
    let since = args.since.unwrap_or_else(|| ago(now, 24));
    let of_check = history
        .of_check(&args.name, ns(since), ns(now), real)
        .map_err(CtlError::History)?;
    let Some(found) = of_check else {
        let names = history.names().map_err(CtlError::History)?;
        let near = did_you_mean(&args.name, names.iter().map(String::as_str));
        let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        let text = format!("there is no history of a check `{}`{near}", args.name);
        return Err(CtlError::History(text));
    };
    if session.json {
        session.print_json(&found)?;
    } else if args.csv {
        session.screen.print(&render::rollups_csv(&found.rollups))?;
    } else {
        let look = session.screen.look();
        let text = render::page(&args.name, &found, &look);
        session.screen.print(&text)?;
    }
    Ok(exit::OK)
}

pub fn report(session: &mut Session, args: &ReportArgs) -> Result<u8, CtlError> {
    let history = open(session, args.file.as_deref())?;
    let now = args.until.unwrap_or(Timestamp::MAX).min(Timestamp::now());
    let since = args.since.unwrap_or_else(|| ago(now, 30 * 24));
    if since >= now {
        let text = format!(
            "nothing lies between {since:.0} and {now:.0}: --since has to be before --until"
        );
        return Err(CtlError::History(text));
    }
    let wanted = |name: &str| {
        args.names.is_empty() || args.names.iter().any(|glob| glob::matches(glob, name))
    };
    let mut rows = history
        .report(ns(since), ns(now), wanted)
        .map_err(CtlError::History)?;
    let known = match args.file {
        Some(_) => Vec::new(),
        None => objectives(session),
    };
    let of_it = |o: &Objective| wanted(&o.name) || o.checks.iter().any(|c| wanted(c));
    let known: Vec<Objective> = known.into_iter().filter(of_it).collect();
    add_objectives(&history, &known, &mut rows, ns(since), ns(now)).map_err(CtlError::History)?;
    // Checks that there were only later.
    rows.retain(|row| args.until.is_none() || row.seen_s() > 0.0);
    if rows.is_empty() {
        let text = match args.until {
            Some(_) => format!("nothing is known of such a check from {since:.0} to {now:.0}"),
            None => "there is no history of such a check".to_owned(),
        };
        let text = format!("{text}; `healthctl list` names those that there are");
        return Err(CtlError::History(text));
    }
    if session.json {
        session.screen.print(&json::array(&rows))?;
    } else if args.csv {
        session.screen.print(&render::report_csv(&rows))?;
    } else {
        let look = session.screen.look();
        session
            .screen
            .print(&render::report(&rows, args.slo, &look))?;
    }
    Ok(exit::OK)
}

/// Those in force, as the daemon has left them; none where it does not run.
fn objectives(session: &Session) -> Vec<Objective> {
    let path = directory(session.socket()).join(OBJECTIVES_FILE);
    let bytes = files::read(&path, OBJECTIVES_MOST).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// A check's own goes into its row; one of several is a row behind them.
fn add_objectives(
    history: &History,
    objectives: &[Objective],
    rows: &mut Vec<Row>,
    since: u64,
    now: u64,
) -> Result<(), String> {
    if objectives.is_empty() {
        return Ok(());
    }
    let needed: HashSet<&str> = objectives
        .iter()
        .flat_map(|o| o.checks.iter().map(String::as_str))
        .collect();
    let look = |from: u64| history.report(from, now, |name| needed.contains(name));
    let mut looks: BTreeMap<u64, ByName> = BTreeMap::new();
    let windows = objectives.iter().map(|o| back(now, o.slo.window));
    for from in windows.chain([since, back(now, HOUR), back(now, 6 * HOUR)]) {
        if let Entry::Vacant(new) = looks.entry(from) {
            let found = look(from)?.into_iter();
            new.insert(found.map(|row| (row.name.clone(), row)).collect());
        }
    }
    let place: HashMap<String, usize> = rows
        .iter()
        .enumerate()
        .map(|(n, row)| (row.name.clone(), n))
        .collect();
    for o in objectives {
        let of = |from: u64| -> Vec<&Row> {
            let rows = o.checks.iter().filter_map(|name| looks[&from].get(name));
            rows.collect()
        };
        let spans = [o.slo.window, HOUR, 6 * HOUR].map(|time| of(back(now, time)));
        let [whole, hour, six] = &spans;
        let window_s = o.slo.window.as_secs_f64();
        let slo = Some(burn(o.slo.objective, window_s, [whole, hour, six]));
        match place.get(&o.name) {
            Some(n) => rows[*n].slo = slo,
            None => rows.push(Row {
                slo,
                ..together(&o.name, &of(since))
            }),
        }
    }
    Ok(())
}

type ByName = HashMap<String, Row>;

fn back(now: u64, time: Duration) -> u64 {
    now.saturating_sub(u64::try_from(time.as_nanos()).unwrap_or(now))
}

const HOUR: Duration = Duration::from_secs(3600);
const OBJECTIVES_MOST: u64 = 64 << 20;

pub(super) fn open(session: &mut Session, file: Option<&Path>) -> Result<History, CtlError> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => recorded(session)?,
    };
    History::open(&path).map_err(CtlError::History)
}

/// Where the recorder writes, by its own word; and what it says of how it fares.
fn recorded(session: &mut Session) -> Result<PathBuf, CtlError> {
    let dir = directory(session.socket());
    let status = match status(&dir) {
        Ok(status) => status,
        // A daemon that does not run has left the file where it always is.
        Err(_) => {
            let usual = Path::new("/var/lib/healthd").join(HISTORY_FILE);
            if usual.exists() && dir == Path::new("/run/healthd") {
                return Ok(usual);
            }
            return Err(CtlError::NoHistory { dir });
        }
    };
    if status.events_lost > 0 {
        let text = format!(
            "{} events were lost while it could not be written",
            status.events_lost
        );
        session.screen.note("note", &text);
    }
    if status.waits_since > 0 {
        session.screen.note(
            "warning",
            "history is behind: the recorder cannot write, see the log",
        );
    }
    Ok(status.path)
}

pub(super) fn ago(now: Timestamp, hours: i64) -> Timestamp {
    now.checked_sub(jiff::SignedDuration::from_hours(hours))
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) fn ns(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}
