//! The `ntp` plugin: an NTP server's time against this machine's. Options, metrics and verdicts are in `NTP.md`.
//!
//! Runs in: the step lane.

mod options;
mod packet;

use crate::report::{Report, Unit, seconds_text};
use healthd_client::host::Host;
use healthd_plugin::net::UdpSocket;
use healthd_plugin::thresholds::Upper;
use healthd_plugin::{Check, Clock, Cx, Metric, Status};
use options::Options;
use packet::{Answer, SIZE, Stamp, question};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long one answer is awaited.
const WAIT: Duration = Duration::from_secs(1);
/// Between two questions.
const SPACING: Duration = Duration::from_millis(100);
/// Kept back of a run's time for the verdict.
const FOR_THE_VERDICT: Duration = Duration::from_millis(20);

pub struct Ntp {
    options: Options,
    host: Host,
}

/// One question and its answer.
struct Sample {
    answer: Answer,
    /// The server's clock before ours, in seconds.
    offset: f64,
    /// There and back, in seconds.
    delay: f64,
}

impl Check for Ntp {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Ntp {
            host: Host::new(&o.server, o.family)?,
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.ask(cx).await {
            Ok(samples) => self.judge(cx, &samples),
            Err(status) => status,
        }
    }
}

impl Ntp {
    /// At least one sample. The error is the outcome, with its message set.
    async fn ask(&self, cx: Cx<'_>) -> Result<Vec<Sample>, Status> {
        let ips = self.host.resolve(cx).await.map_err(|f| f.tell(cx))?;
        cx.phase("query");
        let mut samples: Vec<Sample> = Vec::new();
        for n in 0..self.options.samples {
            if n > 0 {
                cx.sleep(SPACING).await;
            }
            let wait = WAIT.min(cx.remaining().saturating_sub(FOR_THE_VERDICT));
            if wait.is_zero() && n > 0 {
                break;
            }
            // The next address if one is silent.
            let ip = ips[usize::from(n) % ips.len()];
            match cx.timeout(wait, self.sample(cx, ip)).await {
                Ok(sample) => {
                    let sample = sample?;
                    let kissed = sample.answer.kiss().is_some();
                    samples.push(sample);
                    // Whoever says so must not be asked again.
                    if kissed {
                        break;
                    }
                }
                Err(_) => continue,
            }
        }
        match samples.is_empty() {
            true => Err(cx.critical(format_args!(
                "no answer to {} questions",
                self.options.samples
            ))),
            false => Ok(samples),
        }
    }

    async fn sample(&self, cx: Cx<'_>, ip: IpAddr) -> Result<Sample, Status> {
        let fail = |e| cx.fail("query", &e);
        let to = SocketAddr::new(ip, self.options.port);
        let socket = UdpSocket::connect(cx, to).map_err(fail)?;
        let cookie = RandomState::new().hash_one(cx.now_ns());
        let (asked, asked_ns) = (now(), cx.now_ns());
        socket.send(&question(cookie)).await.map_err(fail)?;
        let mut buffer = [0; SIZE * 2];
        loop {
            let n = socket.recv(&mut buffer).await.map_err(fail)?;
            let took = (cx.now_ns() - asked_ns) as f64 / 1e9;
            // With another cookie anybody may have sent it.
            let Some(answer) = Answer::parse(&buffer[..n], cookie) else {
                continue;
            };
            let inside = answer.sent.since(answer.received).max(0.0);
            // Half of the way there, half back; how long it took says the clock that nobody sets meanwhile.
            let delay = (took - inside).max(0.0);
            return Ok(Sample {
                offset: answer.received.since(asked) - delay / 2.0,
                answer,
                delay,
            });
        }
    }

    fn judge(&self, cx: Cx<'_>, samples: &[Sample]) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        if let Some(kiss) = samples.iter().find_map(|s| s.answer.kiss()) {
            return match kiss.as_str() {
                "RATE" => cx.unknown("the server says RATE: it is asked too often"),
                "DENY" | "RSTR" => cx.unknown(format_args!(
                    "the server says {kiss}: it does not serve this machine"
                )),
                other => cx.critical(format_args!("the server has no time yet ({other})")),
            };
        }
        // The fastest answer has the least room for a detour.
        let best = samples.iter().min_by(|a, b| a.delay.total_cmp(&b.delay));
        let Some(best) = best else {
            return cx.unknown("no answer");
        };
        let a = &best.answer;
        cx.metric(Metric::new("stratum", a.stratum.into()));
        if a.leap == 3 || a.stratum == 0 || a.stratum >= 16 {
            return cx.critical("the server's own clock is not synchronised");
        }
        if a.stratum > o.stratum_max {
            let text = format!("stratum {}, above {}", a.stratum, o.stratum_max);
            report.add(Status::Critical, text);
        }
        let distance = a.distance();
        let limits = Upper::of_durations(o.distance_warn, o.distance_crit);
        let metric = Metric::new("root_distance", distance).unit("s").min(0.0);
        let text = format!("the server may be wrong by {}", seconds_text(distance));
        report.upper(limits, metric, distance, &text, Unit::Seconds);
        self.judge_offset(cx, &mut report, best.offset);
        cx.metric(Metric::new("delay", best.delay).unit("s").min(0.0));
        let squares = samples.iter().map(|s| (s.offset - best.offset).powi(2));
        let jitter = (squares.sum::<f64>() / samples.len() as f64).sqrt();
        cx.metric(Metric::new("jitter", jitter).unit("s").min(0.0));
        let offset = seconds_text(best.offset);
        report.end(&format!("offset {offset}, stratum {}", a.stratum))
    }

    /// Two clocks differ: whose fault that is cannot be said by a clock that nobody keeps.
    fn judge_offset(&self, cx: Cx<'_>, report: &mut Report<'_>, offset: f64) {
        let o = &self.options;
        let limits = Upper::of_durations(Some(o.offset_warn), Some(o.offset_crit));
        cx.metric(limits.on(Metric::new("offset", offset).unit("s")));
        let limit = match limits.judge(offset.abs()) {
            Status::Critical => o.offset_crit,
            Status::Warn => o.offset_warn,
            _ => return,
        };
        let text = format!(
            "the clocks differ by {}, above {}",
            seconds_text(offset.abs()),
            seconds_text(limit.as_secs_f64())
        );
        match Clock::ask().map(|c| c.is_synchronised) {
            Ok(false) => report.add(
                Status::Unknown,
                format!("{text}, but this machine's own clock is not synchronised"),
            ),
            _ => report.add(limits.judge(offset.abs()), text),
        }
    }
}

fn now() -> Stamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Stamp::of_unix(now.unwrap_or_default().as_nanos())
}

#[cfg(test)]
mod tests;
