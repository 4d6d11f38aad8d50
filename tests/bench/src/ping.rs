//! `ping`: 10,000 hosts at 10 s, beside fping and check_icmp on the same hosts, in a network of our own.

use crate::Options;
use crate::daemon::Daemon;
use crate::figures::{children_ms, median};
use crate::runs::{in_own_network, runs_of, wait, warm_up};
use healthd_test_support::procs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const CHECK_ICMP: &str = "/usr/lib/nagios/plugins/check_icmp";
/// Each of them is a process of its own.
const BY_CHECK_ICMP: usize = 500;

pub fn ping(options: &Options) -> Result<(), String> {
    let (checks, seconds, rounds) = (options.checks, options.seconds, options.rounds);
    in_own_network(move || {
        healthd_testing::net_sysctl("ipv4/ping_group_range", "0 2147483647");
        println!(
            "ping: {checks} hosts at 10 s, one packet each; CPU of a host and sweep; {rounds} rounds"
        );
        let mut seen = Vec::new();
        for round in 1..=rounds {
            println!("round {round}");
            seen.push([healthd(checks, seconds)?, fping(checks)?, check_icmp()?]);
        }
        sum_up(&seen);
        Ok(())
    })
}

/// The medians: the peers have their turn in each round, as a machine that changes meanwhile changes all of them.
fn sum_up(seen: &[[Option<Seen>; 3]]) {
    let of = |who: usize, figure: fn(&Seen) -> f64| -> f64 {
        let all = seen.iter().filter_map(|round| round[who].as_ref());
        median(&all.map(figure).collect::<Vec<_>>())
    };
    let cpu = |who| of(who, |seen| seen.cpu_ms);
    println!(
        "median: healthd {:.4} ms, {:.2} times fping, {:.2} times check_icmp; round trip {:+.3} ms beside fping's",
        cpu(0),
        cpu(0) / cpu(1),
        cpu(0) / cpu(2),
        of(0, |seen| seen.rtt_ms) - of(1, |seen| seen.rtt_ms)
    );
}

/// What one of them needed for a host and sweep, and the median of its round trips.
struct Seen {
    cpu_ms: f64,
    rtt_ms: f64,
}

/// 127.1.(i/250).(1+i%250)
fn hosts(n: usize) -> Vec<String> {
    let host = |i: usize| format!("127.1.{}.{}", i / 250, 1 + i % 250);
    (0..n).map(host).collect()
}

/// CPU in ms until now, that of ended threads too: of the workers, of the manager, and of the rest of the daemon.
fn by_role(daemon: &Daemon) -> [f64; 3] {
    let children = procs::children(daemon.pid());
    let of = |role: &str| -> f64 {
        let is_it = |pid: &u32| procs::role(*pid).is_some_and(|is| is.starts_with(role));
        let all = children.iter().copied().filter(is_it);
        all.map(procs::cpu_ms).sum()
    };
    let (workers, manager) = (of("worker"), of("manager"));
    let rest = procs::cpu_ms(daemon.pid()) - workers - manager;
    [workers, manager, rest]
}

fn healthd(checks: usize, seconds: u64) -> Result<Option<Seen>, String> {
    let config = format!(
        "[[check]]\nname = \"ping-{{a}}-{{b}}\"\nplugin = \"ping\"\nfor_each = {{ a = \"0..{}\", b = \"1..251\" }}\n\
         interval = \"10s\"\ntimeout = \"5s\"\nconfig = {{ host = \"127.1.{{a}}.{{b}}\", packets = 1 }}\n\n",
        checks.div_ceil(250)
    );
    let daemon = Daemon::start("ping", &config)?;
    warm_up(&daemon, 25.0, "")?;
    let (runs, before) = (runs_of(&daemon.state()?, "ping-"), by_role(&daemon));
    wait(seconds as f64);
    let runs = (runs_of(&daemon.state()?, "ping-") - runs) as f64;
    let after = by_role(&daemon);
    let [workers, manager, rest] = [0, 1, 2].map(|n| (after[n] - before[n]) / runs);
    let (rtts, lost) = seen(&daemon)?;
    let (cpu_ms, rtt_ms) = (workers + manager + rest, median(&rtts));
    println!(
        "  healthd     {cpu_ms:9.4} ms (workers {workers:.4}, manager {manager:.4}, the rest {rest:.4}), {:.1}/s, rtt median {rtt_ms:.3} ms, {lost} with loss",
        runs / seconds as f64
    );
    busy(&daemon, seconds)?;
    Ok(Some(Seen { cpu_ms, rtt_ms }))
}

/// Round trips in ms, and how many hosts lost a packet, by the last run of each.
fn seen(daemon: &Daemon) -> Result<(Vec<f64>, usize), String> {
    let (mut rtts, mut lost) = (Vec::new(), 0);
    for row in daemon.status()? {
        let metric = |name: &str| {
            let all = row["metrics"].as_array()?;
            all.iter().find(|m| m["name"] == name)?["value"].as_f64()
        };
        rtts.extend(metric("rtt").map(|s| s * 1e3));
        lost += usize::from(metric("loss").unwrap_or(100.0) > 0.0);
    }
    Ok((rtts, lost))
}

/// The same while twice as many threads compute as there are cores: no loss may be invented.
fn busy(daemon: &Daemon, seconds: u64) -> Result<(), String> {
    let stop = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let said = std::thread::scope(|scope| {
        for _ in 0..2 * cores {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        wait(seconds as f64);
        let said = seen(daemon);
        stop.store(true, Relaxed);
        said
    });
    let (rtts, lost) = said?;
    println!(
        "  under load  {lost} of {} with loss, rtt median {:.3} ms",
        rtts.len(),
        median(&rtts)
    );
    Ok(())
}

fn fping(checks: usize) -> Result<Option<Seen>, String> {
    const SWEEPS: usize = 2;
    let list = hosts(checks);
    let (cpu, begun) = (children_ms()?, Instant::now());
    let done = Command::new("fping")
        .args(["-q", "-i", "1", "-p", "10000", "-C", &SWEEPS.to_string()])
        .args(&list)
        .stdin(Stdio::null())
        .output();
    let done = match done {
        Ok(done) => done,
        Err(e) => {
            println!("  fping       not measured: {e} (package fping)");
            return Ok(None);
        }
    };
    let cpu = children_ms()? - cpu;
    // `127.1.0.1 : 0.05 0.04`; `-` is a loss.
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    let words = text.lines().filter_map(|l| Some(l.split_once(" : ")?.1));
    let words: Vec<&str> = words.flat_map(|l| l.split_whitespace()).collect();
    let rtts: Vec<f64> = words.iter().filter_map(|w| w.parse().ok()).collect();
    let (cpu_ms, rtt_ms) = (cpu / (checks * SWEEPS) as f64, median(&rtts));
    println!(
        "  fping       {cpu_ms:9.4} ms, rtt median {rtt_ms:.3} ms, {} lost, {:.1} s",
        words.len() - rtts.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(Some(Seen { cpu_ms, rtt_ms }))
}

fn check_icmp() -> Result<Option<Seen>, String> {
    let (cpu, begun) = (children_ms()?, Instant::now());
    for host in hosts(BY_CHECK_ICMP) {
        let done = Command::new(CHECK_ICMP)
            .args(["-n", "1", "-H", &host])
            .stdout(Stdio::null())
            .status();
        match done {
            Ok(status) if status.success() => {}
            Ok(status) => return Err(format!("check_icmp {host}: {status}")),
            Err(e) => {
                println!("  check_icmp  not measured: {e} (package monitoring-plugins-basic)");
                return Ok(None);
            }
        }
    }
    let each = Duration::from_secs_f64(begun.elapsed().as_secs_f64() / BY_CHECK_ICMP as f64);
    let cpu_ms = (children_ms()? - cpu) / BY_CHECK_ICMP as f64;
    println!("  check_icmp  {cpu_ms:9.4} ms, {each:.1?} each (of {BY_CHECK_ICMP} hosts)");
    // What it says of its round trip is not read.
    Ok(Some(Seen {
        cpu_ms,
        rtt_ms: f64::NAN,
    }))
}
