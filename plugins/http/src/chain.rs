//! A request and its answer, through all redirects: each hop has its own name, certificate and cookies.

use crate::Http;
use crate::digest::{self, Asked, Credentials};
use crate::exchange::{self, Target, Times};
use crate::failed::Failed;
use crate::limit;
use crate::options::HttpVersion;
use crate::request::Request;
use crate::response::{Response, Wanted};
use crate::url::Url;
use healthd_plugin::Cx;
use healthd_plugin::tls::Connector;
use std::borrow::Cow;

/// So many redirects are followed unless the config says otherwise: curl's users know 10 from other checks.
const MOST: u8 = 10;
/// The codes that lead on.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// The last answer of a chain.
pub struct Answer {
    pub response: Response,
    /// The last exchange's, with the time of those before.
    pub times: Times,
    /// Who gave it.
    pub url: Url,
    /// It was not the first.
    pub redirected: bool,
}

impl Http {
    fn empty_response(&self, request: &Request) -> Response {
        Response::new(Wanted {
            is_head_request: request.method == "HEAD",
            headers: self.expect.needs_headers() || self.options.facts,
            body: self.expect.needs_body(),
            max_body: u64::from(self.options.max_body),
        })
        .looked_at_by(self.expect.onlooker())
        .following(REDIRECTS.map(|code| if self.follows(code) { code } else { 0 }))
    }

    pub(crate) async fn ask(&self, cx: Cx<'_>, request: &Request) -> Result<Answer, Failed> {
        let mut response = self.empty_response(request);
        let tls = self
            .trust
            .as_ref()
            .and_then(|t| t.as_ref().ok())
            .filter(|_| request.url.https);
        let mut times = self
            .exchange(cx, &self.target, tls, request, &mut response)
            .await?;
        let known = self.known(request, &response)?;
        let known = known.as_ref();
        if let Some(known) = known {
            response = self.empty_response(known);
            let earlier = times.total();
            self.target.keep(times.idle.take());
            times = Box::pin(self.exchange(cx, &self.target, tls, known, &mut response)).await?;
            times.earlier += earlier;
        }
        let request = known.unwrap_or(request);
        let answer = Answer {
            response,
            times,
            url: request.url.clone(),
            redirected: false,
        };
        match self.leads_on(&answer.response) {
            true => Box::pin(self.follow(cx, request, answer)).await,
            false => Ok(answer),
        }
    }

    /// The request once more, with the answer to a challenge of Digest.
    fn known(&self, request: &Request, r: &Response) -> Result<Option<Request>, Failed> {
        let who = self.options.digest_auth.as_ref();
        let Some(who) = who.filter(|_| r.status == 401) else {
            return Ok(None);
        };
        let who = Credentials {
            user: who.user.clone(),
            password: who.password.clone(),
        };
        let challenges: Vec<_> = r.all("www-authenticate").map(|h| h.text()).collect();
        let asked = Asked {
            method: &request.method,
            uri: &request.url.path,
        };
        let challenges = || challenges.iter().map(|c| &**c);
        if let Some(wanted) = digest::unknown(challenges()) {
            return Err(Failed::unknown(format!(
                "HTTP 401: the server wants Digest with {wanted}, which cannot be done here (MD5, SHA-256, SHA-512-256; auth)"
            )));
        }
        let answer = who.answer(challenges(), asked);
        Ok(answer.map(|answer| request.answered(answer, r)))
    }

    /// Whoever names a code in `status` wants to see it, unless he also says how many to follow.
    fn follows(&self, code: u16) -> bool {
        let wanted = match self.options.redirects {
            None => !self.expect.takes_status(code),
            Some(n) => n > 0,
        };
        wanted && REDIRECTS.contains(&code)
    }

    fn leads_on(&self, r: &Response) -> bool {
        self.follows(r.status) && r.header("location").is_some()
    }

    async fn exchange(
        &self,
        cx: Cx<'_>,
        target: &Target,
        tls: Option<&Connector>,
        request: &Request,
        response: &mut Response,
    ) -> Result<Times, Failed> {
        let begun = cx.now_ns();
        let done = self.once(cx, target, tls, request, response).await;
        let Some(tls) =
            tls.filter(|_| response.wants_http1 && request.version == HttpVersion::Auto)
        else {
            return done;
        };
        // As browsers and curl do: what cannot be had over HTTP/2 (a client certificate that is asked for later, NTLM) is
        // asked for once more over 1.1.
        *response = self.empty_response(request);
        let earlier = cx.now_ns().saturating_sub(begun);
        let tls = tls.offering(&[exchange::HTTP_1_1]);
        let mut times = Box::pin(self.once(cx, target, Some(&tls), request, response)).await?;
        times.earlier += earlier;
        Ok(times)
    }

    async fn once(
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

    /// Follows redirects to their end.
    async fn follow(
        &self,
        cx: Cx<'_>,
        asked: &Request,
        mut answer: Answer,
    ) -> Result<Answer, Failed> {
        let most = self.options.redirects.unwrap_or(MOST);
        // Where a redirect has led is no place to begin the next run at, and meanwhile nobody uses the connection.
        answer.times.idle = None;
        let mut request = Cow::Borrowed(asked);
        for n in 1..=most {
            let next = request.redirected(&answer.response)?;
            if self.options.facts {
                cx.label("redirects", &n.to_string());
            }
            let mut response = self.empty_response(&next);
            let earlier = answer.times.total();
            let hop = |failed: Failed| Failed {
                why: format!("redirect to {}: {}", next.url, failed.why),
                ..failed
            };
            let mut times = self.hop(cx, &next, &mut response).await.map_err(hop)?;
            times.earlier += earlier;
            let mut next = next.clone();
            // The password is for the host it was configured for.
            let known = match next.url.same_origin(&self.request.url) {
                true => self.known(&next, &response)?,
                false => None,
            };
            if let Some(known) = known {
                response = self.empty_response(&known);
                let earlier = times.total();
                times = self.hop(cx, &known, &mut response).await.map_err(hop)?;
                times.earlier += earlier;
                next = known;
            }
            // The certificate that ends first, wherever on the way it was shown.
            let ends = [answer.times.certificate.take(), times.certificate.take()];
            times.certificate = ends.into_iter().flatten().min_by_key(|s| s.not_after);
            times.unverified = times.unverified.or(answer.times.unverified.take());
            answer = Answer {
                response,
                times,
                url: next.url.clone(),
                redirected: true,
            };
            if !self.leads_on(&answer.response) {
                return Ok(answer);
            }
            request = Cow::Owned(next);
        }
        Err(Failed::critical(format!(
            "more than {most} redirects, the last one to {}",
            answer.url.host
        )))
    }

    async fn hop(
        &self,
        cx: Cx<'_>,
        request: &Request,
        response: &mut Response,
    ) -> Result<Times, Failed> {
        let way = &self.target.way;
        let target = way.target(&self.options, &request.url);
        let target = target.map_err(Failed::critical)?;
        let tls = self.hop_connector(&request.url)?;
        self.exchange(cx, &target, tls.as_ref(), request, response)
            .await
    }

    /// `server_name` is for the host in `url`, every other host is asked for by its own name.
    fn hop_connector(&self, url: &Url) -> Result<Option<Connector>, Failed> {
        let name = match &self.options.server_name {
            Some(name)
                if url.host == self.request.url.host && url.port == self.request.url.port =>
            {
                name
            }
            _ => &url.host,
        };
        match &self.trust {
            Some(trust) if url.https => {
                // What cannot be read here is not the target's fault; a name that it made up is.
                let trust = trust.as_ref().map_err(|why| Failed::unknown(why.clone()))?;
                trust.for_name(name).map(Some).map_err(Failed::critical)
            }
            _ => Ok(None),
        }
    }
}
