//! What a further check takes: one that waits for its next run, beside a server line of HAProxy, and one that waits for an
//! answer.

use super::Size;
use super::row::{Limit::*, Row};
use super::turns::{Figures, figure, medians};
use crate::daemon::Daemon;
use crate::kinds::memory as in_flight;
use crate::peers::{HTTPCHK, haproxy_with, nginx_with};
use crate::runs::{wait, warm_up, web_checks};
use healthd_test_support::{black_hole, procs};
use healthd_testing::{Certs, free_port};

/// What is there once, two workers and all plugins, is not a check's.
const FEW: usize = 2_000;
const MANY: usize = 12_000;

pub fn memory(size: Size) -> Result<Vec<Row>, String> {
    let hole = black_hole("127.0.0.1", 4_000)?;
    // Once the connection is secured nothing comes any more.
    let certs = Certs::possible().then(Certs::new);
    let certs = certs.ok_or("openssl is not installed: apt-get install openssl")?;
    let https = free_port("127.0.0.1");
    let silent = format!(
        "server {{ listen {https} ssl backlog=8192; ssl_certificate {}; ssl_certificate_key {}; \
         location / {{ proxy_pass http://127.0.0.1:{hole}; proxy_read_timeout 1h; }} }}",
        certs.certificate().display(),
        certs.key().display()
    );
    let nginx = nginx_with("$msec $uri", &silent, "location / { return 200; }")?;
    let url = |scheme: &str, port: u16| format!("url = \"{scheme}://127.0.0.1:{port}/\"");
    let http = url("http", hole);
    let https = format!(
        "{}, ca_file = \"{}\"",
        url("https", https),
        certs.ca().display()
    );
    let port = nginx.port;
    let one = |kb: f64| -> Result<Figures, String> { Ok(Some(vec![kb])) };
    let [idle, haproxy, by_http, by_https] = medians(
        size,
        [
            &mut || further(by_healthd(FEW, port)?, by_healthd(MANY, port)?),
            &mut || further(by_haproxy(FEW, port)?, by_haproxy(MANY, port)?),
            &mut || one(in_flight("http", &http)?),
            &mut || one(in_flight("http", &https)?),
        ],
    )?;
    let own = |figures| figure(figures, 0).unwrap_or(f64::NAN);
    Ok(vec![
        Row::new(
            "memory (PSS) of a further idle http check",
            own(&idle),
            "kB",
        )
        .beside("haproxy", figure(&haproxy, 0))
        .wants(Most(1.5)),
        Row::new("memory of a check in flight, http", own(&by_http), "kB").wants(Most(3.0)),
        Row::new("memory of a check in flight, https", own(&by_https), "kB")
            .wants(Most(23.0))
            .noted("its TLS handshake is done"),
    ])
}

/// kB of each check that the second has more.
fn further(few: Option<u64>, many: Option<u64>) -> Result<Figures, String> {
    let (Some(few), Some(many)) = (few, many) else {
        return Ok(None);
    };
    Ok(Some(vec![(many as f64 - few as f64) / (MANY - FEW) as f64]))
}

/// Each has run once.
fn by_healthd(checks: usize, port: u16) -> Result<Option<u64>, String> {
    let text = web_checks(checks, "http", port, "interval = \"1h\"", "");
    let daemon = Daemon::start_with("memory", "start_spread = \"5s\"\n", &text, &[])?;
    warm_up(&daemon, 15.0, "web-")?;
    Ok(Some(procs::pss_kb(daemon.pid())))
}

fn by_haproxy(checks: usize, port: u16) -> Result<Option<u64>, String> {
    let backend = format!("{HTTPCHK}\n  default-server inter 1h");
    let target = |i: usize| format!("127.1.{}.{}:{port}", i / 250, 1 + i % 250);
    let haproxy = haproxy_with("spread-checks 0", &backend, target, checks)?;
    wait(2.0);
    Ok(haproxy.map(|haproxy| procs::pss_kb(haproxy.pid())))
}
