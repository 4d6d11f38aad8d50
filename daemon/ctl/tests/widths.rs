//! No line of a table is wider than its terminal, at 60, 80 and 120 columns, with 3, 100 and 10,000 checks of all sorts;
//! and what is a problem is seen first.

mod support;

use healthd_core::check::outcome::{Status, Verdict};
use healthd_core::wire::control::{CheckRow, Reply, WorkerRow};
use support::replies::*;
use support::{Fake, Ran};
use unicode_width::UnicodeWidthStr;

const WIDTHS: [usize; 4] = [60, 80, 100, 120];

const COST: &str = r#""cost":{"runs":12345678,"cpu_ms":123456789.5,"wall_ms":987654321.5,"queue_ms":12345.6,"steps":987654321,"overruns":3,"stalls":12,"crashes":4,"grew_kb":123456,"grew_fds":40,"cpu_share":0.98765,"wall_p50_ms":12.3,"wall_p99_ms":123456.7,"stuck_threads":3},"hash":"#;

/// One of a kind each: short, long, wide, hostile; every twentieth is a problem.
fn rows(count: usize) -> Vec<String> {
    let row = |n: usize| {
        let (verdict, status) = match n % 20 {
            7 => (Verdict::Critical, Status::Critical),
            11 => (Verdict::Warning, Status::Warning),
            13 => (Verdict::Ok, Status::Critical),
            17 => (Verdict::Unknown, Status::Unknown),
            _ => (Verdict::Ok, Status::Ok),
        };
        let name = match n % 7 {
            0 => format!("web/{n}"),
            1 => format!("Büro: Drucker im {n}. Stock, am Fenster, beim Wasserspender"),
            2 => format!("漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字/{n}"),
            3 => format!("{n}{}", "x".repeat(250)),
            _ => format!("rack{}/switch-{n}", n % 40),
        };
        let title = match n % 5 {
            0 => "The one that everybody looks at when nothing works any more".to_owned(),
            1 => "漢字漢字漢字漢字漢字漢字漢字漢字".to_owned(),
            _ => String::new(),
        };
        Reply::Check(CheckRow {
            name,
            title,
            plugin: ["http", "postgres", "a-plugin-with-the-longest-name"][n % 3].into(),
            verdict: Some(verdict),
            status: Some(status),
            message: Some(
                "HTTP 503 Service Unavailable, expected 200-299; body: 漢字 \u{1b}[2J"
                    .repeat(1 + n % 3),
            ),
            since: Some("2026-10-22T09:00:00Z".into()),
            last_run: Some("2026-11-22T09:59:55Z".into()),
            next_run: Some("2026-11-22T10:00:05Z".into()),
            latency_ms: Some([0.1, 12.3, 123_456.7][n % 3]),
            attempt: Some(2),
            attempts: Some(3),
            worker: Some(7),
            stale: n % 30 == 29,
            paused: n % 50 == 49,
            quarantined: n % 60 == 37,
            index: n as u64,
            ..CheckRow::default()
        })
    };
    (0..count).map(|n| line(&row(n))).collect()
}

fn line(reply: &Reply) -> String {
    serde_json::to_string(reply).expect("plain data")
}

fn answers(lines: &[String]) -> Fake {
    Fake::lines(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What moves the cursor takes no column. Nothing here clears the screen: that would be a message of a check.
fn without_controls(line: &str) -> String {
    assert!(!line.contains("\x1b[2J"), "{line:?}");
    let mut parts = line.split("\x1b[");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(part.len(), |at| at + 1);
        shown += &part[end..];
    }
    shown.replace('\r', "")
}

fn assert_fits(ran: &Ran, columns: usize, what: &str) {
    for line in ran.out.lines() {
        let shown = without_controls(line);
        assert!(
            shown.width() <= columns,
            "{what} at {columns} columns: {} wide: {shown:?}\n{}",
            shown.width(),
            ran.out
        );
    }
    assert!(ran.out.lines().count() > 1, "{what}: {ran:?}");
}

#[test]
fn tables_of_checks_fit_and_problems_come_first() {
    for count in [3, 100, 10_000] {
        let lines = rows(count);
        for columns in WIDTHS {
            for command in [
                "status",
                "status --all",
                "list --long",
                "watch --table",
                "run --all",
            ] {
                let started = line(&Reply::Started {
                    total: count as u64,
                });
                let streams = command.starts_with("watch") || command.starts_with("run");
                let all: Vec<String> = match streams {
                    true => std::iter::once(started).chain(lines.clone()).collect(),
                    false => lines.clone(),
                };
                let ran = answers(&all).ctl_on_terminal(command, columns);
                assert_fits(&ran, columns, &format!("{command}, {count} checks"));
                if command == "status" && count > 20 {
                    let first = ran.out.lines().nth(1).expect("a row");
                    assert!(first.contains("CRITICAL"), "{first}");
                    let word = |line: &str| {
                        ["CRITICAL", "UNKNOWN", "WARNING"]
                            .iter()
                            .position(|w| line.contains(w))
                    };
                    let last = ran.out.lines().filter(|l| word(l).is_some()).count();
                    assert!(last >= 15, "{}", ran.out);
                }
                if command == "status" && count == 10_000 {
                    assert!(ran.out.contains("that are no problem"), "{}", ran.out);
                }
            }
        }
    }
}

#[test]
fn a_table_on_the_screen_is_no_higher_than_it() {
    let lines = rows(10_000);
    let started = line(&Reply::Started { total: 10_000 });
    let all: Vec<String> = std::iter::once(started).chain(lines).collect();
    let ran = answers(&all).ctl_on_terminal("watch --table", 80);
    let frame = ran.out.rsplit("\x1b[H").next().expect("a frame");
    assert!(frame.matches('\n').count() < 24, "{frame:?}");
}

#[test]
fn what_tells_of_one_check_fits() {
    let long = "Büro: Drucker im 2. Stock, am Fenster, beim Wasserspender, der immer leer ist";
    let wide = |text: &str| {
        text.replace("web/frontpage", long).replace(
            r#""plugin":"#,
            r#""title":"The shop: what everybody sees, first of all, every day","plugin":"#,
        )
    };
    let (detail, why) = (wide(DETAIL), WHY.replace("web/frontpage", long));
    for columns in WIDTHS {
        let ran = Fake::lines(&[&detail]).ctl_on_terminal("show x", columns);
        assert_fits(&ran, columns, "show");
        let ran = Fake::lines(&[&why]).ctl_on_terminal("why x", columns);
        assert_fits(&ran, columns, "why");
    }
}

#[test]
fn the_other_tables_fit() {
    let mut workers: Vec<String> = WORKERS.map(str::to_owned).to_vec();
    workers.push(line(&Reply::Worker(WorkerRow {
        slot: 4095,
        class: "io".into(),
        pid: Some(4_194_304),
        generation: Some(123),
        state: "draining".into(),
        threads: Some(64),
        in_flight: Some(10_000),
        dispatched: Some(12_345_678_901),
        finished: Some(12_345_668_901),
        lost: Some(3),
        lost_worker_died: Some(1),
        lost_replaced: Some(1),
        lost_cancelled: Some(1),
        late: Some(7),
        heartbeat_age_ms: Some(123_456),
        rss_kb: Some(524_288),
        fds: Some(20_000),
        stuck_threads: Some(3),
        stalls: Some(99),
        restarts: Some(1_000),
        note: "took the place of pid 4690: 388 MiB of memory, max_rss is 512MiB".into(),
        solo: Some("Büro: Drucker im 2. Stock, am Fenster, beim Wasserspender".into()),
        ..WorkerRow::default()
    })));
    for columns in WIDTHS {
        let ran = answers(&workers).ctl_on_terminal("workers", columns);
        assert_fits(&ran, columns, "workers");
        assert!(ran.out.contains("RESTARTS") || columns < 80, "{}", ran.out);
        let cost = PLUGINS[0].replace(r#""hash":"#, COST);
        let unused = r#"{"type":"plugin","name":"a-long-certificate","file":"/usr/lib/healthd/plugins/libhealthd_net.so","version":"0.1.0","summary":"certificates and private keys in files: days left, whether they fit, who signed them and for whom","class":"block","state":"unused","reason":"","checks":0,"abi":"1.1","hash":"9f86d081884c7d65","since":null,"trial_until":null,"previous":null}"#;
        let all = [unused, PLUGINS[0], PLUGINS[1]];
        let shown = Fake::lines(&all).ctl_on_terminal("plugins", columns);
        // What is refused comes first, what nobody uses last.
        let place = |name: &str| shown.out.lines().position(|l| l.contains(name));
        assert!(place("old") < place("http"), "{}", shown.out);
        assert!(place("http") < place("a-long-"), "{}", shown.out);
        for (command, lines) in [
            ("plugins", &all[..]),
            ("plugins --cost", &[cost.as_str()]),
            ("objects", &OBJECTS),
            ("events", &EVENTS),
        ] {
            let ran = Fake::lines(lines).ctl_on_terminal(command, columns);
            assert_fits(&ran, columns, command);
        }
    }
}
