//! Dead targets: what asks them waits for its time-out, each time. Beside HAProxy, and a program of Python's asyncio.

use super::Size;
use super::row::{Limit::*, Row, shown};
use super::turns::{Figures, figure, medians};
use crate::daemon::Daemon;
use crate::figures::quantile;
use crate::late::period_errors;
use crate::peers::{HTTPCHK, haproxy_with};
use crate::runs::{in_own_network, wait, warm_up, web_checks};
use healthd_test_support::procs;
use nix::sys::signal::{SIGTERM, kill as send_signal};
use nix::sys::socket::{Backlog, listen};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TARGETS: usize = 5_000;
const EVERY: f64 = 10.0;
const TIMEOUT: f64 = 5.0;
/// Two runs of each check, and what lies between.
const AT_LEAST: f64 = 22.0;

/// In a network of its own, whose kernel counts the connections that are tried.
pub fn dead(size: Size) -> Result<Vec<Row>, String> {
    in_own_network(move || measure(size))
}

fn measure(size: Size) -> Result<Vec<Row>, String> {
    let full = Full::new()?;
    let seconds = size.seconds.max(AT_LEAST);
    let [ours, haproxy, asyncio] = medians(
        size,
        [
            &mut || by_healthd(full.port, seconds),
            &mut || by_haproxy(full.port, seconds),
            &mut || by_asyncio(full.port, seconds),
        ],
    )?;
    let own = |n| figure(&ours, n).unwrap_or(f64::NAN);
    let wanted = TARGETS as f64 / EVERY;
    let asyncio_took = match (figure(&asyncio, 0), figure(&asyncio, 1)) {
        (Some(us), Some(rate)) => format!("asyncio: {} us, {rate:.1} checks/s", shown(us)),
        _ => String::new(),
    };
    let name = |what: &str| format!("5,000 dead every 10 s: {what}");
    Ok(vec![
        // The last ones of the time may still be under way.
        Row::new(name("checks"), own(1), "/s")
            .beside("haproxy", figure(&haproxy, 1))
            .wants(Least(0.99 * wanted)),
        Row::new(name("CPU a check"), own(0), "us")
            .beside("haproxy", figure(&haproxy, 0))
            .wants(Most(110.0))
            .noted(asyncio_took),
        Row::new(name("period error p99"), own(2), "ms")
            .beside("asyncio", figure(&asyncio, 2))
            .wants(Most(10.0))
            .noted("by the start of each run, as healthd and the program of asyncio tell it"),
        Row::new(name("end after time-out p99"), own(3), "ms")
            .beside("asyncio", figure(&asyncio, 3))
            .wants(Most(10.0)),
    ])
}

/// It listens, and has no room for another connection: the kernel answers none.
struct Full {
    port: u16,
    _listener: TcpListener,
    _room: Vec<TcpStream>,
}

impl Full {
    fn new() -> Result<Full, String> {
        let text = |e: std::io::Error| e.to_string();
        let listener = TcpListener::bind("0.0.0.0:0").map_err(text)?;
        let none = Backlog::new(0).map_err(|e| e.to_string())?;
        listen(&listener, none).map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(text)?.port();
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let mut room = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(500)) {
            room.push(stream);
        }
        Ok(Full {
            port,
            _listener: listener,
            _room: room,
        })
    }
}

/// Connections that were tried in this thread's network.
fn tried() -> Result<u64, String> {
    let path = "/proc/thread-self/net/snmp";
    let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let mut tcp = text.lines().filter_map(|l| l.strip_prefix("Tcp: "));
    let (names, values) = (tcp.next().unwrap_or(""), tcp.next().unwrap_or(""));
    let mut both = names.split(' ').zip(values.split(' '));
    let value = both.find(|(name, _)| *name == "ActiveOpens");
    value
        .and_then(|(_, value)| value.parse().ok())
        .ok_or_else(|| format!("{path}: no ActiveOpens of Tcp"))
}

/// us of CPU a check of that process and all below it, and checks a second.
fn watch(pid: u32, during: impl FnOnce() -> Result<(), String>) -> Result<[f64; 2], String> {
    let (cpu, before, begun) = (procs::live_cpu_ms(pid), tried()?, Instant::now());
    during()?;
    let (cpu, took) = (procs::live_cpu_ms(pid) - cpu, begun.elapsed());
    let checks = (tried()? - before) as f64;
    Ok([cpu * 1e3 / checks, checks / took.as_secs_f64()])
}

fn by_healthd(port: u16, seconds: f64) -> Result<Figures, String> {
    let keys = "interval = \"10s\"\ntimeout = \"5s\"\nattempts = 1";
    let daemon = Daemon::start("table", &web_checks(TARGETS, "http", port, keys, ""))?;
    // After its first run a check comes to its grid.
    warm_up(&daemon, 2.5 * EVERY, "web-")?;
    let (mut starts, mut ends) = (HashMap::new(), Vec::new());
    let [us, rate] = watch(daemon.pid(), || {
        let begun = Instant::now();
        while begun.elapsed().as_secs_f64() < seconds {
            look(&daemon, &mut starts, &mut ends)?;
            wait(2.0);
        }
        Ok(())
    })?;
    let errors = period_errors(&starts, EVERY)?;
    Ok(Some(vec![us, rate, errors.at(0.99), quantile(&ends, 0.99)]))
}

/// When each check has begun its last run, in s, and how long after its time-out that was over, in ms.
fn look(
    daemon: &Daemon,
    starts: &mut HashMap<String, Vec<f64>>,
    ends: &mut Vec<f64>,
) -> Result<(), String> {
    for (_, check) in &daemon.state()?.checks {
        let began = check.last_run as f64 / 1e9;
        let seen = starts.entry(check.name.to_string()).or_default();
        if seen.last() != Some(&began) {
            seen.push(began);
            ends.push(check.latency_ns as f64 / 1e6 - TIMEOUT * 1e3);
        }
    }
    Ok(())
}

fn by_haproxy(port: u16, seconds: f64) -> Result<Figures, String> {
    let backend = format!("{HTTPCHK}\n  timeout check 5s\n  default-server inter 10s");
    let target = |i: usize| format!("127.1.{}.{}:{port}", i / 250, 1 + i % 250);
    let Some(haproxy) = haproxy_with("spread-checks 0", &backend, target, TARGETS)? else {
        return Ok(None);
    };
    wait(2.0 * EVERY);
    let both = watch(haproxy.pid(), || {
        wait(seconds);
        Ok(())
    })?;
    Ok(Some(both.to_vec()))
}

/// Each target by a task of its own, on its own grid. Told to end, it says the p99 in ms of the error of the period and of
/// the ends of those that began in the last seconds.
const ASYNCIO: &str = "
import asyncio, signal, sys, time
port, checks = int(sys.argv[1]), int(sys.argv[2])
every, timeout, seconds = map(float, sys.argv[3:])
errors, ends = [], []
def end():
    since = time.monotonic() - seconds
    for seen in errors, ends:
        seen = sorted(ms for at, ms in seen if at > since)
        print(seen[int((len(seen) - 1) * 0.99)])
    sys.stdout.flush()
    loop.stop()
async def check(n, at):
    host, last = '127.1.%d.%d' % (n // 250, 1 + n % 250), None
    while True:
        await asyncio.sleep(max(0, at - time.monotonic()))
        began = time.monotonic()
        if last is not None:
            errors.append((began, abs(began - last - every) * 1e3))
        last = began
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout)
            writer.close()
        except (OSError, asyncio.TimeoutError):
            pass
        ends.append((began, (time.monotonic() - began - timeout) * 1e3))
        at += every
loop = asyncio.new_event_loop()
loop.add_signal_handler(signal.SIGTERM, end)
begun = time.monotonic()
tasks = [loop.create_task(check(n, begun + every * n / checks)) for n in range(checks)]
loop.run_forever()
import os
os._exit(0)
";

fn by_asyncio(port: u16, seconds: f64) -> Result<Figures, String> {
    let python = Command::new("python3")
        .args(["-c", ASYNCIO])
        .args([port as f64, TARGETS as f64, EVERY, TIMEOUT, seconds].map(|n| n.to_string()))
        .stdout(Stdio::piped())
        .spawn();
    let python = match python {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        python => python.map_err(|e| format!("python3: {e}"))?,
    };
    wait(2.0 * EVERY);
    let both = watch(python.id(), || {
        wait(seconds);
        Ok(())
    });
    let _ = send_signal(Pid::from_raw(python.id() as i32), SIGTERM);
    let said = python.wait_with_output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let p99: Vec<f64> = said.lines().filter_map(|l| l.parse().ok()).collect();
    match p99.len() {
        2 => Ok(Some([both?.to_vec(), p99].concat())),
        _ => Err(format!("the program of asyncio says {said:?}")),
    }
}
