//! What users who may only read can do to the checks: 128 of them ask for the dearest things as fast as they can, while
//! root asks for `version`. The readers are processes of this program under other uids, of the socket's group.

use crate::Options;
use crate::daemon::{Daemon, arrivals};
use crate::figures::now;
use crate::peers;
use crate::runs::{wait, warm_up};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const UIDS: u32 = 8;
const EACH: usize = 16;
const FIRST_UID: u32 = 12_345;
/// The group of the daemon's user, `nobody`, in Debian.
const NOGROUP: u32 = 65_534;
/// The checks whose punctuality is measured; the others are names to look through.
const FAST: usize = 200;
const INTERVAL: f64 = 1.0;

/// What a crowd of readers does: a name, a request, whether they read the answers and hang up after each.
struct Crowd {
    name: &'static str,
    request: String,
    reads: bool,
    comes_again: bool,
}

fn crowds() -> Vec<Crowd> {
    let op = |name, request: String, reads, comes_again| Crowd {
        name,
        request: format!("{{\"v\":1,{request}}}\n"),
        reads,
        comes_again,
    };
    let near = "datacenter-frankfurt-1/rack-17/host-0x00x/tcp-port-22";
    let class = format!("*[{}]~", "a-z".repeat(330));
    let names: Vec<String> = (0..7_500).map(|n| format!("\"n{n}\"")).collect();
    vec![
        op(
            "show of a name that is not there",
            format!("\"op\":\"show\",\"name\":\"{near}\""),
            true,
            false,
        ),
        op(
            "the same, ask and hang up",
            format!("\"op\":\"show\",\"name\":\"{near}\""),
            false,
            true,
        ),
        op(
            "status of all, read",
            "\"op\":\"status\"".into(),
            true,
            false,
        ),
        op(
            "status of all, not read",
            "\"op\":\"status\"".into(),
            false,
            false,
        ),
        op(
            "status, a class of 1 KiB",
            format!("\"op\":\"status\",\"names\":[\"{class}\"]"),
            true,
            false,
        ),
        op(
            "status of 7,500 unknown names",
            format!("\"op\":\"status\",\"names\":[{}]", names.join(",")),
            true,
            false,
        ),
        op(
            "why of a check",
            "\"op\":\"why\",\"name\":\"fast/0\"".into(),
            true,
            false,
        ),
        op("connect and close", String::new(), false, true),
    ]
}

pub fn readers(options: &Options) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("readers: needs root, to be other users".into());
    }
    let nginx = peers::nginx()?;
    let checks = format!(
        "[[check]]\nname = \"fast/{{item}}\"\nplugin = \"http\"\ninterval = \"1s\"\ntimeout = \"900ms\"\nfor_each = \"0..{FAST}\"\n\
         config = {{ url = \"http://127.0.0.1:{0}/{{item}}\" }}\n\
         [[check]]\nname = \"datacenter-frankfurt-1/rack-17/host-{{item}}/tcp-port-22\"\nplugin = \"tcp\"\ninterval = \"1d\"\n\
         for_each = \"0..{1}\"\nconfig = {{ host = \"127.0.0.1\", port = {0} }}\n",
        nginx.port,
        options.checks.saturating_sub(FAST)
    );
    let keys = "user = \"nobody\"\nstart_spread = \"3s\"\n";
    let daemon = Daemon::start_with("readers", keys, &checks, &[])?;
    warm_up(&daemon, 8.0, "")?;
    let seconds = options.seconds.min(10);
    println!(
        "readers: {} checks, {FAST} of them each second; {} connections of {UIDS} uids, {seconds} s each\n\
         {:<36} {:>9} {:>9} {:>7} {:>13} {:>9}",
        options.checks,
        UIDS as usize * EACH,
        "",
        "late p99",
        "late max",
        "missed",
        "version p50",
        "max"
    );
    let socket = daemon.dir.join("run/control.sock");
    measure("nobody", &daemon, &nginx, || wait(seconds as f64))?;
    for (n, crowd) in crowds().iter().enumerate() {
        measure(crowd.name, &daemon, &nginx, || {
            let mut children: Vec<Child> = (0..UIDS)
                .filter_map(|u| reader(&socket, n, seconds, FIRST_UID + u))
                .collect();
            children.iter_mut().for_each(|c| drop(c.wait()));
        })?;
    }
    if daemon.log().contains("manager ended") || daemon.log().contains("manager is silent") {
        return Err(format!("the manager was replaced\n{}", daemon.log()));
    }
    Ok(())
}

/// This program again, as another user: see [`attack`].
fn reader(socket: &Path, crowd: usize, seconds: u64, uid: u32) -> Option<Child> {
    Command::new(std::env::current_exe().ok()?)
        .arg("reader")
        .args([
            socket.as_os_str(),
            crowd.to_string().as_ref(),
            seconds.to_string().as_ref(),
        ])
        .gid(NOGROUP)
        .uid(uid)
        .spawn()
        .ok()
}

/// A row of the table: how late the checks were and how long root waited, meanwhile.
fn measure(
    name: &str,
    daemon: &Daemon,
    nginx: &peers::Server,
    attack: impl FnOnce() + Send,
) -> Result<(), String> {
    let socket = daemon.dir.join("run/control.sock");
    let begun = now();
    let waits = std::thread::scope(|scope| {
        let attack = scope.spawn(attack);
        let mut waits = Vec::new();
        while !attack.is_finished() {
            waits.push(version(&socket)?);
            wait(0.05);
        }
        Ok::<_, String>(waits)
    });
    let ended = now();
    wait(1.5);
    let mut waits = waits?;
    waits.sort_by(f64::total_cmp);
    let (mut late, missed) = gaps(nginx, begun, ended)?;
    late.sort_by(f64::total_cmp);
    let at = |list: &[f64], q: f64| {
        list.get((list.len().saturating_sub(1) as f64 * q) as usize)
            .map_or(f64::NAN, |v| v * 1e3)
    };
    println!(
        "  {name:<34} {:>6.0} ms {:>6.0} ms {missed:>7} {:>10.1} ms {:>6.1} ms",
        at(&late, 0.99),
        at(&late, 1.0),
        at(&waits, 0.5),
        at(&waits, 1.0)
    );
    Ok(())
}

/// How much longer than the interval it took until the next request of the same check, and how many were left out.
fn gaps(nginx: &peers::Server, begun: f64, ended: f64) -> Result<(Vec<f64>, usize), String> {
    let mut last: HashMap<String, f64> = HashMap::new();
    let (mut late, mut missed) = (Vec::new(), 0);
    for (uri, at) in arrivals(&nginx.dir.join("access.log"))? {
        if let Some(before) = last.insert(uri, at)
            && at >= begun
            && at <= ended
        {
            late.push(at - before - INTERVAL);
            missed += usize::from(at - before > 1.5 * INTERVAL);
        }
    }
    Ok((late, missed))
}

/// Seconds until root has an answer.
fn version(socket: &Path) -> Result<f64, String> {
    let begun = Instant::now();
    let asked = UnixStream::connect(socket).and_then(|mut s| {
        s.set_read_timeout(Some(Duration::from_secs(30)))?;
        s.write_all(b"{\"v\":1,\"op\":\"version\"}\n")?;
        s.read(&mut [0; 4096])
    });
    match asked {
        Ok(n) if n > 0 => Ok(begun.elapsed().as_secs_f64()),
        Ok(_) => Err("root was turned away".into()),
        Err(e) => Err(format!(
            "root has no answer after {:?}: {e}",
            begun.elapsed()
        )),
    }
}

/// `reader SOCKET CROWD SECONDS`: one uid's connections, as fast as the daemon lets them.
pub fn attack(args: &[String]) -> Option<()> {
    let [socket, crowd, seconds] = args else {
        return None;
    };
    let all = crowds();
    let crowd = all.get(crowd.parse::<usize>().ok()?)?;
    let end = Instant::now() + Duration::from_secs(seconds.parse().ok()?);
    let pipeline = (60_000 / crowd.request.len().max(1)).clamp(1, 8);
    let blob = crowd.request.repeat(if crowd.comes_again {
        250.min(pipeline * 32)
    } else {
        pipeline
    });
    let mut open: Vec<(UnixStream, usize)> = Vec::new();
    while Instant::now() < end {
        if open.len() < EACH
            && let Ok(stream) = UnixStream::connect(socket)
            && stream.set_nonblocking(true).is_ok()
        {
            open.push((stream, 0));
        }
        let mut busy = false;
        open.retain_mut(|(stream, sent)| {
            let mut alive = true;
            match stream.write(&blob.as_bytes()[*sent..]) {
                Ok(n) => {
                    busy |= n > 0;
                    *sent = (*sent + n) % blob.len().max(1);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => alive = false,
            }
            if crowd.reads {
                match stream.read(&mut [0; 262_144]) {
                    Ok(0) => alive = false,
                    Ok(_) => busy = true,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => alive = false,
                }
            }
            alive && !crowd.comes_again
        });
        if !busy {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Some(())
}
