//! A parent and 500 children, half of which need it, go down and up 20 times. Two webhooks and a mail server refuse, reset
//! or hang half of the time; every 2 s some role is killed; within are a reload and a restart. By id: one problem, one
//! recovery. The same with no room left on the disk, where a restart would lose what was told.

use super::gate::Gate;
use super::wanted;
use crate::Options;
use crate::daemon::Daemon;
use crate::mail::Post;
use crate::runs::{wait, warm_up};
use healthd_core::check::outcome::Verdict;
use healthd_test_support::receiver::{Got, Manner, Receiver, unpaired, unpaired_there};
use healthd_test_support::{Small, procs};
use nix::sys::signal::{SIGKILL, kill};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::time::{Duration, Instant};

const PARENT: &str = "parent";
/// Of messages that were accepted, so many of a hundred may come twice; of a few messages, so many.
const AGAIN_MOST: f64 = 5.0;
const AGAIN_FEW: usize = 2;
/// Until a check is seen as it is, whoever was killed meanwhile.
const SEEN: Duration = Duration::from_secs(60);
/// The longest wait between two tries after so much of this, and a minute for a worker that was killed too often.
const ENDS: Duration = Duration::from_secs(660);

pub fn storm(options: &Options) -> Result<(), String> {
    let rounds = options.rounds * 4;
    println!(
        "alerts, storm: a parent and 500 children, {rounds} times down and up; kills every 2 s, a reload, a restart"
    );
    Storm::begin()?.rounds(rounds, true)?.end(rounds)
}

pub fn storm_on_a_full_disk(options: &Options) -> Result<(), String> {
    let rounds = options.rounds;
    println!(
        "alerts, full: the same {rounds} times on a full disk; kills every 2 s, a reload, no restart"
    );
    let storm = Storm::begin()?;
    let state = storm.daemon.dir.join("state");
    let Some(disk) = Small::mount(&state, "4m") else {
        println!("  skipped: a small file system cannot be mounted here");
        return Ok(());
    };
    disk.fill();
    let end = storm.rounds(rounds, false)?.end(rounds);
    drop(disk);
    end
}

struct Storm {
    daemon: Daemon,
    config: String,
    receivers: [Receiver; 2],
    post: Option<Post>,
    gate: Gate,
    seed: u64,
    kills: u64,
    /// From the end of an outage until everybody was told of it.
    longest: Duration,
}

impl Storm {
    fn begin() -> Result<Storm, String> {
        let receivers = [Receiver::new(), Receiver::new()];
        let post = Post::start();
        let gate = Gate::new()?;
        // That it goes up and down so often is what is asked for here.
        let check = |name: &str, more: &str| {
            format!(
                "[[check]]\nname = \"{name}\"\nplugin = \"tcp\"\ninterval = \"1s\"\ntimeout = \"1s\"\nattempts = 1\nflap = \"never\"\n{more}\
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
        let config = check(PARENT, "")
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
        let daemon = Daemon::start_with("storm", "start_spread = \"1s\"\n", &config, &[])?;
        warm_up(&daemon, 8.0, "")?;
        Ok(Storm {
            daemon,
            config,
            receivers,
            post,
            gate,
            seed: 7,
            kills: 0,
            longest: Duration::ZERO,
        })
    }

    fn rounds(mut self, rounds: u64, restarts: bool) -> Result<Storm, String> {
        for round in 0..rounds {
            for up in [false, true] {
                let manner = match (round % 2, self.next(3)) {
                    (0, _) => Manner::Accept,
                    (_, 0) => Manner::Answer(503, ""),
                    (_, 1) => Manner::Swallow,
                    _ => Manner::Hang,
                };
                self.be(manner);
                self.gate.set(up)?;
                for _ in 0..3 {
                    self.kill_one();
                    wait(2.0);
                }
                self.until_seen(up)?;
                if !up {
                    self.until_noticed()?;
                }
            }
            // The next one begins when this one is over for everybody: then each has a notice of its own.
            self.be(Manner::Accept);
            self.until_all_is_told()?;
            if round == rounds / 3 {
                self.daemon
                    .write_config("start_spread = \"2s\"\n", &self.config)?;
                let _ = self.daemon.ctl(&["--json", "reload"]);
            }
            if restarts && round == rounds / 2 {
                self.daemon = self.daemon.restarted()?;
            }
        }
        Ok(self)
    }

    fn next(&mut self, n: u64) -> u64 {
        self.seed = (self.seed)
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.seed >> 33) % n
    }

    fn be(&self, manner: Manner) {
        self.receivers.iter().for_each(|r| r.be(manner));
        self.post.iter().for_each(|p| p.be(manner));
    }

    /// Whatever role it has.
    fn kill_one(&mut self) {
        let pids = procs::tree(self.daemon.pid());
        let roles: Vec<u32> = (pids.into_iter())
            .filter(|pid| *pid != self.daemon.pid())
            .collect();
        let place = self.next(roles.len().max(1) as u64) as usize;
        if let Some(victim) = roles.get(place)
            && kill(Pid::from_raw(*victim as i32), SIGKILL).is_ok()
        {
            self.kills += 1;
        }
    }

    /// The parent's verdict is what its target is: else this time would be no outage for healthd, or two would be one.
    fn until_seen(&self, up: bool) -> Result<(), String> {
        let until = Instant::now() + SEEN;
        loop {
            let state = self.daemon.state().ok();
            let mut checks = state.iter().flat_map(|s| s.checks.iter().map(|(_, c)| c));
            let parent = checks.find(|c| c.name == PARENT);
            if parent.is_some_and(|c| (c.verdict() == Some(Verdict::Ok)) == up) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!(
                    "`parent` is not seen as it is (up: {up})\n{}",
                    self.daemon.log()
                ));
            }
            wait(0.1);
        }
    }

    /// Its problem is no news any more that only waits for company.
    fn until_noticed(&self) -> Result<(), String> {
        let until = Instant::now() + SEEN;
        loop {
            let report = self.daemon.ctl(&["--json", "alerts"]).unwrap_or_default();
            let notices = report["notices"].as_array().into_iter().flatten();
            let mut of_parent = notices.filter(|n| n["route"] == "hook-1");
            if of_parent.any(|n| n["state"] != "collecting") {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!(
                    "no notice of `parent`: {report}\n{}",
                    self.daemon.log()
                ));
            }
            wait(0.1);
        }
    }

    fn until_all_is_told(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let report = self.daemon.ctl(&["--json", "alerts"]).unwrap_or_default();
            if report["notices"].as_array().is_some_and(Vec::is_empty) {
                self.longest = self.longest.max(begun.elapsed());
                return Ok(());
            }
            if begun.elapsed() > ENDS {
                return Err(format!("notices that do not end: {}", report["notices"]));
            }
            wait(0.5);
        }
    }

    /// What has become of all of it.
    fn end(self, outages: u64) -> Result<(), String> {
        println!(
            "  killed                {:8} processes; the last word came at most {:.0} s after an outage",
            self.kills,
            self.longest.as_secs_f64()
        );
        for (n, receiver) in self.receivers.iter().enumerate() {
            let told = Told::by(receiver).map_err(|why| format!("hook-{n}: {why}"))?;
            println!(
                "  hook-{n}                {:8} requests, {} accepted: {} problems and {} recoveries of {} notices; {} ({:.1} %) came again with an id that was known, {} more because it had them and had not said so",
                told.requests,
                told.accepted,
                told.problems,
                told.recoveries,
                told.notices,
                told.again,
                told.again_percent(),
                told.swallowed_again
            );
            wanted(told.children == 0, "children are told that need the parent")?;
            let seldom = told.again <= AGAIN_FEW || told.again_percent() < AGAIN_MOST;
            wanted(seldom, "messages came again")?;
            // That of the parent alone has a notice an outage: none is lost, and none is false.
            match n {
                1 => wanted(told.notices == outages, "a notice an outage")?,
                _ => wanted(told.notices >= outages, "at least a notice an outage")?,
            }
        }
        if let Some(post) = &self.post {
            let mail = post.arrived().map_err(|why| format!("mail: {why}"))?;
            println!(
                "  mail                  {:8} taken by Exim: {} problems and {} recoveries by Message-ID; {} ({:.1} %) came again with an id that was known, \
                 {} more because Exim had taken them and the line was cut before it said so",
                mail.mails,
                mail.problems,
                mail.recoveries,
                mail.again,
                percent(mail.again, mail.mails),
                mail.hidden
            );
            let seldom = mail.again <= AGAIN_FEW || percent(mail.again, mail.mails) < AGAIN_MOST;
            wanted(seldom, "mails came again")?;
        }
        println!(
            "  outages               {outages:8}: none lost, none out of order, none false, no child told"
        );
        Ok(())
    }
}

/// What one receiver has accepted; by id each problem has one recovery.
struct Told {
    requests: usize,
    accepted: usize,
    again: usize,
    /// It had them, and had not said so: whoever cannot know sends again.
    swallowed_again: usize,
    problems: usize,
    recoveries: usize,
    notices: u64,
    children: usize,
}

impl Told {
    fn by(receiver: &Receiver) -> Result<Told, String> {
        let all = receiver.all();
        unpaired(&all)?;
        let apart = unpaired_there(&all).map_err(|why| format!("with what it swallowed: {why}"))?;
        let there = all.iter().filter(|g| g.is_there).count();
        let accepted: Vec<&Got> = all.iter().filter(|g| g.accepted).collect();
        let different = |key: &str, like: &dyn Fn(&Got) -> bool| {
            let of = accepted.iter().filter(|g| like(g));
            of.map(|g| g.text(key)).collect::<HashSet<_>>().len()
        };
        let kind = |kind: &'static str| move |g: &Got| g.text("kind") == kind;
        let children = accepted.iter().filter(|g| {
            let checks = g.body["checks"].as_array().into_iter().flatten();
            let mut names = checks.filter_map(|c| c["name"].as_str());
            names.any(|name| name.starts_with("child-"))
        });
        Ok(Told {
            requests: all.len(),
            accepted: accepted.len(),
            again: accepted.len() - different("id", &|_| true),
            swallowed_again: there - apart - (accepted.len() - different("id", &|_| true)),
            problems: different("id", &kind("problem")),
            recoveries: different("id", &kind("recovery")),
            notices: different("notice", &|_| true) as u64,
            children: children.count(),
        })
    }

    fn again_percent(&self) -> f64 {
        percent(self.again, self.accepted)
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}
