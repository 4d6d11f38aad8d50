//! `/probe?target=&module=[&hostname=][&debug=true]`, as Prometheus' blackbox_exporter answers it: a scrape config made for
//! that one is good for this one, with nothing but the address replaced. A module is a check with `probe = true`.
//!
//! Whoever may ask can make this machine connect to somewhere: so nobody can, unless `[web] targets` names the hosts.

mod allowed;
mod families;

use crate::body::Answer;
use crate::control::{Failure, ask_from};
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site, text, typed};
use healthd_core::check::fault::Fault;
use healthd_core::wire::control::{ErrorCode, Op, Reply};
use healthd_core::wire::probe::{ProbeAsk, Probed};
use hyper::StatusCode;
use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// At the same time; the next ones wait for their turn, within their own time.
const AT_ONCE: usize = 64;
/// What an answer needs to get back to who asked, as blackbox_exporter has it.
const OFFSET: Duration = Duration::from_millis(500);
/// Where the request names no time; a module's own `timeout` is shorter.
const UNSAID: Duration = Duration::from_secs(120);
/// What blackbox_exporter takes if the request names no module.
const MODULE: &str = "http_2xx";

pub struct Probes {
    places: Arc<Semaphore>,
    /// Requests for modules that there are not.
    pub unknown: Cell<u64>,
}

impl Default for Probes {
    fn default() -> Probes {
        Probes {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            unknown: Cell::new(0),
        }
    }
}

pub async fn answer(site: Rc<Site>, call: Call) -> Answered {
    let targets = &site.settings.web.targets;
    if targets.is_empty() {
        let off = Problem::new(StatusCode::NOT_FOUND, "/probe is off");
        return Err(
            off.help("`targets = [\"*.example.org\"]` in [web] names the hosts that it may ask")
        );
    }
    let target = call.value("target").filter(|t| !t.is_empty());
    let Some(target) = target else {
        return Err(Problem::bad("Target parameter is missing"));
    };
    if let Err(why) = allowed::may(targets, &target) {
        return Err(Problem::new(StatusCode::FORBIDDEN, why)
            .help("`targets` of [web] names the hosts that /probe may ask"));
    }
    let module = call.value("module").filter(|m| !m.is_empty());
    let module = module.unwrap_or_else(|| MODULE.to_owned());
    let time = time(call.header("x-prometheus-scrape-timeout-seconds"))?;
    let ask = ProbeAsk {
        module: module.clone(),
        target,
        hostname: call.value("hostname").filter(|h| !h.is_empty()),
        timeout_ms: time.as_millis() as u64,
    };
    let probed = match run(&site, ask, time + OFFSET / 2).await {
        Ok(probed) => probed,
        Err(Failure::Refused(e)) if e.code == ErrorCode::NoSuchCheck => {
            site.probes.unknown.set(site.probes.unknown.get() + 1);
            return Err(Problem::bad(format!("Unknown module {module:?}")).help(e.help));
        }
        Err(failure) => return Err(failure.into()),
    };
    // What was not run, or killed what ran it, says nothing of the target: then there is no probe to speak of.
    if let Some(fault) = probed.fault.filter(|f| !tells_of_the_target(*f)) {
        let why = format!("not probed ({}): {}", fault.as_str(), probed.message);
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let page = families::page(&probed);
    Ok(match call.value("debug").as_deref() {
        Some("true") => text(StatusCode::OK, debug(&probed, &page)),
        _ => typed(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            Answer::text(page),
        ),
    })
}

/// A result that has not come by then is one that says so.
async fn run(site: &Site, ask: ProbeAsk, patience: Duration) -> Result<Probed, Failure> {
    let asked = async {
        let places = &site.probes.places;
        let mut replies = ask_from(places, site, Op::Probe(ask), patience).await?;
        while let Some(reply) = replies.next(None).await? {
            if let Reply::Probed(probed) = reply {
                return Ok(*probed);
            }
        }
        Err(Failure::Silent("it said nothing of the probe".into()))
    };
    match tokio::time::timeout(patience, asked).await {
        Ok(probed) => probed,
        Err(_) => Err(Failure::Silent(format!(
            "no result within {:.1} s",
            patience.as_secs_f64()
        ))),
    }
}

fn tells_of_the_target(fault: Fault) -> bool {
    matches!(fault, Fault::Timeout | Fault::Config | Fault::Resolver)
}

fn time(header: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = header else {
        return Ok(UNSAID);
    };
    let seconds = text.trim().parse::<f64>().ok();
    let seconds = seconds.filter(|s| s.is_finite() && (0.0..1e6).contains(s));
    let Some(seconds) = seconds else {
        return Err(Problem::bad(format!(
            "X-Prometheus-Scrape-Timeout-Seconds is no number of seconds: {text}"
        )));
    };
    let all = Duration::from_secs_f64(seconds);
    Ok(match all.checked_sub(OFFSET) {
        Some(left) if !left.is_zero() => left,
        // Too short for a way back: half of it, rather than nothing. 0 says nothing.
        _ if all.is_zero() => UNSAID,
        _ => all / 2,
    })
}

fn debug(p: &Probed, page: &str) -> String {
    let mut out = String::from("Logs for the probe:\n");
    for phase in &p.phases {
        let at = phase.at_ns as f64 / 1e6;
        let _ = writeln!(out, "{at:>10.3} ms  {}", phase.name);
    }
    let took = p.took_ns as f64 / 1e6;
    let _ = writeln!(out, "{took:>10.3} ms  {}: {}", p.status, p.message);
    for (key, value) in &p.labels {
        let _ = writeln!(out, "               {key}: {value}");
    }
    if !p.detail.is_empty() {
        let _ = writeln!(out, "{}", p.detail);
    }
    let config = serde_json::to_string_pretty(&p.config).unwrap_or_default();
    let _ = write!(
        out,
        "\n\n\nMetrics that would have been returned:\n{page}\n\n\nModule configuration:\nplugin: {}\nconfig: {config}\n",
        p.plugin
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_scrape_less_the_way_back() {
        let of = |text: &str| time(Some(text)).ok().map(|d| d.as_millis());
        assert_eq!(time(None).ok(), Some(UNSAID));
        for (text, ms) in [
            ("10", Some(9_500)),
            ("0.6", Some(100)),
            ("0.5", Some(250)),
            ("0.2", Some(100)),
            ("0", Some(120_000)),
            ("-1", None),
            ("abc", None),
            ("inf", None),
            ("NaN", None),
        ] {
            assert_eq!(of(text), ms, "{text}");
        }
    }
}
