//! Who answers which path, and who may ask. A row of `ROUTES` is one path.

use crate::body::Answer;
use crate::facts::Keeper;
use crate::metrics::{self, Format};
use crate::ready;
use healthd_core::config::WebSettings;
use healthd_core::wire::roles::ReaderArgs;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// All that an answer is made of.
pub struct Site {
    pub args: ReaderArgs,
    pub settings: WebSettings,
    pub keeper: RefCell<Keeper>,
    /// Answers so far, by path and status code.
    pub asked: RefCell<BTreeMap<(&'static str, u16), u64>>,
    /// Answers that are being sent and hold a picture of all checks.
    pub large: Cell<usize>,
}

struct Route {
    path: &'static str,
    /// Without a token even where `read = "token"`: it tells nothing but whether healthd is well.
    open: bool,
    answer: fn(&Rc<Site>, &Request<Incoming>) -> Response<Answer>,
}

const ROUTES: [Route; 5] = [
    Route {
        path: "/",
        open: true,
        answer: |_, _| text(StatusCode::OK, INDEX),
    },
    Route {
        path: "/metrics",
        open: false,
        answer: |site, request| metrics::answer(site, format(request), query(request), true),
    },
    Route {
        path: "/metrics/self",
        open: false,
        answer: |site, request| metrics::answer(site, format(request), query(request), false),
    },
    Route {
        path: "/livez",
        open: true,
        answer: |_, _| text(StatusCode::OK, "ok\n"),
    },
    Route {
        path: "/readyz",
        open: true,
        answer: |site, _| ready::answer(site),
    },
];

const INDEX: &str = "\
healthd
/metrics                 for Prometheus; ?match=GLOB for some checks
/metrics/self            the daemon alone, without its checks
/livez                   200: this process answers
/readyz                  200: the daemon does its work
";

impl Site {
    pub fn new(args: &ReaderArgs, settings: WebSettings) -> Site {
        Site {
            keeper: RefCell::new(Keeper::new(&args.runtime_dir)),
            args: args.clone(),
            settings,
            asked: RefCell::default(),
            large: Cell::new(0),
        }
    }

    pub fn answer(self: &Rc<Site>, request: &Request<Incoming>) -> Response<Answer> {
        let path = request.uri().path();
        let route = ROUTES.iter().find(|r| r.path == path);
        let mut response = match route {
            None => text(
                StatusCode::NOT_FOUND,
                "there is no such page; / lists all\n",
            ),
            Some(_) if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
                let headers = refused.headers_mut();
                headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                refused
            }
            Some(route) if !route.open && !self.may_read(request) => {
                let mut refused = text(StatusCode::UNAUTHORIZED, "a bearer token is needed\n");
                let challenge = HeaderValue::from_static("Bearer realm=\"healthd\"");
                let headers = refused.headers_mut();
                headers.insert(hyper::header::WWW_AUTHENTICATE, challenge);
                refused
            }
            Some(route) => (route.answer)(self, request),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(
            "x-content-type-options",
            HeaderValue::from_static("nosniff"),
        );
        let counted = route.map_or("other", |r| r.path);
        let key = (counted, response.status().as_u16());
        *self.asked.borrow_mut().entry(key).or_default() += 1;
        response
    }

    fn may_read(&self, request: &Request<Incoming>) -> bool {
        if !self.settings.web.read_with_token {
            return true;
        }
        let given = request.headers().get(AUTHORIZATION);
        let given = given.and_then(|h| h.as_bytes().strip_prefix(b"Bearer "));
        match (&self.settings.web.token, given) {
            (Some(token), Some(given)) => same(token.as_bytes(), given),
            _ => false,
        }
    }
}

/// In a time that says nothing of where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
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
fn format(request: &Request<Incoming>) -> Format {
    let accept = request.headers().get(ACCEPT);
    match accept.and_then(|a| a.to_str().ok()) {
        Some(accept) if accept.contains("application/openmetrics-text") => Format::Open,
        _ => Format::Text,
    }
}

fn query(request: &Request<Incoming>) -> &str {
    request.uri().query().unwrap_or("")
}

/// The values of this parameter, percent-decoded.
pub fn values(query: &str, wanted: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key) == wanted).then(|| decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let hex = |b: &[u8]| u8::from_str_radix(str::from_utf8(b).ok()?, 16).ok();
        let escaped = behind.get(..2).filter(|_| first == b'%').and_then(hex);
        bytes.push(match (first, escaped) {
            (_, Some(byte)) => {
                rest = &behind[2..];
                byte
            }
            (b'+', _) => b' ',
            (byte, _) => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = "match=web%2F*&match=a+b&x&match=%zz%4";
        assert_eq!(values(query, "match"), ["web/*", "a b", "%zz%4"]);
        assert_eq!(values(query, "x"), [""]);
        assert!(values("", "match").is_empty());
    }

    #[test]
    fn a_token_is_compared_whole() {
        assert!(same(b"secret", b"secret"));
        for other in [&b"secre"[..], b"secrets", b"Secret", b""] {
            assert!(!same(b"secret", other));
        }
    }
}
