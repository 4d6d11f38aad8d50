//! The `http` plugin: requests a URL and judges the answer. The options are in `README.md`.
//!
//! Runs in: the step lane of an io worker.

#![forbid(unsafe_code)]

mod body;
mod chain;
mod cookies;
mod digest;
mod exchange;
mod expect;
mod facts;
mod failed;
mod h2;
mod idle;
mod json;
mod limit;
mod oauth;
mod options;
mod places;
mod request;
mod search;
mod way;

use crate::url::Url;
use chain::Answer;
use exchange::Target;
use expect::Expect;
use failed::Failed;
use healthd_client::http::{response, url};
use healthd_plugin::secrets::Secrets;
use healthd_plugin::thresholds::{Lower, Upper, validity};
use healthd_plugin::tls::{
    Connector, Roots, Settings, Shown, Version, identity_from_options, versions_from_options,
};
use healthd_plugin::{Check, Cx, Metric, Status, plugins};
use oauth::TokenSource;
use options::{HttpVersion, Options};
use request::Request;
use std::sync::Arc;
use std::time::Duration;
use way::Way;

plugins! {
    step Http { name: "http", summary: "requests a URL over HTTP or HTTPS and checks the answer" }
}

pub struct Http {
    options: Options,
    request: Request,
    target: Target,
    /// For an https URL, and for redirects that may lead to one. Made in `create`, because it reads files.
    trust: Option<Result<Connector, String>>,
    /// Shared with a thread that judges a large answer.
    expect: Arc<Expect>,
    tokens: Option<TokenSource>,
    secrets: Secrets,
}

impl Check for Http {
    type Options = Options;

    fn create(mut options: Options, _: Cx<'_>) -> Result<Self, String> {
        if options.keep_alive {
            options.http_version = match options.http_version {
                HttpVersion::Auto | HttpVersion::One => HttpVersion::One,
                HttpVersion::Two => {
                    return Err("keep_alive: only connections of HTTP/1.1 are kept, and http_version is \"2\": leave one of them out".into());
                }
            };
        }
        let request = Request::new(&options)?;
        let days = [
            ("certificate_warn_days", options.certificate_warn_days),
            ("certificate_crit_days", options.certificate_crit_days),
        ];
        if let Some((name, _)) = days.iter().find(|(_, days)| days.is_some())
            && !request.url.https
            && !options.expect_tls
        {
            return Err(format!(
                "{name}: needs an https url, or `expect_tls = true` for an http url that redirects to one"
            ));
        }
        let way = Arc::new(Way::new(&options)?);
        let mut target = way.target(&options, &request.url)?;
        target.kept = options.keep_alive.then(Arc::default);
        if options.digest_auth.is_some()
            && (request.url.userinfo.is_some()
                || options.basic_auth.is_some()
                || options.bearer.is_some()
                || options.oauth2.is_some())
        {
            return Err("digest_auth beside basic_auth, bearer, oauth2 or a user in the url: only one of them".into());
        }
        if way.proxy.is_some() && options.http_version == HttpVersion::Two && !request.url.https {
            return Err("http_version: 2 through a proxy needs an https url".into());
        }
        let trust = (request.url.https || options.redirects != Some(0))
            .then(|| connector(&options, &request.url));
        if let (true, Some(Err(why))) = (request.url.https || says_how_of_tls(&options), &trust) {
            return Err(why.clone());
        }
        let expect = Arc::new(Expect::new(&options)?);
        let oauth2 = options.oauth2.as_ref();
        let tokens = oauth2
            .map(|o| TokenSource::new(&options, o, &way))
            .transpose()?;
        Ok(Http {
            tokens,
            secrets: secrets(&options, &request, &way),
            options,
            request,
            target,
            trust,
            expect,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        // The host would call a run that is late critical; turned around that is ok, and must be said here.
        let judged = match self.options.invert {
            false => self.look(cx).await,
            true => {
                let time = cx.remaining() * 9 / 10;
                let late = || Failed::critical(format!("no answer in {} ms", time.as_millis()));
                cx.timeout(time, self.look(cx))
                    .await
                    .unwrap_or_else(|_| Err(late()))
            }
        };
        let Failed { status, why } = match judged {
            Ok(said) => said,
            Err(failed) => failed,
        };
        let (status, why) = match (self.options.invert, status) {
            (true, Status::Ok | Status::Warn) => (
                Status::Critical,
                format!("{why}, which must not be (invert)"),
            ),
            (true, Status::Critical) => (Status::Ok, format!("{why}, as it must be (invert)")),
            _ => (status, why),
        };
        let token = self.tokens.as_ref().and_then(|t| t.current(cx));
        match token.filter(|_| status != Status::Ok) {
            None => cx.message(self.secrets.mask(&why)),
            Some(token) => {
                let mut secrets = self.secrets.clone();
                secrets.add(&token);
                cx.message(secrets.mask(&why));
            }
        }
        status
    }
}

impl Http {
    /// What there is to say, or why there is no answer.
    async fn look(&self, cx: Cx<'_>) -> Result<Failed, Failed> {
        let done = match &self.tokens {
            None => self.ask(cx, &self.request).await,
            // Boxed, so that the many checks without a token do not carry the room for it.
            Some(tokens) => Box::pin(self.ask_with_token(cx, tokens)).await,
        };
        match done {
            Ok(answer) => self.judge(cx, answer).await,
            Err(failed) => Err(failed),
        }
    }
}

impl Http {
    /// A target that does not take the token is asked once more with another.
    async fn ask_with_token(&self, cx: Cx<'_>, tokens: &TokenSource) -> Result<Answer, Failed> {
        let begun = cx.now_ns();
        let token = tokens.token(cx).await?;
        let left = cx.remaining();
        let first = self
            .ask(cx, &self.request.authorized(token.header()))
            .await?;
        if first.response.status != 401 {
            return Ok(first);
        }
        let Some(token) = tokens.instead_of(cx, &token, begun).await? else {
            return Ok(first);
        };
        // The first request was in vain because of us.
        tokens.have_again(cx, left)?;
        self.ask(cx, &self.request.authorized(token.header())).await
    }

    async fn judge(&self, cx: Cx<'_>, mut answer: Answer) -> Result<Failed, Failed> {
        let o = &self.options;
        self.measure(cx, &answer);
        if o.facts {
            facts::tell(cx, &answer);
        }
        let mut worst = Verdict::good();
        // What nobody will look at, as the code is wrong, is not unpacked.
        let body = self.expect.needs_body() && self.expect.takes_status(answer.response.status);
        let unpacked = match body {
            true => body::unpack(cx, &mut answer.response, o.max_body as usize).await,
            false => Ok(()),
        };
        let body = body && unpacked.is_ok();
        let numbers = match self.expect.is_slow_on(&answer.response) {
            false => self.expect.judge(&answer.url, &answer.response, body),
            true => {
                let (expect, url) = (self.expect.clone(), answer.url.clone());
                let response = answer.response.take();
                let judged = cx.apart(move || expect.judge(&url, &response, body));
                judged.await.map_err(|e| Failed::io("body", &e))?
            }
        };
        if let (true, Err(failed)) = (o.facts, &numbers) {
            facts::broken(cx, &failed.why);
        }
        let place = Place(&answer);
        let numbers = numbers.map_err(|failed| place.said_of(failed))?;
        unpacked.map_err(|failed| place.said_of(failed))?;
        self.json_numbers(cx, &numbers, &mut worst);
        let t = &answer.times;
        if let Some(shown) = &t.certificate {
            let days = shown.days_left();
            let limits = certificate_limits(o);
            worst.add(limits.judge(days), || {
                let (left, limit) = (validity(days), limits.passed_days(days));
                format!("{} {left}{limit}", shown.whose)
            });
        }
        let total = seconds(0, t.total());
        let r = &answer.response;
        let limits = latency_limits(o);
        let limit = limits.passed(total);
        let line = || {
            format!(
                "HTTP {}, {} bytes in {}{}{}{place}",
                r.status,
                r.body_bytes,
                Millis(total),
                limit,
                Unverified(t.unverified.as_deref())
            )
        };
        worst.add(limits.judge(total), line);
        let judged = Failed {
            status: worst.status,
            why: worst.why.unwrap_or_else(line),
        };
        // What is not well is looked at anew.
        if matches!(judged.status, Status::Ok | Status::Warn) {
            self.target.keep(answer.times.idle.take());
        }
        Ok(judged)
    }

    /// The numbers that JSON rules ask for.
    fn json_numbers(&self, cx: Cx<'_>, numbers: &[f64], worst: &mut Verdict) {
        let rules = self.expect.json.iter();
        let rules = rules.filter_map(|rule| Some((rule, rule.metric.as_ref()?)));
        for ((rule, name), number) in rules.zip(numbers) {
            cx.metric(rule.thresholds.on(Metric::new(name, *number)));
            let status = rule.thresholds.judge(*number);
            worst.add(status, || {
                let range = match status {
                    Status::Critical => rule.thresholds.crit,
                    _ => rule.thresholds.warn,
                };
                let range = range.map(|r| r.to_string()).unwrap_or_default();
                format!("{} is {number}, outside of {range}", rule.text())
            });
        }
    }

    fn measure(&self, cx: Cx<'_>, answer: &Answer) {
        let (o, r, t) = (&self.options, &answer.response, &answer.times);
        let total = seconds(0, t.total());
        cx.metric(latency_limits(o).on(Metric::new("total", total).unit("s").min(0.0)));
        let phases = [
            ("dns", t.begin, t.dns),
            ("connect", t.begin.max(t.dns), t.connect),
            ("tls", t.connect, t.tls),
            // A connection that was kept has no phases before it.
            ("ttfb", t.begin.max(t.connect).max(t.tls), t.ttfb),
            ("transfer", t.ttfb, t.end),
        ];
        for (name, from, to) in phases.into_iter().filter(|(_, _, to)| *to != 0) {
            cx.metric(Metric::new(name, seconds(from, to)).unit("s").min(0.0));
        }
        cx.metric(Metric::new("size", r.body_bytes as f64).unit("By").min(0.0));
        if let Some(days) = t.certificate.as_ref().map(Shown::days_left) {
            cx.metric(certificate_limits(o).on(Metric::new("certificate", days).unit("d")));
        }
    }
}

/// The worst of several judgements, and what it says; of equals the first.
struct Verdict {
    status: Status,
    why: Option<String>,
}

impl Verdict {
    fn good() -> Verdict {
        Verdict {
            status: Status::Ok,
            why: None,
        }
    }

    fn add(&mut self, status: Status, why: impl FnOnce() -> String) {
        if status != self.status && self.status.worst(status) == status {
            self.status = status;
            self.why = Some(why());
        }
    }
}

fn latency_limits(o: &Options) -> Upper {
    Upper::of_durations(o.latency_warn, o.latency_crit)
}

fn certificate_limits(o: &Options) -> Lower {
    Lower {
        warn: o.certificate_warn_days,
        crit: o.certificate_crit_days,
    }
}

/// What must be in no message: all that says who asks.
fn secrets(o: &Options, request: &Request, way: &Way) -> Secrets {
    const WORDS: [&str; 8] = [
        "auth",
        "cookie",
        "token",
        "key",
        "secret",
        "pass",
        "sig",
        "credential",
    ];
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        WORDS.iter().any(|w| name.contains(w))
    };
    let mut secrets = Secrets::new();
    for (name, value) in request.headers() {
        if is_secret(name) {
            secrets.add(value);
            // `Bearer ...`, `name=...`
            for part in value.split([' ', ';', ',']) {
                secrets.add(part.split_once('=').map_or(part, |(_, v)| v));
            }
        }
    }
    let userinfo = request.url.userinfo.as_ref().map(|(_, password)| password);
    let basic = o.basic_auth.as_ref().map(|b| &b.password);
    let oauth = o.oauth2.as_ref().map(|b| &b.client_secret);
    let digest = o.digest_auth.as_ref().map(|b| &b.password);
    let all = [userinfo, basic, digest, oauth, o.bearer.as_ref()];
    for value in all.into_iter().flatten() {
        secrets.add(value);
    }
    if let Some(proxy) = &way.proxy {
        for value in [proxy.password().map(str::to_owned), proxy.authorization()] {
            secrets.add(value.as_deref().unwrap_or_default());
        }
    }
    let query = request.url.path.split_once('?').map_or("", |(_, q)| q);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if is_secret(name) {
            secrets.add(value);
        }
    }
    secrets
}

/// Then a mistake in it is told, although TLS is spoken after a redirect only.
fn says_how_of_tls(o: &Options) -> bool {
    let files = [&o.ca_file, &o.cert_file, &o.key_file];
    files.iter().any(|file| file.is_some())
        || o.insecure
        || !o.pins.is_empty()
        || o.server_name.is_some()
        || (o.tls_min, o.tls_max) != (Version::Tls12, Version::Tls13)
}

fn connector(o: &Options, url: &Url) -> Result<Connector, String> {
    let identity = identity_from_options(o.cert_file.as_deref(), o.key_file.as_deref())?;
    let (oldest, newest) = versions_from_options(o.tls_min, o.tls_max)?;
    let settings = Settings {
        roots: match (&o.ca_file, o.insecure) {
            (Some(_), true) => return Err("ca_file and insecure: only one of them".into()),
            (Some(file), false) => Roots::File(file.to_path_buf()),
            (None, true) => Roots::Insecure,
            (None, false) => Roots::System,
        },
        any_name: false,
        identity,
        may_identify: true,
        oldest,
        newest,
        protocols: match o.http_version {
            HttpVersion::Auto => vec![h2::PROTOCOL.into(), exchange::HTTP_1_1.into()],
            HttpVersion::One => Vec::new(),
            HttpVersion::Two => vec![h2::PROTOCOL.into()],
        },
        pins: o.pins.clone(),
    };
    Connector::with(&settings, o.server_name.as_deref().unwrap_or(&url.host))
}

fn seconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
}

/// Where redirects have led; nothing if there were none.
#[derive(Clone, Copy)]
struct Place<'a>(&'a Answer);

impl Place<'_> {
    /// Unless it is said already.
    fn said_of(self, failed: Failed) -> Failed {
        match failed.why.contains(&self.0.url.to_string()) {
            true => failed,
            false => Failed {
                why: format!("{}{self}", failed.why),
                ..failed
            },
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.redirected {
            true => write!(f, " (redirected to {})", self.0.url),
            false => Ok(()),
        }
    }
}

/// What `insecure` let pass.
struct Unverified<'t>(Option<&'t str>);

impl std::fmt::Display for Unverified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => Ok(()),
            Some(what) => write!(f, " (not verified: {what})"),
        }
    }
}

/// "0.42 ms", "1250 ms": three digits are enough.
struct Millis(f64);

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0 * 1e3;
        match ms {
            ms if ms < 10.0 => write!(f, "{ms:.2} ms"),
            ms if ms < 100.0 => write!(f, "{ms:.1} ms"),
            ms => write!(f, "{ms:.0} ms"),
        }
    }
}

#[cfg(test)]
mod tests;
