//! `history.db`: the one writer's side. The schema is part of what users rely on; see docs/history.md.
//!
//! Whatever is wrong with file or disk is a `Trouble` with a name; nothing here waits for longer than `BUSY`.

use crate::rolls::Row;
use healthd_core::wire::events::EventRecord;
use healthd_core::wire::history::{EVENTS_MOST, LEVELS};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};
use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An operator's own writing may hold us up for so long.
const BUSY: Duration = Duration::from_secs(1);
const LOOK_THROUGH: Duration = Duration::from_secs(2);
const PAGE: u64 = 4096;
/// Bytes of the log, beyond which nothing is written until whoever reads with an open transaction lets go.
const LOG_MOST: u64 = 64 << 20;
/// What one commit may add to a log that was below its limit.
const COMMIT: u64 = 4 << 20;
/// A part of the oldest rows, when there is no room for new ones.
const TRIM: u64 = 10;

pub struct Db {
    conn: Connection,
    path: PathBuf,
    log_most: u64,
    ids: HashMap<String, i64>,
}

#[derive(Debug)]
pub enum Trouble {
    /// The disk, or the quota.
    DiskFull,
    /// `max_size` is reached, and nothing older is there to be removed.
    NoRoom,
    /// A reader's transaction keeps the log from being emptied.
    LogHeld {
        bytes: u64,
    },
    /// Another process writes.
    Busy,
    /// It is no database, or a damaged one.
    Broken(String),
    Other(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::DiskFull => f.write_str("the disk is full"),
            Trouble::NoRoom => {
                f.write_str("`max_size` of [history] has no room for what is newest")
            }
            Trouble::LogHeld { bytes } => write!(
                f,
                "a transaction that somebody has open on history.db keeps its log from being emptied ({} MiB): end it",
                bytes >> 20
            ),
            Trouble::Busy => f.write_str("another process writes to history.db"),
            Trouble::Broken(why) => write!(f, "history.db is damaged: {why}"),
            Trouble::Other(why) => f.write_str(why),
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(e: rusqlite::Error) -> Trouble {
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Trouble::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Trouble::Broken(e.to_string())
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::Busy,
            _ => Trouble::Other(e.to_string()),
        }
    }
}

type Done<T> = Result<T, Trouble>;

/// Of the events: where the numbers stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The newest number that is written.
    pub last: u64,
    /// Added to a number to get its row: numbers that began anew go on behind the old rows.
    pub base: u64,
}

impl Db {
    /// `most`: bytes that the file and its log may have together.
    pub fn open(path: &Path, most: u64) -> Done<Db> {
        // Born with its mode. Who may read history is who may read the folder.
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(path)
            .map_err(|e| match e.raw_os_error() {
                Some(nix::libc::ENOSPC | nix::libc::EDQUOT) => Trouble::DiskFull,
                _ => Trouble::Other(format!("cannot open {}: {e}", path.display())),
            })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(path, flags)?;
        conn.busy_timeout(BUSY)?;
        let log_most = LOG_MOST.min(most / 4);
        conn.pragma_update(None, "page_size", PAGE.cast_signed())?;
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update_and_check(
            None,
            "journal_size_limit",
            (log_most / 2).cast_signed(),
            |_| Ok(()),
        )?;
        // KiB: the pages at the end of the tables are all that is needed.
        conn.pragma_update(None, "cache_size", -1024)?;
        let early = (log_most / 2 / PAGE).clamp(64, 1000);
        conn.pragma_update_and_check(None, "wal_autocheckpoint", early.cast_signed(), |_| Ok(()))?;
        let pages =
            ((most - log_most - COMMIT.min(most / 4)) / PAGE).clamp(64, u64::from(u32::MAX - 1));
        conn.pragma_update_and_check(None, "max_page_count", pages.cast_signed(), |_| Ok(()))?;
        let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
        match version {
            0 => conn.execute_batch(&schema())?,
            VERSION => look_through(&conn)?,
            other => {
                return Err(Trouble::Other(format!(
                    "history.db is of version {other}, and this healthd writes {VERSION}: move it away, or run the healthd that wrote it"
                )));
            }
        }
        Ok(Db {
            conn,
            path: path.to_owned(),
            log_most,
            ids: HashMap::new(),
        })
    }

    pub fn place(&self) -> Done<Place> {
        Ok(Place {
            last: self.value("last_event")?,
            base: self.value("event_base")?,
        })
    }

    fn value(&self, key: &str) -> Done<u64> {
        let mut ask = self.conn.prepare("SELECT value FROM meta WHERE key = ?1")?;
        let mut rows = ask.query([key])?;
        Ok(match rows.next()? {
            Some(row) => row.get::<_, i64>(0)?.cast_unsigned(),
            None => 0,
        })
    }

    /// Bytes of the file and of its log.
    pub fn sizes(&self) -> (u64, u64) {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        (size(&self.path), size(Path::new(&log)))
    }

    /// Whether more may be written.
    fn has_log(&self) -> Done<()> {
        let (_, bytes) = self.sizes();
        if bytes < self.log_most {
            return Ok(());
        }
        self.checkpoint()?;
        match self.sizes().1 {
            bytes if bytes < self.log_most => Ok(()),
            bytes => Err(Trouble::LogHeld { bytes }),
        }
    }

    /// Moves the log into the file and empties it, as far as no reader is in the way.
    pub fn checkpoint(&self) -> Done<()> {
        let row = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        // Busy is no mistake: the next one does it.
        let _busy: i64 = self
            .conn
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], row)?;
        Ok(())
    }

    /// All of it, or nothing. Where `max_size` is reached the oldest goes first.
    fn write(&mut self, what: impl Fn(&mut Db) -> Done<()>) -> Done<()> {
        self.has_log()?;
        for _ in 0..TRIM * 3 {
            self.conn.execute_batch("BEGIN IMMEDIATE")?;
            let done = what(self).and_then(|()| Ok(self.conn.execute_batch("COMMIT")?));
            let Err(trouble) = done else {
                return Ok(());
            };
            if !self.conn.is_autocommit() {
                let _ = self.conn.execute_batch("ROLLBACK");
            }
            // What it has named meanwhile is not there.
            self.ids.clear();
            match trouble {
                Trouble::DiskFull if self.is_at_its_limit()? => self.trim()?,
                other => return Err(other),
            }
        }
        Err(Trouble::NoRoom)
    }

    fn is_at_its_limit(&self) -> Done<bool> {
        let pragma = |name: &str| -> Done<i64> {
            Ok(self.conn.pragma_query_value(None, name, |row| row.get(0))?)
        };
        // A transaction that failed may have needed some pages more.
        let free = pragma("freelist_count")?;
        Ok(pragma("page_count")? - free + 64 >= pragma("max_page_count")?)
    }

    /// Removes a part of the oldest: of the finest level first, then events, then what is coarser.
    fn trim(&mut self) -> Done<()> {
        let [fine, hours, days] = LEVELS.map(|l| l.seconds);
        let of = |kind: &str, seconds: u64| (format!("{kind}_{seconds}"), "start");
        for (table, key) in [
            of("metric", fine),
            of("roll", fine),
            ("event".to_owned(), "id"),
            of("metric", hours),
            of("roll", hours),
            of("metric", days),
            of("roll", days),
        ] {
            let bounds = format!("SELECT min({key}), max({key}) FROM {table}");
            let (least, most): (Option<i64>, Option<i64>) =
                self.conn
                    .query_row(&bounds, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let (Some(least), Some(most)) = (least, most) else {
                continue;
            };
            if least == most {
                continue;
            }
            let until = least + ((most - least) / TRIM as i64).max(1);
            self.conn
                .execute(&format!("DELETE FROM {table} WHERE {key} < ?1"), [until])?;
            log::info!("history is at its max_size: the oldest of {table} were removed");
            return Ok(());
        }
        Err(Trouble::NoRoom)
    }

    /// Events that follow each other, and where the numbers stand after them. `missed`: of those before the first.
    pub fn write_events(&mut self, events: &[EventRecord], missed: u64, place: Place) -> Done<()> {
        self.write(|db| {
            if missed > 0 {
                let until = events.first().map_or(0, |e| e.time);
                db.conn.execute(
                    "INSERT INTO note (time, kind, count, text) VALUES
                     (ifnull((SELECT time FROM event ORDER BY id DESC LIMIT 1), ?1), 'events-missed', ?2,
                      'until ' || strftime('%Y-%m-%dT%H:%M:%SZ', ?1 / 1000000000, 'unixepoch'))",
                    params![until.cast_signed(), missed.cast_signed()],
                )?;
            }
            for event in events {
                db.event(event, place.base)?;
            }
            db.meta("last_event", place.last)?;
            db.meta("event_base", place.base)
        })
    }

    fn event(&mut self, e: &EventRecord, base: u64) -> Done<()> {
        let check = match e.check.is_empty() {
            true => None,
            false => Some(self.id_of(&e.check, e.time, None)?),
        };
        if let (Some(check), "flipped") = (check, e.kind.as_str()) {
            self.conn
                .prepare("UPDATE checks SET verdict = ?2, since = ?3 WHERE id = ?1")?
                .execute(params![check, e.to, e.time.cast_signed()])?;
        }
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        self.conn
            .prepare(
                "INSERT OR REPLACE INTO event
                 (id, seq, time, kind, check_id, plugin, from_state, to_state, slot, pid, amount, cause, message)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                (e.number + base).cast_signed(),
                e.number.cast_signed(),
                e.time.cast_signed(),
                e.kind.as_str(),
                check,
                text(&e.plugin),
                text(e.from),
                text(e.to),
                e.slot,
                (e.pid != 0).then_some(e.pid),
                (e.amount != 0).then_some(e.amount),
                text(&e.cause),
                text(&e.message),
            ])?;
        Ok(())
    }

    /// Of a time of which history knows less than it should.
    fn note(&self, time: u64, kind: &str, count: u64, text: &str) -> Done<()> {
        self.conn.execute(
            "INSERT INTO note (time, kind, count, text) VALUES (?1, ?2, ?3, ?4)",
            params![time.cast_signed(), kind, count.cast_signed(), text],
        )?;
        Ok(())
    }

    pub fn write_note(&mut self, time: u64, kind: &str, count: u64, text: &str) -> Done<()> {
        self.write(|db| db.note(time, kind, count, text))
    }

    /// What `write_alive` wrote last; 0: nothing.
    pub fn alive(&self) -> Done<u64> {
        self.value("alive")
    }

    /// When the recorder last saw the daemon; ns.
    pub fn write_alive(&mut self, now: u64) -> Done<()> {
        self.write(|db| db.meta("alive", now))
    }

    fn meta(&self, key: &str, value: u64) -> Done<()> {
        self.conn
            .prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)")?
            .execute(params![key, value.cast_signed()])?;
        Ok(())
    }

    /// `standing`: its verdict and since when, where it is new.
    fn id_of(&mut self, name: &str, now: u64, standing: Option<(&str, u64)>) -> Done<i64> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let (verdict, since) = standing.unwrap_or(("pending", now));
        self.conn
            .prepare(
                "INSERT INTO checks (name, verdict, since, first) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (name) DO NOTHING",
            )?
            .execute(params![
                name,
                verdict,
                since.cast_signed(),
                now.cast_signed()
            ])?;
        let id = self
            .conn
            .prepare("SELECT id FROM checks WHERE name = ?1")?
            .query_row([name], |row| row.get(0))?;
        self.ids.insert(name.to_owned(), id);
        Ok(id)
    }

    /// The number of each of these checks, with its verdict and since when, ns.
    pub fn ids(&mut self, checks: &[(String, String, u64)], now: u64) -> Done<Vec<i64>> {
        let found = std::cell::RefCell::new(Vec::new());
        self.write(|db| {
            let mut ids = Vec::with_capacity(checks.len());
            for (name, verdict, since) in checks {
                ids.push(db.id_of(name, now, Some((verdict, *since)))?);
            }
            found.replace(ids);
            Ok(())
        })?;
        Ok(found.into_inner())
    }

    /// Rows of one level, each of a check, in place of what was there for that time.
    pub fn write_rows(
        &mut self,
        level: usize,
        start: u64,
        seconds: u64,
        rows: &[(i64, Row)],
    ) -> Done<()> {
        let sql = format!(
            "INSERT OR REPLACE INTO roll_{}
             (start, check_id, seconds, runs, bad, unjudged, timed, sum_us, p50_us, p95_us, p99_us, max_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            LEVELS[level].seconds
        );
        self.write(|db| {
            let mut insert = db.conn.prepare(&sql)?;
            for (check, row) in rows {
                let n = |n: u64| n.cast_signed();
                insert.execute(params![
                    n(start),
                    check,
                    n(seconds),
                    n(row.runs),
                    n(row.bad),
                    n(row.unjudged),
                    n(row.timed),
                    n(row.sum_us),
                    n(row.p50_us),
                    n(row.p95_us),
                    n(row.p99_us),
                    n(row.max_us),
                ])?;
            }
            Ok(())
        })
    }

    /// The last value of kept metrics in a level's row: check, name, value.
    pub fn write_metrics(
        &mut self,
        level: usize,
        start: u64,
        values: &[(i64, &str, f64)],
    ) -> Done<()> {
        let sql = format!(
            "INSERT OR REPLACE INTO metric_{} (start, check_id, name, value) VALUES (?1, ?2, ?3, ?4)",
            LEVELS[level].seconds
        );
        self.write(|db| {
            let mut insert = db.conn.prepare(&sql)?;
            for (check, name, value) in values {
                insert.execute(params![start.cast_signed(), check, name, value])?;
            }
            Ok(())
        })
    }

    /// What is older than it is to be. `now`: seconds.
    pub fn forget_old(&mut self, now: u64) -> Done<()> {
        self.write(|db| {
            for level in LEVELS {
                for table in ["roll", "metric"] {
                    db.conn.execute(
                        &format!("DELETE FROM {table}_{} WHERE start < ?1", level.seconds),
                        [now.saturating_sub(level.kept).cast_signed()],
                    )?;
                }
            }
            db.conn.execute(
                "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1",
                [EVENTS_MOST.cast_signed()],
            )?;
            db.conn.execute(
                "DELETE FROM note WHERE id <= (SELECT max(id) FROM note) - 10000",
                [],
            )?;
            // Nobody asks for a check of which nothing is left.
            let last = LEVELS[2].seconds;
            let kept = now.saturating_sub(LEVELS[2].kept) * 1_000_000_000;
            db.conn.execute(
                &format!(
                    "DELETE FROM checks WHERE first < ?1
                     AND NOT EXISTS (SELECT 1 FROM roll_{last} WHERE check_id = checks.id)
                     AND NOT EXISTS (SELECT 1 FROM event WHERE check_id = checks.id)"
                ),
                [kept.cast_signed()],
            )?;
            Ok(())
        })?;
        self.ids.clear();
        self.conn.execute_batch("PRAGMA incremental_vacuum(1000)")?;
        Ok(())
    }

    /// A damaged file is put aside with its log, and stays to be looked at.
    pub fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
        let with = |end: &str| {
            let mut name = path.to_owned().into_os_string();
            name.push(end);
            PathBuf::from(name)
        };
        let aside = with(".broken");
        for end in ["-wal", "-shm"] {
            let mut to = aside.clone().into_os_string();
            to.push(end);
            let _ = std::fs::rename(with(end), to);
        }
        std::fs::rename(path, &aside)?;
        Ok(aside)
    }
}

/// What was written over while nobody looked is found before anything is added to it; in so long as a start may take, which
/// is some hundred megabytes.
fn look_through(conn: &Connection) -> Done<()> {
    let begun = Instant::now();
    conn.progress_handler(1_000, Some(move || begun.elapsed() > LOOK_THROUGH))?;
    let said = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    conn.progress_handler(0, None::<fn() -> bool>)?;
    match said {
        Ok(said) if said == "ok" => Ok(()),
        Ok(what) => Err(Trouble::Broken(what.trim().replace('\n', "; "))),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

pub const VERSION: i64 = 1;

fn schema() -> String {
    let mut sql = format!(
        "BEGIN;
         CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         CREATE TABLE checks (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, verdict TEXT NOT NULL,
                              since INTEGER NOT NULL, first INTEGER NOT NULL);
         CREATE TABLE event (id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, time INTEGER NOT NULL, kind TEXT NOT NULL,
                             check_id INTEGER, plugin TEXT, from_state TEXT, to_state TEXT, slot INTEGER, pid INTEGER,
                             amount INTEGER, cause TEXT, message TEXT);
         CREATE INDEX event_of_check ON event (check_id, id) WHERE check_id IS NOT NULL;
         CREATE TABLE note (id INTEGER PRIMARY KEY, time INTEGER NOT NULL, kind TEXT NOT NULL, count INTEGER NOT NULL,
                            text TEXT NOT NULL);
         PRAGMA user_version = {VERSION};\n"
    );
    for level in LEVELS {
        // Time first: what is written together lies together, and so does what is removed together.
        sql += &format!(
            "CREATE TABLE roll_{0} (start INTEGER NOT NULL, check_id INTEGER NOT NULL, seconds INTEGER NOT NULL,
                runs INTEGER NOT NULL, bad INTEGER NOT NULL, unjudged INTEGER NOT NULL, timed INTEGER NOT NULL,
                sum_us INTEGER NOT NULL, p50_us INTEGER NOT NULL, p95_us INTEGER NOT NULL, p99_us INTEGER NOT NULL,
                max_us INTEGER NOT NULL, PRIMARY KEY (start, check_id)) WITHOUT ROWID;
             CREATE TABLE metric_{0} (start INTEGER NOT NULL, check_id INTEGER NOT NULL, name TEXT NOT NULL,
                value REAL NOT NULL, PRIMARY KEY (start, check_id, name)) WITHOUT ROWID;\n",
            level.seconds
        );
    }
    sql += "COMMIT;";
    sql
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::events::EventKind;

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("healthd-db-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).expect("temp dir");
        dir
    }

    fn event(number: u64) -> EventRecord {
        EventRecord {
            number,
            time: 1_000_000_000 * number,
            kind: EventKind::Flipped,
            check: format!("check-{}", number % 50),
            from: "ok",
            to: "critical",
            message: "connect: connection refused, and more text as it comes".into(),
            ..EventRecord::default()
        }
    }

    fn row(n: u64) -> Row {
        Row {
            runs: n,
            bad: 1,
            unjudged: 0,
            timed: n,
            sum_us: n * 1000,
            p50_us: 1000,
            p95_us: 2000,
            p99_us: 3000,
            max_us: 4000,
        }
    }

    fn count(db: &Db, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        db.conn.query_row(&sql, [], |r| r.get(0)).expect("a number")
    }

    #[test]
    fn what_is_written_is_there_again() {
        let dir = dir("again");
        let path = dir.join("history.db");
        let mut db = Db::open(&path, 64 << 20).expect("new");
        let place = Place { last: 3, base: 0 };
        db.write_events(&[event(2), event(3)], 1, place)
            .expect("written");
        let ids = db
            .ids(&[("web".into(), "ok".into(), 7)], 9)
            .expect("written");
        db.write_rows(0, 300, 300, &[(ids[0], row(10))])
            .expect("written");
        db.write_rows(0, 300, 300, &[(ids[0], row(11))])
            .expect("in place");
        drop(db);
        let mut db = Db::open(&path, 64 << 20).expect("there");
        assert_eq!(db.place().expect("read"), place);
        let counts = ["event", "roll_300", "checks", "note"].map(|t| count(&db, t));
        assert_eq!(counts, [2, 1, 3, 1]);
        // From when to when some are missing.
        db.write_events(&[event(9)], 5, Place { last: 9, base: 0 })
            .expect("written");
        let sql = "SELECT time / 1000000000, count, text FROM note ORDER BY id DESC LIMIT 1";
        let row = |r: &rusqlite::Row<'_>| Ok((r.get(0)?, r.get(1)?, r.get(2)?));
        let note: (i64, i64, String) = db.conn.query_row(sql, [], row).expect("a note");
        assert_eq!(note, (3, 5, "until 1970-01-01T00:00:09Z".to_owned()));
        std::fs::remove_dir_all(dir).expect("our own");
    }

    #[test]
    fn no_size_is_ever_exceeded_and_the_newest_stays() {
        let dir = dir("size");
        let most = 8 << 20;
        let mut db = Db::open(&dir.join("history.db"), most).expect("new");
        let mut last = 0;
        for round in 0..300u64 {
            let events: Vec<EventRecord> = (1..=300).map(|n| event(round * 300 + n)).collect();
            last = (round + 1) * 300;
            db.write_events(&events, 0, Place { last, base: 0 })
                .expect("room is made");
            let rows: Vec<(i64, Row)> = (1..=300).map(|check| (check, row(check as u64))).collect();
            db.write_rows(0, round * 300, 300, &rows)
                .expect("room is made");
            let (file, log) = db.sizes();
            assert!(file + log <= most, "{file} + {log} after {round}");
        }
        let newest: i64 = db
            .conn
            .query_row("SELECT max(id) FROM event", [], |r| r.get(0))
            .expect("a number");
        assert_eq!(newest.cast_unsigned(), last);
        assert!(count(&db, "event") > 1000 && count(&db, "roll_300") > 300);
        std::fs::remove_dir_all(dir).expect("our own");
    }

    #[test]
    fn behind_an_open_transaction_the_log_stays_within_its_limit() {
        let dir = dir("held");
        let path = dir.join("history.db");
        let mut db = Db::open(&path, 16 << 20).expect("new");
        db.write_events(&[event(1)], 0, Place { last: 1, base: 0 })
            .expect("written");
        let other = Connection::open(&path).expect("another reader");
        other.execute_batch("BEGIN").expect("a transaction");
        let _: i64 = other
            .query_row("SELECT count(*) FROM event", [], |r| r.get(0))
            .expect("a number");
        let mut round = 0u64;
        let held = loop {
            round += 1;
            let events: Vec<EventRecord> = (1..=200).map(|n| event(round * 200 + n)).collect();
            let place = Place {
                last: round * 200 + 200,
                base: 0,
            };
            if let Err(trouble) = db.write_events(&events, 0, place) {
                break trouble;
            }
            assert!(round < 10_000, "the log has no limit");
        };
        assert!(matches!(held, Trouble::LogHeld { .. }), "{held}");
        assert!(db.sizes().1 < (4 << 20) + (1 << 20));
        other.execute_batch("COMMIT").expect("it lets go");
        db.write_events(&[event(9_999_999)], 0, Place::default())
            .expect("it goes on");
        assert!(db.sizes().1 < 1 << 20);
        std::fs::remove_dir_all(dir).expect("our own");
    }

    /// Each table's first page in turn, so it matters not which one is looked at first.
    #[test]
    fn a_page_that_was_written_over_is_found_by_the_next_start() {
        let dir = dir("page");
        let path = dir.join("history.db");
        let mut db = Db::open(&path, 64 << 20).expect("new");
        let events: Vec<EventRecord> = (1..=200).map(event).collect();
        db.write_events(&events, 0, Place { last: 200, base: 0 })
            .expect("written");
        let pages: Vec<u64> = {
            let sql = "SELECT rootpage FROM sqlite_master WHERE rootpage > 1";
            let mut ask = db.conn.prepare(sql).expect("a schema");
            let rows = ask.query_map([], |row| row.get::<_, i64>(0));
            let pages = rows.expect("tables").map(|page| page.expect("a number"));
            pages.map(i64::cast_unsigned).collect()
        };
        assert!(pages.len() > 8, "{pages:?}");
        // Closed last, so all of it is in the file.
        drop(db);
        let whole = std::fs::read(&path).expect("our own");
        for page in pages {
            let mut bytes = whole.clone();
            let at = ((page - 1) * PAGE) as usize;
            bytes[at..at + PAGE as usize].fill(0xa5);
            std::fs::write(&path, &bytes).expect("our own");
            match Db::open(&path, 64 << 20) {
                Err(Trouble::Broken(_)) => {}
                other => panic!("page {page}: {:?}", other.map(drop)),
            }
        }
        std::fs::write(&path, &whole).expect("our own");
        let db = Db::open(&path, 64 << 20).expect("it is whole");
        assert_eq!(count(&db, "event"), 200);
        std::fs::remove_dir_all(dir).expect("our own");
    }

    #[test]
    fn what_is_no_database_is_named_and_put_aside() {
        let dir = dir("broken");
        let path = dir.join("history.db");
        std::fs::write(&path, [7; 8192]).expect("our own");
        match Db::open(&path, 64 << 20) {
            Err(Trouble::Broken(_)) => {}
            other => panic!("{:?}", other.map(drop)),
        }
        let aside = Db::put_aside(&path).expect("renamed");
        assert_eq!(std::fs::read(aside).expect("kept"), [7; 8192]);
        Db::open(&path, 64 << 20).expect("a new one");
        std::fs::remove_dir_all(dir).expect("our own");
    }
}
