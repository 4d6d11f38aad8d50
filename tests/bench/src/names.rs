//! What a dead zone costs the checks of other names, and what a look-up costs: by our resolver and by getaddrinfo.
//!
//! In a network and a mount namespace of its own, so it needs root: bind serves the good zone on port 53 with a TTL of 0 (each
//! run asks), and forwards the dead one to a socket that nobody reads.

use crate::Options;
use crate::daemon::{Daemon, temp_dir};
use crate::figures::now;
use crate::late::lateness;
use crate::peers;
use crate::runs::{balanced, runs_of, wait, warm_up};
use healthd_core::check::outcome::Verdict;
use healthd_test_support::procs;
use healthd_testing::NameServer;
use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::path::Path;
use std::process::Command;

const SILENT: usize = 60;
const INTERVAL_S: f64 = 10.0;
/// One that `[SUCCESS=merge]` is in is glibc's alone: the same look-ups, by getaddrinfo on threads.
const GLIBC: &str = "hosts: files [SUCCESS=merge] dns\n";
const OURS: &str = "hosts: files dns\n";

pub fn names(options: &Options) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|e| format!("names: no namespaces of one's own, it needs root: {e}"))?;
    run(&["ip", "link", "set", "lo", "up"])?;
    run(&["mount", "--make-rprivate", "/"])?;
    let dir = temp_dir("names-etc")?;
    over(&dir, "resolv.conf", "nameserver 127.0.0.1\n")?;
    let server = NameServer::start("* 0 A 127.0.0.1\n").ok_or("bind is not installed")?;
    println!(
        "names: {} http checks of names at {INTERVAL_S} s, and {SILENT} in a silent zone at 30 s; TTL 0, so each run asks",
        options.checks
    );
    for (what, nsswitch, silent) in [
        ("without the silent zone", OURS, 0),
        ("beside the silent zone", OURS, SILENT),
        ("the same by getaddrinfo, on threads", GLIBC, SILENT),
    ] {
        println!(" {what}");
        over(&dir, "nsswitch.conf", nsswitch)?;
        one(options, silent)?;
    }
    drop(server);
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}

fn one(options: &Options, silent: usize) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let port = nginx.port;
    let mut config = format!(
        "[[check]]\nname = \"web-{{a}}-{{b}}\"\nplugin = \"http\"\nfor_each = {{ a = \"0..{}\", b = \"1..251\" }}\n\
         interval = \"{INTERVAL_S}s\"\ntimeout = \"5s\"\nattempts = 1\n\
         config = {{ url = \"http://h{{a}}-{{b}}.good.test:{port}/{{a}}-{{b}}\" }}\n\n",
        options.checks.div_ceil(250)
    );
    if silent > 0 {
        config += &format!(
            "[[check]]\nname = \"dead-{{item}}\"\nplugin = \"http\"\nfor_each = \"0..{silent}\"\ninterval = \"30s\"\n\
             timeout = \"10s\"\nattempts = 1\nconfig = {{ url = \"http://h{{item}}.dead.test:{port}/\" }}\n"
        );
    }
    let daemon = Daemon::start("names", &config)?;
    // On threads one of the silent zone may wait for its turn all the while: that is told below, as no run.
    warm_up(&daemon, 45.0, "web-")?;
    let before = daemon.state()?;
    let since = now();
    let cpu = procs::cpu_ms(daemon.pid());
    wait(options.seconds as f64);
    let cpu = procs::cpu_ms(daemon.pid()) - cpu;
    let after = daemon.state()?;
    let web = runs_of(&after, "web-") - runs_of(&before, "web-");
    println!(
        "  http checks/s         {:8.1}  ({:.1} wanted)",
        web as f64 / options.seconds as f64,
        after
            .checks
            .iter()
            .filter(|(_, c)| c.name.starts_with("web-"))
            .count() as f64
            / INTERVAL_S
    );
    println!("  CPU a check           {:8.4} ms", cpu / web as f64);
    println!("  accounts balance      {:>8}", balanced(&after));
    let of = |prefix: &str, verdict| {
        let all = after.checks.iter().map(|(_, c)| c);
        let named = all.filter(|c| c.name.starts_with(prefix));
        named.filter(|c| c.verdict() == Some(verdict)).count()
    };
    println!(
        "  verdicts              good: {} ok, {} CRITICAL; silent: {} CRITICAL, {} UNKNOWN, {} ok, {} without a turn",
        of("web-", Verdict::Ok),
        of("web-", Verdict::Critical),
        of("dead-", Verdict::Critical),
        of("dead-", Verdict::Unknown),
        of("dead-", Verdict::Ok),
        after.checks.iter().filter(|(_, c)| c.runs == 0).count()
    );
    drop(daemon);
    lateness(&nginx, INTERVAL_S, since)
}

/// This text instead of the file in /etc, in our mount namespace only.
fn over(dir: &Path, name: &str, text: &str) -> Result<(), String> {
    let ours = dir.join(name);
    let mounted = ours.exists();
    fs::write(&ours, text).map_err(|e| format!("{}: {e}", ours.display()))?;
    if mounted {
        return Ok(());
    }
    run(&[
        "mount",
        "--bind",
        &ours.display().to_string(),
        &format!("/etc/{name}"),
    ])
}

fn run(words: &[&str]) -> Result<(), String> {
    let status = Command::new(words[0]).args(&words[1..]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}", words.join(" "))),
        Err(e) => Err(format!("{}: {e}", words[0])),
    }
}
