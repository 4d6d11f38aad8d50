//! The `ping` plugin: ICMP echo. Options, metrics and verdicts are in `PING.md`.
//!
//! Runs in: the step lane. A run has a socket for itself, so its answers are nobody else's; it goes to the next run then.

mod count;
mod options;

use crate::report::{Report, Unit, seconds_text};
use count::{Counts, reason};
use healthd_client::host::Host;
use healthd_plugin::net::{Bind, Heard, PingSocket};
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Cx, Metric, Status};
use options::Options;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Kept back of a run's time for the verdict: loss is reported, not a timeout.
const FOR_THE_VERDICT: u64 = 20_000_000;

pub struct Ping {
    options: Options,
    host: Host,
    bind: Bind,
}

impl Check for Ping {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let host = Host::new(&o.host, o.family)?;
        let source = o.source.as_deref().map(str::parse::<IpAddr>).transpose();
        let source = source.map_err(|_| "source: no IP address".to_string())?;
        Ok(Ping {
            host,
            bind: Bind {
                source,
                interface: o.interface.clone(),
                dscp: None,
                ttl: o.ttl,
            },
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.ask(cx).await {
            Ok((to, counts)) => self.judge(cx, to, &counts),
            Err(status) => status,
        }
    }
}

impl Ping {
    /// Sends all requests and hears the answers. The error is the outcome, with its message set.
    async fn ask(&self, cx: Cx<'_>) -> Result<(IpAddr, Counts), Status> {
        let o = &self.options;
        let ips = self.host.resolve(cx).await.map_err(|f| f.tell(cx))?;
        let to = ips.into_iter().find(|ip| self.bind.allows(*ip));
        let Some(to) = to else {
            return Err(cx.unknown("source: of another family than all addresses of the host"));
        };
        cx.label("address", &to.to_string());
        cx.phase("ping");
        let begun = cx.now_ns();
        let mut socket = PingSocket::open(cx, to, o.size.into(), o.dont_fragment, &self.bind)
            .map_err(|e| fail(cx, "socket", &e))?;
        let mut counts = Counts::default();
        let spacing = o.spacing.as_nanos() as u64;
        let end = cx.deadline_ns().saturating_sub(FOR_THE_VERDICT);
        let mut next = begun;
        // Each request gets its time: with little of it fewer are sent.
        let wait = (o.wait.as_nanos() as u64).min(end.saturating_sub(next) / 2);
        loop {
            let sent = counts.sent();
            let more = sent == 0 || sent < usize::from(o.packets) && next + wait <= end;
            if more && (sent == 0 || cx.now_ns() >= next) {
                let at = socket.send(sent as u16).await;
                let at = at.map_err(|e| self.fail_to_send(cx, &e))?;
                counts.send(at);
                if o.facts && sent == 0 {
                    let setup = at.saturating_sub(begun) as f64 / 1e9;
                    cx.label("setup", &setup.to_string());
                }
                next = at + spacing;
                continue;
            }
            if !more && counts.all_answered() {
                return Ok((to, counts));
            }
            let until = match more {
                true => next,
                false => counts.last_sent() + wait,
            };
            // What came in before we looked was in time, however late we look: the socket is asked before the clock.
            let left = Duration::from_nanos(until.saturating_sub(cx.now_ns()));
            match cx.timeout(left, socket.hear()).await {
                Ok(Ok(heard)) => counts.hear(heard),
                Ok(Err(e)) => return Err(fail(cx, "receive", &e)),
                Err(_) if more => {}
                Err(_) => return Ok((to, counts)),
            }
        }
    }

    fn fail_to_send(&self, cx: Cx<'_>, e: &io::Error) -> Status {
        if e.raw_os_error() == Some(libc::EMSGSIZE) {
            let size = self.options.size;
            return cx.critical(format_args!(
                "send: a payload of {size} bytes does not fit into one packet of this machine's link"
            ));
        }
        fail(cx, "send", e)
    }

    fn judge(&self, cx: Cx<'_>, to: IpAddr, counts: &Counts) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let (sent, heard) = (counts.sent(), counts.answered());
        // A single request has one round trip, and its run is over with the first answer: four metrics would say nothing.
        let has_several = o.packets > 1;
        let loss = counts.loss_percent();
        let limits = Upper {
            warn: Some(o.loss_warn.0),
            crit: Some(o.loss_crit.0),
        };
        // The limit itself is bad, as everybody's ping has it: 100 % lost is never fine.
        let status = if loss >= o.loss_crit.0.max(f64::MIN_POSITIVE) {
            Status::Critical
        } else if loss >= o.loss_warn.0.max(f64::MIN_POSITIVE) {
            Status::Warn
        } else {
            Status::Ok
        };
        let metric = Metric::new("loss", loss).unit("%").min(0.0).max(100.0);
        cx.metric(limits.on(metric));
        let why = counts.error().map(|e| match e {
            Heard::Error { from, why, .. } => match from.filter(|from| *from != to) {
                Some(from) => format!(" ({}, says {from})", reason(to, why)),
                None => format!(" ({})", reason(to, why)),
            },
            Heard::Echo { .. } => String::new(),
        });
        let why = why.unwrap_or_default();
        if status != Status::Ok {
            let text = match heard {
                0 => format!("no answer to {sent} packets{why}"),
                _ => format!("{} lost{why}", Unit::Percent.text(loss)),
            };
            report.add(status, text);
        }
        let mut summary = String::new();
        if let Some(rtt) = counts.rtt() {
            let limits = Upper::of_durations(o.rtt_warn, o.rtt_crit);
            let metric = Metric::new("rtt", rtt.average).unit("s").min(0.0);
            let time = seconds_text(rtt.average);
            let text = format_args!("round trip {time}");
            report.upper(limits, metric, rtt.average, text, Unit::Seconds);
            summary = format!("{heard} of {sent} answered, round trip {time}");
            let spread = [
                ("rtt_min", rtt.min),
                ("rtt_max", rtt.max),
                ("rtt_stddev", rtt.stddev),
            ];
            for (name, value) in spread.into_iter().filter(|_| has_several) {
                cx.metric(Metric::new(name, value).unit("s").min(0.0));
            }
        }
        let duplicates = counts.duplicates();
        if has_several {
            cx.metric(Metric::new("duplicates", duplicates as f64).min(0.0));
        }
        if duplicates > 0 {
            summary += &format!(", {duplicates} duplicates");
        }
        if let Some(ttl) = counts.ttl() {
            cx.metric(Metric::new("ttl", ttl.into()));
            cx.metric(Metric::new("hops", count::hops(ttl).into()));
        }
        report.end(&summary)
    }
}

/// What this machine forbids is never the target's fault.
fn fail(cx: Cx<'_>, phase: &str, e: &io::Error) -> Status {
    let status = cx.fail(phase, e);
    match e.kind() {
        io::ErrorKind::PermissionDenied => Status::Resources,
        _ => status,
    }
}

#[cfg(test)]
mod tests;
