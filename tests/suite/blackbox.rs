//! `/probe` beside Prometheus' own blackbox_exporter: one scrape config for both, in which only the address differs, and
//! the same targets. Families, names of labels and values are the same; times are told for the same phases.

use crate::harness::ctl::wait_for;
use crate::harness::http::{address, get};
use crate::harness::plugins::built;
use crate::harness::prometheus::Prometheus;
use crate::harness::{Config, Daemon, check, skipped};
use healthd_testing::{Certs, Folder, Nginx, Process, Server, free_port, program};
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};

const ZONE: &str = "$TTL 60\n@ SOA ns.example. h.example. 2026112901 60 60 60 60\n@ NS ns.example.\n\
    ns A 127.0.0.1\nx A 192.0.2.1\nx A 192.0.2.2\n";

/// Both know these by the same names. Of `{ca}` is the good server's certificate.
const MODULES: [(&str, &str, &str, &str); 9] = [
    (
        "http_2xx",
        "http",
        "{ url = \"{target}\", family = \"ipv4\", ca_file = \"{ca}\" }",
        "{prober: http, http: {preferred_ip_protocol: ip4, tls_config: {ca_file: {ca}}}}",
    ),
    (
        "http_insecure",
        "http",
        "{ url = \"{target}\", family = \"ipv4\", insecure = true }",
        "{prober: http, http: {preferred_ip_protocol: ip4, tls_config: {insecure_skip_verify: true}}}",
    ),
    (
        "http_body",
        "http",
        "{ url = \"{target}\", family = \"ipv4\", body_regex = \"nothing of that\" }",
        "{prober: http, http: {preferred_ip_protocol: ip4, fail_if_body_not_matches_regexp: ['nothing of that']}}",
    ),
    (
        "tcp_connect",
        "tcp",
        "{ host = \"{target}\", family = \"ipv4\" }",
        "{prober: tcp, tcp: {preferred_ip_protocol: ip4}}",
    ),
    (
        "tcp_tls",
        "tcp",
        "{ host = \"{target}\", family = \"ipv4\", tls = true, ca_file = \"{ca}\" }",
        "{prober: tcp, tcp: {preferred_ip_protocol: ip4, tls: true, tls_config: {ca_file: {ca}}}}",
    ),
    (
        "dns_a",
        "dns",
        "{ servers = [\"{target}\"], name = \"x.example\" }",
        "{prober: dns, dns: {preferred_ip_protocol: ip4, query_name: x.example, query_type: A}}",
    ),
    (
        "dns_soa",
        "dns",
        "{ servers = [\"{target}\"], name = \"example\", type = \"SOA\" }",
        "{prober: dns, dns: {preferred_ip_protocol: ip4, query_name: example, query_type: SOA}}",
    ),
    (
        "dns_none",
        "dns",
        "{ servers = [\"{target}\"], name = \"none.example\" }",
        "{prober: dns, dns: {preferred_ip_protocol: ip4, query_name: none.example, query_type: A}}",
    ),
    (
        "icmp",
        "ping",
        "{ host = \"{target}\", packets = 1, family = \"ipv4\" }",
        "{prober: icmp, icmp: {preferred_ip_protocol: ip4}}",
    ),
];

struct Both {
    daemon: Daemon,
    ours: String,
    theirs: String,
    targets: Vec<(&'static str, String)>,
    _running: (Nginx, Nginx, Server, Process, Folder),
}

/// None: something is missing, and a word about it.
fn both() -> Option<Both> {
    let exporter = program(
        "prometheus-blackbox-exporter",
        "prometheus-blackbox-exporter",
    )?;
    let named = program("named", "bind9")?;
    if !Nginx::installed() {
        return None;
    }
    let locations = "location = /404 { return 404 'no'; } location = /away { return 302 /page; }
        location = /chunked { chunked_transfer_encoding on; ssi on; }";
    let good = Nginx::start(locations);
    let page = "hello world\n";
    std::fs::write(good.root().join("page"), page).expect("our own folder");
    std::fs::write(good.root().join("chunked"), page).expect("our own folder");
    let certs = Certs::new();
    let (pem, key) = certs.expired();
    let old = Nginx::start_with("location / { return 200 'old'; }", certs, &pem, &key);
    let names = Server::start(
        |folder, port| {
            folder.write("zone", ZONE);
            let conf = format!(
                "options {{ directory \"{}\"; listen-on port {port} {{ 127.0.0.1; }};
                   listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; recursion no; dnssec-validation no; }};
                 controls {{ }};
                 zone \"example\" {{ type primary; file \"zone\"; }};",
                folder.path().display()
            );
            let mut command = Command::new(&named);
            command.arg("-g").arg("-c").arg(folder.write("conf", conf));
            command
        },
        |folder, _| {
            let log = std::fs::read_to_string(folder.file("log"));
            log.is_ok_and(|log| log.contains("all zones loaded"))
        },
    );
    let ca = good.certs.ca().display().to_string();
    let folder = Folder::new();
    let modules =
        MODULES.map(|(name, _, _, theirs)| format!("  {name}: {}\n", theirs.replace("{ca}", &ca)));
    let config = folder.write("blackbox.yml", format!("modules:\n{}", modules.concat()));
    let theirs = format!("127.0.0.1:{}", free_port("127.0.0.1"));
    let child = Command::new(exporter)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--web.listen-address={theirs}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it is installed");
    let exporter = Process(child);
    wait_for("the exporter listens", || {
        std::net::TcpStream::connect(&theirs).is_ok()
    });
    let net = built("healthd-net", "libhealthd_net.so");
    let mut config = Config::new().plugin_file(net).section(
        "web",
        "listen = \"127.0.0.1:0\"\ntargets = [\"localhost\", \"127.0.0.1\", \"no.such.invalid\"]",
    );
    for (name, plugin, ours, _) in MODULES {
        let options = ours.replace("{ca}", &ca);
        let module = check(name).plugin(plugin).set("probe", "true");
        config = config.check(module.set("config", &options).timeout("20s"));
    }
    let daemon = config
        .check(check("own").script("true").interval("1h"))
        .spawn();
    daemon.expect_notify("READY=1");
    let ours = address(&daemon);
    let targets = vec![
        ("http_2xx", good.url("/page")),
        ("http_2xx", format!("127.0.0.1:{}/page", good.port)),
        ("http_2xx", good.url("/404")),
        ("http_2xx", good.url("/away")),
        ("http_2xx", good.url("/chunked")),
        (
            "http_2xx",
            format!("https://localhost:{}/page", good.port_tls),
        ),
        (
            "http_2xx",
            format!("https://localhost:{}/page", old.port_tls),
        ),
        (
            "http_insecure",
            format!("https://localhost:{}/page", old.port_tls),
        ),
        ("http_body", good.url("/page")),
        ("http_2xx", "http://127.0.0.1:1/".to_owned()),
        ("http_2xx", "http://no.such.invalid/".to_owned()),
        ("tcp_connect", format!("127.0.0.1:{}", good.port)),
        ("tcp_connect", "127.0.0.1:1".to_owned()),
        ("tcp_connect", "no.such.invalid:80".to_owned()),
        ("tcp_tls", format!("localhost:{}", good.port_tls)),
        ("tcp_tls", format!("localhost:{}", old.port_tls)),
        ("dns_a", format!("127.0.0.1:{}", names.port)),
        ("dns_soa", format!("127.0.0.1:{}", names.port)),
        ("dns_none", format!("127.0.0.1:{}", names.port)),
        ("dns_a", "127.0.0.1:1".to_owned()),
        ("icmp", "127.0.0.1".to_owned()),
        ("icmp", "no.such.invalid".to_owned()),
    ];
    Some(Both {
        daemon,
        ours,
        theirs,
        targets,
        _running: (good, old, names, exporter, folder),
    })
}

fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02x}")).collect()
}

/// Each series with its value.
fn series(page: &str) -> BTreeMap<String, f64> {
    let lines = page
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// Times are compared only as far as they are there: a machine is as fast as it is.
fn is_time(series: &str) -> bool {
    series.contains("_duration_seconds") || series.contains("lookup_time_seconds")
}

/// What our machine does in no time that could be told, and theirs in some.
fn may_be_nothing(series: &str) -> bool {
    series.contains("\"transfer\"") || series == "probe_dns_duration_seconds{phase=\"connect\"}"
}

fn stop(mut daemon: Daemon) {
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait_exit().code(), Some(0));
    daemon.assert_no_orphan();
}

#[test]
fn the_same_families_labels_and_values_for_each_target() {
    let Some(both) = both() else { return };
    let ask = |at: &str, module: &str, target: &str, more: &str| {
        let path = format!("/probe?module={module}&target={}{more}", encoded(target));
        get(at, &path, &["X-Prometheus-Scrape-Timeout-Seconds: 20"])
    };
    let mut compared = 0;
    for (module, target) in &both.targets {
        let [ours, theirs] = [&both.ours, &both.theirs].map(|at| ask(at, module, target, ""));
        let of = format!("{module} {target}\n{}\n{}", ours.body, theirs.body);
        assert_eq!((ours.status, theirs.status), (200, 200), "{of}");
        assert!(ours.head.contains("text/plain; version=0.0.4"), "{of}");
        let (ours, theirs) = (series(&ours.body), series(&theirs.body));
        let names = |s: &BTreeMap<String, f64>| s.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&ours), names(&theirs), "{of}");
        for (name, value) in &ours {
            let other = theirs[name];
            let same = match is_time(name) {
                true => (*value > 0.0) == (other > 0.0) || may_be_nothing(name),
                false => (value - other).abs() <= 1e-9 * other.abs(),
            };
            assert!(same, "{name}: {value}, {other}\n{of}");
            compared += 1;
        }
    }
    println!(
        "{} targets, {compared} series are the same",
        both.targets.len()
    );

    // The same refusals.
    for (query, said) in [
        ("module=nope&target=localhost", "Unknown module \"nope\""),
        ("module=http_2xx", "Target parameter is missing"),
        ("module=http_2xx&target=", "Target parameter is missing"),
    ] {
        let [ours, theirs] =
            [&both.ours, &both.theirs].map(|at| get(at, &format!("/probe?{query}"), &[]));
        assert_eq!((ours.status, theirs.status), (400, 400), "{query}");
        assert!(
            ours.body.contains(said) && theirs.body.contains(said),
            "{}",
            ours.body
        );
    }
    // What only we refuse.
    for target in [
        "http://169.254.169.254/",
        "http://2852039166/",
        "example.org",
    ] {
        assert_eq!(
            ask(&both.ours, "http_2xx", target, "").status,
            403,
            "{target}"
        );
    }
    let debug = ask(&both.ours, "http_2xx", &both.targets[0].1, "&debug=true");
    for part in [
        "Logs for the probe:",
        "Metrics that would have been returned:",
        "Module configuration:",
    ] {
        assert!(debug.body.contains(part), "{}", debug.body);
    }
    let own = |at: &str| -> BTreeSet<String> {
        let page = get(at, "/metrics", &[]).body;
        let names = page.lines().filter(|l| l.starts_with("blackbox_"));
        names
            .filter_map(|l| l.split([' ', '{']).next())
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(own(&both.ours), own(&both.theirs));
    let page = get(&both.ours, "/metrics", &[]);
    assert_eq!(page.value("blackbox_module_unknown_total"), Some(1.0));
    stop(both.daemon);
}

/// Each query of Grafana's dashboard 7587, as its panels put it; `SEL` is what its variables choose.
const DASHBOARD_7587: [&str; 9] = [
    "probe_success{SEL}",
    "probe_duration_seconds{SEL}",
    "probe_http_duration_seconds{SEL}",
    "probe_http_status_code{SEL}",
    "probe_http_version{SEL}",
    "probe_http_ssl{SEL}",
    "probe_ssl_earliest_cert_expiry{SEL} - time()",
    "avg(probe_duration_seconds{SEL})",
    "avg(probe_dns_lookup_time_seconds{SEL})",
];

/// The same of 13659.
const DASHBOARD_13659: [&str; 9] = [
    "probe_success{SEL}",
    "probe_http_ssl{SEL} > 0",
    "(probe_ssl_earliest_cert_expiry{SEL} - time()) / 3600 / 24",
    "probe_http_status_code{SEL} > 0",
    "avg_over_time(probe_duration_seconds{SEL}[1m])",
    "probe_tls_version_info{SEL}",
    "avg_over_time(probe_dns_lookup_time_seconds{SEL}[1m])",
    "sum(probe_http_duration_seconds{SEL}) by (instance)",
    "avg(probe_http_duration_seconds{SEL}) by (phase)",
];

/// The same of the blackbox mixin (adinhodovic), and what its three alerts ask.
const MIXIN: [&str; 22] = [
    "max by (instance) (probe_success{SEL})",
    "count(probe_success{SEL})",
    "(count(probe_success{SEL} == 1) OR vector(0)) / count(probe_success{SEL})",
    "count(probe_http_ssl{SEL} == 1) / count(probe_http_version{SEL})",
    "avg(probe_duration_seconds{SEL})",
    "avg_over_time(probe_success{SEL}[30d])",
    "max by (instance) (probe_http_status_code{SEL})",
    "max by (instance) (probe_http_ssl{SEL})",
    "max by (instance, version) (probe_tls_version_info{SEL})",
    "min by (instance) (probe_ssl_earliest_cert_expiry{SEL} - time())",
    "max by (instance) (probe_http_redirects{SEL})",
    "max by (instance) (probe_http_version{SEL})",
    "avg by (instance) (probe_duration_seconds{SEL})",
    "avg by (instance) (probe_dns_lookup_time_seconds{SEL})",
    "sum by (instance) (avg by (phase, instance) (probe_http_duration_seconds{SEL}))",
    "avg(probe_http_duration_seconds{SEL}) by (phase)",
    "avg(probe_icmp_duration_seconds{SEL}) by (phase)",
    "avg by (instance) (probe_icmp_duration_seconds{SEL, phase=\"rtt\"}) > 0",
    "probe_dns_answer_rrs{SEL} > 0",
    "probe_success{SEL} == 0",
    "avg_over_time(probe_success{SEL}[30d]) * 100 < 99.9",
    "probe_ssl_earliest_cert_expiry{SEL} - time() < 21 * 24 * 3600",
];

#[test]
fn one_scrape_config_for_both_and_each_query_of_the_dashboards_has_data() {
    let Some(both) = both() else { return };
    let jobs = |kind: &str, at: &str| -> String {
        let modules: BTreeSet<&str> = both.targets.iter().map(|(m, _)| *m).collect();
        let job = |module: &&str| {
            let targets = both.targets.iter().filter(|(m, _)| m == module);
            let targets: Vec<String> = targets.map(|(_, t)| format!("'{t}'")).collect();
            // As the documentation of blackbox_exporter has it.
            format!(
                "- job_name: {kind}-{module}\n  metrics_path: /probe\n  params: {{module: [{module}]}}\n  static_configs: [{{targets: [{}]}}]\n  relabel_configs:\n  - {{source_labels: [__address__], target_label: __param_target}}\n  - {{source_labels: [__param_target], target_label: instance}}\n  - {{target_label: __address__, replacement: '{at}'}}\n",
                targets.join(", ")
            )
        };
        modules.iter().map(job).collect()
    };
    let config = format!(
        "global: {{scrape_interval: 5s, scrape_timeout: 5s}}\nscrape_configs:\n{}{}- job_name: ours\n  static_configs: [{{targets: ['{}']}}]\n",
        jobs("healthd", &both.ours),
        jobs("blackbox", &both.theirs),
        both.ours,
    );
    let folder = Folder::new();
    let Some(prometheus) = Prometheus::start(folder.path(), &config, &[]) else {
        return skipped("prometheus is missing");
    };
    let query = |query: &str| prometheus.count(query);
    let all = both.targets.len();
    for kind in ["healthd", "blackbox"] {
        wait_for("each target was scraped", || {
            query(&format!("up{{job=~\"{kind}-.+\"}} == 1")) == all
        });
    }
    let queries = [&DASHBOARD_7587[..], &DASHBOARD_13659, &MIXIN].concat();
    for expr in &queries {
        // A scrape that was too slow leaves a gap, until the next one.
        wait_for(&format!("the same data of both: {expr}"), || {
            let [ours, theirs] = ["healthd", "blackbox"].map(|kind| {
                let chosen = format!("cluster=\"\", job=~\"{kind}-.+\", instance=~\".+\"");
                query(&expr.replace("SEL", &chosen))
            });
            ours > 0 && ours == theirs
        });
    }
    println!("{} queries have the same data of both", queries.len());
    wait_for("the reload's series", || {
        query("blackbox_exporter_config_last_reload_successful{job=\"ours\"} == 1") == 1
    });
    stop(both.daemon);
}
