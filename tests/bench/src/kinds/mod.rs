//! `kinds`: what a check of each kind costs: CPU a run against the real server, memory of a check that waits for one that is
//! silent. A row a kind; `tests/kinds COSTS` makes the table of `plugins/KINDS.md` of them.

mod servers;

use crate::Options;
use crate::daemon::Daemon;
use crate::runs::wait;
use healthd_test_support::{black_hole, procs};
use servers::{local, target};
use std::net::UdpSocket;

const MANY: usize = 1000;
/// Each run of these starts a process, here or at the server, or computes.
const FEW: usize = 20;
/// A run of this takes seconds.
const ONE: usize = 1;
/// How long checks run before they count.
const WARM_UP: f64 = 4.0;

/// Kinds, how many checks of each, and the options of one whose server is silent, where that is another machine's.
const KINDS: [(&str, usize, Option<Silent>, &str); 39] = [
    ("http", MANY, Some(Silent::Url), ""),
    ("tcp", MANY, Some(Silent::Tcp), ", expect = \"x\""),
    ("tls", MANY, Some(Silent::Tcp), ", insecure = true"),
    ("websocket", MANY, Some(Silent::Tcp), ", tls = false"),
    ("grpc", MANY, Some(Silent::Tcp), ""),
    ("ping", MANY, None, ""),
    ("dns", MANY, Some(Silent::Dns), ""),
    ("ntp", MANY, Some(Silent::Ntp), ""),
    ("ssh", FEW, Some(Silent::Tcp), ""),
    ("snmp", MANY, Some(Silent::Udp), ""),
    (
        "snmp v3",
        MANY,
        Some(Silent::Udp),
        ", version = \"3\", user = \"u\"",
    ),
    ("smtp", FEW, Some(Silent::Tcp), ""),
    ("imap", FEW, Some(Silent::Tcp), ", tls = \"none\""),
    ("pop3", FEW, Some(Silent::Tcp), ", tls = \"none\""),
    ("ldap", MANY, Some(Silent::Tcp), ""),
    ("mqtt", MANY, Some(Silent::Tcp), ""),
    ("amqp", FEW, Some(Silent::Tcp), ""),
    ("postgres", FEW, Some(Silent::Postgres), ""),
    ("mysql", FEW, Some(Silent::Tcp), ", user = \"x\""),
    ("redis", MANY, Some(Silent::Tcp), ""),
    ("memcached", MANY, Some(Silent::Tcp), ""),
    ("sqlite", MANY, None, ""),
    ("domain", MANY, None, ""),
    ("certificate", MANY, None, ""),
    ("disk", MANY, None, ""),
    ("mount", MANY, None, ""),
    ("file", MANY, None, ""),
    ("memory", MANY, None, ""),
    ("load", MANY, None, ""),
    ("interface", MANY, None, ""),
    ("process", MANY, None, ""),
    ("clock", MANY, None, ""),
    ("sensors", MANY, None, ""),
    ("raid", MANY, None, ""),
    ("log", MANY, None, ""),
    ("stats", FEW, None, ""),
    ("digest", FEW, None, ""),
    ("exec", FEW, None, ""),
    ("updates", ONE, None, ""),
];

/// A server that accepts and says nothing.
#[derive(Clone, Copy)]
enum Silent {
    Tcp,
    Url,
    Postgres,
    Udp,
    Dns,
    Ntp,
}

pub fn kinds(options: &Options) -> Result<(), String> {
    let hole = black_hole("127.0.0.1", 4_000)?;
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let deaf = socket.local_addr().map_err(|e| e.to_string())?.port();
    let is_wanted = |kind: &str| options.only.is_empty() || options.only.iter().any(|o| o == kind);
    if let Some(unknown) = options
        .only
        .iter()
        .find(|o| KINDS.iter().all(|k| k.0 != *o))
    {
        let all: Vec<&str> = KINDS.iter().map(|k| k.0).collect();
        return Err(format!(
            "there is no kind {unknown:?} to measure; there are {}",
            all.join(", ")
        ));
    }
    println!("| kind | CPU a check, ms | memory in flight, kB |\n| --- | --- | --- |");
    let mut remarks = Vec::new();
    for (kind, checks, silent, more) in KINDS.into_iter().filter(|k| is_wanted(k.0)) {
        let plugin = kind.split(' ').next().unwrap_or(kind);
        let mut cost = String::new();
        if let Some(target) = target(kind) {
            let seconds = match checks {
                MANY => options.seconds.min(10),
                // Two intervals, so that each has a run in it.
                FEW => 10,
                _ => 40,
            };
            match cpu(plugin, checks, &target.options, seconds) {
                Ok(measured) => {
                    cost = format!("{:.3}", measured.ms);
                    remarks.extend(measured.remark.map(|r| format!("{kind}: {r}")));
                }
                // The other kinds are measured all the same.
                Err(why) => remarks.push(why),
            }
        }
        let silent = silent.map(|silent| match silent {
            Silent::Tcp => local(hole),
            Silent::Url => format!("url = \"http://127.0.0.1:{hole}/\""),
            Silent::Postgres => format!("url = \"postgres://x@127.0.0.1:{hole}/x\""),
            Silent::Udp => local(deaf),
            Silent::Dns => format!("servers = [\"127.0.0.1:{deaf}\"], name = \"a.example\""),
            Silent::Ntp => format!("server = \"127.0.0.1\", port = {deaf}"),
        });
        let memory = match silent {
            Some(silent) => match memory(plugin, &format!("{silent}{more}")) {
                Ok(kb) => format!("{kb:.1}"),
                Err(why) => {
                    remarks.push(why);
                    String::new()
                }
            },
            None => String::new(),
        };
        println!("| `{kind}` | {cost} | {memory} |");
    }
    for remark in remarks {
        println!("{remark}");
    }
    Ok(())
}

fn checks(plugin: &str, count: usize, times: &str, options: &str) -> String {
    let items: Vec<String> = (0..count).map(|n| format!("\"{n}\"")).collect();
    format!(
        "[[check]]\nname = \"it-{{item}}\"\nplugin = \"{plugin}\"\nfor_each = [{}]\n{times}\nconfig = {{ {options} }}\n",
        items.join(", ")
    )
}

struct Measured {
    ms: f64,
    /// What was not as it should be.
    remark: Option<String>,
}

/// All processes of the daemon and the programs that they start, for each run.
fn cpu(plugin: &str, count: usize, options: &str, seconds: u64) -> Result<Measured, String> {
    let times = match count {
        MANY => "interval = \"1s\"\ntimeout = \"900ms\"",
        ONE => "interval = \"20s\"\ntimeout = \"19s\"",
        _ => "interval = \"5s\"\ntimeout = \"4s\"",
    };
    let daemon = Daemon::start("kinds", &checks(plugin, count, times, options))?;
    let runs =
        || -> Result<u64, String> { Ok(daemon.state()?.checks.iter().map(|(_, c)| c.runs).sum()) };
    // A check begins somewhere in its first interval.
    wait(WARM_UP + if count == MANY { 0.0 } else { 4.0 });
    let (before, ms) = (runs()?, procs::cpu_ms(daemon.pid()));
    wait(seconds as f64);
    let done = runs()? - before;
    let ms = procs::cpu_ms(daemon.pid()) - ms;
    if done == 0 {
        return Err(format!("{plugin}: no run ended in {seconds} s"));
    }
    let rows = daemon.status()?;
    let bad: Vec<_> = rows.iter().filter(|row| row["status"] != "ok").collect();
    let remark = bad.first().map(|row| {
        let message = row["message"].as_str().unwrap_or_default();
        format!("{} of {} are not ok: {message}", bad.len(), rows.len())
    });
    Ok(Measured {
        ms: ms / done as f64,
        remark,
    })
}

/// What a thousand that wait for an answer take, more than a thousand that have yet to run; kB each.
pub fn memory(plugin: &str, options: &str) -> Result<f64, String> {
    let times = |interval: &str| format!("interval = \"{interval}\"\ntimeout = \"55s\"");
    let idle = checks(plugin, MANY, &times("1h"), options);
    let daemon = Daemon::start_with("idle", "start_spread = \"1h\"\n", &idle, &[])?;
    wait(2.0);
    let before = procs::pss_kb(daemon.pid());
    drop(daemon);
    let waiting = checks(plugin, MANY, &times("60s"), options);
    let daemon = Daemon::start_with("wait", "start_spread = \"1s\"\n", &waiting, &[])?;
    wait(4.0);
    let flying: u64 = daemon.state()?.slots.iter().map(|(_, s)| s.in_flight).sum();
    let after = procs::pss_kb(daemon.pid());
    match flying {
        0 => Err(format!("{plugin}: none of them waits")),
        n => Ok((after as f64 - before as f64) / n as f64),
    }
}
