//! Brings away what waits, in its order: what cannot be sent now is tried again later and later, what the receiver does
//! not want is counted and gone.

use super::connect::{Connection, Way};
use super::queue::{Body, Queue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use healthd_core::config::{Endpoint, Push, PushFormat};
use healthd_scoreboard::traces_map::Mark;
use healthd_sys::clock;
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{HeaderMap, StatusCode};
use std::rc::Rc;
use std::time::Duration;

/// After a failure; doubled with each that follows.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A receiver that wants to be left alone for longer is asked all the same.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);
/// Of what a receiver says, for the log.
const SAID: usize = 200;

/// What is sent in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    RemoteWrite,
    Otlp,
}

impl Signal {
    pub fn of(format: PushFormat) -> Signal {
        match format {
            PushFormat::RemoteWrite => Signal::RemoteWrite,
            PushFormat::Otlp => Signal::Otlp,
        }
    }

    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Signal::RemoteWrite => &[
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ],
            Signal::Otlp => &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
        }
    }

    /// By the words of each standard.
    fn is_for_later(self, status: StatusCode) -> bool {
        let status = status.as_u16();
        match self {
            Signal::RemoteWrite => matches!(status, 408 | 429 | 500..=599),
            Signal::Otlp => matches!(status, 429 | 502 | 503 | 504),
        }
    }
}

/// What the receiver has made of a body.
#[derive(Debug, PartialEq)]
enum End {
    /// So many of its points are not taken for good, for this reason.
    Taken { refused: u64, why: String },
    Later {
        why: String,
        after: Option<Duration>,
    },
}

pub struct Sender {
    to: Endpoint,
    signal: Signal,
    headers: HeaderMap,
    way: Way,
    queue: Rc<Queue>,
}

impl Sender {
    pub fn new(push: &Push, to: Endpoint, signal: Signal, queue: Rc<Queue>) -> Sender {
        let mut headers = HeaderMap::new();
        for (name, value) in signal.headers() {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let own = concat!("healthd/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(own));
        let words = match (&push.token, &push.user) {
            (Some(token), Some(user)) => {
                let pair = BASE64_STANDARD.encode(format!("{user}:{token}"));
                Some(format!("Basic {pair}"))
            }
            (Some(token), None) => Some(format!("Bearer {}", token.trim())),
            (None, _) => None,
        };
        for (name, value) in [(HOST, Some(to.authority())), (AUTHORIZATION, words)] {
            match value.map(HeaderValue::try_from) {
                Some(Ok(mut value)) => {
                    value.set_sensitive(name == AUTHORIZATION);
                    headers.insert(name, value);
                }
                Some(Err(_)) => {
                    log::error!("push: the secret for `{name}` has bytes that no head may hold")
                }
                None => {}
            }
        }
        Sender {
            way: Way::new(&to, push.ca.clone()),
            to,
            signal,
            headers,
            queue,
        }
    }

    pub async fn run(self) {
        let queue = &self.queue;
        let mut connection = None;
        let mut wait = FIRST_WAIT;
        let (mut is_away, mut is_refused) = (false, false);
        // What had been dropped when the receiver went away.
        let mut before = 0;
        loop {
            let body = queue.next().await;
            match self.send(&mut connection, &body).await {
                End::Taken { refused, why } => {
                    wait = FIRST_WAIT;
                    if let Some(Err(e)) = body.mark.as_ref().map(Mark::write) {
                        log::debug!("push: not remembered as sent: {e}");
                    }
                    queue.refused.set(queue.refused.get() + refused);
                    let sent = body.points.saturating_sub(refused);
                    queue.sent.set(queue.sent.get() + sent);
                    if sent > 0 {
                        queue.last_sent.set(clock::realtime_ns());
                    }
                    if refused > 0 && !is_refused {
                        log::error!("push: {} does not take what it is sent: {why}", self.to);
                    }
                    if std::mem::take(&mut is_away) {
                        let dropped = queue.dropped.get() - before;
                        log::info!("push: {} is there again  dropped={dropped}", self.to);
                    }
                    is_refused = refused > 0;
                }
                End::Later { why, after } => {
                    connection = None;
                    queue.failures.set(queue.failures.get() + 1);
                    if !std::mem::replace(&mut is_away, true) {
                        before = queue.dropped.get();
                        log::warn!("push: {} is tried again: {why}", self.to);
                    }
                    queue.put_back(body);
                    tokio::time::sleep(after.unwrap_or(wait)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
            if queue.is_empty() {
                // Until the next picture it would be in the way of the receiver alone.
                connection = None;
            }
        }
    }

    async fn send(&self, connection: &mut Option<Connection>, body: &Body) -> End {
        let post = async |open: &mut Connection| {
            open.post(&self.to.path, &self.headers, body.bytes.clone())
                .await
        };
        // A receiver may have closed a connection that was there; what came twice is the same to it.
        let again = match connection.take() {
            Some(mut open) => post(&mut open).await.ok().map(|answer| (open, answer)),
            None => None,
        };
        let (open, answer) = match again {
            Some(done) => done,
            None => {
                let done = async {
                    let mut open = self.way.connect().await?;
                    let answer = post(&mut open).await?;
                    Ok((open, answer))
                };
                match done.await {
                    Ok(done) => done,
                    Err(why) => return End::Later { why, after: None },
                }
            }
        };
        *connection = Some(open).filter(|_| answer.goes_on);
        self.judge(answer.status, &answer.headers, &answer.body, body.points)
    }

    fn judge(&self, status: StatusCode, headers: &HeaderMap, said: &[u8], points: u64) -> End {
        if status.is_success() {
            let (refused, why) = match self.signal {
                Signal::Otlp => rejected(said),
                Signal::RemoteWrite => (0, String::new()),
            };
            return End::Taken {
                refused: refused.min(points),
                why,
            };
        }
        let text = String::from_utf8_lossy(said);
        let text: String = text
            .chars()
            .filter(|c| !c.is_control())
            .take(SAID)
            .collect();
        let why = format!("{status}: {text}");
        if self.signal.is_for_later(status) {
            return End::Later {
                why,
                after: retry_after(headers).map(|after| after.min(LONGEST_ASKED)),
            };
        }
        End::Taken {
            refused: points,
            why,
        }
    }
}

/// What an answer of OTLP says is not taken, though the rest is.
fn rejected(said: &[u8]) -> (u64, String) {
    let said: serde_json::Value = serde_json::from_slice(said).unwrap_or_default();
    let partial = &said["partialSuccess"];
    let count = ["rejectedDataPoints", "rejectedSpans"]
        .iter()
        .find_map(|key| match &partial[key] {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        });
    let why = partial["errorMessage"].as_str().unwrap_or_default();
    (count.unwrap_or(0), why.to_owned())
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let wait = at.as_second() - i64::try_from(clock::realtime_ns() / 1_000_000_000).ok()?;
    Some(Duration::from_secs(wait.max(0).cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn sender(signal: Signal) -> Sender {
        let url = Endpoint::parse("http://127.0.0.1:9/x").expect("a URL");
        let push = Push {
            url: Some(url.clone()),
            format: PushFormat::RemoteWrite,
            interval: Duration::from_secs(1),
            token: Some("s3cret".into()),
            user: None,
            ca: None,
            labels: BTreeMap::new(),
            traces: None,
            sample: 0.1,
        };
        Sender::new(&push, url, signal, Rc::default())
    }

    #[test]
    fn an_answer_is_for_good_or_for_later_as_its_standard_says() {
        let judged = |signal, status, said: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            sender(signal).judge(status, &HeaderMap::new(), said.as_bytes(), 10)
        };
        let refused = |end: End| match end {
            End::Taken { refused, .. } => Some(refused),
            End::Later { .. } => None,
        };
        for (status, write, otlp) in [
            (200, Some(0), Some(0)),
            (204, Some(0), Some(0)),
            (301, Some(10), Some(10)),
            (400, Some(10), Some(10)),
            (401, Some(10), Some(10)),
            (429, None, None),
            (500, None, Some(10)),
            (503, None, None),
        ] {
            let both =
                [Signal::RemoteWrite, Signal::Otlp].map(|s| refused(judged(s, status, "{}")));
            assert_eq!(both, [write, otlp], "{status}");
        }
        let partial = r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"too old"}}"#;
        let end = judged(Signal::Otlp, 200, partial);
        let why = "too old".to_owned();
        assert_eq!(end, End::Taken { refused: 3, why });
        let partial = r#"{"partialSuccess":{"rejectedSpans":"2"}}"#;
        let end = judged(Signal::Otlp, 200, partial);
        assert_eq!(refused(end), Some(2));
    }

    #[test]
    fn a_receiver_says_when_to_come_back() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a header"));
            retry_after(&headers)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(after("Wed, 21 Oct 2195 07:28:00 GMT") > Some(Duration::from_secs(1_000_000)));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn the_token_is_sent_and_never_shown() {
        let sender = sender(Signal::RemoteWrite);
        assert_eq!(sender.headers[AUTHORIZATION], "Bearer s3cret");
        assert!(!format!("{:?}", sender.headers).contains("s3cret"));
    }
}
