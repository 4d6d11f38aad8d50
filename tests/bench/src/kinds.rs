//! `kinds`: what a check of each kind costs: CPU a run against a server that answers, memory of a check that waits for one
//! that does not. A row a kind, as `plugins/KINDS.md` has them.

use crate::Options;
use crate::daemon::Daemon;
use crate::runs::wait;
use healthd_test_support::{black_hole, procs};
use healthd_testing::{Certs, Server, program};
use std::process::Command;

const MANY: usize = 1000;
/// Programs are started for these.
const FEW: usize = 20;

struct Kind {
    name: &'static str,
    /// Options of a check that ends well, or `None`: no server for it here.
    good: Option<String>,
    /// Options of one whose server accepts and is silent.
    silent: Option<String>,
    checks: usize,
}

pub fn kinds(_: &Options) -> Result<(), String> {
    let nginx = crate::peers::nginx()?;
    let hole = black_hole("127.0.0.1", 4_000)?;
    let redis = program("redis-server", "redis-server").map(|redis| {
        Server::start(
            |_, port| {
                let mut command = Command::new(&redis);
                command.args([
                    "--port",
                    &port.to_string(),
                    "--save",
                    "",
                    "--bind",
                    "127.0.0.1",
                ]);
                command
            },
            |_, port| healthd_testing::accepts(port),
        )
    });
    let memcached = program("memcached", "memcached").map(|memcached| {
        Server::start(
            |_, port| {
                let mut command = Command::new(&memcached);
                command.args(["-l", "127.0.0.1", "-u", "nobody", "-p", &port.to_string()]);
                command
            },
            |_, port| healthd_testing::accepts(port),
        )
    });
    let certs = Certs::possible().then(Certs::new);
    let tls = certs.as_ref().map(|certs| {
        Server::start(
            |_, port| {
                let mut command = Command::new("openssl");
                command.args(["s_server", "-quiet", "-www", "-accept", &port.to_string()]);
                command.arg("-cert").arg(certs.certificate());
                command.arg("-key").arg(certs.key());
                command
            },
            |_, port| healthd_testing::accepts(port),
        )
    });
    let local = |port: u16| format!("host = \"127.0.0.1\", port = {port}");
    let at = |server: &Option<Server>| server.as_ref().map(|s| local(s.port));
    let hole_at = local(hole);
    let file = std::env::temp_dir().display().to_string();
    let web = format!("url = \"http://127.0.0.1:{}/\"", nginx.port);
    let silent_web = format!("url = \"http://127.0.0.1:{hole}/\"");
    let of_host = |name, options: &str| Kind {
        name,
        good: Some(options.to_owned()),
        silent: None,
        checks: MANY,
    };
    let program = |name, options: &str| Kind {
        checks: FEW,
        ..of_host(name, options)
    };
    let server = |name, good: Option<String>, more: &str| Kind {
        name,
        good: good.map(|g| format!("{g}{more}")),
        silent: Some(format!("{hole_at}{more}")),
        checks: MANY,
    };
    let all = [
        Kind {
            name: "http",
            good: Some(web),
            silent: Some(silent_web),
            checks: MANY,
        },
        server("tcp", Some(local(nginx.port)), ""),
        server("tls", at(&tls), ", insecure = true"),
        server("redis", at(&redis), ""),
        server("memcached", at(&memcached), ""),
        server("mysql", None, ", user = \"x\""),
        server("smtp", None, ""),
        server("imap", None, ", tls = \"none\""),
        server("pop3", None, ", tls = \"none\""),
        server("ldap", None, ""),
        server("mqtt", None, ""),
        server("amqp", None, ""),
        server("websocket", None, ", tls = false"),
        server("grpc", None, ""),
        server("ssh", None, ""),
        of_host("ping", "host = \"127.0.0.1\", packets = 1"),
        of_host(
            "disk",
            &format!("paths = [\"{file}\"], free_warn = \"0%\", free_crit = \"0%\""),
        ),
        of_host("mount", "paths = [\"/\"]"),
        of_host("file", "path = \"/etc/hostname\""),
        of_host("memory", "available_warn = \"0%\", available_crit = \"0%\""),
        of_host("load", "load5_warn = 1000, load5_crit = 1000"),
        of_host("interface", "name = \"lo\""),
        of_host("process", "name = \"healthd.*\""),
        of_host("clock", "unsynchronised = \"ok\""),
        of_host("sensors", ""),
        of_host("raid", ""),
        of_host("log", "path = \"/etc/hostname\""),
        program("exec", "argv = [\"/bin/true\"]"),
        program("journal", ""),
        program("updates", ""),
    ];
    println!("| kind | CPU a check, ms | memory in flight, kB |\n| --- | --- | --- |");
    for kind in all {
        let cpu = match &kind.good {
            Some(options) => format!("{:.3}", cpu(&kind, options)?),
            None => String::new(),
        };
        let memory = match &kind.silent {
            Some(options) => format!("{:.1}", memory(&kind, options)?),
            None => String::new(),
        };
        println!("| `{}` | {cpu} | {memory} |", kind.name);
    }
    Ok(())
}

fn checks(kind: &Kind, count: usize, interval: &str, options: &str) -> String {
    let items: Vec<String> = (0..count).map(|n| format!("\"{n}\"")).collect();
    format!(
        "[[check]]\nname = \"it-{{item}}\"\nplugin = \"{}\"\nfor_each = [{}]\ninterval = \"{interval}\"\ntimeout = \"55s\"\n\
         config = {{ {options} }}\n",
        kind.name,
        items.join(", ")
    )
}

/// All processes of the daemon and the programs that they start, for each run; ms.
fn cpu(kind: &Kind, options: &str) -> Result<f64, String> {
    let interval = if kind.checks == MANY { "1s" } else { "5s" };
    let text = checks(kind, kind.checks, interval, options);
    let daemon = Daemon::start("kinds", &text.replace("\"55s\"", "\"900ms\""))?;
    wait(6.0);
    let runs = |daemon: &Daemon| -> Result<u64, String> {
        Ok(daemon.state()?.checks.iter().map(|(_, c)| c.runs).sum())
    };
    let (before, ms) = (runs(&daemon)?, procs::cpu_ms(daemon.pid()));
    wait(10.0);
    let done = runs(&daemon)? - before;
    let ms = procs::cpu_ms(daemon.pid()) - ms;
    Ok(ms / done.max(1) as f64)
}

/// What a thousand that wait for an answer take, more than a thousand that have yet to run.
fn memory(kind: &Kind, options: &str) -> Result<f64, String> {
    let idle = checks(kind, MANY, "1h", options);
    let daemon = Daemon::start_with("idle", "start_spread = \"1h\"\n", &idle, &[])?;
    wait(3.0);
    let before = procs::pss_kb(daemon.pid());
    drop(daemon);
    let waiting = checks(kind, MANY, "60s", options);
    let daemon = Daemon::start_with("wait", "start_spread = \"2s\"\n", &waiting, &[])?;
    wait(8.0);
    let flying: u64 = daemon.state()?.slots.iter().map(|(_, s)| s.in_flight).sum();
    let after = procs::pss_kb(daemon.pid());
    match flying {
        0 => Err(format!("{}: none of them waits", kind.name)),
        n => Ok((after as f64 - before as f64) / n as f64),
    }
}
