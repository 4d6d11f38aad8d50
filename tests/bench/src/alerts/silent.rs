//! What three routes cost while nothing is to be told but of 50 checks that flap, and two of them never get an answer.
//!
//! One daemon, the same load throughout: a while without routes, a while with them, and one without again. How far the two
//! without are from each other says what can be measured here at all.

use super::gate::Gate;
use super::wanted;
use crate::Options;
use crate::daemon::Daemon;
use crate::figures::now;
use crate::late::{Late, late};
use crate::peers;
use crate::runs::{http_checks, runs_of, wait, warm_up};
use healthd_core::wire::events::EVENTS_FILE;
use healthd_test_support::procs;
use healthd_test_support::receiver::{Manner, Receiver};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub fn silent(options: &Options) -> Result<(), String> {
    println!(
        "alerts, silent: {} http checks at 2 s, 50 that flap; without routes, with three of which two never answer, without again",
        options.checks
    );
    let (silent, accepts) = (Receiver::new(), Receiver::new());
    silent.be(Manner::Hang);
    let route = |name: &str, receiver: &Receiver, more: &str| {
        format!(
            "[[notify]]\nname = \"{name}\"\nplugin = \"webhook\"\nconfig = {{ url = \"{}\" }}\n{more}\n",
            receiver.url()
        )
    };
    let routes = route("silent", &silent, "")
        + &route("silent-each", &silent, "by = \"check\"\n")
        + &route("accepts", &accepts, "");
    let mut load = Load::begin(options)?;
    let without = options.seconds.min(WITHOUT);
    let before = load.part("", without)?;
    let with = load.part(&routes, options.seconds)?;
    let report = load.daemon.ctl(&["--json", "alerts"])?;
    let after = load.part("", without)?;
    let late = load.end(&[&before, &with, &after])?;
    let [a, b, c] = [before, with, after];
    let [la, lb, lc] = [0, 1, 2].map(|n: usize| late[n].between(0.99));
    println!("                         without      with   without again");
    for role in b.cpu.keys() {
        let of = |part: &Part| part.cpu.get(role).copied().unwrap_or(0.0) / part.runs * 1e3;
        println!(
            "  us a check, {role:<10}{:9.2} {:9.2} {:9.2}",
            of(&a),
            of(&b),
            of(&c)
        );
    }
    println!(
        "  us a check, in all   {:9.2} {:9.2} {:9.2}   of which deliveries {:.2}",
        a.checks_us(),
        b.checks_us() + b.deliveries_us(),
        c.checks_us(),
        b.deliveries_us()
    );
    let cost_without = (a.checks_us() + c.checks_us()) / 2.0;
    println!(
        "  checks cost          {:+9.1} % with routes; the two without are {:.1} % apart",
        100.0 * (b.checks_us() / cost_without - 1.0),
        100.0 * (a.checks_us() - c.checks_us()).abs() / cost_without
    );
    println!(
        "  late p99, ms         {la:9.2} {lb:9.2} {lc:9.2}   (at most 10 % more than without wanted); missed {:?}",
        late.iter().map(|late| late.missed).collect::<Vec<_>>()
    );
    println!(
        "  the manager grew, kB {:9} {:9} {:9}   (less than 1,000 wanted)",
        a.grew, b.grew, c.grew
    );
    println!(
        "  and its events.map   {:9} {:9} {:9}   (a ring that is filled once, with or without routes)",
        a.ring_grew, b.ring_grew, c.ring_grew
    );
    let open = report["notices"].as_array().map_or(0, Vec::len) as u64;
    let routes = report["routes"].as_array().into_iter().flatten();
    let pending: u64 = routes.filter_map(|r| r["pending"].as_u64()).sum();
    println!(
        "  at the end           {open:9} notices are open, {pending} wait for their receivers"
    );
    println!(
        "  tries                {:9} that got no answer, {} messages accepted",
        silent.all().len(),
        accepts.all().iter().filter(|g| g.accepted).count()
    );
    wanted(b.grew < 1_000, "the manager grows")?;
    wanted(late[1].missed == 0, "runs of checks did not come")?;
    // The two without are as far apart as the machine makes them.
    wanted(lb <= 1.1 * la.max(lc), "checks are later with routes")?;
    wanted(pending <= open, "more waits than notices are open")
}

/// s; more says nothing new of what is measured only to compare with.
const WITHOUT: u64 = 120;
/// What the first outages, messages and workers take once is no growth.
const SETTLES: Duration = Duration::from_secs(40);

struct Load {
    daemon: Daemon,
    nginx: peers::Server,
    gate: Gate,
    checks: String,
}

/// A while of it.
struct Part {
    /// ms, by the role of the processes.
    cpu: BTreeMap<String, f64>,
    runs: f64,
    /// kB, of the manager, without the ring of its events.
    grew: i64,
    ring_grew: i64,
    /// CLOCK_REALTIME, s.
    time: (f64, f64),
}

const DELIVERS: &str = "notify";

impl Part {
    /// us a run of a check, of all processes that have to do with checks.
    fn checks_us(&self) -> f64 {
        let of = self.cpu.iter().filter(|(role, _)| *role != DELIVERS);
        of.map(|(_, ms)| ms).sum::<f64>() / self.runs * 1e3
    }

    fn deliveries_us(&self) -> f64 {
        self.cpu.get(DELIVERS).copied().unwrap_or(0.0) / self.runs * 1e3
    }
}

impl Load {
    fn begin(options: &Options) -> Result<Load, String> {
        let nginx = peers::nginx()?;
        let gate = Gate::new()?;
        let flapping = format!(
            "[[check]]\nname = \"flap-{{item}}\"\nfor_each = \"0..50\"\nplugin = \"tcp\"\ninterval = \"2s\"\ntimeout = \"1s\"\nattempts = 1\n\
             config = {{ host = \"127.0.0.1\", port = {} }}\n",
            gate.port
        );
        let checks = http_checks(options.checks, nginx.port) + &flapping;
        let daemon = Daemon::start("alerts", &checks)?;
        warm_up(&daemon, 20.0, "")?;
        Ok(Load {
            daemon,
            nginx,
            gate,
            checks,
        })
    }

    fn part(&mut self, routes: &str, seconds: u64) -> Result<Part, String> {
        self.daemon
            .write_config("", &format!("{}{routes}", self.checks))?;
        self.daemon.ctl(&["--json", "reload"])?;
        self.flap(SETTLES)?;
        let manager = pids(&self.daemon)
            .find(|(role, _)| role == "manager")
            .ok_or("there is no manager")?
            .1;
        let (begun, state, held) = (now(), self.daemon.state()?, memory(manager));
        let before = cpu(&self.daemon);
        self.flap(Duration::from_secs(seconds))?;
        let mut after = cpu(&self.daemon);
        for (role, ms) in &mut after {
            *ms -= before.get(role).copied().unwrap_or(0.0);
        }
        let runs = runs_of(&self.daemon.state()?, "") - runs_of(&state, "");
        Ok(Part {
            cpu: after,
            runs: runs.max(1) as f64,
            grew: memory(manager).0 - held.0,
            ring_grew: memory(manager).1 - held.1,
            time: (begun, now()),
        })
    }

    /// Down for 4 s of every 8.
    fn flap(&mut self, time: Duration) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.gate.set(begun.elapsed().as_secs() % 8 < 4)?;
            wait(0.2);
        }
        Ok(())
    }

    /// How late the runs of each part were; the server's log is whole only at the end.
    fn end(self, parts: &[&Part]) -> Result<Vec<Late>, String> {
        drop(self.daemon);
        let late_of = |part: &&Part| late(&self.nginx, 2.0, "/", &[part.time]);
        parts.iter().map(late_of).collect()
    }
}

/// kB: its own, and of the ring of events.
fn memory(manager: u32) -> (i64, i64) {
    let ring = procs::pss_of_file(manager, EVENTS_FILE) as i64;
    (procs::pss_of(manager) as i64 - ring, ring)
}

/// The daemon's processes: a role, or the class of a worker.
fn pids(daemon: &Daemon) -> impl Iterator<Item = (String, u32)> {
    let tree = procs::tree(daemon.pid()).into_iter();
    tree.map(|pid| {
        let role = procs::role(pid).unwrap_or_else(|| "supervisor".to_owned());
        (role.trim_start_matches("worker ").to_owned(), pid)
    })
}

fn cpu(daemon: &Daemon) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (role, pid) in pids(daemon) {
        *all.entry(role).or_default() += procs::own_cpu_ms(pid);
    }
    all
}
