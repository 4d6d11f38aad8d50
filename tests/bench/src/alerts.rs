//! What alerts cost and keep: receivers that are silent under load, a storm with everything going wrong, and what takes
//! its time: a backup, a repeat, a check that flaps.

use crate::Options;
use crate::daemon::{Daemon, arrivals};
use crate::mail::Post;
use crate::peers;
use crate::runs::{http_checks, runs_of, wait, warm_up};
use healthd_test_support::procs;
use healthd_test_support::receiver::{Got, Manner, Receiver, unpaired};
use nix::sys::signal::{SIGKILL, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// All three; `--seconds 3600` is what the issue asks for.
pub fn alerts(options: &Options) -> Result<(), String> {
    slow_ways(options)?;
    storm(options)?;
    silent(options)
}

// ------------------------------------------------------------------------------- silent receivers

/// The same load without routes and with three, two of which never answer.
pub fn silent(options: &Options) -> Result<(), String> {
    println!(
        "alerts, silent: {} http checks at 2 s, 50 that flap; without routes, then with three of which two never answer",
        options.checks
    );
    let silent = Receiver::new();
    silent.be(Manner::Hang);
    let accepts = Receiver::new();
    let route = |name: &str, receiver: &Receiver, more: &str| {
        format!(
            "[[notify]]\nname = \"{name}\"\nplugin = \"webhook\"\nconfig = {{ url = \"{}\" }}\n{more}\n",
            receiver.url()
        )
    };
    let routes = route("silent", &silent, "")
        + &route("silent-each", &silent, "by = \"check\"\n")
        + &route("accepts", &accepts, "");
    let without = under_load(options, "")?;
    let with = under_load(options, &routes)?;
    println!(
        "  CPU a check           {:8.4} ms without, {:.4} ms with ({:+.1} %)",
        without.cpu,
        with.cpu,
        100.0 * (with.cpu / without.cpu - 1.0)
    );
    println!(
        "  late p99              {:8.1} ms without, {:.1} ms with",
        without.late, with.late
    );
    println!(
        "  the manager grew by   {:8} kB without, {} kB with (less than 1,000 wanted)",
        without.grew, with.grew
    );
    println!(
        "  tries                 {:8} that got no answer, {} messages accepted",
        silent.all().len(),
        accepts.all().iter().filter(|g| g.accepted).count()
    );
    Ok(())
}

struct Cost {
    /// ms a check.
    cpu: f64,
    /// ms.
    late: f64,
    /// kB, of the manager.
    grew: i64,
}

const SETTLES: Duration = Duration::from_secs(40);

/// Down for 4 s of every 8.
fn flap(gate: &mut Gate, time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        gate.set(begun.elapsed().as_secs() % 8 < 4);
        wait(0.2);
    }
}

fn under_load(options: &Options, routes: &str) -> Result<Cost, String> {
    let nginx = peers::nginx()?;
    let mut gate = Gate::new()?;
    let flapping = format!(
        "[[check]]\nname = \"flap-{{item}}\"\nfor_each = \"0..50\"\nplugin = \"tcp\"\ninterval = \"2s\"\ntimeout = \"1s\"\nattempts = 1\n\
         config = {{ host = \"127.0.0.1\", port = {} }}\n",
        gate.port
    );
    let config = http_checks(options.checks, nginx.port) + &flapping + routes;
    let daemon = Daemon::start("alerts", &config)?;
    warm_up(&daemon, 20.0, "")?;
    let manager = role(&daemon, "manager")?;
    // What the first outages and messages take once is no growth.
    flap(&mut gate, SETTLES);
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0.0, |t| t.as_secs_f64());
    let (before, memory) = (daemon.state()?, procs::pss_of(manager));
    let cpu = procs::cpu_ms(daemon.pid());
    flap(&mut gate, Duration::from_secs(options.seconds));
    let cpu = procs::cpu_ms(daemon.pid()) - cpu;
    let after = daemon.state()?;
    let runs = runs_of(&after, "") - runs_of(&before, "");
    let grew = procs::pss_of(manager) as i64 - memory as i64;
    if !routes.is_empty() {
        let report = daemon.ctl(&["--json", "alerts"])?;
        let open = report["notices"].as_array().map_or(0, Vec::len);
        let pending = |r: &serde_json::Value| r["pending"].as_u64().unwrap_or(0);
        let routes = report["routes"].as_array().cloned().unwrap_or_default();
        let pending: u64 = routes.iter().map(pending).sum();
        println!(
            "  at the end            {open:8} notices are open, {pending} wait for their receivers"
        );
    }
    drop(daemon);
    let late = late_p99(&nginx.dir.join("access.log"), since)?;
    Ok(Cost {
        cpu: cpu / runs.max(1) as f64,
        late,
        grew,
    })
}

/// How far from its own grid of 2 s the latest hundredth of all requests was, in ms.
fn late_p99(log: &Path, since: f64) -> Result<f64, String> {
    let mut by_check: std::collections::HashMap<String, Vec<f64>> = Default::default();
    for (uri, at) in arrivals(log)?.into_iter().filter(|(_, at)| *at >= since) {
        by_check.entry(uri).or_default().push(at.rem_euclid(2.0));
    }
    let mut late = Vec::new();
    for phases in by_check.values_mut().filter(|p| p.len() > 3) {
        phases.sort_by(f64::total_cmp);
        let phase = phases[phases.len() / 4];
        late.extend(
            phases
                .iter()
                .map(|p| (p - phase).rem_euclid(2.0))
                .map(|off| if off > 1.5 { off - 2.0 } else { off }),
        );
    }
    late.sort_by(f64::total_cmp);
    let at = (late.len() as f64 * 0.99) as usize;
    late.get(at)
        .map(|l| l * 1e3)
        .ok_or_else(|| "too short".into())
}

// ------------------------------------------------------------------------------------------ a storm

/// A parent and 500 children, half of which need it, go down and up 20 times. Two webhooks and a mail server refuse, reset
/// or hang half of the time; every 2 s some role is killed; within are a reload and a restart. By id: one problem, one
/// recovery.
pub fn storm(options: &Options) -> Result<(), String> {
    let rounds = options.rounds * 4;
    println!(
        "alerts, storm: a parent and 500 children, {rounds} times down and up; kills every 2 s, a reload, a restart"
    );
    let receivers = [Receiver::new(), Receiver::new()];
    let post = Post::start();
    let mut gate = Gate::new()?;
    let check = |name: &str, more: &str| {
        format!(
            "[[check]]\nname = \"{name}\"\nplugin = \"tcp\"\ninterval = \"1s\"\ntimeout = \"1s\"\nattempts = 1\n{more}\
             config = {{ host = \"127.0.0.1\", port = {} }}\n",
            gate.port
        )
    };
    let route = |n: usize, more: &str| {
        format!(
            "[[notify]]\nname = \"hook-{n}\"\nplugin = \"webhook\"\nwait = \"1s\"\n{more}config = {{ url = \"{}\" }}\n",
            receivers[n].url()
        )
    };
    let config = check("parent", "")
        + &check(
            "child-{item}",
            "for_each = \"0..250\"\nneeds = \"parent\"\n",
        )
        + &check("other-{item}", "for_each = \"0..250\"\n")
        + &route(0, "")
        + &route(1, "by = \"check\"\nmatch = \"parent\"\n")
        + &post.as_ref().map_or_else(String::new, |post| {
            format!(
                "[[notify]]\nplugin = \"mail\"\nwait = \"1s\"\nconfig = {{ to = \"ops@example.org\", server = \"127.0.0.1:{}\" }}\n",
                post.port()
            )
        });
    let mut daemon = Daemon::start_with("storm", "start_spread = \"1s\"\n", &config, &[])?;
    warm_up(&daemon, 8.0, "")?;
    let (mut kills, mut seed) = (0, 7_u64);
    let mut next = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    for round in 0..rounds {
        for up in [false, true] {
            let manner = match (round % 2, next(3)) {
                (0, _) => Manner::Accept,
                (_, 0) => Manner::Answer(503, ""),
                (_, 1) => Manner::Swallow,
                _ => Manner::Hang,
            };
            receivers.iter().for_each(|r| r.be(manner));
            post.iter().for_each(|p| p.be(manner));
            gate.set(up);
            for _ in 0..3 {
                let pids = procs::tree(daemon.pid());
                let roles: Vec<u32> = pids.into_iter().filter(|p| *p != daemon.pid()).collect();
                if let Some(victim) = roles.get(next(roles.len().max(1) as u64) as usize)
                    && kill(Pid::from_raw(*victim as i32), SIGKILL).is_ok()
                {
                    kills += 1;
                }
                for _ in 0..10 {
                    wait(0.2);
                    gate.drain();
                }
            }
        }
        if round == rounds / 3 {
            daemon.write_config("start_spread = \"2s\"\n", &config)?;
            let _ = daemon.ctl(&["--json", "reload"]);
        }
        if round == rounds / 2 {
            daemon = daemon.restarted()?;
        }
    }
    receivers.iter().for_each(|r| r.be(Manner::Accept));
    post.iter().for_each(|p| p.be(Manner::Accept));
    // The longest wait between two tries after so much of this.
    let until = Instant::now() + Duration::from_secs(660);
    loop {
        gate.drain();
        let report = daemon.ctl(&["--json", "alerts"]).unwrap_or_default();
        if report["notices"].as_array().is_some_and(Vec::is_empty) {
            break;
        }
        if Instant::now() > until {
            return Err(format!("notices that do not end: {}", report["notices"]));
        }
        wait(0.5);
    }
    for (n, receiver) in receivers.iter().enumerate() {
        let all = receiver.all();
        let accepted: Vec<&Got> = all.iter().filter(|g| g.accepted).collect();
        let ids: std::collections::HashSet<String> =
            accepted.iter().map(|g| g.text("id")).collect();
        let of = |kind: &str| accepted.iter().filter(|g| g.text("kind") == kind).count();
        println!(
            "  hook-{n}                {:8} requests, {} accepted: {} problems, {} recoveries; {} came again with an id that was known",
            all.len(),
            accepted.len(),
            of("problem"),
            of("recovery"),
            accepted.len() - ids.len()
        );
        unpaired(&all).map_err(|why| format!("hook-{n}: {why}"))?;
        let children = accepted.iter().filter(|g| {
            let checks = g.body["checks"].as_array().into_iter().flatten();
            checks
                .into_iter()
                .any(|c| c["name"].as_str().is_some_and(|n| n.starts_with("child-")))
        });
        println!(
            "  of children           {:8} messages (0 wanted: they need the parent)",
            children.count()
        );
    }
    if let Some(post) = post {
        let mail = post.arrived().map_err(|why| format!("mail: {why}"))?;
        println!(
            "  mail                  {:8} taken by Exim: {} problems and {} recoveries by Message-ID; {} came again with an id that was known",
            mail.mails, mail.problems, mail.recoveries, mail.again
        );
    }
    println!(
        "  killed                {kills:8} processes; none lost, none out of order, none false"
    );
    Ok(())
}

// --------------------------------------------------------------------------- what takes its time

/// A backup is told after 5 minutes, a problem again after one, and one that goes up and down each second hardly ever.
pub fn slow_ways(options: &Options) -> Result<(), String> {
    let seconds = options.seconds.max(330);
    println!(
        "alerts, ways: a backup after 5 min, `repeat` of 1 min, a check that flips each second, for {seconds} s"
    );
    let [refuses, backup, again, flaps] = [(); 4].map(|()| Receiver::new());
    refuses.be(Manner::Answer(404, ""));
    let mut gate = Gate::new()?;
    gate.set(true);
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        listener.local_addr().map_err(|e| e.to_string())?.port()
    };
    let check = |name: &str, port: u16| {
        format!(
            "[[check]]\nname = \"{name}\"\nplugin = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"1s\"\nattempts = 1\n\
             config = {{ host = \"127.0.0.1\", port = {port} }}\n"
        )
    };
    let route = |name: &str, receiver: &Receiver, more: &str| {
        format!(
            "[[notify]]\nname = \"{name}\"\nplugin = \"webhook\"\nconfig = {{ url = \"{}\" }}\n{more}",
            receiver.url()
        )
    };
    // What flaps is told by a route as it comes, the rest at once.
    let at_once = "wait = \"0s\"\nmatch = \"down\"\n";
    let config = check("down", nobody)
        + &check("flappy", gate.port)
        + &route(
            "first",
            &refuses,
            &format!("{at_once}backup = \"second\"\n"),
        )
        + &route("second", &backup, "wait = \"0s\"\nmatch = \"none\"\n")
        + &route("again", &again, &format!("{at_once}repeat = \"1m\"\n"))
        + &route("flaps", &flaps, "match = \"flappy\"\n");
    let daemon = Daemon::start_with("ways", "start_spread = \"0s\"\n", &config, &[])?;
    let begun = Instant::now();
    let mut told = None;
    while begun.elapsed() < Duration::from_secs(seconds) {
        gate.set(begun.elapsed().as_secs().is_multiple_of(2));
        wait(0.1);
        if told.is_none() && !backup.all().is_empty() {
            told = Some(begun.elapsed());
        }
    }
    let of = |receiver: &Receiver, kind: &str| {
        let all = receiver.all();
        all.iter()
            .filter(|g| g.accepted && g.text("kind") == kind)
            .count()
    };
    let after = told.ok_or_else(|| format!("the backup was not told\n{}", daemon.log()))?;
    println!(
        "  backup told after     {:8.1} s (310 wanted); {} tries on the first",
        after.as_secs_f64(),
        refuses.all().len()
    );
    println!(
        "  told again            {:8} times ({} wanted)",
        of(&again, "repeat"),
        (seconds - 1) / 60
    );
    let more = flaps.all().iter().filter(|g| g.accepted).count();
    println!(
        "  flapping              {:8} problems and {} more messages in {} flips (1, and at most 3 an hour, wanted)",
        of(&flaps, "problem"),
        more - of(&flaps, "problem").min(more),
        seconds
    );
    Ok(())
}

/// A port that somebody listens on, or nobody.
struct Gate {
    port: u16,
    listener: Option<TcpListener>,
}

impl Gate {
    fn new() -> Result<Gate, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
        listener.set_nonblocking(true).map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        Ok(Gate {
            port,
            listener: Some(listener),
        })
    }

    fn set(&mut self, open: bool) {
        match (open, &self.listener) {
            (false, _) => self.listener = None,
            (true, Some(_)) => {}
            (true, None) => {
                let listener = TcpListener::bind(("127.0.0.1", self.port)).ok();
                self.listener = listener.filter(|l| l.set_nonblocking(true).is_ok());
            }
        }
        self.drain();
    }

    /// Who has connected is let go.
    fn drain(&self) {
        while self.listener.as_ref().is_some_and(|l| l.accept().is_ok()) {}
    }
}

fn role(daemon: &Daemon, wanted: &str) -> Result<u32, String> {
    let mut tree = procs::tree(daemon.pid()).into_iter();
    tree.find(|pid| procs::role(*pid).as_deref() == Some(wanted))
        .ok_or_else(|| format!("there is no {wanted}"))
}
