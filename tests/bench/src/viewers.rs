//! Those who look, beside the checks: who is late for them; who waits for clients that are slow on purpose; what `top` takes.

use crate::Options;
use crate::daemon::{Daemon, target_dir};
use crate::figures::now;
use crate::late::late;
use crate::page::{TABS, config, cpu_ticks, ms, pss_kb, tab, until_all_ran, web};
use crate::peers;
use crate::runs::{http_checks, wait, warm_up};
use healthd_testing::free_port;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often one of both is measured; in turn, so that a machine that changes meanwhile changes both.
const TURNS: u32 = 4;

/// `--checks` checks at 2 s, without, beside loops that take what is left, and with 20 open pages and wrk on `/` and
/// `/metrics`: who is late.
pub fn viewers(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let port = free_port("127.0.0.1");
    let checks = http_checks(options.checks, nginx.port);
    let config = format!("[web]\nlisten = \"127.0.0.1:{port}\"\n\n{checks}");
    let daemon = Daemon::start_with("viewers", "start_spread = \"2s\"\n", &config, &[])?;
    println!(
        "viewers: {} http checks at 2 s, {TURNS} times {} s without and with {TABS} open pages and wrk on / and /metrics",
        options.checks,
        options.seconds / u64::from(TURNS)
    );
    warm_up(&daemon, 15.0, "web-")?;
    let web = web(daemon.pid()).ok_or("there is no web process")?;
    let slice = (options.seconds as f64 / f64::from(TURNS)).max(10.0);
    let (mut without, mut loops, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ticks, mut read, mut said) = (0, 0, String::new());
    for _ in 0..TURNS {
        let begun = now();
        wait(slice);
        without.push((begun, now()));
        loops.push(beside_loops(slice)?);
        let mut streams = Vec::new();
        let mut open = Vec::new();
        for _ in 0..TABS {
            let stream = TcpStream::connect(("127.0.0.1", port));
            streams.extend(stream.as_ref().ok().and_then(|s| s.try_clone().ok()));
            open.push(tab(stream)?);
        }
        let before = cpu_ticks(web);
        let begun = now();
        let asking = ["/", "/metrics"].map(|path| wrk(port, path, slice));
        for asked in asking {
            let done = asked?.wait_with_output().map_err(|e| e.to_string())?;
            said += &String::from_utf8_lossy(&done.stdout);
        }
        beside.push((begun, now()));
        ticks += cpu_ticks(web) - before;
        for stream in streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        read += open
            .into_iter()
            .map(|tab| tab.join().unwrap_or(0))
            .sum::<u64>();
    }
    // The server writes its log each second.
    wait(2.0);
    for line in said
        .lines()
        .filter(|l| l.contains("requests in") || l.contains("Non-2xx"))
    {
        println!("  wrk                 {}", line.trim());
    }
    let seconds = slice * f64::from(TURNS);
    println!(
        "  web                   {:.0} % of a core, {} kB PSS; the open pages were sent {:.1} MB",
        ticks as f64 / seconds,
        pss_kb(web),
        read as f64 / 1e6
    );
    let mut p99 = Vec::new();
    for (name, times) in [
        ("without", &without),
        ("beside loops", &loops),
        ("beside", &beside),
    ] {
        let late = late(&nginx, 2.0, "/", times)?;
        println!(
            "  late {name:<16} p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.1} ms, max {:.0} ms; {} missed",
            late.between(0.5),
            late.between(0.99),
            late.at(0.999),
            late.at(1.0),
            late.missed
        );
        p99.push(late.between(0.99));
    }
    println!(
        "  p99 beside it         {:+.1} % of without (10 % wanted)",
        100.0 * (p99[2] / p99[0] - 1.0)
    );
    Ok(())
}

/// What this machine alone makes of somebody who takes all that is left: an empty loop a processor, behind all others.
fn beside_loops(seconds: f64) -> Result<(f64, f64), String> {
    let count = std::thread::available_parallelism().map_or(1, |n| n.get());
    let begun = now();
    let mut loops = Vec::new();
    for _ in 0..count {
        let child = Command::new("chrt")
            .args(["--idle", "0", "sh", "-c", "while :; do :; done"])
            .spawn();
        loops.push(child);
    }
    wait(seconds);
    let ended = now();
    for child in loops.iter_mut().flatten() {
        let _ = child.kill();
        let _ = child.wait();
    }
    for child in loops {
        child.map_err(|e| format!("chrt: {e}"))?;
    }
    Ok((begun, ended))
}

/// Behind all others on this machine (SCHED_IDLE): who looks at a page does so from elsewhere, and what wrk itself takes of
/// the processors is no part of healthd.
pub fn wrk(port: u16, path: &str, seconds: f64) -> Result<Child, String> {
    Command::new("chrt")
        .args(["--idle", "0", "wrk", "-t1", "-c4", "--latency"])
        .arg(format!("-d{seconds:.0}s"))
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("wrk: {e}"))
}

/// slowhttptest with more clients than there are places, and how long another client waits meanwhile.
pub fn slow(options: &Options) -> Result<(), String> {
    let port = free_port("127.0.0.1");
    let web = format!("[web]\nlisten = \"127.0.0.1:{port}\"\n");
    let checks = config(1_000).replacen("[web]\nlisten = \"unix:web.sock\"\n", &web, 1);
    let daemon = Daemon::start("slow", &checks)?;
    until_all_ran(&daemon, 1_000)?;
    let seconds = options.seconds.min(20);
    println!(
        "slow: 1,000 clients that are slow on purpose for {seconds} s, and one that is not, on /"
    );
    for (name, kind, path) in [
        ("nobody", None, "/"),
        ("slow heads", Some("-H"), "/"),
        ("slow bodies", Some("-B"), "/ping/g0/c0"),
        ("slow readers", Some("-X"), "/metrics"),
    ] {
        let mut tool = match kind {
            None => Command::new("sleep"),
            Some(_) => Command::new("slowhttptest"),
        };
        match kind {
            None => tool.arg(seconds.to_string()),
            Some(kind) => tool
                .args([kind, "-c", "1000", "-r", "500", "-i", "2", "-l"])
                .arg(seconds.to_string())
                .args(["-u", &format!("http://127.0.0.1:{port}{path}")]),
        };
        let tool = tool
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = tool.spawn().map_err(|e| format!("slowhttptest: {e}"))?;
        let (mut waits, mut refused) = (Vec::new(), 0);
        while child.try_wait().map_err(|e| e.to_string())?.is_none() {
            let begun = Instant::now();
            match page(port) {
                Ok(()) => waits.push(begun.elapsed()),
                Err(_) => refused += 1,
            }
            wait(0.02);
        }
        waits.sort();
        let at = |q: f64| waits.get(((waits.len().max(1) - 1) as f64 * q) as usize);
        let at = |q: f64| at(q).map_or_else(String::new, |wait| ms(*wait));
        println!(
            "  {name:<14} {:>5} answered, {refused} not; p50 {}, p99 {}, max {}",
            waits.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    Ok(())
}

fn page(port: u16) -> Result<(), std::io::Error> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: healthd\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.0 200") && answer.ends_with("</html>") {
        true => Ok(()),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// `healthctl top` in terminals of three sizes: what it takes of a core with `--checks` checks.
pub fn top(options: &Options) -> Result<(), String> {
    let daemon = Daemon::start("top", &config(options.checks))?;
    until_all_ran(&daemon, options.checks)?;
    let seconds = options.seconds.min(20) as f64;
    println!("top: {} checks, each size for {seconds} s", options.checks);
    for (columns, lines) in [("80", "24"), ("120", "40"), ("200", "60")] {
        let socket = daemon.dir.join(format!("tmux{columns}"));
        let tmux = |args: &[&str]| {
            let mut tmux = Command::new("tmux");
            tmux.arg("-S")
                .arg(&socket)
                .args(["-f", "/dev/null"])
                .args(args);
            let done = tmux.env("TERM", "xterm-256color").output();
            let done = done.map_err(|e| format!("tmux: {e}"))?;
            Ok::<_, String>(String::from_utf8_lossy(&done.stdout).trim().to_owned())
        };
        let control = daemon.dir.join("run/control.sock");
        let command = format!(
            "exec {} --socket {} top",
            target_dir().join("healthctl").display(),
            control.display()
        );
        tmux(&["new-session", "-d", "-x", columns, "-y", lines, &command])?;
        let pid = tmux(&["list-panes", "-F", "#{pane_pid}"])?;
        let pid: u32 = pid.parse().map_err(|_| format!("no pid: `{pid}`"))?;
        // The terminal may not be drawn yet.
        let begun = Instant::now();
        while !tmux(&["capture-pane", "-p"])?.contains("CRIT") {
            if begun.elapsed() > Duration::from_secs(30) {
                return Err("top shows nothing".into());
            }
            wait(0.1);
        }
        let before = cpu_ticks(pid);
        wait(seconds);
        let part = (cpu_ticks(pid) - before) as f64 / seconds;
        println!(
            "  {columns:>3}x{lines}  {part:.1} % of a core, {} kB PSS (5 % wanted)",
            pss_kb(pid)
        );
        tmux(&["kill-server"])?;
    }
    Ok(())
}
