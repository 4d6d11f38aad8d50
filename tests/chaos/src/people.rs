//! Those who are told: receivers of alerts, and checks that are bad when we say so.

use crate::plan::Step;
use crate::service::kill;
use crate::world::{PATIENCE, World};
use healthd_test_support::receiver::{Got, Manner, Receiver, unpaired};
use nix::sys::signal::Signal;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

pub const CHECKS: u64 = 8;
const ROUTES: usize = 3;
/// A try that failed is made again after 5, 10 and 20 s.
const TOLD: Duration = Duration::from_secs(75);

pub struct People {
    receivers: Vec<Receiver>,
}

impl People {
    pub fn new(dir: &Path) -> Result<People, String> {
        for n in 0..CHECKS {
            say(dir, n, "ok")?;
        }
        let receivers = (0..ROUTES).map(|_| Receiver::new()).collect();
        Ok(People { receivers })
    }

    /// All of them are told of the same checks, each in its own way of grouping.
    pub fn config(&self) -> String {
        let by = ["none", "check", "none"];
        let wait = ["0s", "0s", "1s"];
        let routes = self.receivers.iter().enumerate().map(|(n, receiver)| {
            format!(
                "\n[[notify]]\nname = \"hook-{n}\"\nplugin = \"webhook\"\nmatch = \"told/*\"\nby = {:?}\nwait = {:?}\nconfig = {{ url = {:?} }}\n",
                by[n], wait[n], receiver.url()
            )
        });
        routes.collect()
    }

    pub fn options(dir: &Path, n: u64) -> String {
        format!("file = {:?}", file(dir, n))
    }
}

fn file(dir: &Path, n: u64) -> std::path::PathBuf {
    dir.join("switch").join(format!("told-{n}"))
}

fn say(dir: &Path, n: u64, word: &str) -> Result<(), String> {
    let (to, temp) = (file(dir, n), dir.join("switch").join("told.new"));
    fs::write(&temp, format!("{word} by us"))
        .and_then(|()| fs::rename(&temp, &to))
        .map_err(|e| format!("{}: {e}", to.display()))
}

impl World {
    /// Some checks go down and come up again, while receivers are as `how` says and notifiers, or more, are killed.
    /// By id each route has one problem and one recovery, in order, and each check was told of.
    pub fn outage(&self, step: &Step) -> Result<String, String> {
        let Step::Outage { checks, how, kills } = step else {
            return Err("this is no outage".into());
        };
        let before: Vec<usize> = self
            .people
            .receivers
            .iter()
            .map(|r| r.all().len())
            .collect();
        let manner = match *how {
            "refuse" => Manner::Answer(404, ""),
            "busy" => Manner::Answer(503, "Retry-After: 1\r\n"),
            "swallow" => Manner::Swallow,
            "hang" => Manner::Hang,
            _ => Manner::Accept,
        };
        self.people.receivers.iter().for_each(|r| r.be(manner));
        for n in 0..*checks {
            say(&self.dir, n, "critical")?;
        }
        self.until_verdict(*checks, 2)?;
        // A problem that is over before it was collected is nobody's.
        self.until_each_was_begun(*checks)?;
        for n in 0..*kills {
            let notifiers = self.service.role("worker notify");
            notifiers.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
            if n == 1 {
                let old = self.manager()?;
                kill(old, Signal::SIGKILL);
            }
            crate::pause(300);
        }
        self.people
            .receivers
            .iter()
            .for_each(|r| r.be(Manner::Accept));
        for n in 0..CHECKS {
            say(&self.dir, n, "ok")?;
        }
        self.until_verdict(CHECKS, 0)?;
        self.until_nothing_is_open()?;
        let mut told = 0;
        for (n, receiver) in self.people.receivers.iter().enumerate() {
            let all = receiver.all();
            told += unpaired(&all).map_err(|why| format!("route hook-{n}: {why}"))?;
            let news = &all[before[n].min(all.len())..];
            for check in 0..*checks {
                let name = format!("told/{check}");
                if !news.iter().any(|g| tells(g, &name)) {
                    return Err(format!(
                        "route hook-{n} was never told of `{name}`: {news:#?}"
                    ));
                }
            }
        }
        Ok(format!(
            "{checks} checks, {how}, {kills} kills; {told} messages so far"
        ))
    }

    fn until_verdict(&self, checks: u64, verdict: u8) -> Result<(), String> {
        let all = |w: &World| {
            let seen = w.eyes.seen();
            (0..checks).all(|n| {
                let row = seen.rows.get(&format!("told/{n}"));
                row.is_some_and(|r| r.last.verdict == verdict)
            })
        };
        self.until("what we say of `told/*` is the verdict", PATIENCE, all)
    }

    fn until_each_was_begun(&self, checks: u64) -> Result<(), String> {
        let begun = |w: &World| {
            let report = w.ask("alerts", json!({})).unwrap_or_default();
            let report = report.first().cloned().unwrap_or_default();
            let notices = report["notices"].as_array().cloned().unwrap_or_default();
            let left = notices.iter().filter(|n| n["state"] != "collecting");
            let told: usize = left
                .map(|n| n["checks"].as_array().map_or(0, Vec::len))
                .sum();
            told as u64 >= checks * ROUTES as u64
        };
        self.until("a try for each check on each route", PATIENCE, begun)
    }

    fn until_nothing_is_open(&self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            // A manager that is coming up does not answer yet.
            let report = self.ask("alerts", json!({})).unwrap_or_default();
            let open = report.first().map(|r| r["notices"].clone());
            if open == Some(json!([])) {
                return Ok(());
            }
            if begun.elapsed() > TOLD {
                return Err(format!("notices that do not end: {open:?}"));
            }
            crate::pause(50);
        }
    }
}

/// It was accepted, and this check is one of those that it is about.
fn tells(got: &Got, name: &str) -> bool {
    let checks = got.body["checks"].as_array().into_iter().flatten();
    got.accepted && checks.into_iter().any(|c| c["name"] == name)
}
