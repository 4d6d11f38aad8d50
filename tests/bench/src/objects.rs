//! What plugins and checks share, in numbers: tokens, a rate limit, a group, locks. Who was alone is judged by the kernel
//! (flock), what came when by the server.

use crate::daemon::{Daemon, target_dir};
use nix::sys::signal::{SIGKILL, kill as send_signal};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub fn objects() -> Result<(), String> {
    tokens()?;
    rate_limit()?;
    group()?;
    death_of_a_holder()?;
    random_locks()
}

/// A web server: `/token` gives tokens and counts them, everything else wants the first one, or nothing.
struct Web {
    port: u16,
    tokens: Arc<AtomicU32>,
    asked: Receiver<Instant>,
}

fn web() -> Result<Web, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let port = listener.local_addr().map_err(|e| e.to_string())?.port();
    let tokens = Arc::new(AtomicU32::new(0));
    let (tell, asked) = channel();
    let tell = Arc::new(Mutex::new(tell));
    for _ in 0..8 {
        let listener = listener.try_clone().map_err(|e| e.to_string())?;
        let (tokens, tell) = (tokens.clone(), tell.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut bytes = [0; 4096];
                let n = stream.read(&mut bytes).unwrap_or(0);
                let request = String::from_utf8_lossy(&bytes[..n]).into_owned();
                let answer = if request.starts_with("POST /token ") {
                    let n = tokens.fetch_add(1, SeqCst) + 1;
                    let body = format!(
                        r#"{{"access_token":"t-{n}","token_type":"Bearer","expires_in":3600}}"#
                    );
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                        body.len()
                    )
                } else {
                    let _ = tell.lock().map(|t| t.send(Instant::now()));
                    let wants = request.starts_with("GET /api ");
                    match wants && !request.contains("Authorization: Bearer t-1\r\n") {
                        true => "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".into(),
                        false => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
                    }
                };
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    }
    Ok(Web {
        port,
        tokens,
        asked,
    })
}

/// Runs checks now; their rows.
fn run(daemon: &Daemon, names: &str) -> Result<Vec<Value>, String> {
    let out = Command::new(target_dir().join("healthctl"))
        .args(["--json", "run", names, "--socket"])
        .arg(daemon.dir.join("run/control.sock"))
        .output()
        .map_err(|e| format!("healthctl: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let row = |line: &str| serde_json::from_str(line).map_err(|e| format!("{e}: {line}"));
    text.lines().map(row).collect()
}

fn message(row: &Value) -> &str {
    row["message"].as_str().unwrap_or_default()
}

/// A plugin of the tests, compiled.
fn fixture(name: &str) -> Result<PathBuf, String> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = target_dir().join(format!("bench-{name}.so"));
    let done = Command::new("cc")
        .args([
            "-std=gnu11",
            "-O2",
            "-fPIC",
            "-shared",
            "-fvisibility=hidden",
            "-I",
        ])
        .arg(tree.join("plugins/abi/include"))
        .arg("-o")
        .arg(&output)
        .arg(tree.join(format!("tests/plugins/{name}.c")))
        .output()
        .map_err(|e| format!("cc: {e}"))?;
    match done.status.success() {
        true => Ok(output),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

fn tokens() -> Result<(), String> {
    let web = web()?;
    let url = format!("http://127.0.0.1:{}", web.port);
    let config = format!(
        "[pool.io]\nworkers = 4\n[[check]]\nname = \"api/{{item}}\"\nplugin = \"http\"\ninterval = \"1h\"\nfor_each = \"0..1000\"\n\
         config = {{ url = \"{url}/api\", oauth2 = {{ token_url = \"{url}/token\", client_id = \"a\", client_secret = \"b\" }} }}\n"
    );
    let daemon = Daemon::start("tokens", &config)?;
    let mut bad = 0;
    for _ in 0..5 {
        let rows = run(&daemon, "*")?;
        bad += rows.iter().filter(|r| r["status"] != "ok").count();
    }
    println!(
        "tokens: 5 x 1,000 checks with one OAuth2 client in 4 workers: {} token requests, {bad} checks not ok",
        web.tokens.load(SeqCst)
    );
    Ok(())
}

fn rate_limit() -> Result<(), String> {
    let web = web()?;
    let config = format!(
        "[pool.io]\nworkers = 4\n[[check]]\nname = \"web/{{item}}\"\nplugin = \"http\"\ninterval = \"1h\"\ntimeout = \"60s\"\n\
         for_each = \"0..500\"\nconfig = {{ url = \"http://127.0.0.1:{}/\", rate_limit = \"100/s\" }}\n",
        web.port
    );
    let daemon = Daemon::start("rate", &config)?;
    let rows = run(&daemon, "*")?;
    let bad = rows.iter().filter(|r| r["status"] != "ok").count();
    drop(daemon);
    let times: Vec<Instant> = web.asked.try_iter().collect();
    let most = (0..times.len())
        .map(|i| {
            times[i..]
                .iter()
                .take_while(|t| **t - times[i] < Duration::from_secs(1))
                .count()
        })
        .max()
        .unwrap_or(0);
    let took = times
        .last()
        .zip(times.first())
        .map_or(0.0, |(b, a)| (*b - *a).as_secs_f64());
    println!(
        "rate_limit = \"100/s\": {} requests of 500 checks in 4 workers, asked for at once, took {took:.2} s; at most {most} in any second; {bad} checks not ok",
        times.len()
    );
    Ok(())
}

fn group() -> Result<(), String> {
    let file = std::env::temp_dir().join(format!("healthd-bench-{}.lock", std::process::id()));
    let config = format!(
        "[pool.io]\nworkers = 4\n[[check]]\nname = \"solo/{{item}}\"\nplugin = \"solo\"\ninterval = \"1h\"\nfor_each = \"0..100\"\n\
         exclusive = \"alone\"\nconfig = {{ file = {file:?} }}\n"
    );
    let daemon = Daemon::start_with("group", "", &config, &[fixture("solo")?])?;
    let begun = Instant::now();
    let (mut runs, mut two, mut other) = (0, 0, 0);
    for _ in 0..100 {
        for row in run(&daemon, "*")? {
            runs += 1;
            two += usize::from(message(&row).contains("two at once"));
            other += usize::from(message(&row) != "alone");
        }
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "exclusive: {runs} runs of 100 checks of one group in 4 workers in {took:.1} s: {two} times two at once, {other} not ok"
    );
    let _ = std::fs::remove_file(file);
    Ok(())
}

/// Who stands at the gate: its worker, and the way out.
struct Visit {
    pid: i32,
    stream: UnixStream,
}

fn visit(gate: &UnixListener) -> Result<Visit, String> {
    let (stream, _) = gate.accept().map_err(|e| e.to_string())?;
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    reader.read_line(&mut line).map_err(|e| e.to_string())?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, _, pid] = words[..] else {
        return Err(format!("an unknown visitor: {line}"));
    };
    Ok(Visit {
        pid: pid.parse().map_err(|_| line.clone())?,
        stream: reader.into_inner(),
    })
}

/// The holder of a lock is killed with its worker: how long until the next in line has it.
fn death_of_a_holder() -> Result<(), String> {
    const ROUNDS: usize = 20;
    let dir = crate::daemon::temp_dir("locks")?;
    let gate = dir.join("gate");
    let listener = UnixListener::bind(&gate).map_err(|e| e.to_string())?;
    let config = format!(
        "[pool.io]\nworkers = 4\n[[check]]\nname = \"lock/{{item}}\"\nplugin = \"locker_step\"\ninterval = \"1h\"\ntimeout = \"10m\"\n\
         for_each = \"0..8\"\nconfig = {{ names = \"tape\", gate = {gate:?}, dir = {dir:?} }}\n"
    );
    let daemon = Daemon::start_with("death", "", &config, &[fixture("keeper")?])?;
    let mut times = Vec::new();
    for round in 0..=ROUNDS {
        std::thread::scope(|scope| {
            let all = scope.spawn(|| run(&daemon, "*"));
            let holder = visit(&listener)?;
            // The first round takes the runs that come by themselves.
            if round > 0 {
                wait_until(&daemon, |o| {
                    let elsewhere = |w: &Value| w["worker"] != o["holders"][0]["worker"];
                    o["name"] == "tape"
                        && o["waiters"]
                            .as_array()
                            .is_some_and(|w| w.iter().any(elsewhere))
                })?;
                let begun = Instant::now();
                send_signal(Pid::from_raw(holder.pid), SIGKILL).map_err(|e| e.to_string())?;
                let mut next = visit(&listener)?;
                times.push(begun.elapsed());
                let _ = next.stream.write_all(b"0");
            }
            drop(holder);
            // All the others, until each has had its turn.
            listener.set_nonblocking(true).map_err(|e| e.to_string())?;
            while !all.is_finished() {
                match listener.accept() {
                    Ok((mut stream, _)) => drop(stream.write_all(b"0")),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
            listener.set_nonblocking(false).map_err(|e| e.to_string())?;
            all.join()
                .map_err(|_| "the runs could not be followed".to_owned())??;
            Ok::<(), String>(())
        })?;
    }
    times.sort();
    println!(
        "a holder killed, {ROUNDS} times: the next in line has the lock after {:.1} ms (median), at most {:.1} ms",
        times[ROUNDS / 2].as_secs_f64() * 1e3,
        times[ROUNDS - 1].as_secs_f64() * 1e3
    );
    drop(daemon);
    let _ = std::fs::remove_dir_all(dir);
    Ok(())
}

/// Until `healthctl objects` has such a line.
fn wait_until(daemon: &Daemon, wanted: impl Fn(&Value) -> bool) -> Result<(), String> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        let out = Command::new(target_dir().join("healthctl"))
            .args(["--json", "objects", "--socket"])
            .arg(daemon.dir.join("run/control.sock"))
            .output()
            .map_err(|e| format!("healthctl: {e}"))?;
        let rows: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap_or_default();
        if rows.iter().any(&wanted) {
            return Ok(());
        }
    }
    Err(format!("never seen:\n{}", daemon.log()))
}

fn random_locks() -> Result<(), String> {
    const TIMEOUT_MS: u64 = 20;
    let dir = crate::daemon::temp_dir("random")?;
    let config = format!(
        "[pool.io]\nworkers = 8\nthreads = 16\n\
         [[check]]\nname = \"patient/{{item}}\"\nplugin = \"locker\"\ninterval = \"1h\"\ntimeout = \"60s\"\nfor_each = \"0..60\"\n\
         config = {{ random = 3, hold_us = 2000, dir = {dir:?} }}\n\
         [[check]]\nname = \"hasty/{{item}}\"\nplugin = \"locker\"\ninterval = \"1h\"\ntimeout = \"60s\"\nfor_each = \"0..40\"\n\
         config = {{ random = 4, hold_us = 2000, timeout_ms = {TIMEOUT_MS}, dir = {dir:?} }}\n"
    );
    let daemon = Daemon::start_with("random", "", &config, &[fixture("keeper")?])?;
    let begun = Instant::now();
    let (mut orders, mut held, mut bad) = (0, 0, 0);
    let mut late = Vec::new();
    for _ in 0..10 {
        for row in run(&daemon, "*")? {
            orders += 1;
            let text = message(&row).to_owned();
            let us = text.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok());
            match (text.split(' ').next(), us) {
                (Some("held"), Some(_)) => held += 1,
                (Some("ETIMEDOUT"), Some(us)) => late.push(us as f64 / 1e3 - TIMEOUT_MS as f64),
                _ => bad += 1,
            }
        }
    }
    late.sort_by(f64::total_cmp);
    println!(
        "{orders} lock orders of 3 or 4 of ten names at random from 8 workers, in {:.1} s: {held} held, {} timed out, {bad} neither; time-outs late by {:.1} ms (median), at most {:.1} ms",
        begun.elapsed().as_secs_f64(),
        late.len(),
        late.get(late.len() / 2).copied().unwrap_or(0.0),
        late.last().copied().unwrap_or(0.0)
    );
    drop(daemon);
    let _ = std::fs::remove_dir_all(dir);
    Ok(())
}
