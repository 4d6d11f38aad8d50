//! The `snmp` plugin: values of an SNMP agent, version 1, 2c and 3. Options, metrics and verdicts are in `SNMP.md`.
//!
//! Runs in: the step lane.

mod ber;
mod options;
mod usm;
mod v3;

use crate::report::Report;
use ber::{Oid, Response, Value};
use healthd_client::host::Host;
use healthd_plugin::net::UdpSocket;
use healthd_plugin::options::{FirstCell, Thresholds};
use healthd_plugin::{Check, Cx, Delta, Growth, Kept, Metric, Status};
use options::{Options, Version};
use regex_lite::Regex;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use v3::{Engine, Heard, User};

/// When the agent began (sysUpTime): counters before that are of another life.
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";
/// After so long without an answer a datagram is sent again: one that is lost is no fault of the agent's.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Of a run's time a twentieth is kept back for the verdict.
const FOR_THE_VERDICT: u32 = 20;
/// So often an agent of version 3 may say in one run that it is another one, or of another time.
const INTRODUCTIONS_MAX: usize = 3;
const NO_SUCH_NAME: i64 = 2;
const AUTHORIZATION_ERROR: i64 = 16;

pub struct Snmp {
    options: Options,
    host: Host,
    /// First the one that is judged, then those that are shown, last the time since the start.
    asked: Vec<Oid>,
    /// Of those that are shown.
    names: Vec<String>,
    matches: Option<Regex>,
    /// Of version 3.
    user: Option<User>,
    /// The agent, once it has made itself known to that user.
    engine: Kept<Option<Engine>>,
    before: Kept<Before>,
}

/// What the last run saw.
#[derive(Default)]
struct Before {
    counter: Delta,
    ticks: Option<u64>,
}

impl Check for Snmp {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let host = Host::new(&o.host, o.family)?;
        let oid = |text: &String| {
            Oid::parse(text).ok_or_else(|| {
                format!(
                    "{text:?} is no OID; write its numbers (`snmptranslate -On NAME` knows them)"
                )
            })
        };
        let judged = o.expect.is_some() || o.matches.is_some() || o.warn.or(o.crit).is_some();
        if o.oid.is_none() && (judged || o.rate) {
            return Err("rate, expect, matches, warn, crit: need `oid`".into());
        }
        if o.rate && (o.expect.is_some() || o.matches.is_some()) {
            return Err("expect, matches: the limits of a rate are `warn` and `crit`".into());
        }
        if !o.scale.is_finite() {
            return Err("scale: no number to multiply by".into());
        }
        let user = user(&o)?;
        let mut asked = Vec::new();
        for text in o.oid.iter().chain(o.also.values()) {
            asked.push(oid(text)?);
        }
        asked.push(oid(&UPTIME.to_owned())?);
        let matches = o.matches.as_deref().map(Regex::new).transpose();
        Ok(Snmp {
            host,
            asked,
            names: o.also.keys().cloned().collect(),
            matches: matches.map_err(|e| format!("matches: {e}"))?,
            user,
            engine: Kept::default(),
            before: Kept::default(),
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.ask(cx).await {
            Ok(values) => self.judge(cx, &values),
            Err(status) => status,
        }
    }
}

impl Snmp {
    /// The values in the order of what is asked for. The error is the outcome, with its message set.
    async fn ask(&self, cx: Cx<'_>) -> Result<Vec<Value>, Status> {
        let ips = self.host.resolve(cx).await.map_err(|f| f.tell(cx))?;
        cx.phase("query");
        let begin = cx.now_ns();
        let response = self.exchange(cx, &ips, &self.asked).await?;
        let last = self.asked.len();
        let uptime_only = response.error == NO_SUCH_NAME && response.error_index == last as i64;
        // An agent of version 1 answers nothing if one of them is not there. Without this one we can do.
        let mut values = match uptime_only && last > 1 {
            true => {
                let response = self.exchange(cx, &ips, &self.asked[..last - 1]).await?;
                let mut values = self.values(cx, response, &self.asked[..last - 1])?;
                values.push(Value::Missing("no such object"));
                values
            }
            false => self.values(cx, response, &self.asked)?,
        };
        let seconds = (cx.now_ns() - begin) as f64 / 1e9;
        cx.metric(Metric::new("query", seconds).unit("s").min(0.0));
        if self.options.version == Version::V1 {
            // There a value of the type NULL says so.
            for value in values.iter_mut().filter(|v| **v == Value::Null) {
                *value = Value::Missing("no value");
            }
        }
        Ok(values)
    }

    async fn exchange(&self, cx: Cx<'_>, ips: &[IpAddr], oids: &[Oid]) -> Result<Response, Status> {
        let o = &self.options;
        if let Some(user) = &self.user {
            return self.exchange_as(cx, ips, user, oids).await;
        }
        let id = new_id();
        let version = i32::from(o.version == Version::V2c);
        let community = o.community.as_deref().unwrap_or("public");
        let question = ber::with_community(version, community, &ber::get(id, oids));
        let hear = |datagram: &[u8]| {
            let response = Response::parse(datagram)?;
            Ok((response.id == id).then_some(response))
        };
        let hint = " (a wrong community is not answered either)";
        self.converse(cx, ips, &question, hear, hint).await
    }

    /// As a user of version 3. An agent makes itself known first, and says so when it has begun anew since.
    async fn exchange_as(
        &self,
        cx: Cx<'_>,
        ips: &[IpAddr],
        user: &User,
        oids: &[Oid],
    ) -> Result<Response, Status> {
        let mut introductions = 0;
        loop {
            let id = new_id();
            let engine = self.engine.with(|engine| engine.clone());
            let question = match &engine {
                Some(engine) => user.question(id, engine, cx.now_ns(), &ber::get(id, oids)),
                None => user.introduction(id),
            };
            let hear = |datagram: &[u8]| user.hear(datagram, id, engine.as_ref());
            let heard = self.converse(cx, ips, &question, hear, "").await?;
            let Heard { response, .. } = &heard;
            if !response.is_report {
                return match response.id == id && engine.is_some() {
                    true => Ok(heard.response),
                    false => {
                        Err(cx.critical("the answer is broken: it is one to another question"))
                    }
                };
            }
            let said = response.values.first().map(|(oid, _)| oid.to_string());
            let said = said.unwrap_or_default();
            introductions += 1;
            let known = match said.as_str() {
                v3::UNKNOWN_ENGINE => None,
                // Only itself can say so, if it signs at all.
                v3::WRONG_TIME if heard.is_signed || user.auth.is_none() => engine,
                _ => {
                    return Err(
                        cx.unknown(format_args!("the agent refuses: {}", v3::meaning(&said)))
                    );
                }
            };
            if introductions > INTRODUCTIONS_MAX {
                return Err(cx.critical(format_args!(
                    "the agent goes on to say: {}",
                    v3::meaning(&said)
                )));
            }
            let mut engine = known.unwrap_or_else(|| Engine::new(heard.engine.clone(), user));
            (engine.time, engine.seen_ns) = (heard.time, cx.now_ns());
            self.engine.with(|kept| *kept = Some(engine));
        }
    }

    /// Asks until there is an answer, each address in turn. `hear` says `None` of what is no answer to this.
    async fn converse<T>(
        &self,
        cx: Cx<'_>,
        ips: &[IpAddr],
        question: &[u8],
        hear: impl Fn(&[u8]) -> Result<Option<T>, String>,
        hint: &str,
    ) -> Result<T, Status> {
        let kept = cx.remaining() / FOR_THE_VERDICT;
        let end = cx.deadline_ns().saturating_sub(kept.as_nanos() as u64);
        let mut sent = 0;
        for ip in ips.iter().cycle() {
            let left = Duration::from_nanos(end.saturating_sub(cx.now_ns()));
            if left.is_zero() {
                break;
            }
            let socket = UdpSocket::connect(cx, SocketAddr::new(*ip, self.options.port));
            let socket = socket.map_err(|e| cx.fail("socket", &e))?;
            let done = socket.send(question).await;
            done.map_err(|e| cx.fail("send", &e))?;
            sent += 1;
            let listening = listen(cx, &socket, &hear);
            if let Ok(heard) = cx.timeout(left.min(AGAIN_AFTER), listening).await {
                return heard;
            }
        }
        Err(cx.critical(format_args!("no answer to {sent} questions{hint}")))
    }

    fn values(&self, cx: Cx<'_>, response: Response, asked: &[Oid]) -> Result<Vec<Value>, Status> {
        if response.error != 0 {
            let index = usize::try_from(response.error_index - 1).ok();
            let of = index.and_then(|i| asked.get(i));
            let of = of.map_or(String::new(), |oid| format!("{oid}: "));
            let name = error_name(response.error);
            return Err(match response.error {
                NO_SUCH_NAME | AUTHORIZATION_ERROR => {
                    cx.unknown(format_args!("{of}the agent says {name}"))
                }
                _ => cx.critical(format_args!("{of}the agent says {name}")),
            });
        }
        let same = response.values.len() == asked.len()
            && response
                .values
                .iter()
                .zip(asked)
                .all(|(got, oid)| got.0 == *oid);
        if !same {
            return Err(cx.critical("the answer is broken: it is about other values"));
        }
        Ok(response
            .values
            .into_iter()
            .map(|(_, value)| value)
            .collect())
    }

    fn judge(&self, cx: Cx<'_>, values: &[Value]) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let ticks = match values.last() {
            Some(Value::Ticks(ticks)) => Some(*ticks),
            _ => None,
        };
        if let Some(ticks) = ticks {
            let metric = Metric::new("uptime", ticks as f64 / 100.0);
            cx.metric(metric.unit("s").min(0.0));
        }
        let shown = &values[usize::from(o.oid.is_some())..];
        for (name, value) in self.names.iter().zip(shown) {
            match (value.number(), value) {
                (Some(n), Value::Counter(..)) => cx.metric(Metric::new(name, n).min(0.0).counter()),
                (Some(n), _) => cx.metric(Metric::new(name, n)),
                (None, Value::Missing(why)) => {
                    report.add(Status::Unknown, format!("{name}: {why} at this agent"));
                }
                (None, _) => cx.detail(format_args!("{name}: {}\n", short(value))),
            }
        }
        let (Some(oid), Some(value)) = (&o.oid, values.first()) else {
            return match ticks {
                Some(ticks) => report.end(&format!("the agent is up for {}", uptime_text(ticks))),
                None => {
                    report.add(
                        Status::Unknown,
                        "the agent does not say since when it is up",
                    );
                    report.end("")
                }
            };
        };
        if let Value::Missing(why) = value {
            report.add(Status::Unknown, format!("{oid}: {why} at this agent"));
            return report.end("");
        }
        match o.rate {
            true => self.judge_rate(cx, report, value, ticks),
            false => self.judge_value(cx, report, value),
        }
    }

    fn judge_value(&self, cx: Cx<'_>, mut report: Report<'_>, value: &Value) -> Status {
        let o = &self.options;
        let limits = Thresholds {
            warn: o.warn,
            crit: o.crit,
        };
        let number = value.number().map(|n| n * o.scale);
        if let Some(n) = number {
            let metric = limits.on(Metric::new(&o.label, n));
            let metric = match &o.unit {
                Some(unit) => metric.unit(unit),
                None => metric,
            };
            cx.metric(metric);
        }
        let text = match number {
            Some(n) if o.scale != 1.0 => n.to_string(),
            _ => value.to_string(),
        };
        let verdict = FirstCell::Text(&text).judge(o.expect.as_ref(), &limits);
        let said = format!("{} is {}", o.label, verdict.text);
        if let Some(regex) = self.matches.as_ref().filter(|r| !r.is_match(&text)) {
            let text = format!(
                "{} is {:?}, which does not match {regex}",
                o.label,
                short(value)
            );
            report.add(Status::Critical, text);
        }
        match verdict.status {
            Status::Ok => report.end(&said),
            status => {
                report.add(status, said);
                report.end("")
            }
        }
    }

    fn judge_rate(
        &self,
        cx: Cx<'_>,
        mut report: Report<'_>,
        value: &Value,
        ticks: Option<u64>,
    ) -> Status {
        let o = &self.options;
        let Value::Counter(count, width) = value else {
            let text = format!("{} is {:?}, which is no counter", o.label, short(value));
            report.add(Status::Unknown, text);
            return report.end("");
        };
        let growth = self.before.with(|before| {
            // The agent began anew, or its time wrapped after 497 days: either way one rate is left out.
            if ticks
                .zip(before.ticks)
                .is_some_and(|(now, then)| now < then)
            {
                before.counter.forget();
            }
            before.ticks = ticks;
            before.counter.next(*width, *count, cx.now_ns())
        });
        let Some(rate) = growth.rate() else {
            let why = match growth {
                Growth::Reset => "the counter began anew",
                _ => "the first look",
            };
            return report.end(&format!("{}: no rate yet ({why})", o.label));
        };
        let limits = Thresholds {
            warn: o.warn,
            crit: o.crit,
        };
        let rate = rate * o.scale;
        let unit = format!("{}/s", o.unit.as_deref().unwrap_or_default());
        cx.metric(limits.on(Metric::new(&o.label, rate)).unit(&unit));
        let text = format!("{} grows by {rate:.2} {unit}", o.label);
        let text = text.replace(" /s", "/s");
        let (status, range) = match limits.judge(rate) {
            Status::Critical => (Status::Critical, o.crit),
            Status::Warn => (Status::Warn, o.warn),
            _ => return report.end(&text),
        };
        let range = range.map_or(String::new(), |r| format!(", outside of {r}"));
        report.add(status, text + &range);
        report.end("")
    }
}

/// Only datagrams from the agent's address and port come in.
async fn listen<T>(
    cx: Cx<'_>,
    socket: &UdpSocket<'_>,
    hear: impl Fn(&[u8]) -> Result<Option<T>, String>,
) -> Result<T, Status> {
    loop {
        let datagram = socket.receive().await;
        let datagram = datagram.map_err(|e| cx.fail("query", &e))?;
        match hear(&datagram) {
            Ok(Some(heard)) => return Ok(heard),
            Ok(None) => continue,
            Err(why) => return Err(cx.critical(format_args!("the answer is broken: {why}"))),
        }
    }
}

/// Nobody can guess it who does not see the question.
fn new_id() -> i32 {
    (RandomState::new().hash_one(0) as i32 & i32::MAX).max(1)
}

/// Who asks, in version 3.
fn user(o: &Options) -> Result<Option<User>, String> {
    let (auth, privacy) = (o.auth_password.clone(), o.priv_password.clone());
    if o.version != Version::V3 {
        let of_version_3 = [&o.user, &auth, &privacy, &o.context];
        return match of_version_3.iter().any(|option| option.is_some()) {
            true => Err("user, auth_password, priv_password, context: need version = \"3\"".into()),
            false => Ok(None),
        };
    }
    if o.community.is_some() {
        return Err("community: not for version 3, which has `user`".into());
    }
    if privacy.is_some() && auth.is_none() {
        return Err("priv_password: needs `auth_password`".into());
    }
    Ok(Some(User {
        name: o.user.clone().ok_or("user: version 3 needs one")?,
        context: o.context.clone().unwrap_or_default(),
        auth: auth.map(|password| (o.auth_protocol, password)),
        privacy: privacy.map(|password| (o.priv_protocol, password)),
    }))
}

fn error_name(error: i64) -> String {
    match error {
        1 => "tooBig".into(),
        NO_SUCH_NAME => "noSuchName".into(),
        5 => "genErr".into(),
        6 => "noAccess".into(),
        AUTHORIZATION_ERROR => "authorizationError".into(),
        n => format!("error {n}"),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

fn uptime_text(ticks: u64) -> String {
    let seconds = ticks / 100;
    match (
        seconds / 86_400,
        seconds % 86_400 / 3600,
        seconds % 3600 / 60,
    ) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, m) => format!("{m} min"),
        (0, h, m) => format!("{h} h {m} min"),
        (d, h, _) => format!("{d} days {h} h"),
    }
}

#[cfg(test)]
mod tests;
