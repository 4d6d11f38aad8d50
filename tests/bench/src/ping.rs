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
    let (checks, seconds) = (options.checks, options.seconds);
    in_own_network(move || {
        healthd_testing::net_sysctl("ipv4/ping_group_range", "0 2147483647");
        measure(checks, seconds)
    })
}

/// 127.1.(i/250).(1+i%250)
fn hosts(n: usize) -> Vec<String> {
    let host = |i: usize| format!("127.1.{}.{}", i / 250, 1 + i % 250);
    (0..n).map(host).collect()
}

fn measure(checks: usize, seconds: u64) -> Result<(), String> {
    let config = format!(
        "[[check]]\nname = \"ping-{{a}}-{{b}}\"\nplugin = \"ping\"\nfor_each = {{ a = \"0..{}\", b = \"1..251\" }}\n\
         interval = \"10s\"\ntimeout = \"5s\"\nconfig = {{ host = \"127.1.{{a}}.{{b}}\", packets = 1 }}\n\n",
        checks.div_ceil(250)
    );
    let daemon = Daemon::start("ping", &config)?;
    println!("ping: {checks} hosts at 10 s, one packet each");
    warm_up(&daemon, 25.0, "")?;
    let pids = procs::children(daemon.pid());
    let mut managers = pids.into_iter();
    let manager = managers.find(|pid| procs::role(*pid).as_deref() == Some("manager"));
    let of_manager = || manager.map_or(0.0, procs::own_cpu_ms);
    let (runs, cpu, judged) = (
        runs_of(&daemon.state()?, "ping-"),
        procs::cpu_ms(daemon.pid()),
        of_manager(),
    );
    wait(seconds as f64);
    let runs = (runs_of(&daemon.state()?, "ping-") - runs) as f64;
    let cpu = procs::cpu_ms(daemon.pid()) - cpu;
    let judged = of_manager() - judged;
    let (rtts, lost) = seen(&daemon)?;
    println!(
        "  healthd     {:9.4} ms CPU a host and sweep ({:.4} the manager's), {:.1}/s, rtt median {:.3} ms, {lost} with loss",
        cpu / runs,
        judged / runs,
        runs / seconds as f64,
        median(&rtts)
    );
    busy(&daemon, seconds)?;
    drop(daemon);
    fping(checks)?;
    check_icmp()
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

fn fping(checks: usize) -> Result<(), String> {
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
            return Ok(());
        }
    };
    let cpu = children_ms()? - cpu;
    // `127.1.0.1 : 0.05 0.04`; `-` is a loss.
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    let words = text.lines().filter_map(|l| Some(l.split_once(" : ")?.1));
    let words: Vec<&str> = words.flat_map(|l| l.split_whitespace()).collect();
    let rtts: Vec<f64> = words.iter().filter_map(|w| w.parse().ok()).collect();
    println!(
        "  fping       {:9.4} ms CPU a host and sweep, rtt median {:.3} ms, {} lost, {:.1} s",
        cpu / (checks * SWEEPS) as f64,
        median(&rtts),
        words.len() - rtts.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn check_icmp() -> Result<(), String> {
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
                return Ok(());
            }
        }
    }
    let each = Duration::from_secs_f64(begun.elapsed().as_secs_f64() / BY_CHECK_ICMP as f64);
    println!(
        "  check_icmp  {:9.4} ms CPU a host and sweep, {each:.1?} each (of {BY_CHECK_ICMP} hosts)",
        (children_ms()? - cpu) / BY_CHECK_ICMP as f64
    );
    Ok(())
}
