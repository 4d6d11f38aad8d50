//! Nagios plugins by exec, as fast as they go, beside a loop that does nothing but start them, and nagios4.

use super::Size;
use super::nagios::by_nagios;
use super::row::{Limit::*, Row, shown};
use super::turns::{Figures, figure, medians};
use crate::daemon::Daemon;
use crate::figures::own_ms;
use crate::peers::nginx;
use healthd_test_support::procs;
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const FOLDER: &str = "/usr/lib/nagios/plugins";
/// Handed over at once.
const CHECKS: usize = 500;

pub fn dummy(size: Size) -> Result<Vec<Row>, String> {
    rows(size, "check_dummy", &["0".to_owned()])
}

pub fn http(size: Size) -> Result<Vec<Row>, String> {
    let nginx = nginx()?;
    let port = nginx.port.to_string();
    let args = ["-I", "127.0.0.1", "-p", &port].map(str::to_owned);
    rows(size, "check_http", &args)
}

fn rows(size: Size, name: &str, args: &[String]) -> Result<Vec<Row>, String> {
    let program = format!("{FOLDER}/{name}");
    if !Path::new(&program).exists() {
        return Err(format!(
            "{program} is not installed: apt-get install monitoring-plugins-basic"
        ));
    }
    let argv = [&[program][..], args].concat();
    let seconds = size.seconds;
    let [ours, bare, nagios] = medians(
        size,
        [
            &mut || by_healthd(&argv, seconds),
            &mut || by_loops(&argv, seconds),
            &mut || by_nagios(&argv, seconds),
        ],
    )?;
    let own = |n| figure(&ours, n).unwrap_or(f64::NAN);
    let loops = figure(&bare, 1).map(shown).unwrap_or_default();
    Ok(vec![
        Row::new(format!("exec of {name}: CPU a run"), own(0), "us")
            .beside("posix_spawn", figure(&bare, 0))
            .wants(MostTimes(1.1)),
        Row::new(format!("exec of {name}: runs"), own(1), "/s")
            .beside("nagios4", figure(&nagios, 0))
            .wants(LeastTimes(3.0))
            .noted(format!("posix_spawn: {loops} /s by a loop a core")),
    ])
}

/// us of CPU a run, its program and all processes of the daemon; runs a second.
fn by_healthd(argv: &[String], seconds: f64) -> Result<Figures, String> {
    let text = format!(
        "[[check]]\nname = \"it-{{n}}\"\nplugin = \"exec\"\ninterval = \"1h\"\nfor_each = {{ n = \"0..{CHECKS}\" }}\n\
         config = {{ argv = {argv:?} }}\n"
    );
    let daemon = Daemon::start_with("table", "start_spread = \"1h\"\n", &text, &[])?;
    // Their instances are made.
    run(&daemon)?;
    let (cpu, begun, mut done) = (procs::cpu_ms(daemon.pid()), Instant::now(), 0);
    while begun.elapsed().as_secs_f64() < seconds {
        done += run(&daemon)?;
    }
    let (cpu, took) = (procs::cpu_ms(daemon.pid()) - cpu, begun.elapsed());
    let done = done as f64;
    Ok(Some(vec![cpu * 1e3 / done, done / took.as_secs_f64()]))
}

fn run(daemon: &Daemon) -> Result<usize, String> {
    let said = daemon.printed(&["--json", "run", "it-*"])?;
    let rows = said.lines().map(serde_json::from_str::<Value>);
    let rows: Vec<Value> = rows.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    match rows.iter().find(|row| row["status"] != "ok") {
        Some(bad) => Err(format!("{}: {}", bad["name"], bad["message"])),
        None => Ok(rows.len()),
    }
}

/// The same of a loop a core, each of which starts the program, reads what it says to the end, and starts the next.
fn by_loops(argv: &[String], seconds: f64) -> Result<Figures, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (cpu, begun) = (own_ms()?, Instant::now());
    let until = begun + Duration::from_secs_f64(seconds);
    let done: Result<usize, String> = std::thread::scope(|scope| {
        let loops: Vec<_> = (0..cores)
            .map(|_| scope.spawn(|| one_loop(argv, until)))
            .collect();
        let done = loops.into_iter().map(|l| l.join().expect("no panic"));
        done.sum()
    });
    let (cpu, took, done) = (own_ms()? - cpu, begun.elapsed(), done? as f64);
    Ok(Some(vec![cpu * 1e3 / done, done / took.as_secs_f64()]))
}

/// `Command` starts it by posix_spawn.
fn one_loop(argv: &[String], until: Instant) -> Result<usize, String> {
    let mut done = 0;
    while Instant::now() < until {
        let ended = Command::new(&argv[0]).args(&argv[1..]).output();
        let ended = ended.map_err(|e| format!("{}: {e}", argv[0]))?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stdout).into_owned();
            return Err(format!("{}: {said}", argv[0]));
        }
        done += 1;
    }
    Ok(done)
}
