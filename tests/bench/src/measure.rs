//! What it costs to record and to be scraped, and whether what is told is so: history and reports against the server's own
//! log of each result, every page of metrics against the one before, and wrk beside the checks.

use crate::Options;
use crate::daemon::{Daemon, target_dir};
use crate::figures::now;
use crate::late::lateness;
use crate::peers;
use crate::runs::{wait, warm_up, web_checks};
use crate::scrapes::{Prometheus, Scrapes, get, promtool};
use healthd_test_support::procs;
use healthd_testing::free_port;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const SCRAPE: Duration = Duration::from_secs(15);

/// One in twenty of the checks is bad for 50 s of each 100 s, the others never.
const OUTAGES: &str = "split_clients $uri $unlucky { 5% 1; * 0; }
  map \"$unlucky$msec\" $bad { \"~^1[0-9]{8}[0-4]\" 1; default 0; }";

pub fn checks(n: usize, port: u16, interval: &str) -> String {
    let keys = format!("interval = \"{interval}\"\ntimeout = \"5s\"\nattempts = 1");
    web_checks(n, "http", port, &keys, "")
}

pub fn role(daemon: &Daemon, name: &str) -> Result<u32, String> {
    let all = procs::tree(daemon.pid());
    let found = all.into_iter().find(|pid| procs::name(*pid) == name);
    found.ok_or_else(|| format!("there is no {name}"))
}

/// `--checks` checks at 10 s for `--seconds`: the recorder's CPU, its file, its report, and the scrapes.
pub fn measure(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx_with(
        "$msec $uri $status",
        OUTAGES,
        "location / { if ($bad) { return 503; } return 200 \"ok\\n\"; }",
    )?;
    let port = free_port("127.0.0.1");
    let config = format!(
        "[history]\nmax_size = \"1GiB\"\n\n[web]\nlisten = \"127.0.0.1:{port}\"\n\n{}",
        checks(options.checks, nginx.port, "10s")
    );
    let daemon = Daemon::start_with("measure", "start_spread = \"10s\"\n", &config, &[])?;
    println!(
        "measure: {} http checks at 10 s, 5 % of them down for half of the time, a scrape each 15 s, {} s",
        options.checks, options.seconds
    );
    let validated = Command::new(target_dir().join("healthd"))
        .args(["-t", "--config"])
        .arg(daemon.dir.join("healthd.toml"))
        .output()
        .map_err(|e| e.to_string())?;
    let said = [validated.stdout, validated.stderr].concat();
    for line in String::from_utf8_lossy(&said).lines() {
        if line.contains("history") {
            println!("  said beforehand       {line}");
        }
    }
    warm_up(&daemon, 30.0, "web-")?;
    let (recorder, web) = (
        role(&daemon, "healthd-record")?,
        role(&daemon, "healthd-web")?,
    );
    let prometheus = Prometheus::start(&daemon.dir, port)?;
    let mut scrapes = Scrapes::default();
    let first = (now(), scrapes.scrape(port).unwrap_or_default());
    println!("  {}", promtool(&first.1));
    let (since, begun) = (now().ceil(), Instant::now());
    let before = (procs::own_cpu_ms(recorder), procs::own_cpu_ms(web));
    let mut last = first.1.clone();
    while begun.elapsed().as_secs() < options.seconds {
        let left = options.seconds as f64 - begun.elapsed().as_secs_f64();
        wait(left.clamp(0.0, SCRAPE.as_secs_f64()));
        if let Some(page) = scrapes.scrape(port) {
            last = page;
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let percent = |after: f64, before: f64| (after - before) / 10.0 / took;
    println!(
        "  recorder              {:8.2} % of a core, PSS {} kB",
        percent(procs::own_cpu_ms(recorder), before.0),
        procs::pss_of(recorder)
    );
    println!(
        "  web                   {:8.2} % of a core, PSS {} kB",
        percent(procs::own_cpu_ms(web), before.1),
        procs::pss_of(web)
    );
    scrapes.tell();
    println!("  {}", promtool(&last));
    match &prometheus {
        None => println!("  (prometheus is not installed: only our own scrapes)"),
        Some(prometheus) => prometheus.tell(),
    }
    let size =
        |name: &str| fs::metadata(daemon.dir.join("state").join(name)).map_or(0, |m| m.len());
    println!(
        "  history.db            {:8.1} MB, and its log {:.1} MB",
        size("history.db") as f64 / 1e6,
        size("history.db-wal") as f64 / 1e6
    );
    for line in last.lines().filter(|l| l.starts_with("healthd_history_")) {
        println!("  {line}");
    }
    compare(&daemon, &nginx.dir.join("access.log"), since, port, &first)
}

fn rfc3339(at: f64) -> Result<String, String> {
    let out = Command::new("date")
        .args(["-u", "-d", &format!("@{at}"), "+%FT%TZ"])
        .output()
        .map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// By the part of its name after `web-`: runs that were not ok.
fn bad_runs(page: &str) -> HashMap<&str, f64> {
    let mut runs = HashMap::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("healthd_check_runs_total{check=\"web-")
            && let Some((name, rest)) = rest.split_once('"')
            && !rest.contains("outcome=\"ok\"")
            && let Some((_, value)) = rest.rsplit_once(' ')
        {
            *runs.entry(name).or_default() += value.parse().unwrap_or(0.0);
        }
    }
    runs
}

/// The report against a recomputation from each result, as the server has logged it. A run that it never answered is no result
/// of its log: checks that had one are counted, and not compared. `first`: a page of metrics, and when it was asked for.
fn compare(
    daemon: &Daemon,
    log: &Path,
    since: f64,
    port: u16,
    first: &(f64, String),
) -> Result<(), String> {
    let until = now().floor();
    // Events are written once a second, and so is the server's log.
    wait(2.0);
    let last = (now(), get(port, "/metrics")?);
    wait(2.0);
    let (before, after) = (bad_runs(&first.1), bad_runs(&last.1));
    let (from, to) = (rfc3339(since)?, rfc3339(until)?);
    let report = daemon.ctl(&["--json", "report", "--since", &from, "--until", &to])?;
    let text = fs::read_to_string(log).map_err(|e| e.to_string())?;
    let mut raw: HashMap<&str, Vec<(f64, bool)>> = HashMap::new();
    for line in text.lines() {
        let mut parts = line.split(' ');
        if let (Some(at), Some(uri), Some(status)) = (parts.next(), parts.next(), parts.next())
            && let Ok(at) = at.parse::<f64>()
            && at < last.0
        {
            let list = raw.entry(uri.trim_start_matches('/')).or_default();
            list.push((at, status == "200"));
        }
    }
    let (mut worst, mut compared, mut left_out, mut unanswered) = (0.0f64, 0, 0, 0.0);
    let (mut sums, mut theirs) = ((0.0, 0.0), (0.0, 0.0));
    for row in report.as_array().ok_or("no list")? {
        let name = row["name"].as_str().unwrap_or_default();
        let Some(results) = raw.get(name.trim_start_matches("web-")) else {
            continue;
        };
        let own = name.trim_start_matches("web-");
        let of = |page: &HashMap<&str, f64>| page.get(own).copied().unwrap_or(0.0);
        let is_bad = |(at, ok): &&(f64, bool)| !ok && (first.0..last.0).contains(at);
        let more = of(&after) - of(&before) - results.iter().filter(is_bad).count() as f64;
        if more != 0.0 {
            left_out += 1;
            unanswered += more;
            continue;
        }
        let (mut up, mut down) = (0.0, 0.0);
        for (n, (at, ok)) in results.iter().enumerate() {
            let end = results.get(n + 1).map_or(until, |(at, _)| at.min(until));
            let span = (end - at.max(since)).max(0.0);
            match ok {
                true => up += span,
                false => down += span,
            }
        }
        let (Some(said), all) = (row["availability"].as_f64(), up + down) else {
            continue;
        };
        worst = worst.max((said - up / all).abs());
        compared += 1;
        sums = (sums.0 + up, sums.1 + down);
        let s = |key: &str| row[key].as_f64().unwrap_or(0.0);
        theirs = (theirs.0 + s("up_s"), theirs.1 + s("down_s"));
    }
    let part = |(up, down): (f64, f64)| 100.0 * up / (up + down);
    println!(
        "  report                {:8.4} %, by each result {:.4} %: {:.4} % apart; a check at most {:.4} % ({compared} checks)\n                        {left_out} checks more had {unanswered:.0} runs that the server did not answer in time",
        part(theirs),
        part(sums),
        (part(theirs) - part(sums)).abs(),
        worst * 100.0
    );
    Ok(())
}

/// `--checks` checks at 2 s: how late they are, and how late they are beside wrk on /metrics.
pub fn scrape(options: &Options) -> Result<(), String> {
    let nginx = peers::nginx()?;
    let port = free_port("127.0.0.1");
    let config = format!(
        "[web]\nlisten = \"127.0.0.1:{port}\"\n\n{}",
        checks(options.checks, nginx.port, "2s")
    );
    let daemon = Daemon::start_with("scrape", "start_spread = \"2s\"\n", &config, &[])?;
    println!(
        "scrape: {} http checks at 2 s, {} s without and with wrk on /metrics",
        options.checks, options.seconds
    );
    warm_up(&daemon, 15.0, "web-")?;
    let mut since = now();
    wait(options.seconds as f64);
    // The server writes its log each second.
    wait(2.0);
    println!("  without");
    lateness(&nginx, 2.0, since)?;
    let web = role(&daemon, "healthd-web")?;
    let cpu = procs::own_cpu_ms(web);
    since = now();
    let asked = crate::viewers::wrk(port, "/metrics", options.seconds as f64)?;
    let done = asked.wait_with_output().map_err(|e| format!("wrk: {e}"))?;
    let cpu = (procs::own_cpu_ms(web) - cpu) / 10.0 / options.seconds as f64;
    wait(2.0);
    println!("  beside wrk: web used {cpu:.0} % of a core");
    for line in String::from_utf8_lossy(&done.stdout).lines() {
        println!("    {line}");
    }
    lateness(&nginx, 2.0, since)
}
