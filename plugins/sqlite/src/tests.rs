//! The plugin on MockHost against real files, written by the same SQLite.

use crate::database::{Database, Failure};
use crate::hd_plugin_v1;
use healthd_plugin::mock::{MockCheck, MockHost, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_plugin::{Status, abi};
use healthd_testing::Folder;
use rusqlite::Connection;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);
/// Runs until somebody stops it.
const ENDLESS: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

fn create(options: &Value) -> Result<MockCheck, String> {
    MockHost::new(hd_plugin_v1)
        .plugin("sqlite")
        .create(options.to_string())
}

fn check(options: Value) -> Outcome {
    create(&options)
        .unwrap_or_else(|e| panic!("{options}: {e}"))
        .run(LONG)
}

/// A database with some rows, in this journal mode, and the connection that wrote it.
fn database(folder: &Folder, mode: &str) -> (PathBuf, Connection) {
    let path = folder.file("a b?.db");
    let c = Connection::open(&path).unwrap();
    c.pragma_update(None, "journal_mode", mode).unwrap();
    c.execute_batch(
        "CREATE TABLE t (n INTEGER, s TEXT); INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL);
         CREATE INDEX i ON t (s);",
    )
    .unwrap();
    (path, c)
}

fn files(folder: &Folder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn with(path: &Path, more: Value) -> Value {
    let mut options = json!({"path": path.to_str().unwrap()});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    options
}

#[test]
fn queries_are_judged() {
    let folder = Folder::new();
    let (path, _writer) = database(&folder, "delete");
    for (options, status, message) in [
        (json!({}), Status::Ok, "readable in "),
        (
            json!({"query": "SELECT count(*) FROM t", "expect": 3}),
            Status::Ok,
            "query returned 3 in ",
        ),
        (
            json!({"query": "SELECT s FROM t ORDER BY n", "expect": "two"}),
            Status::Critical,
            "query returned \"one\", expected \"two\" in ",
        ),
        (
            json!({"query": "SELECT max(n) FROM t", "warn": 2, "crit": 5}),
            Status::Warn,
            "query returned 3, outside of 2 in ",
        ),
        (
            json!({"query": "SELECT n FROM t", "rows_crit": "10:"}),
            Status::Critical,
            "query returned 1, 3 rows are outside of 10: in ",
        ),
        (
            json!({"query": "SELECT n FROM t WHERE n > 9", "rows_warn": "0"}),
            Status::Ok,
            "query returned no row in ",
        ),
        (
            json!({"query": "SELECT s FROM t WHERE n = 3", "crit": 1}),
            Status::Unknown,
            "query returned NULL, which has no place on a threshold",
        ),
        (
            json!({"query": "SELECT avg(n) / 4 FROM t", "expect": 0.5}),
            Status::Ok,
            "query returned 0.5 in ",
        ),
        (
            json!({"quick_check": true}),
            Status::Ok,
            "quick_check ok in ",
        ),
        (
            json!({"quick_check": true, "query": "SELECT 7; -- seven"}),
            Status::Ok,
            "quick_check ok, query returned 7 in ",
        ),
        (
            json!({"query": "SELECT * FROM nowhere"}),
            Status::Critical,
            "/",
        ),
        (
            json!({"latency_crit": "0s"}),
            Status::Critical,
            "readable in ",
        ),
    ] {
        let o = check(with(&path, options.clone()));
        assert_eq!(o.status, status, "{options}: {o:?}");
        assert!(o.message.starts_with(message), "{options}: {o:?}");
    }
    let o = check(with(
        &path,
        json!({"query": "SELECT n FROM t", "warn": "5", "rows_warn": "4"}),
    ));
    assert_eq!(o.metric("rows").value, 3.0);
    assert_eq!(o.metric("rows").warn, 4.0);
    assert_eq!(
        (o.metric("value").value, o.metric("value").warn),
        (1.0, 5.0)
    );
    assert!(o.metric("size").value >= 4096.0 && o.metric("total").value > 0.0);
    assert_eq!(o.phases, ["open", "query"]);
    let o = check(with(&path, json!({"query": "SELECT * FROM nowhere"})));
    assert!(
        o.message.ends_with(": query: no such table: nowhere"),
        "{o:?}"
    );
}

#[test]
fn nothing_is_ever_written() {
    for mode in ["delete", "wal"] {
        let folder = Folder::new();
        let (path, writer) = database(&folder, mode);
        let attached = folder.file("attached.db");
        let into = folder.file("into.db");
        let open = files(&folder);
        let before = std::fs::read(&path).unwrap();
        let queries = [
            "DELETE FROM t".to_string(),
            "CREATE TABLE u (n)".into(),
            "PRAGMA journal_mode = memory".into(),
            "PRAGMA user_version = 5".into(),
            format!("VACUUM INTO '{}'", into.display()),
            format!("ATTACH '{}' AS x", attached.display()),
            "SELECT 1; DELETE FROM t".into(),
            "SELECT n FROM t WHERE s = ?1".into(),
            "-- nothing".into(),
        ];
        let all_refused = || {
            for query in &queries {
                let o = check(with(&path, json!({"query": query})));
                assert_eq!(o.status, Status::Unknown, "{mode} {query}: {o:?}");
                assert!(
                    o.message.contains(": query refused: "),
                    "{mode} {query}: {o:?}"
                );
            }
        };
        all_refused();
        let o = check(with(
            &path,
            json!({"query": "SELECT count(*) FROM t", "expect": 3}),
        ));
        assert_eq!(o.status, Status::Ok, "{mode}: {o:?}");
        assert_eq!(files(&folder), open, "{mode}, with the writer");
        writer.close().unwrap();

        // In write-ahead mode a reader alone would make two files beside it.
        assert_eq!(files(&folder), ["a b?.db"], "{mode}");
        all_refused();
        let o = check(with(
            &path,
            json!({"query": "SELECT count(*) FROM t", "expect": 3, "quick_check": true}),
        ));
        assert_eq!(o.status, Status::Ok, "{mode}: {o:?}");
        assert_eq!(files(&folder), ["a b?.db"], "{mode}");
        if mode == "delete" {
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }
}

#[test]
fn what_is_in_the_write_ahead_log_is_seen() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "wal");
    writer
        .execute("INSERT INTO t VALUES (4, 'four')", [])
        .unwrap();
    let four = json!({"query": "SELECT count(*) FROM t", "expect": 4});
    assert_eq!(check(with(&path, four.clone())).status, Status::Ok);
    // Even in the middle of somebody's write.
    writer
        .execute_batch("BEGIN IMMEDIATE; DELETE FROM t")
        .unwrap();
    assert_eq!(check(with(&path, four)).status, Status::Ok);
}

#[test]
fn files_that_cannot_be_read() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "delete");
    drop(writer);
    let told = |path: &Path| {
        let o = check(with(path, json!({"quick_check": true})));
        let prefix = format!("{}: ", path.display());
        let message = o
            .message
            .strip_prefix(&prefix)
            .unwrap_or_else(|| panic!("{o:?}"))
            .to_string();
        (o.status, message)
    };
    let critical = |text: &str| (Status::Critical, text.to_string());

    let missing = folder.file("missing.db");
    assert_eq!(told(&missing), critical("no such file"));
    assert!(!missing.exists());
    assert_eq!(told(folder.path()), critical("is a folder"));
    assert_eq!(
        told(&folder.write("empty", "")),
        critical("is empty: no database in it")
    );
    let text = folder.write("text", "not a database".repeat(100));
    assert_eq!(
        told(&text),
        critical("is not a SQLite database, or an encrypted one")
    );

    let mut bytes = std::fs::read(&path).unwrap();
    // The second page is the table's.
    bytes[4096..4196].fill(0xAA);
    let corrupt = folder.write("corrupt", &bytes);
    let (status, message) = told(&corrupt);
    assert_eq!(status, Status::Critical);
    assert!(
        message.starts_with("is corrupt: ") || message.starts_with("quick_check found damage: "),
        "{message}"
    );
    bytes.truncate(5000);
    let cut = folder.write("cut", &bytes);
    assert_eq!(told(&cut).0, Status::Critical);
}

#[test]
fn damage_that_only_quick_check_finds() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "delete");
    // A second root for the index: its entries do not match the table's any more.
    writer
        .execute_batch(
            "CREATE TABLE x (s TEXT); PRAGMA writable_schema = on;
             UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 't') WHERE name = 'x';",
        )
        .unwrap();
    drop(writer);
    let query = json!({"query": "SELECT count(*) FROM t", "expect": 3});
    assert_eq!(check(with(&path, query)).status, Status::Ok);
    let o = check(with(&path, json!({"quick_check": true})));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(
        o.message.contains("quick_check found damage: ") && !o.detail.is_empty(),
        "{o:?}"
    );
}

#[test]
fn permission_denied_is_unknown() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "delete");
    drop(writer);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    let o = check(with(&path, json!({})));
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    assert!(
        o.message.contains("permission denied: the daemon's user"),
        "{o:?}"
    );
}

#[test]
fn left_overs_of_a_crash_are_not_repaired() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "wal");
    // As a crash leaves it after a reboot: a log, and no index of it.
    let crashed = folder.file("crashed.db");
    std::fs::copy(&path, &crashed).unwrap();
    std::fs::copy(folder.file("a b?.db-wal"), folder.file("crashed.db-wal")).unwrap();
    let before = files(&folder);
    let o = check(with(&crashed, json!({})));
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    assert!(
        o.message.contains("was not closed cleanly (its -wal file"),
        "{o:?}"
    );
    assert_eq!(files(&folder), before);
    drop(writer);

    let folder = Folder::new();
    let (path, writer) = database(&folder, "delete");
    // Too much for this cache, so that it reaches the file before the commit.
    writer
        .execute_batch(
            "PRAGMA cache_size = 1; BEGIN;
             WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500)
             INSERT INTO t SELECT n, hex(randomblob(500)) FROM c",
        )
        .unwrap();
    let crashed = folder.file("crashed.db");
    std::fs::copy(&path, &crashed).unwrap();
    std::fs::copy(
        folder.file("a b?.db-journal"),
        folder.file("crashed.db-journal"),
    )
    .unwrap();
    let before = files(&folder);
    let o = check(with(&crashed, json!({"query": "SELECT count(*) FROM t"})));
    assert_eq!(o.status, Status::Unknown, "{o:?}");
    assert!(
        o.message
            .contains("was not closed cleanly (its -journal file"),
        "{o:?}"
    );
    assert_eq!(files(&folder), before);
}

/// Its last user takes the index away first and then the log: what is seen in between is no crash.
#[test]
fn a_database_that_is_being_closed_is_not_called_broken() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "wal");
    drop(writer);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let c = Connection::open(&path).unwrap();
                c.execute_batch("INSERT INTO t VALUES (4, 'four')").unwrap();
            }
        });
        let plugin = create(&with(&path, json!({}))).unwrap();
        let wrong = (0..300).find_map(|_| {
            let begun = Instant::now();
            let o = plugin.run(LONG);
            // Read while it was written each time is true enough; and so is a writer that stood still while it closed.
            let is_true = o.message.contains("was written while it was read")
                || o.message.contains("was not closed cleanly")
                    && begun.elapsed() >= Duration::from_millis(200);
            (o.status != Status::Ok && !is_true).then_some(o)
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(wrong.is_none(), "{wrong:?}");
    });
}

#[test]
fn a_writer_that_has_come_and_gone_is_noticed() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "wal");
    drop(writer);
    let reader = Database::open(&path, false, Instant::now() + LONG).unwrap();
    assert!(!reader.was_disturbed());
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("INSERT INTO t VALUES (4, 'four')")
        .unwrap();
    drop(writer);
    assert!(!crate::file::beside(&path, "-wal").exists());
    assert!(reader.was_disturbed());
}

#[test]
fn who_holds_the_lock_is_named() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "delete");
    drop(writer);
    let holder = Command::new("sqlite3")
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn();
    let Ok(mut holder) = holder else {
        eprintln!("skipped: sqlite3 is missing (package sqlite3)");
        return;
    };
    let mut says = std::io::BufReader::new(holder.stdout.take().unwrap());
    let mut told = holder.stdin.take().unwrap();
    std::io::Write::write_all(&mut told, b"BEGIN EXCLUSIVE; SELECT 'held';\n").unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut says, &mut line).unwrap();
    assert_eq!(line, "held\n");
    let waiting = create(&with(&path, json!({"query": "SELECT count(*) FROM t"}))).unwrap();
    let o = waiting.run(Duration::from_millis(500));
    drop(told);
    holder.wait().unwrap();
    let who = format!(
        "is locked by sqlite3 (pid {}), which writes or is about to, for ",
        holder.id()
    );
    assert!(o.message.contains(&who), "{o:?}");
    assert_eq!(o.status, Status::Critical, "{o:?}");
}

#[test]
fn a_lock_is_waited_for_and_then_named() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "delete");
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let waiting = create(&with(&path, json!({"query": "SELECT count(*) FROM t"}))).unwrap();
    let o = waiting.run(Duration::from_millis(300));
    assert_eq!(o.status, Status::Critical, "{o:?}");
    assert!(
        o.message.contains(": is locked by another process, for "),
        "{o:?}"
    );

    let waits = std::thread::spawn(move || waiting.run(LONG));
    writer.execute_batch("COMMIT").unwrap();
    let o = waits.join().unwrap();
    assert_eq!(o.status, Status::Ok, "{o:?}");

    // Immutable means: no look at locks.
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let o = check(with(
        &path,
        json!({"query": "SELECT count(*) FROM t", "immutable": true}),
    ));
    assert_eq!(o.status, Status::Ok, "{o:?}");
}

#[test]
fn a_run_keeps_its_lock_when_another_one_ends() {
    let folder = Folder::new();
    let (path, writer) = database(&folder, "delete");
    drop(writer);
    // In another process: within one, SQLite does not ask the kernel.
    let write = || {
        Command::new("sqlite3")
            .arg("-batch")
            .arg(&path)
            .arg("INSERT INTO t VALUES (9, 'nine')")
            .output()
            .map(|done| done.status.success())
    };
    if write().is_err() {
        eprintln!("skipped: the sqlite3 program is missing (package sqlite3)");
        return;
    }
    let long = create(&with(&path, json!({"query": format!("{ENDLESS}, t")}))).unwrap();
    let runs = std::thread::spawn(move || long.run(Duration::from_secs(3)));
    while write().unwrap() && !runs.is_finished() {}
    for _ in 0..3 {
        assert_eq!(check(with(&path, json!({}))).status, Status::Ok);
    }
    let written = write().unwrap();
    if !runs.is_finished() {
        assert!(!written, "the long run has lost its lock");
    }
    assert_eq!(runs.join().unwrap().status, Status::Critical);
    assert!(write().unwrap());
}

/// The database, for the process that has few descriptors.
const FEW: &str = "HEALTHD_TEST_FEW_DESCRIPTORS";

#[test]
fn without_descriptors_nothing_is_said_of_the_database() {
    if let Some(path) = std::env::var_os(FEW) {
        return read_with_few_descriptors(Path::new(&path));
    }
    for mode in ["delete", "wal"] {
        let folder = Folder::new();
        let (path, _writer) = database(&folder, mode);
        // A process of its own, as the limit holds for all its threads.
        let done = Command::new("/bin/sh")
            .args(["-c", "ulimit -n 64; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .arg("--exact")
            .arg("tests::without_descriptors_nothing_is_said_of_the_database")
            .env(FEW, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "{mode}: {said}");
        assert!(said.contains("1 passed"), "{said}");
    }
}

/// All are taken, and given back one by one until it can be read.
fn read_with_few_descriptors(path: &Path) {
    let mut held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for free in 0.. {
        let read = Database::open(path, false, Instant::now() + LONG)
            .and_then(|database| database.query("SELECT count(*) FROM t"));
        match read {
            Ok(answer) => {
                assert_eq!(answer.cell, Some(Some("3".into())));
                assert!(free > 0, "there was one more");
                return;
            }
            Err(Failure::File(e)) => assert_eq!(e.raw_os_error(), Some(24), "{free} free: {e}"),
            Err(other) => panic!("{free} free: {other}"),
        }
        held.pop().expect("so many are enough");
    }
}

#[test]
fn long_queries_end_at_the_deadline_and_on_cancel() {
    let folder = Folder::new();
    let (path, _writer) = database(&folder, "delete");
    let endless = create(&with(&path, json!({"query": ENDLESS}))).unwrap();
    let o = endless.run(Duration::from_millis(300));
    assert_eq!(o.status, Status::Critical);
    assert!(o.message.contains(": not done after "), "{o:?}");
    assert_eq!(o.code, abi::CRIT);

    let (o, took) = endless.run_cancelled(LONG, Duration::from_millis(30));
    assert_eq!(o.status, Status::Cancelled, "{o:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn mistakes_in_the_options() {
    let error = |o: Value| create(&o).err().unwrap();
    assert_eq!(error(json!({})), "path: missing");
    assert!(error(json!({"path": "x.db"})).contains("no absolute path"));
    assert!(error(json!({"path": ":memory:"})).contains("no absolute path"));
    assert!(error(json!({"path": "/x", "expect": 1})).starts_with("query: missing"));
    assert!(error(json!({"path": "/x", "rows_warn": 1})).starts_with("query: missing"));
    assert!(error(json!({"path": "/x", "query": ""})).contains("must not be empty"));
}

#[test]
fn the_schema_describes_every_option() {
    let host = MockHost::new(hd_plugin_v1);
    assert_eq!(host.descriptors()[0].workload, abi::WL_BLOCK);
    let plugin = host.plugin("sqlite");
    plugin.assert_documented(include_str!("../README.md"));
    assert_eq!(plugin.schema()["required"], json!(["path"]));
}
