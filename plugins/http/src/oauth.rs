//! `oauth2`: a token by client credentials (RFC 6749, section 4.4), asked for once for all checks of a worker.
//!
//! A token server that is down is not the target's fault: whatever goes wrong here is UNKNOWN and names it. No secret
//! and no token is in any message.

use crate::exchange::{self, Target};
use crate::failed::Failed;
use crate::options::{AuthStyle, OAuth2, Options};
use crate::request::{Request, basic};
use crate::response::{Response, Wanted};
use crate::url::Url;
use crate::way::Way;
use healthd_plugin::serde_json::{self, Value};
use healthd_plugin::tls::Connector;
use healthd_plugin::{Cache, CacheError, Cx, Status};
use std::sync::Arc;
use std::time::Duration;

/// What is kept of a token server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    text: String,
    /// When it was given, on the host's clock.
    born_ns: u64,
    /// It was asked for because the target had refused the one before.
    is_second: bool,
}

/// One for all checks of a worker; the key names server, client, secret and scope.
static TOKENS: Cache<Token, Failed> = Cache::new("oauth2", 256);

/// How long a token is good whose server does not say.
const UNSAID: Duration = Duration::from_secs(300);
/// A target that refuses a second token so soon refuses them all: it gets no third one until then.
const TOO_YOUNG_NS: u64 = 10_000_000_000;
/// The map in which workers share tokens.
const SHARED: &str = "oauth2";
/// The most that is read of an answer.
const MAX_ANSWER: u64 = 64 << 10;
const MAX_TOKEN: usize = 16 << 10;

pub struct TokenSource {
    request: Request,
    target: Target,
    trust: Option<Connector>,
    key: String,
}

impl TokenSource {
    pub fn new(o: &Options, oauth: &OAuth2, way: &Arc<Way>) -> Result<TokenSource, String> {
        if o.basic_auth.is_some() || o.bearer.is_some() {
            return Err("oauth2 beside basic_auth or bearer: only one of them".into());
        }
        let url = Url::parse(&oauth.token_url).map_err(|e| format!("oauth2.token_url: {e}"))?;
        let mut form = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &oauth.scope {
            form += &format!("&scope={}", encoded(scope));
        }
        let (id, secret) = (encoded(&oauth.client_id), encoded(&oauth.client_secret));
        let authorization = match oauth.auth {
            AuthStyle::Basic => Some(basic(&id, &secret)),
            AuthStyle::Body => {
                form += &format!("&client_id={id}&client_secret={secret}");
                None
            }
        };
        let target = way
            .target(o, &url)
            .map_err(|e| format!("oauth2.token_url: {e}"))?;
        let trust = match url.https {
            true => Some(crate::connector(o, &url)?),
            false => None,
        };
        let key = format!(
            "{:016x}",
            hash(&[
                &oauth.token_url,
                &form,
                authorization.as_deref().unwrap_or_default()
            ])
        );
        Ok(TokenSource {
            request: Request::form(url, form, authorization),
            target,
            trust,
            key,
        })
    }

    /// The token to go with; asks for one if there is none. The time that takes is given back to the target.
    pub async fn token(&self, cx: Cx<'_>) -> Result<Token, Failed> {
        match TOKENS.get(cx, &self.key) {
            Some(token) => Ok(token),
            None => self.wait_for_token(cx, false).await,
        }
    }

    /// The token that is in use now, to be shown nowhere.
    pub fn current(&self, cx: Cx<'_>) -> Option<String> {
        TOKENS.get(cx, &self.key).map(|token| token.text)
    }

    async fn wait_for_token(&self, cx: Cx<'_>, is_second: bool) -> Result<Token, Failed> {
        cx.phase("oauth2");
        let left = cx.remaining();
        // Before the time is up, so that it is not held against the target.
        let time = left * 9 / 10;
        let fetch = async || self.fetch(cx, is_second).await;
        let asked = TOKENS.get_or_compute(cx, &self.key, fetch);
        let token = match cx.timeout(time, asked).await {
            Ok(Ok(token)) => token,
            Ok(Err(CacheError::Failed(why))) => return Err(why),
            Ok(Err(other)) => return Err(self.failed(Status::Unknown, &other.to_string())),
            Err(_) => {
                let why = format!("no answer in {} ms", time.as_millis());
                return Err(self.failed(Status::Unknown, &why));
            }
        };
        self.have_again(cx, left)?;
        Ok(token)
    }

    /// What of `left` is gone was none of the target's.
    pub fn have_again(&self, cx: Cx<'_>, left: Duration) -> Result<(), Failed> {
        let lost = left.saturating_sub(cx.remaining());
        let why = |_| format!("it took {} ms, which is too long", lost.as_millis());
        let given = cx.give_back(lost).map_err(why);
        given.map_err(|why| self.failed(Status::Resources, &why))
    }

    /// The target has refused this token of a run that began at `begun_ns`: another one, the same for all to whom that
    /// happened. None: it was new, and the target means something else.
    pub async fn instead_of(
        &self,
        cx: Cx<'_>,
        refused: &Token,
        begun_ns: u64,
    ) -> Result<Option<Token>, Failed> {
        let age = cx.now_ns().saturating_sub(refused.born_ns);
        if refused.born_ns >= begun_ns || (refused.is_second && age < TOO_YOUNG_NS) {
            return Ok(None);
        }
        cx.phase("oauth2");
        let left = cx.remaining();
        let map = cx.shared_map(SHARED);
        // Only this one: another worker may have got a better one meanwhile. And here first: whoever of this worker looks
        // there now would put it back into the cache.
        if let Ok(Some(entry)) = map.get(&self.key).wait().await
            && unpacked(&entry.value).is_some_and(|(t, _)| t == *refused)
        {
            let _ = map.remove(&self.key).only_if(entry.version).wait().await;
        }
        self.have_again(cx, left)?;
        TOKENS.remove_if(&self.key, |t| t == refused);
        self.wait_for_token(cx, true).await.map(Some)
    }

    fn failed(&self, status: Status, why: &str) -> Failed {
        let status = match status {
            Status::Resources => Status::Resources,
            _ => Status::Unknown,
        };
        let why = format!("oauth2: no token from {}: {why}", self.request.url.host);
        Failed { status, why }
    }

    /// Of all workers one asks the server, and the others get its token. Without a daemon that shares, or when it has no
    /// room, each worker asks for itself.
    async fn fetch(&self, cx: Cx<'_>, is_second: bool) -> Result<(Token, Duration), Failed> {
        if let Some(found) = self.shared(cx).await {
            return Ok(found);
        }
        let lock = cx.lock(&[&self.key], cx.remaining() * 3 / 4).await;
        if lock.is_ok()
            && let Some(found) = self.shared(cx).await
        {
            return Ok(found);
        }
        let (mut token, good_for) = self.request(cx).await?;
        token.is_second = is_second;
        let value = packed(&token, cx.now_ns(), good_for);
        let set = cx.shared_map(SHARED).set(&self.key, &value).ttl(good_for);
        if let Err(e) = set.wait().await {
            healthd_plugin::log::debug!("a token is not shared with other workers: {e}");
        }
        Ok((token, good_for))
    }

    /// The token that another worker has got, and how long it is still good.
    async fn shared(&self, cx: Cx<'_>) -> Option<(Token, Duration)> {
        let entry = cx.shared_map(SHARED).get(&self.key).wait().await.ok()??;
        let (token, until) = unpacked(&entry.value)?;
        let left = until.checked_sub(cx.now_ns()).filter(|ns| *ns > 0)?;
        Some((token, Duration::from_nanos(left)))
    }

    async fn request(&self, cx: Cx<'_>) -> Result<(Token, Duration), Failed> {
        let mut response = Response::new(Wanted {
            is_head_request: false,
            headers: false,
            body: true,
            max_body: MAX_ANSWER,
        });
        let tls = self.trust.as_ref();
        exchange::run(cx, &self.target, tls, &self.request, &mut response)
            .await
            .map_err(|f| self.failed(f.status, &f.why))?;
        read_answer(response.status, &response.body, cx.now_ns())
            .map_err(|why| self.failed(Status::Unknown, &why))
    }
}

/// A token as it stands in the map: two times, a byte that is 1 for a second one, then the text.
fn packed(token: &Token, now: u64, good_for: Duration) -> Vec<u8> {
    let until = now.saturating_add(good_for.as_nanos().try_into().unwrap_or(u64::MAX));
    let mut value = until.to_le_bytes().to_vec();
    value.extend(token.born_ns.to_le_bytes());
    value.push(token.is_second.into());
    value.extend(token.text.as_bytes());
    value
}

fn unpacked(value: &[u8]) -> Option<(Token, u64)> {
    let (until, rest) = value.split_first_chunk::<8>()?;
    let (born, rest) = rest.split_first_chunk::<8>()?;
    let (is_second, text) = rest.split_first()?;
    let token = Token {
        text: std::str::from_utf8(text).ok()?.to_owned(),
        born_ns: u64::from_le_bytes(*born),
        is_second: *is_second == 1,
    };
    Some((token, u64::from_le_bytes(*until)))
}

impl Token {
    pub fn header(&self) -> String {
        format!("Bearer {}", self.text)
    }
}

/// The token, and how long it may be used: less than the server says, as a check takes its time too.
fn read_answer(status: u16, body: &[u8], now: u64) -> Result<(Token, Duration), String> {
    let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status != 200 {
        // A word of RFC 6749, section 5.2; what else a server says may hold anything.
        let word = json["error"].as_str().filter(|e| {
            !e.is_empty() && e.len() <= 64 && e.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        });
        return Err(match word {
            Some(word) => format!("HTTP {status}, {word}"),
            None => format!("HTTP {status}"),
        });
    }
    let kind = json["token_type"].as_str().unwrap_or_default();
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err("its answer has no token_type `Bearer`".into());
    }
    let text = json["access_token"].as_str().unwrap_or_default();
    if text.is_empty() || text.len() > MAX_TOKEN || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("its answer has no access_token that can be sent".into());
    }
    let good_for = match json["expires_in"].as_f64() {
        Some(seconds) if seconds.is_finite() => {
            Duration::from_secs_f64(seconds.clamp(0.0, 31_536_000.0))
        }
        _ => UNSAID,
    };
    let margin = (good_for / 10).min(Duration::from_secs(60));
    let token = Token {
        text: text.to_owned(),
        born_ns: now,
        is_second: false,
    };
    Ok((token, good_for - margin))
}

/// application/x-www-form-urlencoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                out.push(char::from(b))
            }
            b' ' => out.push('+'),
            _ => out += &format!("%{b:02X}"),
        }
    }
    out
}

/// FNV-1a over parts, each led by its length.
fn hash(parts: &[&str]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        let len = part.len().to_le_bytes();
        for b in len.iter().chain(part.as_bytes()) {
            h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    h
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let good = br#"{"access_token":"t0k","token_type":"bearer","expires_in":3600}"#;
        let (token, good_for) = read_answer(200, good, 7).expect("a token");
        assert_eq!(
            (token.header().as_str(), good_for.as_secs()),
            ("Bearer t0k", 3540)
        );
        let there = packed(&token, 100, Duration::from_nanos(50));
        assert_eq!(unpacked(&there), Some((token.clone(), 150)));
        assert_eq!(unpacked(&there[..16]), None);
        let second = Token {
            is_second: true,
            ..token
        };
        let there = packed(&second, 100, Duration::ZERO);
        assert_eq!(unpacked(&there), Some((second, 100)));
        let short = br#"{"access_token":"t","token_type":"Bearer","expires_in":10}"#;
        assert_eq!(read_answer(200, short, 7).expect("a token").1.as_secs(), 9);
        let unsaid = br#"{"access_token":"t","token_type":"Bearer"}"#;
        assert_eq!(
            read_answer(200, unsaid, 7).expect("a token").1.as_secs(),
            270
        );
        for (status, body, why) in [
            (
                400,
                r#"{"error":"invalid_client"}"#,
                "HTTP 400, invalid_client",
            ),
            (401, r#"{"error":"<script>"}"#, "HTTP 401"),
            (503, "busy", "HTTP 503"),
            (200, "{}", "its answer has no token_type `Bearer`"),
            (
                200,
                r#"{"token_type":"mac","access_token":"t"}"#,
                "its answer has no token_type `Bearer`",
            ),
            (
                200,
                r#"{"token_type":"Bearer","access_token":"a b"}"#,
                "its answer has no access_token that can be sent",
            ),
        ] {
            assert_eq!(
                read_answer(status, body.as_bytes(), 7),
                Err(why.to_owned()),
                "{body}"
            );
        }
    }

    #[test]
    fn forms() {
        assert_eq!(encoded("a b&c=\u{fc}*-._~"), "a+b%26c%3D%C3%BC*-._%7E");
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
    }
}
