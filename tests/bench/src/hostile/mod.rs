//! Servers that mean ill, each with 20 checks on it beside 50 on a good one, all in one worker: what the good ones notice.

mod servers;
mod talk;

use crate::Options;
use crate::daemon::Daemon;
use crate::figures::now;
use crate::late::late;
use crate::peers;
use crate::runs::{balanced, wait};
use healthd_core::wire::maps::StateSnapshot;
use serde_json::Value;
use servers::Server;
use std::fs;

const GOOD: usize = 50;
const BAD: usize = 20;
const TIMEOUT_MS: f64 = 2000.0;
/// How much later than its time-out a run may end, on a machine that does other things too.
const LATE_END_MS: f64 = 400.0;
const MEMORY_KB: u64 = 32_000;
const LATE_MS: f64 = 20.0;

pub fn hostile(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let seconds = options.seconds.clamp(4, 8) as f64;
    let all = servers::all()?;
    let wanted = |s: &Server| {
        let only = &options.only;
        // The first is good: the others are measured by it.
        s.name == all[0].name || only.is_empty() || only.iter().any(|o| s.name.contains(o))
    };
    println!(
        "hostile: {BAD} checks at 1 s on each server, beside {GOOD} http checks at 500 ms, {seconds:.0} s each"
    );
    let mut first = 0;
    let (mut rows, mut late_most, mut more_most) = (0, 0.0f64, 0);
    let mut wrong = Vec::new();
    for (n, server) in all.iter().enumerate().filter(|(_, s)| wanted(s)) {
        let peer = talk::listen(server.talk.clone());
        let text = config(n, nginx.port, server, peer.addr.port());
        let keys = "start_spread = \"1s\"\n";
        let daemon = Daemon::start_with(&format!("hostile-{n}"), keys, &text, &[])?;
        wait(2.0);
        let begun = now();
        wait(seconds);
        let times = [(begun, now())];
        let seen = Seen::of(&daemon)?;
        drop(daemon);
        // The server writes its log each second.
        wait(1.5);
        let late = late(&nginx, 0.5, &format!("/{n}-"), &times)?;
        if n == 0 {
            first = seen.memory_kb;
        }
        let more = seen.memory_kb.saturating_sub(first);
        println!(
            "  {:<44} late p99 {:3.0} ms, max {:4.0} ms, {} missed; {more:6} kB more; runs up to {:4.0} ms; {:.70}",
            server.name,
            late.at(0.99),
            late.at(1.0),
            late.missed,
            seen.longest_ms,
            seen.said
        );
        let mut faults = seen.faults;
        if late.missed > 0 {
            faults.push(format!("{} runs of good checks missed", late.missed));
        }
        if more > MEMORY_KB {
            faults.push(format!("{more} kB more than beside a good server"));
        }
        wrong.extend(faults.iter().map(|f| format!("{}: {f}", server.name)));
        rows += 1;
        late_most = late_most.max(late.at(0.99));
        more_most = more_most.max(more);
    }
    println!(
        "  of {rows} servers         late p99 at most {late_most:.0} ms ({LATE_MS:.0} wanted), at most {more_most} kB more ({MEMORY_KB} wanted)"
    );
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n       ")),
    }
}

fn config(n: usize, good: u16, server: &Server, bad: u16) -> String {
    let options = server.options.replace("PORT", &bad.to_string());
    format!(
        "[pool.io]\nworkers = 1\n\n\
         [[check]]\nname = \"good/{{item}}\"\nplugin = \"http\"\nfor_each = \"0..{GOOD}\"\ninterval = \"500ms\"\ntimeout = \"450ms\"\n\
         config = {{ url = \"http://127.0.0.1:{good}/{n}-{{item}}\" }}\n\n\
         [[check]]\nname = \"bad/{{item}}\"\nplugin = \"{}\"\nfor_each = \"0..{BAD}\"\ninterval = \"1s\"\ntimeout = \"{}ms\"\nattempts = 1\n\
         config = {{ {options} }}\n",
        server.plugin, TIMEOUT_MS
    )
}

/// What a daemon says of itself beside such a server.
struct Seen {
    memory_kb: u64,
    longest_ms: f64,
    said: String,
    faults: Vec<String>,
}

impl Seen {
    fn of(daemon: &Daemon) -> Result<Seen, String> {
        let state = daemon.state()?;
        let mut seen = Seen {
            memory_kb: memory_kb(&state),
            longest_ms: 0.0,
            said: String::new(),
            faults: Vec::new(),
        };
        let restarts: u64 = state.slots.iter().map(|(_, s)| s.restarts).sum();
        if restarts > 0 {
            seen.faults.push(format!("{restarts} workers replaced"));
        }
        if !balanced(&state) {
            seen.faults.push("the accounts do not balance".into());
        }
        for row in daemon.status()? {
            seen.look_at(&row);
        }
        let log = daemon.log();
        let changed = log.lines().find(|l| {
            l.contains("check changed") && l.contains("check=good/") && !l.contains("to=ok")
        });
        seen.faults.extend(changed.map(str::to_owned));
        Ok(seen)
    }

    fn look_at(&mut self, row: &Value) {
        let name = row["name"].as_str().unwrap_or_default();
        let message = row["message"].as_str().unwrap_or_default();
        if name.starts_with("good/") {
            return;
        }
        let took = row["latency_ms"].as_f64().unwrap_or_default();
        self.longest_ms = self.longest_ms.max(took);
        if took > TIMEOUT_MS + LATE_END_MS {
            self.faults.push(format!("{name} took {took:.0} ms"));
        }
        if self.said.is_empty() {
            let status = row["status"].as_str().unwrap_or("no result");
            self.said = format!("{status}: {}", message.escape_debug());
        }
    }
}

/// Of the largest worker, at most until now, and no part of a file.
fn memory_kb(state: &StateSnapshot) -> u64 {
    let of = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let number = |name: &str| -> u64 {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            let number = line.and_then(|l| l.split_whitespace().next());
            number.and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        number("VmHWM:").saturating_sub(number("RssFile:") + number("RssShmem:"))
    };
    let workers = state.slots.iter().map(|(_, slot)| of(slot.pid));
    workers.max().unwrap_or(0)
}
