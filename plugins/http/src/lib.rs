//! The `http` plugin: requests a URL and judges the answer. The options are in `README.md`.
//!
//! Runs in: the step lane of an io worker.

#![forbid(unsafe_code)]

mod base64;
mod chain;
mod cookies;
mod exchange;
mod expect;
mod failed;
mod head;
mod limit;
mod oauth;
mod options;
mod request;
mod response;
mod url;

use crate::url::Url;
use chain::Answer;
use exchange::Target;
use expect::Expect;
use failed::Failed;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::tls::{Connector, Roots, Settings, Shown};
use healthd_plugin::{Check, Cx, Metric, Status, plugins};
use oauth::TokenSource;
use options::{Options, TlsVersion};
use request::Request;
use std::net::SocketAddr;
use std::time::Duration;

plugins! {
    step Http { name: "http", summary: "requests a URL over HTTP or HTTPS and judges the answer" }
}

pub struct Http {
    options: Options,
    request: Request,
    target: Target,
    /// For an https URL, and for redirects that may lead to one. Made in `create`, because it reads files.
    trust: Option<Result<Connector, String>>,
    expect: Expect,
    tokens: Option<TokenSource>,
}

impl Check for Http {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
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
        let target = target(&options, &request.url)?;
        let trust = (request.url.https || options.redirects != Some(0))
            .then(|| connector(&options, &request.url));
        if let (true, Some(Err(why))) = (request.url.https || options.ca_file.is_some(), &trust) {
            return Err(why.clone());
        }
        let expect = Expect::new(&options)?;
        let oauth2 = options.oauth2.as_ref();
        let tokens = oauth2.map(|o| TokenSource::new(&options, o)).transpose()?;
        Ok(Http {
            tokens,
            options,
            request,
            target,
            trust,
            expect,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let done = match &self.tokens {
            None => self.ask(cx, &self.request).await,
            // Boxed, so that the many checks without a token do not carry the room for it.
            Some(tokens) => Box::pin(self.ask_with_token(cx, tokens)).await,
        };
        match done {
            Ok(answer) => self.judge(cx, &answer),
            Err(failed) => {
                cx.message(&failed.why);
                failed.status
            }
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

    fn judge(&self, cx: Cx<'_>, answer: &Answer) -> Status {
        let (o, r, t) = (&self.options, &answer.response, &answer.times);
        let total = seconds(0, t.total());
        let limits = Upper::of_durations(o.latency_warn, o.latency_crit);
        cx.metric(limits.on(Metric::new("total", total).unit("s").min(0.0)));
        let phases = [
            ("dns", t.begin, t.dns),
            ("connect", t.begin.max(t.dns), t.connect),
            ("tls", t.connect, t.tls),
            ("ttfb", t.connect.max(t.tls), t.ttfb),
            ("transfer", t.ttfb, t.end),
        ];
        for (name, from, to) in phases.into_iter().filter(|(_, _, to)| *to != 0) {
            cx.metric(Metric::new(name, seconds(from, to)).unit("s").min(0.0));
        }
        cx.metric(Metric::new("size", r.body_bytes as f64).unit("By").min(0.0));
        let mut certificate = Status::Ok;
        if let Some(days) = t.certificate.as_ref().map(Shown::days_left) {
            let limits = Lower {
                warn: o.certificate_warn_days,
                crit: o.certificate_crit_days,
            };
            cx.metric(limits.on(Metric::new("certificate", days).unit("d")));
            certificate = limits.judge(days);
        }
        if let Err(why) = self.expect.judge(&answer.url, r) {
            return cx.critical(why);
        }
        let status = limits.judge(total).worst(certificate);
        if status != Status::Ok && certificate == status {
            if let Some(shown) = &t.certificate {
                let days = shown.days_left();
                cx.message(format_args!("{} is valid for {days:.1} days", shown.whose));
            }
        } else {
            let slow = if status == Status::Ok {
                ""
            } else {
                ": too slow"
            };
            cx.message(format_args!(
                "HTTP {}, {} bytes in {}{slow}{}",
                r.status,
                r.body_bytes,
                Millis(total),
                Unverified(t.unverified.as_deref())
            ));
        }
        status
    }
}

fn target(o: &Options, url: &Url) -> Result<Target, String> {
    if let Some(path) = &o.unix_socket {
        return Ok(Target::Unix(path.into()));
    }
    let family = o.family.into();
    match url.ip() {
        Some(ip) if healthd_plugin::Family::allows(family, ip) => {
            Ok(Target::Addr(SocketAddr::new(ip, url.port)))
        }
        Some(ip) => Err(format!(
            "url: {ip} is not of the address family that `family` asks for"
        )),
        None => Ok(Target::Name {
            host: url.host.clone(),
            port: url.port,
            family,
        }),
    }
}

fn connector(o: &Options, url: &Url) -> Result<Connector, String> {
    let identity = match (&o.cert_file, &o.key_file) {
        (Some(certificate), Some(key)) => Some((certificate.to_path_buf(), key.to_path_buf())),
        (None, None) => None,
        (Some(certificate), None) => Some((certificate.to_path_buf(), certificate.to_path_buf())),
        (None, Some(_)) => return Err("key_file: needs cert_file".into()),
    };
    if o.tls_min == TlsVersion::Tls13 && o.tls_max == TlsVersion::Tls12 {
        return Err("tls_max: older than tls_min".into());
    }
    let settings = Settings {
        roots: match (&o.ca_file, o.insecure) {
            (Some(_), true) => return Err("ca_file and insecure: only one of them".into()),
            (Some(file), false) => Roots::File(file.to_path_buf()),
            (None, true) => Roots::Insecure,
            (None, false) => Roots::System,
        },
        any_name: false,
        identity,
        oldest: Some(o.tls_min.into()),
        newest: Some(o.tls_max.into()),
        protocols: Vec::new(),
        pins: o.pins.iter().map(|p| p.0).collect(),
    };
    Connector::with(&settings, o.server_name.as_deref().unwrap_or(&url.host))
}

fn seconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
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
