//! What a probe found, in the families, labels and values of Prometheus' blackbox_exporter: the dashboards and rules that
//! there are for it go on as they are. Where a probe fails early the same families are there, zero, as there.

use crate::metrics::format::{Format, Kind, Labels, Writer};
use healthd_core::check::outcome::{Metric, Status};
use healthd_core::wire::probe::Probed;
use jiff::fmt::rfc2822;
use std::net::IpAddr;

/// The end of a chain that nobody vouches for: Go's zero time.
const NO_CHAIN: f64 = -62_135_596_800.0;

struct Family {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Labels, f64)>,
}

pub fn page(probed: &Probed) -> String {
    let mut families = Families::default();
    families.of(probed);
    let success = matches!(probed.status, Status::Ok | Status::Warning);
    families.one(
        "probe_success",
        "Displays whether or not the probe was a success",
        f64::from(u8::from(success)),
    );
    families.one(
        "probe_duration_seconds",
        "Returns how long the probe took to complete in seconds",
        probed.took_ns as f64 / 1e9,
    );
    families.text()
}

/// `phase`: what took how long.
type Phases = Vec<(&'static str, f64)>;

#[derive(Default)]
struct Families(Vec<Family>);

impl Families {
    fn one(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.labelled(name, help, vec![(Labels::none(), value)]);
    }

    fn labelled(&mut self, name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) {
        self.0.push(Family {
            name,
            help,
            samples,
        });
    }

    fn phases(&mut self, name: &'static str, help: &'static str, phases: Phases) {
        let samples = phases.into_iter();
        let samples = samples.map(|(phase, value)| (Labels::none().with("phase", phase), value));
        self.labelled(name, help, samples.collect());
    }

    /// In the order of their names.
    fn text(mut self) -> String {
        self.0.sort_by_key(|f| f.name);
        let mut out = Writer::new(Format::Text);
        for family in &self.0 {
            out.family(family.name, Kind::Gauge, family.help);
            for (labels, value) in &family.samples {
                out.sample(family.name, labels, *value);
            }
        }
        out.text()
    }

    fn of(&mut self, p: &Probed) {
        let seen = Seen(p);
        match p.plugin.as_str() {
            "http" => self.http(&seen),
            "tcp" => self.tcp(&seen),
            "dns" => self.dns(&seen),
            "ping" => self.icmp(&seen),
            _ => return self.other(p),
        }
        self.address(&seen);
    }

    fn address(&mut self, seen: &Seen<'_>) {
        let address = seen.address();
        self.one(
            "probe_dns_lookup_time_seconds",
            "Returns the time taken for probe dns lookup in seconds",
            seen.lookup(),
        );
        self.one(
            "probe_ip_protocol",
            "Specifies whether probe ip protocol is IP4 or IP6",
            match address {
                Some(IpAddr::V4(_)) => 4.0,
                Some(IpAddr::V6(_)) => 6.0,
                None => 0.0,
            },
        );
        self.one(
            "probe_ip_addr_hash",
            "Specifies the hash of IP address. It's useful to detect if the IP address changes.",
            address.map_or(0.0, hash),
        );
    }

    fn http(&mut self, seen: &Seen<'_>) {
        let answered = seen.text("status").is_some();
        self.phases(
            "probe_http_duration_seconds",
            "Duration of http request by phase, summed over all redirects",
            seen.http_phases(),
        );
        self.one(
            "probe_http_status_code",
            "Response HTTP status code",
            seen.number("status").unwrap_or(0.0),
        );
        let unknown = if answered { -1.0 } else { 0.0 };
        self.one(
            "probe_http_content_length",
            "Length of http content response",
            seen.number("content_length").unwrap_or(unknown),
        );
        self.one(
            "probe_http_uncompressed_body_length",
            "Length of uncompressed response body",
            seen.number("body_bytes").unwrap_or(0.0),
        );
        self.one(
            "probe_http_redirects",
            "The number of redirects",
            seen.number("redirects").unwrap_or(0.0),
        );
        let tls = seen.text("tls_version").is_some();
        self.one(
            "probe_http_ssl",
            "Indicates if SSL was used for the final redirect",
            f64::from(u8::from(tls)),
        );
        self.one(
            "probe_http_version",
            "Returns the version of HTTP of the probe response",
            seen.number("http_version").unwrap_or(0.0),
        );
        let broken = matches!(seen.text("broken_rule"), Some("header" | "body"));
        self.regex(broken);
        if let Some(at) = seen.text("last_modified").and_then(unix_time) {
            self.one(
                "probe_http_last_modified_timestamp_seconds",
                "Returns the Last-Modified HTTP response header in unixtime",
                at,
            );
        }
        self.tls(seen);
    }

    fn tcp(&mut self, seen: &Seen<'_>) {
        self.regex(seen.text("broken_rule") == Some("expect"));
        self.tls(seen);
    }

    fn regex(&mut self, broken: bool) {
        self.one(
            "probe_failed_due_to_regex",
            "Indicates if probe failed due to regex",
            f64::from(u8::from(broken)),
        );
    }

    /// Nothing, where TLS did not come about.
    fn tls(&mut self, seen: &Seen<'_>) {
        let Some(version) = seen.text("tls_version") else {
            return;
        };
        self.one(
            "probe_ssl_earliest_cert_expiry",
            "Returns last SSL chain expiry in unixtime",
            seen.number("certificate_ends").unwrap_or(0.0),
        );
        self.one(
            "probe_ssl_last_chain_expiry_timestamp_seconds",
            "Returns last SSL chain expiry in timestamp",
            seen.number("chain_ends").unwrap_or(NO_CHAIN),
        );
        let text = |key| seen.text(key).unwrap_or_default();
        let labels = Labels::none()
            .with("fingerprint_sha256", text("certificate_sha256"))
            .with("issuer", text("certificate_issuer"))
            .with("subject", text("certificate_subject"))
            .with("subjectalternative", text("certificate_names"));
        self.labelled(
            "probe_ssl_last_chain_info",
            "Contains SSL leaf certificate information",
            vec![(labels, 1.0)],
        );
        self.labelled(
            "probe_tls_version_info",
            "Returns the TLS version used or NaN when unknown",
            vec![(Labels::none().with("version", version), 1.0)],
        );
    }

    fn dns(&mut self, seen: &Seen<'_>) {
        let query = seen.metric("query").or_else(|| seen.phase("query"));
        self.phases(
            "probe_dns_duration_seconds",
            "Duration of DNS request by phase",
            vec![
                ("connect", 0.0),
                ("request", query.unwrap_or(0.0)),
                ("resolve", seen.lookup()),
            ],
        );
        for (name, help, key) in [
            (
                "probe_dns_answer_rrs",
                "Returns number of entries in the answer resource record list",
                "answers",
            ),
            (
                "probe_dns_authority_rrs",
                "Returns number of entries in the authority resource record list",
                "authorities",
            ),
            (
                "probe_dns_additional_rrs",
                "Returns number of entries in the additional resource record list",
                "additional",
            ),
        ] {
            self.one(name, help, seen.number(key).unwrap_or(0.0));
        }
        self.one(
            "probe_dns_query_succeeded",
            "Displays whether or not the query was executed successfully",
            f64::from(u8::from(seen.text("rcode").is_some())),
        );
        if let Some(serial) = seen.metric("serial") {
            self.one(
                "probe_dns_serial",
                "Returns the serial number of the zone",
                serial,
            );
        }
    }

    fn icmp(&mut self, seen: &Seen<'_>) {
        let found = seen.address().is_some();
        self.phases(
            "probe_icmp_duration_seconds",
            "Duration of icmp request by phase",
            vec![
                ("resolve", if found { seen.lookup() } else { 0.0 }),
                ("rtt", seen.metric("rtt").unwrap_or(0.0)),
                ("setup", seen.number("setup").unwrap_or(0.0)),
            ],
        );
        if let Some(limit) = seen.metric("ttl") {
            self.one(
                "probe_icmp_reply_hop_limit",
                "Replied packet hop limit (TTL for ipv4)",
                limit,
            );
        }
    }

    /// blackbox_exporter has no such kind: what the plugin measured.
    fn other(&mut self, p: &Probed) {
        let samples = p.metrics.iter().filter_map(|m| {
            let (unit, value) = crate::metrics::format::base(&m.unit, m.value?);
            Some((
                Labels::none().with("metric", &m.name).with("unit", unit),
                value,
            ))
        });
        self.labelled(
            "healthd_probe_metric",
            "What the run measured; times in seconds, sizes in bytes.",
            samples.collect(),
        );
    }
}

/// What the labels, metrics and phases of a run say.
struct Seen<'p>(&'p Probed);

impl<'p> Seen<'p> {
    fn text(&self, label: &str) -> Option<&'p str> {
        self.0.labels.get(label).map(String::as_str)
    }

    fn number(&self, label: &str) -> Option<f64> {
        self.text(label)?.parse().ok()
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let of_name = |m: &&Metric| m.name == name;
        self.0.metrics.iter().find(of_name)?.value
    }

    fn address(&self) -> Option<IpAddr> {
        self.text("address")?.parse().ok()
    }

    /// Name and seconds of each phase, in their order.
    fn timed(&self) -> Vec<(&'p str, f64)> {
        let phases = &self.0.phases;
        let ends = phases.iter().skip(1).map(|p| p.at_ns);
        let ends = ends.chain([self.0.took_ns]);
        let took = phases.iter().zip(ends);
        took.map(|(p, end)| {
            let ns = end.saturating_sub(p.at_ns);
            (p.name.as_str(), ns as f64 / 1e9)
        })
        .collect()
    }

    fn phase(&self, name: &str) -> Option<f64> {
        let timed = self.timed();
        timed.into_iter().find(|(n, _)| *n == name).map(|(_, s)| s)
    }

    /// Of the first name. An address takes no more than what lies before the next phase.
    fn lookup(&self) -> f64 {
        let phases = &self.0.phases;
        match phases.iter().position(|p| p.name == "dns") {
            Some(at) => self.timed()[at].1,
            None => phases.first().map_or(0.0, |p| p.at_ns as f64 / 1e9),
        }
    }

    fn http_phases(&self) -> Phases {
        let resolve = self.lookup();
        if self.address().is_none() && !self.0.phases.is_empty() {
            return vec![("resolve", resolve)];
        }
        let hops = hops(&self.timed());
        let last = hops.len().saturating_sub(1);
        let (mut all, mut resolve) = (Hop::default(), resolve);
        for (n, hop) in hops.iter().enumerate() {
            if n > 0 {
                resolve += hop.dns;
            }
            // Nothing is said of a connection over which no request went.
            if !hop.asked {
                continue;
            }
            all.connect += hop.connect;
            all.tls += hop.tls;
            if n < last || self.text("status").is_some() {
                all.ttfb += hop.ttfb;
                all.transfer += hop.transfer;
            }
        }
        vec![
            ("connect", all.connect),
            ("processing", all.ttfb),
            ("resolve", resolve),
            ("tls", all.tls),
            ("transfer", all.transfer),
        ]
    }
}

#[derive(Debug, Default, PartialEq)]
struct Hop {
    dns: f64,
    connect: f64,
    tls: f64,
    ttfb: f64,
    transfer: f64,
    asked: bool,
}

/// A redirect begins anew with a name or a connection.
fn hops(phases: &[(&str, f64)]) -> Vec<Hop> {
    let mut hops: Vec<Hop> = Vec::new();
    let mut before = "";
    for (name, seconds) in phases {
        if hops.is_empty() || *name == "dns" || (*name == "connect" && before != "dns") {
            hops.push(Hop::default());
        }
        if let Some(hop) = hops.last_mut() {
            match *name {
                "dns" => hop.dns += seconds,
                "connect" => hop.connect += seconds,
                "tls" => hop.tls += seconds,
                "ttfb" => (hop.ttfb, hop.asked) = (hop.ttfb + seconds, true),
                "transfer" => hop.transfer += seconds,
                _ => {}
            }
        }
        before = name;
    }
    hops
}

/// FNV-1a of the address' bytes, in 32 bits.
fn hash(address: IpAddr) -> f64 {
    let fold = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5_u32, |h, b| {
            (h ^ u32::from(*b)).wrapping_mul(0x0100_0193)
        })
    };
    f64::from(match address.to_canonical() {
        IpAddr::V4(v4) => fold(&v4.octets()),
        IpAddr::V6(v6) => fold(&v6.octets()),
    })
}

fn unix_time(date: &str) -> Option<f64> {
    let time = rfc2822::parse(date).ok()?;
    Some(time.timestamp().as_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::check::outcome::Phase;

    fn probed(
        plugin: &str,
        status: Status,
        labels: &[(&str, &str)],
        phases: &[(&str, u64)],
    ) -> Probed {
        Probed {
            module: "m".into(),
            plugin: plugin.into(),
            status,
            fault: None,
            message: String::new(),
            detail: String::new(),
            took_ns: 1_000,
            phases: phases
                .iter()
                .map(|(name, at_ns)| Phase {
                    name: (*name).into(),
                    at_ns: *at_ns,
                })
                .collect(),
            metrics: Vec::new(),
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            config: serde_json::Value::Null,
        }
    }

    /// Without comments.
    fn lines(p: &Probed) -> Vec<String> {
        let page = page(p);
        let lines = page.lines().filter(|l| !l.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn a_host_that_refuses_has_all_families_and_zeros() {
        let p = probed(
            "http",
            Status::Critical,
            &[("address", "127.0.0.1")],
            &[("connect", 100)],
        );
        // As blackbox_exporter 0.23 has it of http://127.0.0.1:1, but for the times.
        let expected = [
            "probe_dns_lookup_time_seconds 0.0000001",
            "probe_duration_seconds 0.000001",
            "probe_failed_due_to_regex 0",
            "probe_http_content_length 0",
            "probe_http_duration_seconds{phase=\"connect\"} 0",
            "probe_http_duration_seconds{phase=\"processing\"} 0",
            "probe_http_duration_seconds{phase=\"resolve\"} 0.0000001",
            "probe_http_duration_seconds{phase=\"tls\"} 0",
            "probe_http_duration_seconds{phase=\"transfer\"} 0",
            "probe_http_redirects 0",
            "probe_http_ssl 0",
            "probe_http_status_code 0",
            "probe_http_uncompressed_body_length 0",
            "probe_http_version 0",
            "probe_ip_addr_hash 3668918509",
            "probe_ip_protocol 4",
            "probe_success 0",
        ];
        assert_eq!(lines(&p), expected);
    }

    #[test]
    fn a_name_that_there_is_not_has_one_phase() {
        let p = probed("http", Status::Critical, &[], &[("dns", 0)]);
        let lines = lines(&p);
        let phases = lines.iter().filter(|l| l.contains("phase="));
        assert_eq!(phases.count(), 1);
        assert!(lines.contains(&"probe_ip_protocol 0".to_owned()));
    }

    #[test]
    fn phases_of_all_hops_are_summed() {
        let phases = [
            ("connect", 1.0),
            ("ttfb", 2.0),
            ("dns", 4.0),
            ("connect", 8.0),
            ("tls", 16.0),
            ("ttfb", 32.0),
            ("transfer", 64.0),
        ];
        let found = hops(&phases);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].connect, found[0].ttfb), (1.0, 2.0));
        assert_eq!(
            (found[1].dns, found[1].tls, found[1].transfer),
            (4.0, 16.0, 64.0)
        );
        let refused = hops(&[("connect", 1.0)]);
        assert!(!refused[0].asked);
    }

    #[test]
    fn dates_and_hashes() {
        assert_eq!(
            unix_time("Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(1_445_412_480.0)
        );
        assert_eq!(unix_time("yesterday"), None);
        assert_eq!(hash(IpAddr::from([127, 0, 0, 1])), 3_668_918_509.0);
    }
}
