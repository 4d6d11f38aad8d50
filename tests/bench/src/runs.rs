//! The measurements.

use crate::Options;
use crate::charged::Group;
use crate::daemon::Daemon;
use crate::late::lateness;
use crate::peers;
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::maps::StateSnapshot;
use healthd_test_support::{black_hole, procs};
use nix::sys::signal::{SIGKILL, kill as send_signal};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Every 2 s.
pub fn http_checks(n: usize, port: u16) -> String {
    web_checks(n, "http", port, "interval = \"2s\"\ntimeout = \"1s\"", "")
}

/// check i at 127.1.(i/250).(1+i%250); `keys` of the check, and `options` of its plugin behind the URL.
pub fn web_checks(n: usize, scheme: &str, port: u16, keys: &str, options: &str) -> String {
    format!(
        "[[check]]\nname = \"web-{{a}}-{{b}}\"\nplugin = \"http\"\nfor_each = {{ a = \"0..{}\", b = \"1..{}\" }}\n{keys}\n\
         config = {{ url = \"{scheme}://127.1.{{a}}.{{b}}:{port}/{{a}}-{{b}}\"{options} }}\n\n",
        n.div_ceil(250),
        n.min(250) + 1
    )
}

fn hanging_checks(n: usize, port: u16) -> String {
    format!(
        "[[check]]\nname = \"hang-{{a}}-{{b}}\"\nplugin = \"http\"\nfor_each = {{ a = \"0..{}\", b = \"1..251\" }}\n\
         interval = \"10s\"\ntimeout = \"5s\"\nconfig = {{ url = \"http://127.2.{{a}}.{{b}}:{port}/\" }}\n\n",
        n.div_ceil(250)
    )
}

pub fn wait(seconds: f64) {
    std::thread::sleep(Duration::from_secs_f64(seconds));
}

/// In a thread whose network has nothing but loopback.
pub fn in_own_network<T: Send + 'static>(
    measure: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (tell, told) = mpsc::channel();
    let done = healthd_testing::in_own_network(move || {
        let _ = tell.send(measure());
    });
    match (done, told.recv()) {
        (true, Ok(result)) => result,
        _ => Err("a network of one's own takes root, and iproute2".into()),
    }
}

/// So long that every check whose name begins with `prefix` has a status.
pub fn warm_up(daemon: &Daemon, seconds: f64, prefix: &str) -> Result<(), String> {
    wait(seconds);
    let state = daemon.state()?;
    let all = state.checks.iter().map(|(_, c)| c);
    let silent = all
        .filter(|c| c.name.starts_with(prefix) && c.runs == 0)
        .count();
    if silent > 0 {
        Err(format!(
            "{silent} checks have not run in {seconds} s\n{}",
            daemon.log()
        ))
    } else {
        Ok(())
    }
}

pub fn totals(s: &StateSnapshot) -> (u64, u64, u64, u64, u64) {
    s.slots.iter().fold((0, 0, 0, 0, 0), |t, (_, s)| {
        (
            t.0 + s.dispatched,
            t.1 + s.finished,
            t.2 + s.in_flight,
            t.3 + s.lost(),
            t.4 + s.late,
        )
    })
}

pub fn balanced(s: &StateSnapshot) -> bool {
    s.slots
        .iter()
        .all(|(_, s)| s.dispatched == s.finished + s.in_flight + s.lost())
}

pub fn runs_of(s: &StateSnapshot, prefix: &str) -> u64 {
    s.checks
        .iter()
        .filter(|(_, c)| c.name.starts_with(prefix))
        .map(|(_, c)| c.runs)
        .sum()
}

pub fn load(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let hole = black_hole("0.0.0.0", 4_000)?;
    let config = http_checks(options.checks, nginx.port) + &hanging_checks(2_000, hole);
    let daemon = Daemon::start("load", &config)?;
    println!(
        "load: {} http checks at 2 s beside 2,000 that hang (timeout 5 s, interval 10 s)",
        options.checks
    );
    // Long enough for the hanging ones to be through their attempts and back on their grid.
    warm_up(&daemon, 45.0, "")?;
    let before = daemon.state()?;
    let (cpu, begun) = (procs::cpu_ms(daemon.pid()), Instant::now());
    wait(options.seconds as f64);
    let (cpu, took) = (
        procs::cpu_ms(daemon.pid()) - cpu,
        begun.elapsed().as_secs_f64(),
    );
    let after = daemon.state()?;
    let web = runs_of(&after, "web-") - runs_of(&before, "web-");
    let hang = runs_of(&after, "hang-") - runs_of(&before, "hang-");
    let wanted = options.checks as f64 / 2.0;
    println!(
        "  http checks/s         {:8.1}  ({:.2} % of {wanted})",
        web as f64 / took,
        100.0 * web as f64 / took / wanted
    );
    println!(
        "  hanging checks/s      {:8.1}  (200 wanted)",
        hang as f64 / took
    );
    println!(
        "  CPU a check           {:8.4} ms  (all healthd processes, {:.1} s in {took:.1} s)",
        cpu / (web + hang) as f64,
        cpu / 1e3
    );
    for pid in procs::tree(daemon.pid()) {
        println!("  PSS {:<18} {:8} kB", procs::name(pid), procs::pss_of(pid));
    }
    println!(
        "  PSS of all            {:8} kB",
        procs::pss_kb(daemon.pid())
    );
    println!("  accounts balance      {:>8}", balanced(&after));
    time_outs(&daemon)?;
    verdicts(&after);
    let daemon_log = daemon.log();
    drop(daemon);
    lateness(&nginx, 2.0, 0.0)?;
    let bad = daemon_log
        .lines()
        .filter(|l| l.contains("check=web-") && l.contains("to=critical"))
        .count();
    println!("  false criticals       {bad:8}");
    match peers::haproxy(options.checks, nginx.port)? {
        None => println!("  (haproxy is not installed: no comparison)"),
        Some(haproxy) => {
            wait(20.0);
            let asked = |n: &peers::Server| {
                std::fs::metadata(n.dir.join("access.log"))
                    .map(|m| m.len())
                    .unwrap_or(0)
            };
            let (cpu, bytes, begun) = (procs::cpu_ms(haproxy.pid()), asked(&nginx), Instant::now());
            wait(options.seconds as f64);
            let (cpu, took) = (
                procs::cpu_ms(haproxy.pid()) - cpu,
                begun.elapsed().as_secs_f64(),
            );
            // A line of its checks: "1234567890.123 /haproxy\n".
            let checks = (asked(&nginx) - bytes) as f64 / 24.0;
            println!(
                "  haproxy: {:.1} checks/s, {:.4} ms CPU a check, PSS {} kB",
                checks / took,
                cpu / checks,
                procs::pss_kb(haproxy.pid())
            );
        }
    }
    Ok(())
}

/// Each hanging check ended at its deadline, not later.
fn time_outs(daemon: &Daemon) -> Result<(), String> {
    let mut latencies: Vec<f64> = Vec::new();
    let mut wrong = 0;
    for row in daemon.status()? {
        if row["name"].as_str().is_some_and(|n| n.starts_with("hang-")) {
            latencies.extend(row["latency_ms"].as_f64());
            let said = row["message"].as_str().unwrap_or_default();
            wrong += usize::from(row["status"] != "critical" || !said.contains("timeout after 5s"));
        }
    }
    latencies.sort_by(f64::total_cmp);
    println!(
        "  time-outs             {:8}  after {:.1} to {:.1} ms (5,000 wanted), {wrong} with another result",
        latencies.len(),
        latencies.first().unwrap_or(&0.0),
        latencies.last().unwrap_or(&0.0)
    );
    Ok(())
}

pub fn verdicts(state: &StateSnapshot) {
    let mut count: HashMap<(bool, &str), usize> = HashMap::new();
    for (_, c) in &state.checks {
        let verdict = c.verdict().unwrap_or(Verdict::Pending).as_str();
        *count
            .entry((c.name.starts_with("web-"), verdict))
            .or_default() += 1;
    }
    let mut rows: Vec<String> = count
        .into_iter()
        .map(|((web, verdict), n)| {
            format!("{} {verdict} {n}", if web { "http" } else { "hanging" })
        })
        .collect();
    rows.sort();
    println!("  verdicts              {}", rows.join(", "));
}

pub fn kill(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let daemon = Daemon::start("kill", &http_checks(options.checks, nginx.port))?;
    println!(
        "kill: {} http checks at 2 s, an io worker killed with SIGKILL {} times",
        options.checks, options.kills
    );
    warm_up(&daemon, 5.0, "")?;
    let before = daemon.state()?;
    let begun = Instant::now();
    let mut back: Vec<f64> = Vec::new();
    let mut unbalanced = 0;
    for n in 0..options.kills {
        let state = daemon.state()?;
        // A jail goes with its prisoner: no other comes in its place.
        let ready: Vec<_> = state
            .slots
            .iter()
            .filter(|(_, s)| s.state == 1 && !s.jail)
            .collect();
        let (slot, victim) = ready
            .get(n % ready.len().max(1))
            .ok_or("no worker is ready")?;
        let (slot, pid) = (*slot, victim.pid);
        let at = Instant::now();
        send_signal(Pid::from_raw(pid as i32), SIGKILL).map_err(|e| e.to_string())?;
        let mut now;
        loop {
            now = daemon.state()?;
            unbalanced += usize::from(!balanced(&now));
            if now
                .slots
                .iter()
                .any(|(s, r)| *s == slot && r.pid != pid && r.state == 1)
            {
                break;
            }
            if at.elapsed() > Duration::from_secs(30) {
                return Err(format!("slot {slot} did not come back\n{}", daemon.log()));
            }
        }
        back.push(at.elapsed().as_secs_f64() * 1e3);
        wait(0.3);
    }
    let took = begun.elapsed().as_secs_f64();
    wait(3.0);
    let after = daemon.state()?;
    back.sort_by(f64::total_cmp);
    println!(
        "  back after            p50 {:.0} ms, max {:.0} ms (200 wanted)",
        back[back.len() / 2],
        back[back.len() - 1]
    );
    let (dispatched, finished, in_flight, lost, late) = totals(&after);
    println!(
        "  accounts              dispatched {dispatched} = finished {finished} + in flight {in_flight} + lost {lost}; late {late}; {unbalanced} looks out of balance"
    );
    let runs = runs_of(&after, "web-") - runs_of(&before, "web-");
    let expected = (took + 3.0) * options.checks as f64 / 2.0;
    println!(
        "  runs                  {runs} of {expected:.0} ({:.2} %)",
        100.0 * runs as f64 / expected
    );
    let counts: Vec<u64> = after
        .checks
        .iter()
        .map(|(_, c)| {
            c.runs
                - before
                    .checks
                    .iter()
                    .find(|(_, b)| b.name == c.name)
                    .map_or(0, |(_, b)| b.runs)
        })
        .collect();
    println!(
        "  runs a check          {} to {}; skipped {}",
        counts.iter().min().unwrap_or(&0),
        counts.iter().max().unwrap_or(&0),
        after.checks.iter().map(|(_, c)| c.skipped).sum::<u64>()
    );
    verdicts(&after);
    let log = daemon.log();
    let changed = log
        .lines()
        .filter(|l| l.contains("check changed") && !l.contains("to=ok"))
        .count();
    println!("  false verdicts        {changed}");
    let said = |what: &str| log.lines().filter(|l| l.contains(what)).count();
    println!(
        "  suspects              {} ran alone for it; {} checks held, {} quarantined",
        said("solo worker started"),
        said("check held"),
        said("check quarantined")
    );
    drop(daemon);
    lateness(&nginx, 2.0, 0.0)
}

pub fn idle(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let config = format!(
        "[defaults]\ninterval = \"60s\"\n\n[[check]]\nname = \"web\"\nplugin = \"http\"\nconfig = {{ url = \"http://127.0.0.1:{0}/\" }}\n\n\
         [[check]]\nname = \"port\"\nplugin = \"tcp\"\nconfig = {{ host = \"127.0.0.1\", port = {0} }}\n\n\
         [[check]]\nname = \"cpu\"\nplugin = \"cpu\"\n\n\
         [[check]]\nname = \"true\"\nplugin = \"exec\"\nconfig = {{ argv = [\"/bin/true\"] }}\n",
        nginx.port
    );
    println!("idle: one check of each kind at 60 s");
    let alone = idle_of("", &config, options)?;
    println!("  PSS of all         {alone:10} kB (15,000 wanted)");
    println!("  the same with mail, history and web");
    let more = "[web]\nlisten = \"unix:web.sock\"\n[history]\n\
                [[notify]]\nplugin = \"mail\"\nconfig = { to = \"ops@example.org\" }\n";
    let all = idle_of(more, &config, options)?;
    println!(
        "  PSS of all         {all:10} kB: {} kB more (8,000 wanted)",
        all.saturating_sub(alone)
    );
    Ok(())
}

/// What it takes with these sections, in kB.
fn idle_of(more: &str, checks: &str, options: &Options) -> Result<u64, String> {
    let (group, checks) = (Group::new(), format!("{more}{checks}"));
    let daemon = match &group {
        Some(group) => Daemon::start_within("idle", &checks, group)?,
        None => Daemon::start("idle", &checks)?,
    };
    wait(8.0);
    let pids = procs::tree(daemon.pid());
    let before: Vec<u64> = pids.iter().map(|p| procs::sleeps(*p)).collect();
    let seconds = options.seconds.min(30) as f64;
    wait(seconds);
    for (pid, before) in pids.iter().zip(before) {
        let wakes = (procs::sleeps(*pid) - before) as f64 / seconds;
        println!(
            "  {:<18} PSS {:6} kB, {wakes:.2} wake-ups/s",
            procs::name(*pid),
            procs::pss_of(*pid)
        );
    }
    match group.as_ref().and_then(Group::charged_kb) {
        Some(kb) => println!("  charged by the kernel {kb:7} kB, as systemd shows it"),
        None => println!("  no control group that counts memory may be made here"),
    }
    let all = procs::pss_kb(daemon.pid());
    // The group goes when it is empty.
    drop(daemon);
    Ok(all)
}
