//! The `tls` plugin: the certificates and the protocol of any TLS server. Options, metrics and verdicts are in `TLS.md`.
//!
//! Runs in: the step lane. What the server shows is looked at first and judged afterwards.

mod fingerprint;
mod options;

use crate::report::{Report, Unit, seconds_text};
use fingerprint::{fingerprint, plain_fingerprint};
use healthd_client::host::Host;
use healthd_plugin::net::TcpStream;
use healthd_plugin::thresholds::{Lower, Upper, validity};
use healthd_plugin::tls::{
    Certificate, KeyKind, Observed, Observer, Roots, Settings, Version, identity_from_options,
    rustls, starttls, versions_from_options,
};
use healthd_plugin::{Check, Cx, Metric, Status, failure};
use options::Options;
use rustls::ProtocolVersion;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Tls {
    options: Options,
    host: Host,
    observer: Observer,
    fingerprints: Vec<String>,
}

impl Check for Tls {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let host = Host::new(&o.host, o.family)?;
        let (oldest, newest) = versions_from_options(o.tls_min, o.tls_max)?;
        let settings = Settings {
            roots: Roots::from_options(o.ca_file.as_deref(), o.insecure)?,
            identity: identity_from_options(o.cert_file.as_deref(), o.key_file.as_deref())?,
            may_identify: true,
            oldest,
            newest,
            pins: o.pins.clone(),
            ..Settings::default()
        };
        let name = o.server_name.as_deref().unwrap_or_else(|| host.bare());
        let observer = Observer::with(&settings, name)?;
        let pins = o
            .fingerprints
            .iter()
            .flatten()
            .map(|t| plain_fingerprint(t));
        let fingerprints = pins.collect::<Result<_, _>>();
        let fingerprints = fingerprints.map_err(|e| format!("fingerprints: {e}"))?;
        Ok(Tls {
            host,
            observer,
            fingerprints,
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.look(cx).await {
            Ok((mut seen, seconds)) => {
                let refusal = seen.stream.refusal(cx).await;
                self.judge(cx, &seen, seconds, refusal)
            }
            Err(status) => status,
        }
    }
}

impl Tls {
    /// The error is the outcome, with its message set.
    async fn look<'a>(&self, cx: Cx<'a>) -> Result<(Observed<TcpStream<'a>>, f64), Status> {
        let o = &self.options;
        let ips = self.host.resolve(cx).await.map_err(|f| f.tell(cx))?;
        let begin = cx.now_ns();
        let stream = self.host.reach(cx, ips, o.port).await;
        let mut stream = stream.map_err(|f| f.tell(cx))?;
        if let Some(dialect) = o.starttls {
            cx.phase("starttls");
            let asked = starttls(stream, dialect, self.host.bare()).await;
            stream = asked.map_err(|e| cx.fail("starttls", &e))?;
        }
        cx.phase("tls");
        let seen = self.observer.connect(stream).await;
        let seen = seen.map_err(|e| cx.fail("tls", &e))?;
        Ok((seen, (cx.now_ns() - begin) as f64 / 1e9))
    }

    fn judge<S>(
        &self,
        cx: Cx<'_>,
        seen: &Observed<S>,
        seconds: f64,
        refusal: io::Result<()>,
    ) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        if let Err(e) = refusal {
            let (status, text) = failure("tls", &e);
            report.add(status, text);
        }
        let chain: Vec<Option<Certificate<'_>>> = seen
            .chain
            .iter()
            .map(|der| Certificate::parse(der))
            .collect();
        if let Err(why) = &seen.verdict {
            report.add(Status::Critical, explained(why, &chain));
        }
        self.judge_days(cx, &mut report, &chain);
        for c in chain.iter().flatten() {
            if matches!(c.key, KeyKind::Rsa { bits } if bits < o.key_bits_min as usize) {
                let (name, least) = (c.name(), o.key_bits_min);
                let text = format!("{name} has an {}, at least {least} bits are wanted", c.key);
                report.add(Status::Critical, text);
            }
        }
        if !self.fingerprints.is_empty() {
            let found = seen
                .chain
                .first()
                .map(|der| fingerprint(der))
                .unwrap_or_default();
            if !self.fingerprints.contains(&found) {
                report.add(
                    Status::Critical,
                    format!("the fingerprint is {found}, none of `fingerprints`"),
                );
            }
        }
        let own = chain.first().and_then(Option::as_ref);
        if let (Some(wanted), Some(own)) = (&o.issuer, own)
            && !own.issuer_name().contains(wanted.as_str())
        {
            report.add(
                Status::Critical,
                format!("the issuer is {}", own.issuer_name()),
            );
        }
        let version = match seen.protocol {
            Some(ProtocolVersion::TLSv1_2) => Some(Version::Tls12),
            Some(ProtocolVersion::TLSv1_3) => Some(Version::Tls13),
            _ => None,
        };
        let spoken = match version {
            Some(Version::Tls12) => "TLS 1.2",
            Some(Version::Tls13) => "TLS 1.3",
            None => "another TLS version",
        };
        if version.is_none_or(|v| !o.protocols.contains(&v)) {
            report.add(Status::Critical, format!("the server chose {spoken}"));
        }
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("handshake", seconds).unit("s").min(0.0);
        let text = format!("connected after {}", seconds_text(seconds));
        report.upper(limits, metric, seconds, &text, Unit::Seconds);
        if let Some(KeyKind::Rsa { bits }) = own.map(|c| c.key) {
            cx.metric(Metric::new("key_bits", bits as f64));
        }
        for (i, c) in chain.iter().enumerate() {
            let n = i + 1;
            cx.detail(match c {
                Some(c) => {
                    let (name, by, days) = (c.name(), c.issuer_name(), days_left(c));
                    format!("{n}: {name}, by {by}, {days:.1} days, {}\n", c.key)
                }
                None => format!("{n}: cannot be read\n"),
            });
        }
        let summary = own.map_or_else(String::new, |c| {
            let (name, by, days) = (c.name(), c.issuer_name(), days_left(c));
            format!("{name}, by {by}, {}, {spoken}", validity(days))
        });
        report.end(&summary)
    }

    /// Of the server's own certificate, and of the one among the others that runs out first.
    fn judge_days(&self, cx: Cx<'_>, report: &mut Report<'_>, chain: &[Option<Certificate<'_>>]) {
        let o = &self.options;
        let limits = Lower {
            warn: Some(o.days_warn),
            crit: Some(o.days_crit),
        };
        let Some((own, others)) = chain.split_first() else {
            return report.add(Status::Critical, "the server shows no certificate");
        };
        let Some(own) = own else {
            return report.add(Status::Critical, "the certificate cannot be read");
        };
        let days = days_left(own);
        let metric = Metric::new("days", days).unit("d");
        let text = validity(days);
        report.lower(limits, metric, days, &text, Unit::Days);
        if let Some(other) = others.iter().flatten().min_by_key(|c| c.not_after) {
            let days = days_left(other);
            let metric = Metric::new("chain_days", days).unit("d");
            let text = format!("{} of the chain {}", other.name(), validity(days));
            match o.chain {
                true => report.lower(limits, metric, days, &text, Unit::Days),
                false => cx.metric(metric),
            }
        }
    }
}

/// What a verifier says; of a chain that leads nowhere, where it ends.
fn explained(why: &str, chain: &[Option<Certificate<'_>>]) -> String {
    let mut all = chain.iter().flatten();
    let Some(own) = all
        .next()
        .filter(|_| why.ends_with("no CA that is trusted here"))
    else {
        return why.into();
    };
    let mut end = own;
    // Each of the others at most once: they may lead round in a circle.
    let mut left: Vec<_> = all.collect();
    while let Some(at) = left.iter().position(|c| c.subject() == end.issuer()) {
        end = left.remove(at);
    }
    let issuer = end.issuer_name();
    match std::ptr::eq(end, own) && !own.is_self_issued() {
        true => format!("{why}: the server sends it without that of its issuer, {issuer}"),
        false => format!("{why}: its chain ends with {issuer}"),
    }
}

/// Below zero once it has run out.
fn days_left(c: &Certificate<'_>) -> f64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    (c.not_after as f64 - now.as_secs_f64()) / 86_400.0
}

#[cfg(test)]
mod tests;
