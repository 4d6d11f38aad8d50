//! As many scrapes as a day has, in less time: what grows with each of them would show, a killed manager takes no counter
//! back, and the page has no more series than it should.

use crate::Options;
use crate::daemon::Daemon;
use crate::measure::{checks, role};
use crate::peers;
use crate::runs::{wait, warm_up};
use crate::scrapes::{Prometheus, Scrapes, promtool};
use healthd_test_support::procs;
use healthd_testing::free_port;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Instant;

/// A day has so many, at one each 15 s.
const SCRAPES: u32 = 24 * 60 * 4;
/// Managers that are killed meanwhile.
const KILLS: u32 = 4;
/// Of each check: up, status, changed, last run, its duration, runs by three outcomes, their sum and count.
const OF_A_CHECK: usize = 10;

pub fn day(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let port = free_port("127.0.0.1");
    let config = format!(
        "[history]\n\n[web]\nlisten = \"127.0.0.1:{port}\"\n\n{}",
        checks(options.checks, nginx.port, "10s")
    );
    let daemon = Daemon::start_with("day", "start_spread = \"10s\"\n", &config, &[])?;
    println!(
        "day: {} http checks at 10 s, {SCRAPES} scrapes in {} s, {KILLS} managers killed",
        options.checks, options.seconds
    );
    warm_up(&daemon, 15.0, "web-")?;
    let prometheus = Prometheus::start(&daemon.dir, port)?;
    let names = ["healthd-manager", "healthd-web", "healthd-record"];
    let held = || -> Result<Vec<(u64, usize)>, String> {
        let of = |name: &&str| {
            let pid = role(&daemon, name)?;
            Ok((procs::pss_of(pid), procs::fds(pid).unwrap_or(0)))
        };
        names.iter().map(of).collect()
    };
    let mut scrapes = Scrapes::default();
    let mut last = scrapes.scrape(port).unwrap_or_default();
    println!("  {}", promtool(&last));
    let web = role(&daemon, "healthd-web")?;
    let (begun, cpu) = (Instant::now(), procs::own_cpu_ms(web));
    let each = options.seconds as f64 / f64::from(SCRAPES);
    // Once each has grown to what it needs.
    let mut before = held()?;
    for n in 1..=SCRAPES {
        wait((each * f64::from(n) - begun.elapsed().as_secs_f64()).max(0.0));
        last = scrapes.scrape(port).unwrap_or(last);
        if n == SCRAPES / 10 {
            before = held()?;
        }
        if n % (SCRAPES / (KILLS + 1)) == 0 && n < SCRAPES {
            let manager = Pid::from_raw(role(&daemon, names[0])?.cast_signed());
            kill(manager, Signal::SIGKILL).map_err(|e| e.to_string())?;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    scrapes.tell();
    println!(
        "  web                   {:8.2} % of a core, over {took:.0} s",
        (procs::own_cpu_ms(web) - cpu) / 10.0 / took
    );
    for ((name, (kb, fds)), (kb_before, fds_before)) in names.iter().zip(held()?).zip(before) {
        println!(
            "  {name:<21} {kb:8} kB PSS, {fds} descriptors; after a tenth of the time {kb_before} kB, {fds_before}"
        );
    }
    let lines = last.lines().filter(|l| !l.starts_with('#'));
    let (all, metrics) = lines.fold((0, 0), |(all, metrics), line| {
        let is = line.starts_with("healthd_check_metric{");
        (all + 1, metrics + usize::from(is))
    });
    let names = last
        .lines()
        .filter(|l| l.starts_with("healthd_check_status{"));
    let of_checks = OF_A_CHECK * names.count();
    println!(
        "  series                {all:8} = {of_checks} of checks ({OF_A_CHECK} each) + {metrics} of what they measured + {} of the daemon",
        all as i64 - of_checks as i64 - metrics as i64
    );
    println!("  {}", promtool(&last));
    match &prometheus {
        None => println!("  (prometheus is not installed: only our own scrapes)"),
        Some(prometheus) => prometheus.tell(),
    }
    Ok(())
}
