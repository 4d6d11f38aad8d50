//! The `http` plugin: requests a URL and judges the answer. The options are in `README.md`.
//!
//! Runs in: the step lane of an io worker.

#![forbid(unsafe_code)]

mod exchange;
mod expect;
mod limit;
mod oauth;
mod options;
mod request;
mod response;
mod url;

use exchange::{Failed, Target, Times};
use expect::Expect;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::tls::{Connector, Roots};
use healthd_plugin::{Check, Cx, Metric, Status, plugins};
use oauth::TokenSource;
use options::Options;
use request::Request;
use response::{Response, Wanted};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;
use url::Url;

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
        let target = target(&options, &request.url)?;
        let trust =
            (request.url.https || options.redirects > 0).then(|| connector(&options, &request.url));
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
            Ok((response, times)) => self.judge(cx, &response, &times),
            Err(failed) => failed.tell(cx),
        }
    }
}

impl Http {
    fn empty_response(&self, request: &Request) -> Response {
        Response::new(Wanted {
            is_head_request: request.method == "HEAD",
            headers: self.expect.needs_headers(),
            body: self.expect.needs_body(),
            max_body: u64::from(self.options.max_body),
        })
    }

    /// A target that does not take the token is asked once more with another.
    async fn ask_with_token(
        &self,
        cx: Cx<'_>,
        tokens: &TokenSource,
    ) -> Result<(Response, Times), Failed> {
        let begun = cx.now_ns();
        let token = tokens.token(cx).await?;
        let left = cx.remaining();
        let first = self
            .ask(cx, &self.request.authorized(token.header()))
            .await?;
        if first.0.status != 401 {
            return Ok(first);
        }
        let Some(token) = tokens.instead_of(cx, &token, begun).await? else {
            return Ok(first);
        };
        // The first request was in vain because of us.
        tokens.have_again(cx, left)?;
        self.ask(cx, &self.request.authorized(token.header())).await
    }

    /// One request and its answer, through all redirects.
    async fn ask(&self, cx: Cx<'_>, request: &Request) -> Result<(Response, Times), Failed> {
        let mut response = self.empty_response(request);
        let tls = self
            .trust
            .as_ref()
            .and_then(|t| t.as_ref().ok())
            .filter(|_| request.url.https);
        let times = self
            .exchange(cx, &self.target, tls, request, &mut response)
            .await?;
        if self.options.redirects > 0 && is_redirect(&response) {
            return Box::pin(self.follow(cx, request, response, times)).await;
        }
        Ok((response, times))
    }

    async fn exchange(
        &self,
        cx: Cx<'_>,
        target: &Target,
        tls: Option<&Connector>,
        request: &Request,
        response: &mut Response,
    ) -> Result<Times, Failed> {
        match self.options.rate_limit {
            None => exchange::run(cx, target, tls, request, response).await,
            // Boxed, so that the many checks without a limit do not carry the room for it.
            Some(rate) => Box::pin(limit::run(cx, rate, target, tls, request, response)).await,
        }
    }

    /// Follows redirects to their end. The times are the last exchange's.
    async fn follow(
        &self,
        cx: Cx<'_>,
        asked: &Request,
        first: Response,
        first_times: Times,
    ) -> Result<(Response, Times), Failed> {
        let mut response = first;
        let mut times = first_times;
        let mut request = Cow::Borrowed(asked);
        for _ in 0..self.options.redirects {
            if !is_redirect(&response) {
                return Ok((response, times));
            }
            let location = response.header("location").unwrap_or_default();
            let bad = |why: String| Failed::critical(format!("redirect: {why}"));
            let next = request.redirected(response.status, location).map_err(bad)?;
            let target = target(&self.options, &next.url).map_err(bad)?;
            let tls = self.redirect_connector(&next.url).map_err(bad)?;
            response = self.empty_response(&next);
            let earlier = times.total();
            times = self
                .exchange(cx, &target, tls.as_ref(), &next, &mut response)
                .await?;
            times.earlier = earlier;
            request = Cow::Owned(next);
        }
        if is_redirect(&response) {
            let n = self.options.redirects;
            return Err(Failed::critical(format!(
                "more than {n} redirects, the last one to {}",
                request.url.host
            )));
        }
        Ok((response, times))
    }

    fn redirect_connector(&self, url: &Url) -> Result<Option<Connector>, String> {
        let name = self.options.server_name.as_deref().unwrap_or(&url.host);
        match &self.trust {
            Some(trust) if url.https => trust.clone()?.for_name(name).map(Some),
            _ => Ok(None),
        }
    }

    fn judge(&self, cx: Cx<'_>, r: &Response, t: &Times) -> Status {
        let o = &self.options;
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
        if let Some(days) = t.certificate_days {
            let limits = Lower {
                warn: o.certificate_warn_days,
                crit: o.certificate_crit_days,
            };
            cx.metric(limits.on(Metric::new("certificate", days).unit("d")));
            certificate = limits.judge(days);
        }
        if let Err(why) = self.expect.judge(r) {
            return cx.critical(why);
        }
        let status = limits.judge(total).worst(certificate);
        if status != Status::Ok && certificate == status {
            let days = t.certificate_days.unwrap_or_default();
            cx.message(format_args!("certificate is valid for {days:.1} days"));
        } else {
            let slow = if status == Status::Ok {
                ""
            } else {
                ": too slow"
            };
            cx.message(format_args!(
                "HTTP {}, {} bytes in {}{slow}",
                r.status,
                r.body_bytes,
                Millis(total)
            ));
        }
        status
    }
}

fn is_redirect(r: &Response) -> bool {
    matches!(r.status, 301 | 302 | 303 | 307 | 308) && r.header("location").is_some()
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
    let roots = Roots::from_options(o.ca_file.as_deref(), o.insecure)?;
    Connector::new(&roots, o.server_name.as_deref().unwrap_or(&url.host))
}

fn seconds(from: u64, to: u64) -> f64 {
    Duration::from_nanos(to.saturating_sub(from)).as_secs_f64()
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
