//! `history.db` as healthctl and the pages read it: never for long, as a reader that stays keeps the log from being emptied.

use crate::db::VERSION;
use crate::report::{self, State, What};
use healthd_core::wire::events::EventRow;
use healthd_core::wire::history::{HISTORY_MAP, HistoryStatus, LEVELS, read_status};
use healthd_sys::files;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Statement, params};
use serde::Serialize;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// One question takes milliseconds; for what takes longer a person at a terminal waits so long.
const LONGEST: Duration = Duration::from_secs(20);

/// Where history lies and how it is written, by the recorder's own word.
pub fn status(runtime_dir: &Path) -> io::Result<HistoryStatus> {
    let bytes = files::read(&runtime_dir.join(HISTORY_MAP), 1 << 16)?;
    read_status(&bytes).ok_or_else(|| io::Error::other("it is no map of a recorder"))
}

/// Of a check, in order.
const CHANGES: &str = "SELECT time, kind, from_state, to_state FROM event WHERE check_id = ?1
     AND kind IN ('flipped', 'paused', 'resumed', 'removed', 'added', 'maintenance-begun', 'maintenance-ended')
     ORDER BY id";

type Changes = (Option<State>, Vec<(u64, What)>);

pub struct History {
    conn: Connection,
}

/// One roll-up; times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rollup {
    /// RFC 3339.
    pub start: Option<String>,
    pub seconds: u64,
    /// So much of it was a maintenance, or paused.
    pub planned_s: f64,
    pub runs: u64,
    pub bad: u64,
    pub unjudged: u64,
    pub mean: Option<f64>,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
}

/// What is known of a check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfCheck {
    pub events: Vec<EventRow>,
    pub rollups: Vec<Rollup>,
    /// Of the metrics that `keep` names: the last value in each roll-up.
    pub metrics: Vec<Kept>,
    /// Of the daemon, and so of all checks.
    pub gaps: Vec<Gap>,
}

/// A time of which history knows less than it should.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// RFC 3339: when it began.
    pub time: Option<String>,
    /// `unseen`: healthd did not run. `events-missed`. `history-broken`: what was before lies beside the file.
    pub kind: String,
    /// How long nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_s: Option<f64>,
    /// How many are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    pub text: String,
}

/// A metric of a plugin at the end of a roll-up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// RFC 3339; that of the roll-up.
    pub start: Option<String>,
    pub name: String,
    pub value: f64,
}

/// Writes a time of CLOCK_REALTIME in ns.
pub type Rfc3339 = fn(u64) -> Option<String>;

impl History {
    pub fn open(path: &Path) -> Result<History, String> {
        History::open_for(path, LONGEST)
    }

    /// `longest`: what takes longer is given up.
    pub fn open_for(path: &Path, longest: Duration) -> Result<History, String> {
        let named = |e: rusqlite::Error| format!("{}: {}", path.display(), told(&e));
        if let Err(e) = std::fs::File::open(path) {
            let help = match e.kind() {
                io::ErrorKind::NotFound => {
                    "nothing is recorded: `[history]` in healthd.toml does it"
                }
                io::ErrorKind::PermissionDenied => "ask as root, or as the daemon's user",
                _ => "is it a file?",
            };
            return Err(format!("{}: {}; {help}", path.display(), plain(&e)));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags).map_err(named)?;
        conn.busy_timeout(Duration::from_secs(2)).map_err(named)?;
        let begun = Instant::now();
        conn.progress_handler(100_000, Some(move || begun.elapsed() > longest))
            .map_err(named)?;
        let version: i64 = conn
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(named)?;
        match version {
            VERSION => Ok(History { conn }),
            other => Err(format!(
                "{}: it is of version {other}, and this healthctl reads {VERSION}",
                path.display()
            )),
        }
    }

    /// The names of all checks of which there is a history.
    pub fn names(&self) -> Result<Vec<String>, String> {
        let ask = || -> rusqlite::Result<Vec<String>> {
            let mut ask = self.conn.prepare("SELECT name FROM checks ORDER BY name")?;
            ask.query_map([], |row| row.get(0))?.collect()
        };
        ask().map_err(|e| told(&e))
    }

    /// None: there is no such check. `since`, `now`: ns. The level is the finest that goes back so far.
    pub fn of_check(
        &self,
        name: &str,
        since: u64,
        now: u64,
        rfc3339: Rfc3339,
    ) -> Result<Option<OfCheck>, String> {
        let ask = || -> rusqlite::Result<Option<OfCheck>> {
            let Some(id) = self.id(name)? else {
                return Ok(None);
            };
            let ago = now.saturating_sub(since) / 1_000_000_000;
            let level = LEVELS.iter().find(|l| ago <= l.kept).unwrap_or(&LEVELS[2]);
            let since_s = since / 1_000_000_000;
            let from = since_s - since_s % level.seconds;
            let sql = format!(
                "SELECT start, seconds, runs, bad, unjudged, timed, sum_us, p50_us, p95_us, p99_us, max_us
                 FROM roll_{} WHERE check_id = ?1 AND start >= ?2 ORDER BY start",
                level.seconds
            );
            let planned = self.planned(id)?;
            let planned_s = |start: u64| {
                let span = (ns(start), ns(start + level.seconds).min(now));
                let events = planned.iter().copied();
                report::row("", span, State::Unknown, events).maintenance_s
            };
            let mut ask = self.conn.prepare(&sql)?;
            let rollups = ask
                .query_map(params![id, from.cast_signed()], |row| {
                    rollup(row, planned_s, rfc3339)
                })?
                .collect::<rusqlite::Result<_>>()?;
            let mut ask = self.conn.prepare(
                "SELECT seq, time, kind, plugin, from_state, to_state, slot, pid, amount, cause, message
                 FROM event WHERE check_id = ?1 AND time >= ?2 ORDER BY id",
            )?;
            let events = ask
                .query_map(params![id, since.cast_signed()], |row| {
                    event(row, name, rfc3339)
                })?
                .collect::<rusqlite::Result<_>>()?;
            let mut ask = self.conn.prepare(&format!(
                "SELECT start, name, value FROM metric_{} WHERE check_id = ?1 AND start >= ?2 ORDER BY name, start",
                level.seconds
            ))?;
            let metrics = ask
                .query_map(params![id, from.cast_signed()], |row| {
                    let start = row.get::<_, i64>(0)?.cast_unsigned();
                    Ok(Kept {
                        start: rfc3339(ns(start)),
                        name: row.get(1)?,
                        value: row.get(2)?,
                    })
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(OfCheck {
                events,
                rollups,
                metrics,
                gaps: self.gaps(since, rfc3339)?,
            }))
        };
        ask().map_err(|e| told(&e))
    }

    /// When nobody expected much of it.
    fn planned(&self, id: i64) -> rusqlite::Result<Vec<(u64, What)>> {
        let (_, mut events) = Self::changes(&mut self.conn.prepare(CHANGES)?, id)?;
        events.retain(|(_, what)| matches!(what, What::Paused(_) | What::Planned(_)));
        if !events.is_empty() {
            let starts = self.unseen()?.into_iter();
            events.extend(starts.filter(|(_, what)| matches!(what, What::Planned(_))));
            events.sort_by_key(|(time, _)| *time);
        }
        Ok(events)
    }

    /// What has become of a check, in order, and what it was before.
    fn changes(ask: &mut Statement<'_>, id: i64) -> rusqlite::Result<Changes> {
        let mut events = Vec::new();
        let mut before = None;
        let mut rows = ask.query([id])?;
        while let Some(row) = rows.next()? {
            let time = row.get::<_, i64>(0)?.cast_unsigned();
            let kind: String = row.get(1)?;
            let word = |at: usize| -> rusqlite::Result<String> {
                Ok(row.get::<_, Option<String>>(at)?.unwrap_or_default())
            };
            let what = match kind.as_str() {
                "flipped" => {
                    before.get_or_insert(State::of(&word(2)?));
                    What::Verdict(State::of(&word(3)?))
                }
                "paused" => What::Paused(true),
                "resumed" => What::Paused(false),
                "maintenance-begun" => What::Planned(true),
                "maintenance-ended" => What::Planned(false),
                "removed" => What::Verdict(State::Unknown),
                _ => continue,
            };
            events.push((time, what));
        }
        Ok((before, events))
    }

    fn gaps(&self, since: u64, rfc3339: Rfc3339) -> rusqlite::Result<Vec<Gap>> {
        let mut ask = self
            .conn
            .prepare("SELECT time, kind, count, text FROM note WHERE time >= ?1 ORDER BY time")?;
        let gaps = ask.query_map([since.cast_signed()], |row| {
            let (kind, count): (String, i64) = (row.get(1)?, row.get(2)?);
            Ok(Gap {
                time: rfc3339(row.get::<_, i64>(0)?.cast_unsigned()),
                for_s: (kind == "unseen").then_some(count as f64 / 1e9),
                events: (kind == "events-missed").then_some(count.cast_unsigned()),
                kind,
                text: row.get(3)?,
            })
        })?;
        gaps.collect()
    }

    fn id(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        let mut ask = self.conn.prepare("SELECT id FROM checks WHERE name = ?1")?;
        let mut rows = ask.query([name])?;
        rows.next()?.map(|row| row.get(0)).transpose()
    }

    /// A row for each check of which `wanted` says yes; ns.
    pub fn report(
        &self,
        since: u64,
        now: u64,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<report::Row>, String> {
        self.rows(since, now, wanted).map_err(|e| told(&e))
    }

    fn rows(
        &self,
        since: u64,
        now: u64,
        wanted: impl Fn(&str) -> bool,
    ) -> rusqlite::Result<Vec<report::Row>> {
        let unseen = self.unseen()?;
        let mut ask = self
            .conn
            .prepare("SELECT id, name, verdict, first FROM checks ORDER BY name")?;
        let mut of_check = self.conn.prepare(CHANGES)?;
        let mut found = Vec::new();
        let mut checks = ask.query([])?;
        while let Some(check) = checks.next()? {
            let (id, name, verdict): (i64, String, String) =
                (check.get(0)?, check.get(1)?, check.get(2)?);
            if !wanted(&name) {
                continue;
            }
            let first = check.get::<_, i64>(3)?.cast_unsigned();
            let (before, mut events) = Self::changes(&mut of_check, id)?;
            events.extend(unseen.iter().copied());
            events.sort_by_key(|(time, _)| *time);
            let start = since.max(first).min(now);
            let before = before.unwrap_or_else(|| State::of(&verdict));
            found.push(report::row(&name, (start, now), before, events));
        }
        Ok(found)
    }

    /// When nobody looked: between a stop and the start after it, and after a last sign of life.
    fn unseen(&self) -> rusqlite::Result<Vec<(u64, What)>> {
        let mut all = Vec::new();
        let mut ask = self.conn.prepare(
            "SELECT time, kind FROM event WHERE kind IN ('started', 'stopping', 'manager-restarted') ORDER BY id",
        )?;
        let mut rows = ask.query([])?;
        while let Some(row) = rows.next()? {
            let time = row.get::<_, i64>(0)?.cast_unsigned();
            let kind: String = row.get(1)?;
            if kind != "stopping" {
                // What is planned is told anew after it.
                all.push((time, What::Planned(false)));
            }
            if kind != "manager-restarted" {
                all.push((time, What::Unseen(kind == "stopping")));
            }
        }
        let mut ask = self
            .conn
            .prepare("SELECT time FROM note WHERE kind = 'unseen'")?;
        let mut rows = ask.query([])?;
        while let Some(row) = rows.next()? {
            // The start that ended it is an event.
            let time = row.get::<_, i64>(0)?.cast_unsigned();
            all.push((time, What::Unseen(true)));
        }
        Ok(all)
    }
}

/// Of seconds.
fn ns(seconds: u64) -> u64 {
    seconds.saturating_mul(1_000_000_000)
}

/// `planned_s`: of the one that starts then.
fn rollup(
    row: &Row<'_>,
    planned_s: impl Fn(u64) -> f64,
    rfc3339: Rfc3339,
) -> rusqlite::Result<Rollup> {
    let n = |at: usize| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(at)?.cast_unsigned()) };
    let timed = n(5)?;
    let ms = |us: u64| (timed > 0).then_some(us as f64 / 1000.0);
    Ok(Rollup {
        start: rfc3339(ns(n(0)?)),
        seconds: n(1)?,
        planned_s: planned_s(n(0)?),
        runs: n(2)?,
        bad: n(3)?,
        unjudged: n(4)?,
        mean: ms(n(6)?).map(|sum| sum / timed as f64),
        p50: ms(n(7)?),
        p95: ms(n(8)?),
        p99: ms(n(9)?),
        max: ms(n(10)?),
    })
}

fn event(row: &Row<'_>, check: &str, rfc3339: Rfc3339) -> rusqlite::Result<EventRow> {
    let kind: String = row.get(2)?;
    let amount: Option<i64> = row.get(8)?;
    let is_step = kind == "clock";
    Ok(EventRow {
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        time: rfc3339(row.get::<_, i64>(1)?.cast_unsigned()),
        kind,
        check: Some(check.to_owned()),
        plugin: row.get(3)?,
        from: row.get(4)?,
        to: row.get(5)?,
        slot: row.get(6)?,
        pid: row.get(7)?,
        for_ms: amount.filter(|_| !is_step).map(i64::unsigned_abs),
        step_ms: amount.filter(|_| is_step),
        cause: row.get(9)?,
        message: row.get(10)?,
        missed: None,
    })
}

fn told(e: &rusqlite::Error) -> String {
    match e.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => "it takes too long: ask for less".into(),
        Some(ErrorCode::CannotOpen) => {
            "it cannot be opened: ask as root, or as the daemon's user".into()
        }
        _ => e.to_string(),
    }
}

fn plain(e: &io::Error) -> String {
    let text = e.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, Place};
    use crate::rolls::Counts;
    use healthd_core::wire::events::{EventKind, EventRecord};

    #[test]
    fn a_rollup_tells_how_much_of_it_was_planned_and_a_page_what_is_missing() {
        let dir = std::env::temp_dir().join(format!("healthd-read-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        let path = dir.join("history.db");
        let mut db = Db::open(&path, 64 << 20).expect("new");
        let kinds = [
            (400, EventKind::MaintenanceBegun),
            (520, EventKind::MaintenanceEnded),
            (580, EventKind::Paused),
            (660, EventKind::Resumed),
            (700, EventKind::MaintenanceBegun),
        ];
        let event = |(number, (at, kind)): (u64, (u64, EventKind))| EventRecord {
            number,
            time: ns(at),
            kind,
            check: "web".into(),
            ..EventRecord::default()
        };
        let events: Vec<EventRecord> = (1..).zip(kinds).map(event).collect();
        let place = Place { last: 5, base: 0 };
        db.write_events(&events, 3, place).expect("written");
        let id = db.ids(&[("web".into(), "ok".into(), 0)], 0).expect("it")[0];
        for start in [300, 600] {
            let row = Counts::default().row();
            db.write_rows(0, start, 300, &[(id, row)]).expect("written");
        }
        drop(db);
        let history = History::open(&path).expect("there");
        let found = history.of_check("web", 0, ns(800), |ns| Some(ns.to_string()));
        let found = found.expect("read").expect("it is there");
        let planned: Vec<f64> = found.rollups.iter().map(|r| r.planned_s).collect();
        // The last goes on, and ends with now.
        assert_eq!(planned, [140.0, 160.0]);
        let gap = &found.gaps[0];
        assert_eq!((gap.kind.as_str(), gap.events), ("events-missed", Some(3)));
        assert_eq!(gap.text, "until 1970-01-01T00:06:40Z");
        std::fs::remove_dir_all(dir).expect("our own");
    }
}
