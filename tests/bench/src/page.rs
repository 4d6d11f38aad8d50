//! The page at 100, 1,000 and 10,000 checks: bytes, time to the first byte, what its process takes, alone and with
//! twenty pages open.

use crate::Options;
use crate::daemon::Daemon;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const TABS: usize = 20;
const ASKED: u64 = 200;

pub fn page(options: &Options) -> Result<(), String> {
    println!("checks  path            bytes   first byte p50      p99      max");
    for checks in [100, 1_000, 10_000] {
        let daemon = Daemon::start("page", &config(checks))?;
        let socket = daemon.dir.join("web.sock");
        until_all_ran(&daemon, checks)?;
        for path in [
            "/",
            "/?show=all",
            "/?q=g1%2F*",
            "/check/g1/c1",
            "/events",
            "/workers",
            "/metrics",
        ] {
            let mut times = Vec::new();
            let mut bytes = 0;
            // Spread, so that each sees another picture.
            let rounds = if path == "/metrics" {
                ASKED / 10
            } else {
                ASKED
            };
            for _ in 0..rounds {
                let (first, length) = ask(&socket, path)?;
                times.push(first);
                bytes = length;
                std::thread::sleep(Duration::from_millis(5));
            }
            times.sort();
            let at = |part: f64| ms(times[((times.len() - 1) as f64 * part).round() as usize]);
            println!(
                "{checks:>6}  {path:<13} {bytes:>7}  {:>14}  {:>7}  {:>7}",
                at(0.5),
                at(0.99),
                at(1.0)
            );
        }
        let pid = web(daemon.pid()).ok_or("there is no web process")?;
        let seconds = options.seconds.min(10);
        let connect = || UnixStream::connect(&socket);
        let open: Result<Vec<_>, String> = (0..TABS).map(|_| tab(connect())).collect();
        let open = open?;
        let before = cpu_ticks(pid);
        std::thread::sleep(Duration::from_secs(seconds));
        let ticks = cpu_ticks(pid).saturating_sub(before);
        // A tick is 10 ms.
        let part = ticks as f64 / seconds as f64;
        println!(
            "{checks:>6}  {TABS} open pages: {part:.1} % of a core; web has {} kB PSS",
            pss_kb(pid)
        );
        drop(daemon);
        drop(open);
    }
    Ok(())
}

/// An open page: what comes is read until the daemon ends, or the stream is shut down.
pub fn tab<S: Read + Write + Send + 'static>(
    stream: std::io::Result<S>,
) -> Result<JoinHandle<u64>, String> {
    let text = |e: std::io::Error| e.to_string();
    let mut stream = stream.map_err(text)?;
    write!(stream, "GET /live HTTP/1.1\r\nHost: healthd\r\n\r\n").map_err(text)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).map_err(text)?;
    if !line.contains(" 200 ") {
        return Err(format!("a page is not told what changes: {line}"));
    }
    Ok(std::thread::spawn(move || {
        let mut read = 0;
        let mut buffer = [0; 65536];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            read += n as u64;
        }
        read
    }))
}

/// One in a hundred is a problem, and each runs every 10 s.
pub fn config(checks: usize) -> String {
    let mut text =
        String::from("[web]\nlisten = \"unix:web.sock\"\n[defaults]\ninterval = \"10s\"\n");
    for n in 0..checks {
        let limits = match n % 100 {
            7 => "load1_crit = 0.0",
            _ => "load5_warn = 1000000.0, load5_crit = 1000000.0",
        };
        let _ = write!(
            text,
            "[[check]]\nname = \"g{}/c{n}\"\nplugin = \"load\"\nconfig = {{ {limits} }}\n",
            n % 40
        );
    }
    text
}

pub fn until_all_ran(daemon: &Daemon, checks: usize) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let state = daemon.state()?;
        let ran = state.checks.iter().filter(|(_, c)| c.last_run != 0).count();
        if ran >= checks {
            return Ok(());
        }
        if begun.elapsed() > Duration::from_secs(120) {
            return Err(format!("only {ran} of {checks} have run\n{}", daemon.log()));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// When the first byte of the body was there, and its length.
fn ask(socket: &Path, path: &str) -> Result<(Duration, usize), String> {
    let text = |e: std::io::Error| e.to_string();
    let begun = Instant::now();
    let mut stream = UnixStream::connect(socket).map_err(text)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: healthd\r\n\r\n").map_err(text)?;
    let mut first = [0; 1];
    stream.read_exact(&mut first).map_err(text)?;
    let took = begun.elapsed();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).map_err(text)?;
    let head = rest
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or("no head")?;
    if !rest.starts_with(b"TTP/1.0 200") {
        return Err(String::from_utf8_lossy(&rest[..head]).into_owned());
    }
    Ok((took, rest.len() - head - 4))
}

pub fn web(supervisor: u32) -> Option<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
    let children = children.ok()?;
    let is_web = |pid: &u32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "healthd-web")
    };
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .find(is_web)
}

pub fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    let field = |n: usize| {
        rest.split(' ')
            .nth(n)
            .and_then(|f| f.parse().ok())
            .unwrap_or(0)
    };
    field(11) + field(12)
}

pub fn pss_kb(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = maps.lines().find_map(|l| l.strip_prefix("Pss:"));
    let number = line.and_then(|l| l.trim().trim_end_matches(" kB").parse().ok());
    number.unwrap_or(0)
}

pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
