//! The `domain` plugin: when a domain ends and what its registry says of it. Options, metrics and verdicts are in `DOMAIN.md`.
//!
//! Runs in: the step lane. Registries count who asks (HTTP 429): an answer is kept, over restarts too, and judged again in
//! each run; a server that failed is left alone for a while.

mod answer;
mod options;

use crate::report::{Report, Unit};
use answer::Answer;
use healthd_client::http::url::Url;
use healthd_client::http::{Get, Response, get};
use healthd_plugin::serde_json::{self, Value, json};
use healthd_plugin::thresholds::{Lower, validity};
use healthd_plugin::tls::{Connector, Roots};
use healthd_plugin::{Cache, CacheError, Check, Cx, Metric, Status, host_name, rfc3339_seconds};
use options::Options;
use std::fmt;
use std::time::{Duration, SystemTime};

/// IANA's list has 60 KB, and a domain's answer rarely 20.
const BODY_MAX: u64 = 4 << 20;
/// A registry that did not answer is asked again after this time, or when it says.
const PAUSE: i64 = 3600;
const PAUSE_MAX: i64 = 7 * 86_400;
/// So long an answer is believed of which there is no newer one.
const BELIEVED: i64 = 7 * 86_400;
const DAY: f64 = 86_400.0;

/// One for all checks of a worker; the key is the list's URL.
static LISTS: Cache<Value, Trouble> = Cache::new("rdap", 4);
const LIST_IS_GOOD_FOR: Duration = Duration::from_secs(86_400);

pub struct Domain {
    options: Options,
    /// In ASCII and lower case.
    name: String,
    expires: Option<i64>,
    server: Option<Url>,
    bootstrap: Url,
    nameservers: Option<Vec<String>>,
    tls: Connector,
}

/// What is kept from run to run.
#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    /// When the registry said so, in seconds since 1970.
    at: i64,
    answer: Option<Answer>,
    /// Not to be asked before.
    next: i64,
    /// Why there is no newer answer.
    trouble: Option<String>,
}

/// Why the registry did not answer.
#[derive(Clone, Debug)]
struct Trouble {
    status: Status,
    why: String,
    /// Of these seconds.
    pause: Option<i64>,
    /// There is nobody to ask.
    is_nobody: bool,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<(Status, String)> for Trouble {
    fn from((status, why): (Status, String)) -> Trouble {
        Trouble {
            status,
            why,
            pause: None,
            is_nobody: false,
        }
    }
}

impl Check for Domain {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let name = host_name(&o.name).map_err(|why| format!("name: {why}"))?;
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if !name.contains('.') || name.parse::<std::net::IpAddr>().is_ok() {
            return Err(format!("name: {:?} is no registered domain", o.name));
        }
        let url = |key: &str, text: &str| Url::parse(text).map_err(|e| format!("{key}: {e}"));
        let server = o.server.as_deref().map(|text| url("server", text));
        let bootstrap = url("bootstrap", &o.bootstrap)?;
        let expires = o.expires.as_ref().map(|day| {
            let at = rfc3339_seconds(&format!("{day}T00:00:00Z"));
            at.ok_or_else(|| format!("expires: {day:?} is no date"))
        });
        let nameservers = o.nameservers.as_ref().map(|names| {
            let plain = |n: &String| n.trim_end_matches('.').to_ascii_lowercase();
            let mut names: Vec<String> = names.iter().map(plain).collect();
            names.sort();
            names
        });
        let roots = Roots::from_options(o.ca_file.as_deref(), false)?;
        Ok(Domain {
            tls: Connector::new(&roots, &bootstrap.host)?,
            name,
            expires: expires.transpose()?,
            server: server.transpose()?,
            bootstrap,
            nameservers,
            options: o,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let now = seconds_now();
        // Without a memory it works too: it asks more often.
        let before = cx.state().get().wait().await.ok().flatten();
        let mut known = before
            .and_then(|entry| serde_json::from_slice(&entry.value).ok())
            .map_or(Known::default(), |v: Value| {
                Known::from_json(&v, &self.of())
            });
        if known.next <= now || known.next > now + PAUSE_MAX.max(self.refresh()) {
            // A little before the deadline: a registry that is silent says nothing of the domain.
            let time = cx.remaining().mul_f64(0.9);
            let asked = match cx.timeout(time, self.ask(cx)).await {
                Ok(asked) => asked,
                Err(_) => Err((Status::Unknown, "no answer in time".to_owned()).into()),
            };
            match asked {
                Ok(answer) => known = Known::new(answer, now, self.refresh()),
                Err(t) if t.status == Status::Resources => {
                    cx.message(t.why);
                    return t.status;
                }
                Err(t) if t.is_nobody && self.expires.is_some() => {
                    let answer = Answer {
                        is_registered: true,
                        ..Answer::default()
                    };
                    known = Known::new(answer, now, self.refresh());
                }
                Err(t) => {
                    known.next = now + t.pause.unwrap_or(PAUSE).clamp(60, PAUSE_MAX);
                    known.trouble = Some(t.why);
                }
            }
            let kept = known.to_json(&self.of()).to_string();
            let _ = cx.state().set(kept.as_bytes()).wait().await;
        }
        self.judge(cx, &known, now)
    }
}

impl Domain {
    fn refresh(&self) -> i64 {
        i64::try_from(self.options.refresh.as_secs()).unwrap_or(i64::MAX / 2)
    }

    /// Of what the kept answer is: another question has another one.
    fn of(&self) -> String {
        let server = self.server.as_ref().unwrap_or(&self.bootstrap);
        let by_hand = self.options.expires.as_deref().unwrap_or_default();
        format!("{} {}{} {by_hand}", self.name, server.origin(), server.path)
    }

    async fn ask(&self, cx: Cx<'_>) -> Result<Answer, Trouble> {
        let how = Get {
            accept: "application/rdap+json, application/json",
            max_body: BODY_MAX,
            family: self.options.family.into(),
            tls: &self.tls,
        };
        let server = match &self.server {
            Some(server) => server.clone(),
            None => self.registry(cx, &how).await?,
        };
        cx.phase("registry");
        let base = format!("{}{}", server.origin(), server.path);
        let url = format!("{}/domain/{}", base.trim_end_matches('/'), self.name);
        let url = Url::parse(&url).map_err(|why| (Status::Unknown, format!("server: {why}")))?;
        let response = get(cx, &url, &how).await?;
        match response.status {
            200 => {
                let answer = json_of(&response).and_then(|json| Answer::parse(&json, &self.name));
                answer.map_err(|why| (Status::Unknown, format!("{}: {why}", url.host)).into())
            }
            404 => Ok(Answer::default()),
            status => Err(Trouble {
                status: Status::Unknown,
                why: format!("{}: HTTP {status}", url.host),
                pause: retry_after(&response),
                is_nobody: false,
            }),
        }
    }

    /// By IANA's list, which all checks of a worker share.
    async fn registry(&self, cx: Cx<'_>, how: &Get<'_>) -> Result<Url, Trouble> {
        cx.phase("list");
        let unknown = |why: String| (Status::Unknown, why);
        let key = format!("{}{}", self.bootstrap.origin(), self.bootstrap.path);
        let fetch = async || {
            let response = get(cx, &self.bootstrap, how).await?;
            let host = &self.bootstrap.host;
            match response.status {
                200 => Ok((
                    json_of(&response).map_err(|why| unknown(format!("{host}: {why}")))?,
                    LIST_IS_GOOD_FOR,
                )),
                status => Err(Trouble::from(unknown(format!("{host}: HTTP {status}")))),
            }
        };
        let list = match LISTS.get_or_compute(cx, &key, fetch).await {
            Ok(list) => list,
            Err(CacheError::Failed(failed)) => return Err(failed),
            Err(other) => return Err(unknown(other.to_string()).into()),
        };
        let servers = answer::servers(&list, &self.name);
        // Where there are two, one is secure.
        let best = servers
            .iter()
            .find(|s| s.starts_with("https:"))
            .or(servers.first());
        let Some(url) = best else {
            let ending = self.name.rsplit('.').next().unwrap_or_default();
            return Err(Trouble {
                is_nobody: true,
                ..unknown(format!(
                    "the registry of .{ending} has no RDAP server; write `expires` by hand, or `server`"
                ))
                .into()
            });
        };
        let url = Url::parse(url).map_err(|why| unknown(format!("its list: {why}")));
        Ok(url?)
    }

    fn judge(&self, cx: Cx<'_>, known: &Known, now: i64) -> Status {
        let o = &self.options;
        let mut report = Report::new(cx);
        let trouble = known.trouble.as_deref().unwrap_or_default();
        let Some(answer) = &known.answer else {
            return cx.unknown(trouble);
        };
        let age = (now - known.at).max(0);
        cx.metric(Metric::new("answer_age", age as f64).unit("s").min(0.0));
        if !trouble.is_empty() {
            let text = format!(
                "no newer answer than one of {:.1} days: {trouble}",
                age as f64 / DAY
            );
            let status = if age > BELIEVED {
                Status::Unknown
            } else {
                Status::Ok
            };
            report.add(status, text);
        }
        if !answer.is_registered {
            report.add(Status::Critical, format!("{} is not registered", self.name));
            return report.end("");
        }
        let by_hand = self.expires.filter(|_| answer.expires.is_none());
        match answer.expires.or(by_hand) {
            None => report.add(
                Status::Unknown,
                "the registry does not say when it ends; write `expires` by hand",
            ),
            Some(at) => {
                let days = (at - now) as f64 / DAY;
                let limits = Lower {
                    warn: Some(o.days_warn),
                    crit: Some(o.days_crit),
                };
                let text = format!("{} {}", self.name, validity(days));
                let metric = Metric::new("days", days).unit("d");
                let is_good = limits.judge(days) == Status::Ok;
                report.lower(limits, metric, days, &text, Unit::Days);
                if is_good {
                    let by_hand = if by_hand.is_some() {
                        ", as the config says"
                    } else {
                        ""
                    };
                    report.add(Status::Ok, format!("{text}{by_hand}"));
                }
            }
        }
        self.judge_registration(answer, &mut report);
        let registrar = answer.registrar.as_deref();
        report.end(&registrar.map_or(String::new(), |r| format!("registrar {r}")))
    }

    fn judge_registration(&self, answer: &Answer, report: &mut Report<'_>) {
        let o = &self.options;
        let is = |status: &String| answer.statuses.iter().any(|s| same_status(s, status));
        for status in o.statuses_crit.iter().filter(|s| is(s)) {
            report.add(Status::Critical, format!("its status is {status:?}"));
        }
        let locks = ["client transfer prohibited", "server transfer prohibited"];
        if o.locked && !locks.iter().any(|l| is(&l.to_string())) {
            report.add(Status::Warn, "its transfer is not forbidden");
        }
        if let Some(wanted) = &o.registrar {
            let registrar = answer.registrar.as_deref().unwrap_or("nobody");
            if !registrar.contains(wanted.as_str()) {
                let text = format!("its registrar is {registrar}, not {wanted}");
                report.add(Status::Critical, text);
            }
        }
        if let Some(wanted) = self
            .nameservers
            .as_ref()
            .filter(|w| **w != answer.nameservers)
        {
            let text = format!(
                "its name servers are {}, not {}",
                answer.nameservers.join(", "),
                wanted.join(", ")
            );
            report.add(Status::Critical, text);
        }
    }
}

impl Known {
    fn new(answer: Answer, now: i64, good_for: i64) -> Known {
        Known {
            at: now,
            answer: Some(answer),
            next: now.saturating_add(good_for),
            trouble: None,
        }
    }

    fn to_json(&self, of: &str) -> Value {
        json!({
            "of": of, "at": self.at, "next": self.next, "trouble": self.trouble,
            "answer": self.answer.as_ref().map(Answer::to_json),
        })
    }

    fn from_json(v: &Value, of: &str) -> Known {
        if v["of"] != of {
            return Known::default();
        }
        Known {
            at: v["at"].as_i64().unwrap_or(0),
            next: v["next"].as_i64().unwrap_or(0),
            trouble: v["trouble"].as_str().map(str::to_owned),
            answer: Answer::from_json(&v["answer"]),
        }
    }
}

fn json_of(response: &Response) -> Result<Value, String> {
    if response.cut {
        return Err(format!("an answer of more than {} MiB", BODY_MAX >> 20));
    }
    serde_json::from_slice(&response.body).map_err(|e| format!("its answer is no JSON: {e}"))
}

/// In seconds; a date says too little to be worth reading.
fn retry_after(response: &Response) -> Option<i64> {
    response.header("retry-after")?.text().trim().parse().ok()
}

/// RDAP writes "client hold", EPP clientHold.
fn same_status(a: &str, b: &str) -> bool {
    let plain = |t: &str| t.replace(' ', "").to_ascii_lowercase();
    plain(a) == plain(b)
}

fn seconds_now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
