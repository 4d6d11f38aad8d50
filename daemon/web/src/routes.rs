//! Who answers which path, and who may ask. A row of a table is one method of one path.
//!
//! Nothing here is done for a browser because it is that browser: there are no cookies, and what changes something wants
//! a bearer token that a page of somebody else cannot have, or a peer that the kernel knows.

use crate::body::Answer;
use crate::control::ASK_AT_ONCE;
use crate::ending::Ending;
use crate::facts::Keeper;
use crate::listen::Peer;
use crate::manners::{self, Manners};
use crate::metrics::{self, Asked, Delivered, Format, Larges, Spent, Stuck};
use crate::pages::board::Board;
use crate::pages::day::Days;
use crate::pages::live::AllWatched;
use crate::pages::parts::Views;
use crate::pages::public::Kept;
use crate::picture::Viewer;
use crate::places::Seat;
use crate::probe::{self, Probes};
use crate::problem::Problem;
use crate::query::{decoded, values};
use crate::{api, pages, ready};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use healthd_core::config::WebSettings;
use healthd_core::wire::alerts::AlertsReport;
use healthd_core::wire::roles::ReaderArgs;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue,
    TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use jiff::tz::TimeZone;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// All that an answer is made of.
pub struct Site {
    pub args: ReaderArgs,
    pub settings: WebSettings,
    pub keeper: RefCell<Keeper>,
    /// The checks as they are, for pages.
    pub viewer: RefCell<Viewer>,
    pub board: Board,
    pub views: Views,
    pub watched: AllWatched,
    pub days: Days,
    pub public: Kept,
    /// Places at the control socket.
    pub asking: Arc<Semaphore>,
    /// The same, for batches of runs.
    pub running: Arc<Semaphore>,
    pub zone: TimeZone,
    /// Answers so far, by path and status code.
    pub asked: RefCell<BTreeMap<(&'static str, u16), u64>>,
    pub larges: Rc<Larges>,
    /// Clients that are told what happens, for as long as they like.
    pub live: Cell<usize>,
    pub probes: Probes,
    #[cfg(feature = "push")]
    pub pushed: crate::push::Pushed,
    /// What the manager has told for metrics.
    pub alerts: Asked<AlertsReport>,
    pub stuck: Asked<Stuck>,
    pub delivered: Delivered,
    pub spent: Spent,
    pub ending: Ending,
    pub manners: Manners,
    /// Whose requests over a unix socket may change something.
    own_uid: u32,
}

/// What was asked.
pub struct Call {
    pub peer: Peer,
    /// What stands for `{name}` in the path.
    pub name: String,
    pub query: String,
    pub head: HeaderMap,
    pub body: Bytes,
    /// The place of its connection.
    pub seat: Rc<Seat>,
}

pub type Answered = Result<Response<Answer>, Problem>;
pub type Answering = Pin<Box<dyn Future<Output = Answered>>>;

pub struct Route {
    /// `GET` answers HEAD too.
    pub method: &'static str,
    /// `{name}` is anything, slashes too.
    pub path: &'static str,
    pub access: Access,
    pub answer: Answers,
}

pub type Answers = fn(Rc<Site>, Call) -> Answering;

pub const fn get(path: &'static str, access: Access, answer: Answers) -> Route {
    route("GET", path, access, answer)
}

pub const fn post(path: &'static str, access: Access, answer: Answers) -> Route {
    route("POST", path, access, answer)
}

pub const fn delete(path: &'static str, access: Access, answer: Answers) -> Route {
    route("DELETE", path, access, answer)
}

const fn route(method: &'static str, path: &'static str, access: Access, answer: Answers) -> Route {
    Route {
        method,
        path,
        access,
        answer,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Without a token even where `read = "token"`: it tells nothing but whether healthd is well.
    Open,
    Read,
    /// A bearer token, or over a unix socket root and the daemon's own user; and JSON, which no form sends.
    Change,
    /// A sign of life of a job, whose client can do little: the token in the query is enough. Without a token in `[web]` also
    /// over the network, but for browsers: a page of somebody else could let them say anything.
    Beat,
}

/// Of a body; and for all of it.
const BODY: usize = 1 << 20;
const BODY_TIME: Duration = Duration::from_secs(10);

const OWN: [Route; 5] = [
    get("/metrics", Access::Read, |site, call| {
        Box::pin(async move { metrics::answer(&site, format(&call), &call, true).await })
    }),
    get("/metrics/self", Access::Read, |site, call| {
        Box::pin(async move { metrics::answer(&site, format(&call), &call, false).await })
    }),
    get("/probe", Access::Read, |site, call| {
        Box::pin(probe::answer(site, call))
    }),
    get("/livez", Access::Open, |_, _| {
        Box::pin(async { Ok(text(StatusCode::OK, "ok\n")) })
    }),
    get("/readyz", Access::Open, |site, _| {
        Box::pin(async move { Ok(ready::answer(&site).await) })
    }),
];

/// All of them, those of a fixed path before those that take any name.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    OWN.iter()
        .chain(&api::BEATS)
        .chain(&api::ROUTES)
        .chain(&pages::ROUTES)
}

impl Site {
    pub fn new(args: &ReaderArgs, settings: WebSettings) -> Site {
        Site {
            keeper: RefCell::new(Keeper::new(&args.runtime_dir)),
            viewer: RefCell::new(Viewer::new(&args.runtime_dir)),
            board: Board::default(),
            views: Views::default(),
            watched: AllWatched::default(),
            days: Days::default(),
            public: Kept::default(),
            asking: Arc::new(Semaphore::new(ASK_AT_ONCE)),
            running: Arc::new(Semaphore::new(ASK_AT_ONCE)),
            zone: TimeZone::system(),
            args: args.clone(),
            settings,
            asked: RefCell::default(),
            larges: Rc::default(),
            live: Cell::new(0),
            probes: Probes::default(),
            #[cfg(feature = "push")]
            pushed: Default::default(),
            alerts: Asked::default(),
            stuck: Asked::default(),
            delivered: Delivered::default(),
            spent: Spent::default(),
            ending: Ending::default(),
            manners: Manners::default(),
            own_uid: std::fs::metadata("/proc/self").map_or(0, |m| m.uid()),
        }
    }

    pub async fn answer(
        self: &Rc<Site>,
        request: Request<Incoming>,
        peer: Peer,
        seat: &Rc<Seat>,
    ) -> Response<Answer> {
        manners::look(self);
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let found: Vec<(&Route, &str)> = routes()
            .filter_map(|route| Some((route, matched(route.path, path)?)))
            .collect();
        let method = match head.method {
            Method::HEAD => "GET",
            ref other => other.as_str(),
        };
        let meant = found.iter().find(|(route, _)| route.method == method);
        let counted = found.first().map_or("other", |(route, _)| route.path);
        let answered = match meant {
            None => Err(nothing_there(path, &found)),
            Some((route, name)) => {
                let mut call = Call {
                    peer,
                    name: decoded(name, false),
                    query: head.uri.query().unwrap_or("").to_owned(),
                    head: head.headers.clone(),
                    body: Bytes::new(),
                    seat: seat.clone(),
                };
                match self.may(route, &call) {
                    Err(problem) => Err(problem),
                    Ok(()) if method == "GET" => {
                        seat.is_answered();
                        (route.answer)(self.clone(), call).await
                    }
                    Ok(()) => match whole(body).await {
                        Ok(body) => {
                            seat.is_answered();
                            call.body = body;
                            (route.answer)(self.clone(), call).await
                        }
                        Err(problem) => Err(problem),
                    },
                }
            }
        };
        let mut response =
            answered.unwrap_or_else(|problem| self.told(path, &head.headers, &problem));
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            let mut methods: Vec<&str> = found.iter().map(|(route, _)| route.method).collect();
            methods.extend(methods.contains(&"GET").then_some("HEAD"));
            if let Ok(allowed) = HeaderValue::from_str(&methods.join(", ")) {
                response.headers_mut().insert(ALLOW, allowed);
            }
        }
        let headers = response.headers_mut();
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        for (name, value) in ALWAYS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        // Where its body ends is what servers read differently: nothing behind it is taken for another request.
        if head.headers.contains_key(TRANSFER_ENCODING) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let key = (counted, response.status().as_u16());
        *self.asked.borrow_mut().entry(key).or_default() += 1;
        response
    }

    fn may(&self, route: &Route, call: &Call) -> Result<(), Problem> {
        let web = &self.settings.web;
        let bearer = given(&call.head, b"Bearer ");
        let is_token = |given: &[u8]| {
            let token = web.token.as_deref();
            token.is_some_and(|token| same(token.as_bytes(), given))
        };
        match route.access {
            Access::Open => Ok(()),
            Access::Beat => {
                let brought = call.value("token");
                let in_query = brought.is_some_and(|token| is_token(token.as_bytes()));
                let is_browser = ["origin", "sec-fetch-site"];
                let is_browser = is_browser.iter().any(|name| call.head.contains_key(*name));
                match (&web.token, call.peer) {
                    (Some(_), _) if in_query || bearer.is_some_and(is_token) => Ok(()),
                    (Some(_), _) => Err(Problem::new(
                        StatusCode::UNAUTHORIZED,
                        "a token is needed: as a bearer, or `?token=` in the path",
                    )),
                    (None, Peer::User(uid)) if uid == 0 || uid == self.own_uid => Ok(()),
                    (None, Peer::Network) if !is_browser => Ok(()),
                    (None, _) => Err(Problem::new(
                        StatusCode::FORBIDDEN,
                        "a browser, or another user, may not say that a job is well",
                    )
                    .help("`token = { file = \"...\" }` in [web] lets those who have it")),
                }
            }
            // A browser can bring the token as a password. That is good for looking alone, as it brings it by itself.
            Access::Read => {
                let password = given(&call.head, b"Basic ")
                    .and_then(|given| BASE64_STANDARD.decode(given).ok())
                    .and_then(|pair| {
                        Some(pair[pair.iter().position(|b| *b == b':')? + 1..].to_vec())
                    });
                match !web.read_with_token
                    || bearer.is_some_and(is_token)
                    || password.is_some_and(|p| is_token(&p))
                {
                    true => Ok(()),
                    false => Err(Problem::new(
                        StatusCode::UNAUTHORIZED,
                        "a bearer token is needed, or the token as a password",
                    )),
                }
            }
            Access::Change => {
                match (&web.token, call.peer) {
                    (Some(_), _) if bearer.is_some_and(is_token) => {}
                    (None, Peer::User(uid)) if uid == 0 || uid == self.own_uid => {}
                    (Some(_), _) => {
                        return Err(Problem::new(
                            StatusCode::UNAUTHORIZED,
                            "a bearer token is needed to change something",
                        ));
                    }
                    (None, _) => {
                        return Err(Problem::new(
                            StatusCode::FORBIDDEN,
                            "nobody may change something over this address",
                        )
                        .help("`token = { file = \"...\" }` in [web] lets those who have it; root may over `listen = \"unix:...\"`"));
                    }
                }
                let kind = call.head.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
                let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
                match route.method == "DELETE"
                    || kind.is_some_and(|k| k.eq_ignore_ascii_case("application/json"))
                {
                    true => Ok(()),
                    false => Err(Problem::new(
                        StatusCode::UNSUPPORTED_MEDIA_TYPE,
                        "the body has to be JSON, and say so",
                    )
                    .help("send `Content-Type: application/json`")),
                }
            }
        }
    }

    fn told(&self, path: &str, head: &HeaderMap, problem: &Problem) -> Response<Answer> {
        let accept = head.get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or("");
        let for_programs = path.starts_with("/v1/");
        let mut response = if for_programs {
            problem.response()
        } else if accept.contains("text/html") {
            pages::failed(self, problem)
        } else {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
            let help = match problem.help.as_str() {
                "" => String::new(),
                help => format!("; {help}"),
            };
            text(status, format!("{}{help}\n", problem.detail))
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            // A browser asks for a password only where it is to; the API is not for it.
            let challenge = match for_programs {
                true => "Bearer realm=\"healthd\"",
                false => "Basic realm=\"healthd\"",
            };
            let headers = response.headers_mut();
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

/// What a browser is to do with whatever comes from here.
const ALWAYS: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
];

fn nothing_there(path: &str, found: &[(&Route, &str)]) -> Problem {
    match found.is_empty() {
        true => Problem::new(StatusCode::NOT_FOUND, "there is no such page").help(
            match path.starts_with("/v1/") {
                true => "/v1/openapi.json lists all",
                false => "/ leads to all",
            },
        ),
        false => Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "this path has no such method",
        ),
    }
}

/// What stands for `{name}`.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    match pattern.split_once("{name}") {
        None => (pattern == path).then_some(""),
        Some((before, after)) => path.strip_prefix(before)?.strip_suffix(after),
    }
}

async fn whole(mut body: Incoming) -> Result<Bytes, Problem> {
    let too_long = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is longer than 1 MiB",
        )
    };
    if body.size_hint().lower() > BODY as u64 {
        return Err(too_long());
    }
    let read = async {
        let mut all = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            let frame = frame.map_err(|e| Problem::bad(format!("the body broke off: {e}")))?;
            if let Ok(data) = frame.into_data() {
                if all.len() + data.len() > BODY {
                    return Err(too_long());
                }
                all.extend_from_slice(&data);
            }
        }
        Ok(Bytes::from(all))
    };
    let late = || {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body took longer than 10 s",
        )
    };
    tokio::time::timeout(BODY_TIME, read)
        .await
        .unwrap_or_else(|_| Err(late()))
}

fn given<'a>(head: &'a HeaderMap, scheme: &[u8]) -> Option<&'a [u8]> {
    let given = head.get(AUTHORIZATION)?.as_bytes();
    let (word, rest) = given.split_at_checked(scheme.len())?;
    word.eq_ignore_ascii_case(scheme).then_some(rest)
}

/// In a time that says nothing of where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

impl Call {
    pub fn values(&self, wanted: &str) -> Vec<String> {
        values(&self.query, wanted)
    }

    pub fn value(&self, wanted: &str) -> Option<String> {
        self.values(wanted).pop()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)?.to_str().ok()
    }
}

pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Answer> {
    typed(status, "text/plain; charset=utf-8", Answer::text(text))
}

pub fn typed(status: StatusCode, kind: &'static str, body: Answer) -> Response<Answer> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// OpenMetrics only where it is asked for by name.
fn format(call: &Call) -> Format {
    match call.header("accept") {
        Some(accept) if accept.contains("application/openmetrics-text") => Format::Open,
        _ => Format::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_compared_whole() {
        assert!(same(b"secret", b"secret"));
        for other in [&b"secre"[..], b"secrets", b"Secret", b""] {
            assert!(!same(b"secret", other));
        }
    }

    #[test]
    fn a_name_in_a_path_may_hold_slashes() {
        assert_eq!(matched("/check/{name}", "/check/shop/db"), Some("shop/db"));
        assert_eq!(matched("/badge/{name}.svg", "/badge/a.b.svg"), Some("a.b"));
        assert_eq!(matched("/badge/{name}.svg", "/badge/a"), None);
        assert_eq!(matched("/livez", "/livez/"), None);
    }
}
