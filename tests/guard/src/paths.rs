//! What each run of a check goes through, each taken by itself, and what a start does for each check. A path is asked for a
//! number of times; what it has to make ready first is the same for any number.

use healthd_core::check::outcome::{Metric, Phase, Status};
use healthd_core::check::schedule;
use healthd_core::check::verdict::{self, CheckState, Moment, Outcome, Rules};
use healthd_core::check::wheel::Wheel;
use healthd_core::config::{self, Catalog, Class, Files, PluginInfo};
use healthd_core::matching::Match;
use healthd_core::text::keep;
use healthd_core::wire::glob::Glob;
use healthd_core::wire::maps::CheckRecord;
use healthd_core::wire::samples;
use healthd_core::wire::worker::{Ending, Finished, Growth, Heard, Run, ToWorker};
use healthd_scoreboard::samples_map::{Left, SamplesMap};
use healthd_scoreboard::state_map::StateMap;
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub struct HotPath {
    /// As a person looks for it in the source.
    pub name: &'static str,
    /// So many times it is done for one figure.
    pub times: u64,
    pub run: fn(u64),
}

pub const ALL: [HotPath; 10] = [
    path("check::schedule", 2_000, schedule_one),
    path("wire::worker::Run", 2_000, run_sent),
    path("wire::worker::Finished", 2_000, result_sent),
    path("check::verdict::judge", 5_000, judge_one),
    path("state_map::StateMap::check", 2_000, row_written),
    path("samples_map::SamplesMap::add", 5_000, run_counted),
    path("wire::glob::Glob::matches", 5_000, glob_matches),
    path("matching::Match::fits", 5_000, match_fits),
    path("config::load of [[check]]", 200, blocks_read),
    path("config::load of for_each", 500, for_each_made),
];

const fn path(name: &'static str, times: u64, run: fn(u64)) -> HotPath {
    HotPath { name, times, run }
}

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// The checks that there are beside the one that is looked at.
const CHECKS: u64 = 1_000;

/// A timer fires, the worker is chosen, and the next run is planned.
fn schedule_one(times: u64) {
    let interval = 10 * S;
    let mut due = Wheel::new(0);
    let hashes: Vec<u64> = (0..CHECKS)
        .map(|n| schedule::hash(format!("web-{n}").as_bytes()))
        .collect();
    for (n, hash) in hashes.iter().enumerate() {
        due.insert(schedule::first_due(*hash, 0, interval, interval) / MS, n);
    }
    let mut fired = Vec::new();
    let (mut done, mut now) = (0, 0);
    while done < times {
        now += 10;
        due.advance(now, &mut fired);
        for n in fired.drain(..) {
            let hash = hashes[n];
            let home = (0..4u64).max_by_key(|place| schedule::rendezvous(hash, *place));
            black_box(home);
            let next = schedule::next_due(hash, now * MS, interval);
            due.insert(next.div_ceil(MS), n);
            done += 1;
        }
    }
}

fn run_sent(times: u64) {
    let mut message = Vec::with_capacity(256);
    for run_id in 0..times {
        message.clear();
        let run = Run {
            run_id,
            check: 7,
            epoch: 1,
            attempt: 1,
            start_ns: run_id * MS,
            last_status: 0,
            urgent: false,
        };
        ToWorker::Run(black_box(run)).encode(&mut message);
        black_box(ToWorker::decode(&mut black_box(&message[..]))).expect("our own words");
    }
}

fn result_sent(times: u64) {
    let metric = |name: &str| Metric {
        name: name.into(),
        value: Some(0.25),
        unit: "s".into(),
        warn: None,
        crit: None,
        min: Some(0.0),
        max: None,
        counter: false,
    };
    let finished = Finished {
        run_id: 1,
        check: 7,
        attempt: 1,
        status: Status::Ok,
        ending: Ending::Returned,
        started_ns: S,
        finished_ns: 2 * S,
        queue_ns: 1_000,
        cpu_ns: 50_000,
        steps: 4,
        stalls: 0,
        blocked: 0,
        grew: Growth::default(),
        message: "200 OK, 1,234 bytes in 0.250 s".into(),
        detail: String::new(),
        metrics: vec![metric("time"), metric("size")],
        labels: Vec::new(),
        phases: vec![Phase {
            name: "connect".into(),
            at_ns: 100_000,
        }],
    };
    let (mut said, mut metrics, mut phases) = (String::new(), Vec::new(), Vec::new());
    let mut message = Vec::with_capacity(1024);
    for _ in 0..times {
        message.clear();
        black_box(&finished).encode(&mut message);
        let heard = Heard::decode(&mut black_box(&message[..])).expect("our own words");
        if let Some(Heard::Finished(report)) = heard {
            keep(&mut said, &report.message);
            report.keep_metrics(&mut metrics);
            report.keep_phases(&mut phases);
        }
        black_box((&mut said, &mut metrics, &mut phases));
    }
}

/// Nine good results, then three bad ones.
fn judge_one(times: u64) {
    let rules = Rules {
        attempts: 3,
        interval_ns: 10 * S,
        retry_ns: 2 * S,
        recover: 1,
    };
    let mut state = CheckState::default();
    for n in 1..=times {
        let status = match n % 12 {
            0..9 => Status::Ok,
            _ => Status::Critical,
        };
        let outcome = Outcome {
            status,
            fault: None,
            began_ns: n * S,
        };
        let now = Moment {
            monotonic_ns: n * S,
            realtime_ns: n * S,
        };
        let judged = verdict::judge(state, black_box(outcome), rules, now);
        state = black_box(judged).state;
    }
}

fn row_written(times: u64) {
    let dir = Folder::new();
    let names: Vec<String> = (0..CHECKS).map(|n| format!("web-{n}")).collect();
    let names = names.iter().map(|name| (name.as_str(), ""));
    let map = StateMap::prepare(&dir.0, 8, names, 0o600).expect("a map in our own folder");
    let mut record = CheckRecord {
        name: Cow::Borrowed("web-7"),
        plugin: Cow::Borrowed("http"),
        attempts: 3,
        message: Cow::Borrowed("200 OK, 1,234 bytes in 0.250 s"),
        ..CheckRecord::default()
    };
    for n in 1..=times {
        record.runs = n;
        record.last_run = n * S;
        record.next_run = n * S + 10 * S;
        map.check((n % CHECKS) as usize, black_box(&record));
    }
}

fn run_counted(times: u64) {
    let dir = Folder::new();
    let names: Vec<String> = (0..CHECKS).map(|n| format!("web-{n}")).collect();
    let names = names.iter().map(String::as_str);
    let map = SamplesMap::create(&dir.0, names, &Left::default(), 0, 0o600)
        .expect("a map in our own folder");
    for n in 0..times {
        let took = Some(MS + n * 1_000);
        let run = samples::Run::new(samples::Outcome::Ok, took);
        map.add((n % CHECKS) as usize, black_box(&run));
    }
}

fn glob_matches(times: u64) {
    let glob = Glob::new("web-*-[0-9]?.example.*");
    for _ in 0..times {
        black_box(glob.matches(black_box("web-front-17.example.org")));
    }
}

fn match_fits(times: u64) {
    let labels = ["env", "region", "team"].map(|key| (key.to_owned(), format!("{key}-1")));
    let labels = BTreeMap::from(labels);
    let matches = Match::parse("team=db-*, env=env-* !web-9*").expect("a match");
    for _ in 0..times {
        black_box(matches.fits(black_box("web-front-17"), black_box(&labels)));
    }
}

fn blocks_read(times: u64) {
    let block = |n| {
        format!(
            "[[check]]\nname = \"web-{n}\"\nplugin = \"http\"\ninterval = \"10s\"\n\
             config = {{ url = \"http://127.0.0.1:8080/{n}\", status = [200] }}\n\n"
        )
    };
    load((0..times).map(block).collect());
}

fn for_each_made(times: u64) {
    load(format!(
        "[[check]]\nname = \"web-{{n}}\"\nplugin = \"http\"\ninterval = \"10s\"\nfor_each.n = \"0..{times}\"\n\
         config = {{ url = \"http://127.0.0.1:8080/{{n}}\", status = [200] }}\n"
    ));
}

fn load(text: String) {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["url"],
        "properties": {
            "url": { "type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://." },
            "method": { "type": "string", "maxLength": 32 },
            "status": { "type": "array", "minItems": 1, "items": { "type": ["integer", "string"] } },
        },
    });
    let plugin = PluginInfo {
        name: "http".into(),
        version: "1".into(),
        summary: String::new(),
        file: "/plugins/http.so".into(),
        class: Class::Io,
        default_timeout: Duration::from_secs(10),
        schema: schema.into(),
    };
    let catalog = Catalog {
        plugins: vec![plugin],
        refused: Vec::new(),
    };
    let main = Path::new("/etc/healthd/healthd.toml");
    let model = config::load(main, &OneFile(text), Some(&catalog));
    black_box(model.unwrap_or_else(|e| panic!("{e}")));
}

/// A config of one file.
struct OneFile(String);

impl Files for OneFile {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn list_toml(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn credentials_dir(&self) -> Option<PathBuf> {
        None
    }

    fn cores(&self) -> u16 {
        2
    }
}

/// For maps; gone when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let dir = std::env::temp_dir().join(format!("healthd-guard-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("a folder of our own");
        Folder(dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
