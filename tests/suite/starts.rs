//! The daemon's own start marks nobody: a hundred programs that compute, all due at once.
//!
//! `HD_STARTS=10 cargo test --test suite -- starts:: --nocapture` makes ten starts in a row with 0.6 s of CPU each, as a large
//! Perl or Java plugin needs.

use crate::harness::{Config, check};
use serde_json::Value;

const PROGRAMS: usize = 100;

#[test]
fn a_hundred_programs_that_compute_are_ok_after_each_start() {
    let many = std::env::var("HD_STARTS")
        .ok()
        .and_then(|n| n.parse::<u32>().ok());
    let (starts, ticks) = match many {
        Some(starts) => (starts, 60),
        None => (1, 10),
    };
    // By the kernel's account of it: what it waits for a processor is not counted.
    let computes = format!(
        "while :; do read -r line </proc/$$/stat; set -- ${{line##*)}}; [ $((${{12}} + ${{13}})) -ge {ticks} ] && break; done; echo fine"
    );
    for start in 1..=starts {
        let mut config = Config::new().daemon("start_spread", "\"0s\"");
        for n in 0..PROGRAMS {
            config = config.check(check(&format!("c-{n}")).interval("5m").script(&computes));
        }
        let mut daemon = config.spawn();
        daemon.expect_notify("READY=1");
        let rows: Vec<Value> = daemon.ask("run", serde_json::json!({}));
        let ran: Vec<&Value> = rows.iter().filter(|r| r["type"] == "check").collect();
        assert_eq!(ran.len(), PROGRAMS);
        let bad: Vec<&&Value> = ran.iter().filter(|r| r["status"] != "ok").collect();
        eprintln!(
            "start {start}: {} of {PROGRAMS} programs are ok",
            PROGRAMS - bad.len()
        );
        assert!(bad.is_empty(), "{:?}", bad.first());
        daemon.signal(nix::sys::signal::Signal::SIGTERM);
        daemon.wait_exit();
    }
}
