//! HTTP and HTTPS, a new connection each, at a second, beside HAProxy's checks of the same nginx.

use super::Size;
use super::row::{Limit::*, Row};
use super::turns::{Figures, figure, medians};
use super::wrk::wrk;
use crate::daemon::Daemon;
use crate::figures::now;
use crate::late::{by_check, period_errors};
use crate::peers::{HTTPCHK, Server, haproxy_with, nginx_with};
use crate::runs::{wait, warm_up, web_checks};
use healthd_core::check::outcome::Verdict;
use healthd_test_support::procs;
use healthd_testing::{Certs, free_port};

const PERIOD: f64 = 1.0;
// The figures of a measurement.
/// us of all processes a check.
const CPU: usize = 0;
/// Checks a second.
const RATE: usize = 1;
/// p99 of the error of their period, ms.
const ERROR: usize = 2;
/// How many did not come.
const MISSED: usize = 3;
/// Percent that resumed a TLS session.
const RESUMED: usize = 4;
/// How many were not ok at the end; of healthd alone.
const BAD: usize = 5;
/// First runs are spread over a period, and each check is made by its plugin before.
const WARM_UP: f64 = 8.0;
pub const KEYS: &str = "interval = \"1s\"\ntimeout = \"900ms\"";

/// nginx, which answers by http and https and tells its log when which check asked: each asks an address of its own.
pub struct Web {
    pub nginx: Server,
    https: u16,
    certs: Certs,
}

impl Web {
    pub fn start() -> Result<Web, String> {
        if !Certs::possible() {
            return Err("openssl is not installed: apt-get install openssl".into());
        }
        let (https, certs) = (free_port("127.0.0.1"), Certs::new());
        let answer = "location / { return 200 \"ok\\n\"; }";
        let (pem, key) = (certs.certificate(), certs.key());
        let by_https = format!(
            "server {{ listen {https} ssl backlog=8192; ssl_certificate {}; ssl_certificate_key {}; {answer} }}",
            pem.display(),
            key.display()
        );
        // The log of a session that was resumed ends with an `r`.
        let format = "$msec $server_addr$ssl_session_reused";
        Ok(Web {
            nginx: nginx_with(format, &by_https, answer)?,
            https,
            certs,
        })
    }

    /// That process and all below it, by what it asks.
    fn watch(&self, pid: u32, seconds: f64) -> Result<Vec<f64>, String> {
        let (cpu, begun) = (procs::live_cpu_ms(pid), now());
        wait(seconds);
        let (cpu, ended) = (procs::live_cpu_ms(pid) - cpu, now());
        // The server writes its log each second.
        wait(1.5);
        let came = by_check(&self.nginx, "127.", &[(begun, ended)])?;
        let asked: usize = came.values().map(Vec::len).sum();
        let resumed = came.iter().filter(|(who, _)| who.ends_with('r'));
        let resumed: usize = resumed.map(|(_, times)| times.len()).sum();
        let errors = period_errors(&came, PERIOD)?;
        Ok(vec![
            cpu * 1e3 / asked as f64,
            asked as f64 / (ended - begun),
            errors.between(0.99),
            errors.missed as f64,
            100.0 * resumed as f64 / asked as f64,
        ])
    }

    fn by_healthd(&self, checks: &str, seconds: f64) -> Result<Figures, String> {
        let daemon = Daemon::start("table", checks)?;
        warm_up(&daemon, WARM_UP, "web-")?;
        let seen = self.watch(daemon.pid(), seconds);
        let state = daemon.state()?;
        let all = state.checks.iter().map(|(_, c)| c);
        let bad: Vec<_> = all.filter(|c| c.verdict() != Some(Verdict::Ok)).collect();
        match bad.first() {
            // On a machine that does other things some have timed out.
            Some(c) if bad.len() * 2 > state.checks.len() => Err(format!(
                "{} of {} checks are not ok: {}",
                bad.len(),
                state.checks.len(),
                c.message
            )),
            _ => seen.map(|seen| Some([seen, vec![bad.len() as f64]].concat())),
        }
    }

    fn by_haproxy(
        &self,
        checks: usize,
        port: u16,
        keys: &str,
        seconds: f64,
    ) -> Result<Figures, String> {
        let backend = format!("{HTTPCHK}\n  default-server inter 1s {keys}");
        let target = |i: usize| format!("127.1.{}.{}:{port}", i / 250, 1 + i % 250);
        let Some(haproxy) = haproxy_with("spread-checks 0", &backend, target, checks)? else {
            return Ok(None);
        };
        wait(WARM_UP);
        let seen = self.watch(haproxy.pid(), seconds);
        seen.map(Some).map_err(|why| format!("haproxy: {why}"))
    }
}

/// At most so many times HAProxy's CPU a check; and from a thousand a second on who keeps the period.
pub fn http(size: Size, checks: usize, times: f64) -> Result<Vec<Row>, String> {
    let web = Web::start()?;
    let (port, seconds) = (web.nginx.port, size.seconds);
    let text = web_checks(checks, "http", port, KEYS, "");
    let [ours, theirs, limit] = medians(
        size,
        [
            &mut || web.by_healthd(&text, seconds),
            &mut || web.by_haproxy(checks, port, "", seconds),
            // Where much is asked: what asking alone costs.
            &mut || match checks {
                10_000.. => wrk(port, &["-H", "Connection: close"], seconds),
                _ => Ok(None),
            },
        ],
    )?;
    let own = |n| figure(&ours, n).unwrap_or(f64::NAN);
    let mut note = format!("{:.1} checks/s, {} not ok", own(RATE), own(BAD));
    if let Some(rate) = figure(&theirs, RATE) {
        note += &format!("; haproxy {rate:.1}");
    }
    if let Some(us) = figure(&limit, CPU) {
        note += &format!("; wrk with a connection a request: {us:.2} us of CPU each");
    }
    let name = healthd_core::config::thousands(checks as u64);
    let mut rows = vec![
        Row::new(format!("http, {name}/s: CPU a check"), own(CPU), "us")
            .beside("haproxy", figure(&theirs, CPU))
            .wants(MostTimes(times))
            .noted(note),
    ];
    if checks >= 1_000 {
        let mut note = format!("{} missed", own(MISSED));
        if let Some(missed) = figure(&theirs, MISSED) {
            note += &format!(", haproxy {missed}");
        }
        rows.push(
            Row::new(
                format!("http, {name}/s: period error p99"),
                own(ERROR),
                "ms",
            )
            .beside("haproxy", figure(&theirs, ERROR))
            .wants(Most(10.0))
            .wants(MostTimes(1.0))
            .noted(note),
        );
    }
    Ok(rows)
}

/// So that two cores have room for both ends of the handshakes.
const BY_HTTPS: usize = 1_000;

pub fn https(size: Size) -> Result<Vec<Row>, String> {
    let web = Web::start()?;
    let (ca, port, seconds) = (web.certs.ca(), web.https, size.seconds);
    let options = format!(
        ", ca_file = \"{}\", server_name = \"localhost\"",
        ca.display()
    );
    let text = web_checks(BY_HTTPS, "https", port, KEYS, &options);
    let keys = format!(
        "check-ssl verify required ca-file {} check-sni localhost verifyhost localhost",
        ca.display()
    );
    let full = format!("{keys} no-ssl-reuse");
    let [ours, fully, resumed] = medians(
        size,
        [
            &mut || web.by_healthd(&text, seconds),
            &mut || web.by_haproxy(BY_HTTPS, port, &full, seconds),
            &mut || web.by_haproxy(BY_HTTPS, port, &keys, seconds),
        ],
    )?;
    let own = |n| figure(&ours, n).unwrap_or(f64::NAN);
    let row = |what: &str, theirs: &Figures| {
        let mut note = format!("{:.1} checks/s, {} not ok", own(RATE), own(BAD));
        if let (Some(rate), Some(percent)) = (figure(theirs, RATE), figure(theirs, RESUMED)) {
            note += &format!("; haproxy {rate:.1}, with {percent:.0} % of its sessions resumed");
        }
        Row::new(
            format!("https, 1,000/s, {what}: CPU a check"),
            own(CPU),
            "us",
        )
        .beside("haproxy", figure(theirs, CPU))
        .wants(MostTimes(1.0))
        .noted(note)
    };
    // The http plugin has no option to resume: its figure is that of a full handshake in both rows.
    Ok(vec![
        row("full handshake", &fully),
        row("resumed", &resumed),
    ])
}
