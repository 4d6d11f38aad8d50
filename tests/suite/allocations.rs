//! What a check takes from the heap, in the manager and in its worker, once their buffers have grown: counted by a library
//! that stands before malloc in each process of the daemon. These numbers may only get smaller.

use crate::harness::{Config, DEADLINE, Daemon, check, fixtures, skipped};
use healthd_core::wire::maps::{STATE_FILE, WORD, state_header};
use healthd_test_support::compile;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

const CHECKS: u64 = 100;
/// Buffers have grown by then, first verdicts are told.
const WARM: u64 = 5 * CHECKS;
const COUNTED: u64 = 25 * CHECKS;
/// What a process does now and then, however many checks there are.
const A_SECOND: f64 = 100.0;
/// Each first verdict is written to the disk, a second or two later.
const SAVED: f64 = 10.0 * CHECKS as f64;

/// In the manager a run takes nothing: this is for a message that is longer than all of its check before it.
const MANAGER: f64 = 0.1;

/// With a plugin of the SDK, which says a message, two metrics and a phase.
#[test]
fn a_check_by_the_sdk() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    // Ends with the process, as the listener does.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let options = format!("{{ host = \"127.0.0.1\", port = {port} }}");
    counted(Config::new(), "tcp", &options, 1.5);
}

/// A plugin in C that says one word: what is left is healthd's.
#[test]
fn a_check_by_itself_in_the_step_lane_and_in_the_run_lane() {
    for (plugin, workers) in [("echo_step", 0.3), ("echo", 0.4)] {
        let config = Config::new().plugin_file(fixtures::fixture("echo"));
        counted(config, plugin, "{ message = \"fine\" }", workers);
    }
}

/// `in_workers`: so much a run, at most.
fn counted(config: Config, plugin: &str, options: &str, in_workers: f64) {
    if cfg!(not(target_env = "gnu")) {
        return skipped("malloc has other names than glibc's");
    }
    if std::env::var_os("ASAN_OPTIONS").is_some() {
        return skipped("a sanitizer has a malloc of its own");
    }
    let dir = config.dir().to_owned();
    let source = "tests/suite/harness/allocations.c";
    let shim = compile::shim(tree(), source, &dir, "allocations.so");
    let shim = shim.unwrap_or_else(|e| panic!("{e}"));
    let counts = dir.join("allocations");
    fs::create_dir(&counts).expect("our own folder");
    let daemon = config
        // At `debug` each run is a line.
        .daemon("log", "\"info\"")
        .env("LD_PRELOAD", shim)
        .env("ALLOCATIONS", &counts)
        .check(
            check("c-{item}")
                .plugin(plugin)
                .set("for_each", &format!("{{ item = \"0..{CHECKS}\" }}"))
                .interval("200ms")
                .timeout("30s")
                .set("config", options),
        )
        .spawn();
    daemon.expect_notify("READY=1");
    let manager = daemon.manager();
    let workers = daemon.role("worker io");
    let look = || {
        let of = |pid: &u32| calls(&counts, *pid);
        (of(&manager), workers.iter().map(of).sum::<u64>())
    };
    // For that the manager reads its config once more.
    daemon.until_plugins_are_asked();
    let begun = ran(&daemon, WARM);
    let (from, time) = (look(), Instant::now());
    let runs = (ran(&daemon, begun + COUNTED) - begun) as f64;
    let (to, took) = (look(), time.elapsed().as_secs_f64());
    // They are the same processes: nobody has counted from 0 again.
    assert_eq!(
        (daemon.manager(), daemon.role("worker io")),
        (manager, workers.clone())
    );
    for (who, from, to, most, processes) in [
        ("manager", from.0, to.0, MANAGER, 1),
        ("workers", from.1, to.1, in_workers, workers.len()),
    ] {
        let taken = (to - from) as f64;
        println!(
            "{plugin}, {who}: {:.2} a run, of {runs} in {took:.1} s",
            taken / runs
        );
        // Were the library not there, it would be none from the start.
        assert!(from > 0, "{plugin}, {who}: nothing is counted");
        let room = runs * most + took * A_SECOND * processes as f64 + SAVED;
        assert!(
            taken <= room,
            "{plugin}, {who}: {:.2} a run, where {most} were enough",
            taken / runs
        );
    }
}

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Waits until so many runs have ended since the start; how many it were then.
fn ran(daemon: &Daemon, least: u64) -> u64 {
    let map = daemon.dir().join("run").join(STATE_FILE);
    let until = Instant::now() + DEADLINE;
    loop {
        let finished = word(&map, state_header::FINISHED);
        if finished >= least {
            return finished;
        }
        if Instant::now() > until {
            daemon.fail(&format!("{finished} of {least} runs have ended"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn calls(folder: &Path, pid: u32) -> u64 {
    word(&folder.join(pid.to_string()), 0)
}

fn word(file: &Path, at: usize) -> u64 {
    let bytes = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let word = bytes.get(at * WORD..(at + 1) * WORD).expect("a word");
    u64::from_ne_bytes(word.try_into().expect("eight bytes"))
}
