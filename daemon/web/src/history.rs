//! `history.db` as pages and the API read it: on a thread of its own, and never for long, as a reader that stays keeps
//! the recorder's log from being emptied.

use crate::facts::history_status;
use crate::routes::Site;
use serde_json::Value;

/// A roll-up; times in milliseconds.
pub struct Point {
    /// CLOCK_REALTIME, seconds.
    pub start: u64,
    pub seconds: u64,
    pub runs: u64,
    pub bad: u64,
    pub unjudged: u64,
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub max: Option<f64>,
}

/// Sums over some days.
pub struct Report {
    /// 0 to 1; None: nothing is known of that time.
    pub availability: Option<f64>,
    pub failures: u64,
    pub mttr_s: Option<f64>,
    pub longest_s: f64,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum NoHistory {
    /// By the config, or by the build.
    Off,
    /// Nothing was recorded of that check yet.
    #[cfg_attr(
        not(feature = "history"),
        expect(dead_code, reason = "only a history knows")
    )]
    NoCheck,
    Failed(String),
}

/// The finest roll-ups that go back to `since` (ns).
pub async fn points(site: &Site, name: &str, since: u64) -> Result<Vec<Point>, NoHistory> {
    let name = name.to_owned();
    read(site, move |db| db::points(db, &name, since)).await
}

pub async fn report(site: &Site, name: &str, since: u64) -> Result<Report, NoHistory> {
    let name = name.to_owned();
    read(site, move |db| db::report(db, &name, since)).await
}

/// What part of the time since then (ns) each of these was up, 0 to 1. Those of which nothing is known are left out.
pub async fn availability(
    site: &Site,
    names: Vec<String>,
    since: u64,
) -> Result<Vec<(String, f64)>, NoHistory> {
    read(site, move |db| db::availability(db, &names, since)).await
}

/// As `healthctl --json history NAME` has it.
pub async fn all(site: &Site, name: &str, since: u64) -> Result<Value, NoHistory> {
    let name = name.to_owned();
    read(site, move |db| db::all(db, &name, since)).await
}

async fn read<T: Send + 'static>(
    site: &Site,
    ask: impl FnOnce(&std::path::Path) -> Result<T, NoHistory> + Send + 'static,
) -> Result<T, NoHistory> {
    if !site.settings.history {
        return Err(NoHistory::Off);
    }
    let failed = |why: &str| NoHistory::Failed(why.to_owned());
    let status = history_status(&site.args.runtime_dir)
        .ok_or_else(|| failed("the recorder has not begun yet"))?;
    tokio::task::spawn_blocking(move || ask(&status.path))
        .await
        .unwrap_or_else(|_| Err(failed("it could not be read")))
}

#[cfg(feature = "history")]
mod db {
    use super::{NoHistory, Point, Report, Value};
    use crate::times;
    use healthd_recorder::read::{History, OfCheck};
    use healthd_sys::clock;
    use std::collections::HashSet;
    use std::path::Path;
    use std::time::Duration;

    const LONGEST: Duration = Duration::from_secs(2);

    fn of_check(file: &Path, name: &str, since: u64) -> Result<OfCheck, NoHistory> {
        let history = History::open_for(file, LONGEST).map_err(NoHistory::Failed)?;
        let now = clock::realtime_ns();
        let found = history.of_check(name, since, now, times::rfc3339);
        found.map_err(NoHistory::Failed)?.ok_or(NoHistory::NoCheck)
    }

    pub fn points(file: &Path, name: &str, since: u64) -> Result<Vec<Point>, NoHistory> {
        let rollups = of_check(file, name, since)?.rollups;
        let point = rollups.into_iter().filter_map(|r| {
            Some(Point {
                start: times::parse(&r.start?)? / 1_000_000_000,
                seconds: r.seconds,
                runs: r.runs,
                bad: r.bad,
                unjudged: r.unjudged,
                p50: r.p50,
                p95: r.p95,
                max: r.max,
            })
        });
        Ok(point.collect())
    }

    pub fn report(file: &Path, name: &str, since: u64) -> Result<Report, NoHistory> {
        let history = History::open_for(file, LONGEST).map_err(NoHistory::Failed)?;
        let rows = history.report(since, clock::realtime_ns(), |n| n == name);
        let row = rows.map_err(NoHistory::Failed)?.pop();
        let row = row.ok_or(NoHistory::NoCheck)?;
        Ok(Report {
            availability: row.availability,
            failures: row.failures,
            mttr_s: row.mttr_s,
            longest_s: row.longest_s,
        })
    }

    pub fn availability(
        file: &Path,
        names: &[String],
        since: u64,
    ) -> Result<Vec<(String, f64)>, NoHistory> {
        let history = History::open_for(file, LONGEST).map_err(NoHistory::Failed)?;
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        let rows = history.report(since, clock::realtime_ns(), |n| names.contains(n));
        let rows = rows.map_err(NoHistory::Failed)?.into_iter();
        Ok(rows
            .filter_map(|r| Some((r.name, r.availability?)))
            .collect())
    }

    pub fn all(file: &Path, name: &str, since: u64) -> Result<Value, NoHistory> {
        let found = of_check(file, name, since)?;
        serde_json::to_value(found).map_err(|e| NoHistory::Failed(e.to_string()))
    }
}

#[cfg(not(feature = "history"))]
mod db {
    use super::{NoHistory, Point, Report, Value};
    use std::path::Path;

    pub fn points(_: &Path, _: &str, _: u64) -> Result<Vec<Point>, NoHistory> {
        Err(NoHistory::Off)
    }

    pub fn report(_: &Path, _: &str, _: u64) -> Result<Report, NoHistory> {
        Err(NoHistory::Off)
    }

    pub fn availability(_: &Path, _: &[String], _: u64) -> Result<Vec<(String, f64)>, NoHistory> {
        Err(NoHistory::Off)
    }

    pub fn all(_: &Path, _: &str, _: u64) -> Result<Value, NoHistory> {
        Err(NoHistory::Off)
    }
}
