//! Checks that keep their connection, beside wrk, which does nothing but ask.

use super::Size;
use super::row::{Limit::*, Row};
use super::turns::{Figures, figure, medians};
use super::web::KEYS;
use super::wrk::wrk;
use crate::daemon::Daemon;
use crate::peers::nginx_with;
use crate::runs::{runs_of, wait, warm_up, web_checks};
use healthd_test_support::procs;
use healthd_testing::free_port;

const CHECKS: usize = 10_000;

/// The http plugin has no option to keep a connection: its figure is that of a new one for each check.
pub fn keep_alive(size: Size) -> Result<Vec<Row>, String> {
    let kept = free_port("127.0.0.1");
    let answer = "location / { return 200 \"ok\\n\"; }";
    let keeps = format!(
        "server {{ listen {kept} backlog=8192; access_log off; keepalive_timeout 60s; keepalive_requests 1000000000; {answer} }}"
    );
    let _nginx = nginx_with("$msec $uri", &keeps, answer)?;
    let text = web_checks(CHECKS, "http", kept, KEYS, "");
    let seconds = size.seconds;
    let [ours, theirs] = medians(
        size,
        [&mut || by_healthd(&text, seconds), &mut || {
            wrk(kept, &[], seconds)
        }],
    )?;
    let note = match figure(&theirs, 1) {
        Some(rate) => format!("the http plugin keeps no connection; wrk: {rate:.0} requests/s"),
        None => "the http plugin keeps no connection".to_owned(),
    };
    let ours = figure(&ours, 0).unwrap_or(f64::NAN);
    Ok(vec![
        Row::new("http, 10,000/s, keep-alive: CPU a check", ours, "us")
            .beside("wrk", figure(&theirs, 0))
            .wants(MostTimes(2.0))
            .noted(note),
    ])
}

fn by_healthd(checks: &str, seconds: f64) -> Result<Figures, String> {
    let daemon = Daemon::start("table", checks)?;
    warm_up(&daemon, 8.0, "web-")?;
    let (runs, cpu) = (
        runs_of(&daemon.state()?, "web-"),
        procs::live_cpu_ms(daemon.pid()),
    );
    wait(seconds);
    let runs = runs_of(&daemon.state()?, "web-") - runs;
    let cpu = procs::live_cpu_ms(daemon.pid()) - cpu;
    Ok(Some(vec![cpu * 1e3 / runs as f64]))
}
