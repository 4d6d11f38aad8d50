//! `cargo bench-load`: what healthd costs and keeps under load, measured from outside and beside HAProxy.
//!
//! Needs nginx (and for the comparison haproxy) on this machine; everything runs on loopback in a temp
//! directory and is ended again. CPU is user + system time of every process of the daemon, dead ones included.
#![forbid(unsafe_code)]

mod alerts;
mod changes;
mod charged;
mod daemon;
mod day;
mod figures;
mod hostile;
mod kinds;
mod late;
mod mail;
mod measure;
mod names;
mod needs;
mod objects;
mod page;
mod peers;
mod ping;
mod readers;
mod ready;
mod runs;
mod scrapes;
mod shared_work;
mod table;
mod viewers;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo bench-load [load|kill|idle|ready|needs|readers|hostile|upgrade|reload|stats|digest|objects|names|kinds|ping|
                         alerts|storm|full|silent|ways|measure|scrape|day|page|viewers|slow|top|table|all]
                        [--seconds N] [--only WORD[,WORD...]] [--checks N] [--kills N] [--upgrades N] [--values N] [--mib N] [--rounds N]

  load   10,000 HTTP checks at 2 s beside 2,000 that hang, then HAProxy with the same checks   (60 s each)
  kill   the same load while workers are killed with SIGKILL                                   (100 kills)
  idle   the demo's kinds of checks at 60 s, alone and with mail, history and web: memory and wake-ups (30 s each)
  ready  1,000, 10,000 and 100,000 checks: from start to READY, beside a bare parse; `healthctl status` (20 starts)
  needs  10,000 checks that all fail behind an uplink that hangs, and the same without `needs`       (5 rounds)
  readers  128 connections of users who may only read ask for the most expensive things, as fast as they can  (10 s each; root)
  hostile  20 checks on each of 54 servers that mean ill, beside 50 on a good one; of those whose names have a word of --only  (8 s each; 12 min)
  upgrade  the http plugin replaced under 2,000 checks/s, good and broken builds in turn            (100 of each)
  reload   10,000 checks of which 10 change; then a reload each second                              (60 s and 60 s)
  stats  10,000,000 values with 1 and 2 cpu workers, and numpy on the same values                (5 rounds)
  digest a tree of 4,096 MiB with 2 cpu workers, and sha256sum -c                                (5 rounds)
  names  10,000 checks of names at 10 s without and beside 60 in a silent zone, and by getaddrinfo; as root (3 x 60 s)
  kinds  CPU a check and memory in flight of each kind, or of those of --only, as a table; as root     (some 25 s each)
  ping   10,000 hosts at 10 s beside fping and check_icmp, idle and under load, by role; as root   (2 rounds of 3 min)
  ways   a backup after 5 min, `repeat`, a check that flips each second                            (330 s; 3,600 for all of it)
  storm  a parent and 500 children down and up, receivers that fail, kills, a reload, a restart     (4 x 5 rounds; 8 min)
  full   the same on a full disk, without the restart; as root                                      (5 rounds)
  silent 10,000 http checks at 2 s without routes, with three of which two never answer, without    (60 s each; 3,600 for all of it)
  alerts these four
  measure 10,000 checks at 10 s with history and scrapes: the recorder's CPU, its file, its report against each result  (60 s; 3600)
  scrape 10,000 checks at 2 s without and beside wrk on /metrics: who is late                     (60 s each)
  day    as many scrapes as a day has, in less time, with managers killed: failures, counters, series, growth  (7200 s; with --checks 1000 600)
  page   bytes and time to the first byte of pages and /metrics at 100, 1,000, 10,000 checks; 20 open pages (10 s each)
  viewers 10,000 checks at 2 s without and beside 20 open pages and wrk on / and /metrics: who is late     (4 times 15 s each)
  slow   1,000 clients of slowhttptest with slow heads, bodies and reads, and one that is not slow            (20 s each)
  top    `healthctl top` in tmux at three sizes with 10,000 checks: its CPU                                   (20 s each)
  table  what speed must reach, row by row, healthd and the peer of the row in turn; of --only the rows whose word it is:
         http (-100, -1000, -10000), https, dead, keep-alive, memory, chunks, exec, cpu, start       (3 rounds of 20 s; 35 min)
  objects token requests of 1,000 checks, a rate limit, 10,000 runs of a group, 1,000 locks, a holder killed";

pub struct Options {
    pub seconds: u64,
    pub checks: usize,
    pub kills: usize,
    pub upgrades: usize,
    pub values: u64,
    pub mib: u64,
    pub rounds: u64,
    /// Empty: all.
    pub only: Vec<String>,
}

fn main() -> ExitCode {
    if std::env::args().any(|a| a == "-h" || a == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    // One of the crowd that `readers` starts.
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("reader", rest)) = args.split_first().map(|(a, rest)| (a.as_str(), rest)) {
        return match readers::attack(rest) {
            Some(()) => ExitCode::SUCCESS,
            None => ExitCode::FAILURE,
        };
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let (mut seconds, mut rounds): (Option<u64>, Option<u64>) = (None, None);
    let mut options = Options {
        seconds: 60,
        checks: 10_000,
        kills: 100,
        upgrades: 100,
        values: 10_000_000,
        mib: 4096,
        rounds: 5,
        only: Vec::new(),
    };
    let mut what = None;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--only" {
            let kinds = args.next().ok_or(USAGE)?;
            options.only = kinds.split(',').map(str::to_owned).collect();
            continue;
        }
        let mut number = || args.next().and_then(|n| n.parse().ok()).ok_or(USAGE);
        match arg.as_str() {
            "--seconds" => seconds = Some(number()?),
            "--checks" => options.checks = number()? as usize,
            "--upgrades" => options.upgrades = number()? as usize,
            "--kills" => options.kills = number()? as usize,
            "--values" => options.values = number()?.max(1),
            "--mib" => options.mib = number()?.max(1),
            "--rounds" => rounds = Some(number()?.max(1)),
            "stats" | "digest" | "objects" | "load" | "kill" | "idle" | "ready" | "needs"
            | "readers" | "hostile" | "upgrade" | "reload" | "names" | "kinds" | "ping"
            | "alerts" | "storm" | "full" | "silent" | "ways" | "measure" | "scrape" | "day"
            | "page" | "viewers" | "slow" | "top" | "table" | "all" => what = Some(arg),
            _ => return Err(USAGE.into()),
        }
    }
    let what = what.unwrap_or_else(|| "all".to_owned());
    if what == "table" {
        // It is many measurements.
        (options.seconds, options.rounds) = (20, 3);
    }
    if what == "ping" {
        options.rounds = 2;
    }
    options.seconds = seconds.unwrap_or(options.seconds);
    options.rounds = rounds.unwrap_or(options.rounds);
    build()?;
    match what.as_str() {
        "load" => runs::load(&options),
        "kill" => runs::kill(&options),
        "idle" => runs::idle(&options),
        "ready" => ready::ready(),
        "needs" => needs::needs(&options),
        "readers" => readers::readers(&options),
        "hostile" => hostile::hostile(&options),
        "upgrade" => changes::upgrade(&options),
        "reload" => changes::reload(&options),
        "objects" => objects::objects(),
        "names" => names::names(&options),
        "kinds" => kinds::kinds(&options),
        "ping" => ping::ping(&options),
        "alerts" => alerts::alerts(&options),
        "storm" => alerts::storm(&options),
        "full" => alerts::storm_on_a_full_disk(&options),
        "silent" => alerts::silent(&options),
        "ways" => alerts::ways(&options),
        "measure" => measure::measure(&options),
        "scrape" => measure::scrape(&options),
        "day" => day::day(&options),
        "page" => page::page(&options),
        "viewers" => viewers::viewers(&options),
        "slow" => viewers::slow(&options),
        "top" => viewers::top(&options),
        "table" => table::table(&options),
        "stats" => shared_work::stats::stats(&options),
        "digest" => shared_work::digest::digest(&options),
        _ => {
            ready::ready()?;
            runs::idle(&options)?;
            objects::objects()?;
            needs::needs(&options)?;
            runs::load(&options)?;
            runs::kill(&options)?;
            changes::upgrade(&options)?;
            changes::reload(&options)?;
            shared_work::stats::stats(&options)?;
            shared_work::digest::digest(&options)
        }
    }
}

/// The programs and plugins that are measured: those of this tree, as they are now.
fn build() -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = std::process::Command::new(cargo)
        .args(["build", "--quiet"])
        // As we are ourselves: a debug build is only to try the measurements.
        .args((!cfg!(debug_assertions)).then_some("--release"))
        .status();
    match built {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo build --release: {status}")),
        Err(e) => Err(format!("cargo: {e}")),
    }
}
