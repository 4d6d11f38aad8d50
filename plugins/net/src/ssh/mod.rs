//! The `ssh` plugin: banner, algorithms and host key of an SSH server. Options, metrics and verdicts are in `SSH.md`.
//!
//! Runs in: the step lane. It speaks until the server has listed its algorithms: a banner alone may come from a server
//! that can serve nobody any more.

mod key;
mod options;
mod wire;

use crate::report::{Report, Unit, seconds_text};
use healthd_client::host::Host;
use healthd_plugin::net::{Lines, TcpStream};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Metric, Status};
use key::{Exchange, Said};
use options::Options;
use regex_lite::Regex;
use std::io;
use wire::{DISCONNECT, ECDH_INIT, ECDH_REPLY, LINE_MAX, Offer};

const OUR_VERSION: &str = "SSH-2.0-healthd";

pub struct Ssh {
    options: Options,
    host: Host,
    version: Option<Regex>,
}

/// What the server has shown.
struct Seen {
    version: String,
    offer: Offer,
    /// Proved, if one was asked for.
    fingerprint: Option<String>,
    banner_seconds: f64,
    kex_seconds: f64,
    seconds: f64,
}

impl Check for Ssh {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let version = o.version.as_deref().map(Regex::new).transpose();
        for key in o.host_key.iter().flatten() {
            let base64 = key.strip_prefix("SHA256:").unwrap_or_default();
            if base64.trim_end_matches('=').len() != 43 {
                return Err(format!(
                    "host_key: {key:?} is none; write it as `ssh-keygen -lf` does: \"SHA256:...\""
                ));
            }
        }
        Ok(Ssh {
            host: Host::new(&o.host, o.family)?,
            version: version.map_err(|e| format!("version: {e}"))?,
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.speak(cx).await {
            Ok(seen) => self.judge(cx, &seen),
            Err(status) => status,
        }
    }
}

impl Ssh {
    /// The error is the outcome, with its message set.
    async fn speak(&self, cx: Cx<'_>) -> Result<Seen, Status> {
        let ips = self.host.resolve(cx).await.map_err(|f| f.tell(cx))?;
        let begin = cx.now_ns();
        let stream = self.host.reach(cx, ips, self.options.port).await;
        let stream = stream.map_err(|f| f.tell(cx))?;
        cx.phase("banner");
        let mut lines = Lines::new(stream, LINE_MAX);
        let mut before = Vec::new();
        let version = wire::version(&mut lines, &mut before).await;
        let version = version.map_err(|e| no_version(cx, &before, &e))?;
        let banner_seconds = (cx.now_ns() - begin) as f64 / 1e9;
        if !version.starts_with("SSH-2.0-") && !version.starts_with("SSH-1.99-") {
            return Err(cx.critical(format_args!("{version:?}: not version 2 of SSH")));
        }
        cx.phase("kex");
        let asked = cx.now_ns();
        let (offer, fingerprint) = self.exchange(cx, &mut lines, &version).await?;
        Ok(Seen {
            version,
            offer,
            fingerprint,
            banner_seconds,
            kex_seconds: (cx.now_ns() - asked) as f64 / 1e9,
            seconds: (cx.now_ns() - begin) as f64 / 1e9,
        })
    }

    async fn exchange(
        &self,
        cx: Cx<'_>,
        lines: &mut Lines<TcpStream<'_>>,
        version: &str,
    ) -> Result<(Offer, Option<String>), Status> {
        let fail = |e: io::Error| cx.fail("kex", &e);
        let ours = wire::kexinit();
        let mut hello = format!("{OUR_VERSION}\r\n").into_bytes();
        hello.extend_from_slice(&wire::framed(&ours));
        lines.write(&hello).await.map_err(fail)?;
        let theirs = wire::packet(lines).await.map_err(fail)?;
        if theirs[0] == DISCONNECT {
            return Err(hung_up(cx, &theirs));
        }
        let offer = Offer::parse(&theirs).map_err(fail)?;
        if self.options.host_key.is_none() {
            return Ok((offer, None));
        }
        if !offer
            .kex()
            .iter()
            .any(|k| k.starts_with("curve25519-sha256"))
        {
            return Err(cx.unknown(
                "host_key: the server has no curve25519-sha256, by which it could be proved",
            ));
        }
        let exchange = Exchange::begin().map_err(|e| cx.unknown(e))?;
        let mut init = vec![ECDH_INIT];
        wire::put_string(&mut init, &exchange.public);
        lines.write(&wire::framed(&init)).await.map_err(fail)?;
        let reply = wire::packet(lines).await.map_err(fail)?;
        match reply[0] {
            ECDH_REPLY => {}
            DISCONNECT => return Err(hung_up(cx, &reply)),
            other => {
                return Err(cx.critical(format_args!(
                    "kex: message {other} instead of the host's key"
                )));
            }
        }
        let said = Said {
            client_version: OUR_VERSION,
            server_version: version,
            client_offer: &ours,
            server_offer: &theirs,
        };
        let proved = exchange.prove(&said, &reply);
        let proved = proved.map_err(|e| cx.critical(format_args!("kex: {e}")))?;
        Ok((offer, Some(proved)))
    }

    fn judge(&self, cx: Cx<'_>, seen: &Seen) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let software = seen.version.splitn(3, '-').nth(2).unwrap_or_default();
        let software: String = software
            .chars()
            .filter(|c| !c.is_control())
            .take(60)
            .collect();
        if let Some(version) = self.version.as_ref().filter(|v| !v.is_match(&software)) {
            report.add(
                Status::Critical,
                format!("the version does not match {version}"),
            );
        }
        if let Some(found) = &seen.fingerprint {
            let wanted = o.host_key.iter().flatten();
            if !wanted.clone().any(|key| key.trim_end_matches('=') == found) {
                report.add(Status::Critical, format!("the host's key is {found}"));
            }
        }
        let mut forbidden: Vec<&str> = seen
            .offer
            .all()
            .filter(|a| o.forbid.iter().any(|f| f == a))
            .collect();
        forbidden.sort_unstable();
        forbidden.dedup();
        if !forbidden.is_empty() {
            report.add(Status::Warn, format!("offers {}", forbidden.join(", ")));
        }
        for (name, seconds) in [("banner", seen.banner_seconds), ("kex", seen.kex_seconds)] {
            cx.metric(Metric::new(name, seconds).unit("s").min(0.0));
        }
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        let metric = Metric::new("total", seen.seconds).unit("s").min(0.0);
        let text = format!("took {}", seconds_text(seen.seconds));
        report.upper(limits, metric, seen.seconds, &text, Unit::Seconds);
        report.end(&format!("{software} in {}", seconds_text(seen.seconds)))
    }
}

fn hung_up(cx: Cx<'_>, payload: &[u8]) -> Status {
    cx.critical(format_args!(
        "kex: the server hung up: {}",
        wire::goodbye(payload)
    ))
}

/// A server that has too many others to serve hangs up before it has said who it is: it is there, and it is busy.
fn no_version(cx: Cx<'_>, before: &[String], e: &io::Error) -> Status {
    let ended = matches!(
        e.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    );
    let busy =
        |line: &String| line.contains("MaxStartups") || line.contains("Not allowed at this time");
    if ended && (before.is_empty() || before.iter().any(busy)) {
        return cx.warn("banner: the server takes no more logins now (MaxStartups)");
    }
    cx.fail("banner", e)
}

#[cfg(test)]
mod tests;
