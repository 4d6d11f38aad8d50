//! What the answer must look like, compiled once in `create`.

use crate::body;
use crate::failed::Failed;
use crate::json;
use crate::options::{Options, StatusSet};
use crate::places::Places;
use crate::response::{Onlooker, Response};
use crate::search::Search;
use crate::url::{Url, masked};
use healthd_plugin::pattern::Pattern;
use healthd_plugin::serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

#[derive(Debug)]
pub struct Expect {
    status: Vec<StatusSet>,
    contains: Option<String>,
    not_contains: Option<String>,
    regex: Option<Pattern>,
    not_regex: Option<Pattern>,
    pub json: Vec<json::Rule>,
    /// Where these can come to, and the bytes that it may take.
    places: Places,
    most_json: usize,
    headers: Vec<(String, Pattern)>,
    not_headers: Vec<(String, Pattern)>,
    url: Option<Pattern>,
    tls: bool,
    /// The texts of `contains` and `not_contains`, in this order, if nothing else is asked of the body.
    search: Option<Arc<[String]>>,
}

impl Expect {
    pub fn new(o: &Options) -> Result<Expect, String> {
        let compile =
            |name: &str, text: &str| Pattern::new(text).map_err(|e| format!("{name}: {e}"));
        let regex = |name: &str, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|t| compile(name, t)).transpose()
        };
        let headers = |name: &str, all: &BTreeMap<String, String>| {
            all.iter()
                .map(|(n, t)| Ok((n.clone(), compile(&format!("{name}.{n}"), t)?)))
                .collect::<Result<Vec<_>, String>>()
        };
        let regexes = [&o.body_regex, &o.body_not_regex];
        let json = json::rules(o)?;
        let texts = [&o.body_contains, &o.body_not_contains];
        let texts = texts.into_iter().flatten().cloned();
        let search =
            (json.is_empty() && regexes.iter().all(|r| r.is_none())).then(|| texts.collect());
        Ok(Expect {
            search,
            status: o.status.clone(),
            contains: o.body_contains.clone(),
            not_contains: o.body_not_contains.clone(),
            regex: regex("body_regex", &o.body_regex)?,
            not_regex: regex("body_not_regex", &o.body_not_regex)?,
            places: Places::of(json.iter().map(json::Rule::text)),
            most_json: MOST_JSON + MOST_JSON_A_BYTE * o.max_body as usize,
            json,
            url: regex("expect_url", &o.expect_url)?,
            tls: o.expect_tls,
            headers: headers("expect_headers", &o.expect_headers)?,
            not_headers: headers("expect_not_headers", &o.expect_not_headers)?,
        })
    }

    pub fn needs_headers(&self) -> bool {
        !self.headers.is_empty() || !self.not_headers.is_empty()
    }

    pub fn needs_body(&self) -> bool {
        self.contains.is_some()
            || self.not_contains.is_some()
            || self.regex.is_some()
            || self.not_regex.is_some()
            || !self.json.is_empty()
    }

    /// Who looks at a long body, if what is asked of it can be told without keeping it.
    pub fn onlooker(&self) -> Option<Box<dyn Onlooker>> {
        let wanted = self.search.as_ref().filter(|w| !w.is_empty())?;
        Some(Box::new(Search::new(wanted.clone())))
    }

    pub fn takes_status(&self, code: u16) -> bool {
        self.status.iter().any(|s| s.contains(code))
    }

    /// Whether judging this answer takes longer than the event loop can bear.
    pub fn is_slow_on(&self, r: &Response) -> bool {
        let (head, body) = (r.head_size(), r.body.len());
        head + body > LARGE
            || (body > COSTLY && self.json.iter().any(json::Rule::is_costly))
            || self.of_head().any(|(_, p)| p.is_slow_on(head))
            || self.of_body().any(|(_, p)| p.is_slow_on(body))
    }

    /// Patterns, with what they are for.
    fn of_head(&self) -> impl Iterator<Item = (&str, &Pattern)> {
        let headers = self.headers.iter().chain(&self.not_headers);
        headers.map(|(name, p)| (name.as_str(), p))
    }

    fn of_body(&self) -> impl Iterator<Item = (&str, &Pattern)> {
        let json = self.json.iter().flat_map(json::Rule::patterns);
        let json = json.map(|p| ("json", p));
        let own = [
            ("body_regex", &self.regex),
            ("body_not_regex", &self.not_regex),
        ];
        own.into_iter()
            .filter_map(|(name, p)| Some((name, p.as_ref()?)))
            .chain(json)
    }

    /// All that can be said without waiting: of the head, and of the body if there is `body`. The numbers that rules ask
    /// for, in their order.
    pub fn judge(&self, url: &Url, r: &Response, body: bool) -> Result<Vec<f64>, Failed> {
        let cannot = |name: &str, why: String| Failed::unknown(format!("{name}: {why}"));
        if let Some((name, why)) = too_much(self.of_head(), r.head_size()) {
            return Err(cannot(name, why));
        }
        self.judge_head(url, r).map_err(Failed::critical)?;
        if !body || !self.needs_body() {
            return Ok(Vec::new());
        }
        if let Some(onlooker) = r.onlooker() {
            let judged = self.judge_texts(|n, _| onlooker.has_seen(n), r.cut);
            return judged.map(|()| Vec::new());
        }
        let text = body::text(r);
        if let Some((name, why)) = too_much(self.of_body(), text.len()) {
            return Err(cannot(name, why));
        }
        let json = self.judge_body(&text, r.cut)?;
        let Some(json) = json else {
            return Ok(Vec::new());
        };
        let rules = self.json.iter().filter(|rule| rule.metric.is_some());
        let numbers = rules.map(|rule| rule.number(&json).map_err(Failed::critical));
        numbers.collect()
    }

    /// The first thing that is not as expected of the head of an answer from `url`.
    pub fn judge_head(&self, url: &Url, r: &Response) -> Result<(), String> {
        if !self.takes_status(r.status) {
            let wanted: Vec<String> = self.status.iter().map(StatusSet::to_string).collect();
            let to = match r.header("location") {
                Some(to) if (300..400).contains(&r.status) => {
                    format!(" to {}", masked(&to.text()))
                }
                _ => String::new(),
            };
            return Err(format!(
                "HTTP {}{}{to}, expected {}",
                r.status,
                reason(r.status),
                wanted.join(", ")
            ));
        }
        if self.tls && !url.https {
            return Err(format!("{url} is not https, which expect_tls wants"));
        }
        if let Some(regex) = &self.url
            && !regex.is_match(&format!("{}{}", url.origin(), url.path))
        {
            return Err(format!("{url} does not match {regex}, as expect_url wants"));
        }
        for (name, regex) in &self.headers {
            let mut last = None;
            // A server may send it several times: each of them may match.
            let found = r.all(name).any(|h| {
                let text = h.text();
                let matches = regex.is_match(&text);
                last = Some(text);
                matches
            });
            match last {
                _ if found => {}
                None => return Err(format!("no header {name}")),
                Some(value) => {
                    return Err(format!(
                        "header {name}: {} does not match {regex}",
                        Quoted(&value)
                    ));
                }
            }
        }
        for (name, regex) in &self.not_headers {
            let mut values = r.all(name).map(|h| h.text().into_owned());
            if let Some(value) = values.find(|v| regex.is_match(v)) {
                return Err(format!("header {name}: {} matches {regex}", Quoted(&value)));
            }
        }
        Ok(())
    }

    /// `has`: whether a text is in the body, by its number in `search` or by itself.
    fn judge_texts(&self, has: impl Fn(usize, &str) -> bool, is_cut: bool) -> Result<(), Failed> {
        if let Some(wanted) = self.contains.as_ref().filter(|w| !has(0, w)) {
            let cut = said_of_cut(is_cut);
            let why = format!("body does not contain {}{cut}", Quoted(wanted));
            return Err(Failed::critical(why));
        }
        let n = usize::from(self.contains.is_some());
        match self.not_contains.as_ref().filter(|w| has(n, w)) {
            Some(other) => Err(Failed::critical(format!("body contains {}", Quoted(other)))),
            None => Ok(()),
        }
    }

    /// The first thing that is not as expected of the body's text. The JSON in it is returned if some rule needs it.
    pub fn judge_body(&self, text: &str, is_cut: bool) -> Result<Option<Value>, Failed> {
        if !self.needs_body() {
            return Ok(None);
        }
        self.judge_texts(|_, wanted| text.contains(wanted), is_cut)?;
        let cut = said_of_cut(is_cut);
        let bad = |why: String| Err(Failed::critical(why));
        if let Some(regex) = self.regex.as_ref().filter(|r| !r.is_match(text)) {
            return bad(format!("body does not match {regex}{cut}"));
        }
        if let Some(regex) = self.not_regex.as_ref().filter(|r| r.is_match(text)) {
            return bad(format!("body matches {regex}"));
        }
        if self.json.is_empty() {
            return Ok(None);
        }
        // Long ones are judged on threads apart: one after the other, as each takes much more than its text.
        let _alone = (text.len() > LARGE).then(|| LONG_JSON.lock());
        let json = json::read(text, is_cut, &self.places, self.most_json)?;
        if let Some(why) = json::too_much(&self.json, &json) {
            return Err(Failed::unknown(why));
        }
        let judged = self.json.iter().try_for_each(|rule| rule.judge(&json));
        judged.map_err(Failed::critical)?;
        Ok(Some(json))
    }
}

fn said_of_cut(is_cut: bool) -> &'static str {
    match is_cut {
        true => " in the part that was read (max_body)",
        false => "",
    }
}

/// Bytes that are judged at once; what is longer has a thread of its own.
const LARGE: usize = 64 << 10;
const COSTLY: usize = 4 << 10;
/// For values of JSON: what there is for all, and for each byte of `max_body`.
const MOST_JSON: usize = 8 << 20;
const MOST_JSON_A_BYTE: usize = 24;
static LONG_JSON: Mutex<()> = Mutex::new(());

/// The first pattern that cannot be looked for in a text of so many bytes, and why.
fn too_much<'p>(
    mut patterns: impl Iterator<Item = (&'p str, &'p Pattern)>,
    bytes: usize,
) -> Option<(&'p str, String)> {
    patterns.find_map(|(name, p)| Some((name, p.is_too_much(bytes)?)))
}

/// What the standards call a code, after a blank.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => " Continue",
        101 => " Switching Protocols",
        200 => " OK",
        201 => " Created",
        202 => " Accepted",
        203 => " Non-Authoritative Information",
        204 => " No Content",
        205 => " Reset Content",
        206 => " Partial Content",
        207 => " Multi-Status",
        300 => " Multiple Choices",
        301 => " Moved Permanently",
        302 => " Found",
        303 => " See Other",
        304 => " Not Modified",
        307 => " Temporary Redirect",
        308 => " Permanent Redirect",
        400 => " Bad Request",
        401 => " Unauthorized",
        402 => " Payment Required",
        403 => " Forbidden",
        404 => " Not Found",
        405 => " Method Not Allowed",
        406 => " Not Acceptable",
        407 => " Proxy Authentication Required",
        408 => " Request Timeout",
        409 => " Conflict",
        410 => " Gone",
        411 => " Length Required",
        412 => " Precondition Failed",
        413 => " Content Too Large",
        414 => " URI Too Long",
        415 => " Unsupported Media Type",
        416 => " Range Not Satisfiable",
        417 => " Expectation Failed",
        421 => " Misdirected Request",
        422 => " Unprocessable Content",
        423 => " Locked",
        424 => " Failed Dependency",
        426 => " Upgrade Required",
        428 => " Precondition Required",
        429 => " Too Many Requests",
        431 => " Request Header Fields Too Large",
        451 => " Unavailable For Legal Reasons",
        500 => " Internal Server Error",
        501 => " Not Implemented",
        502 => " Bad Gateway",
        503 => " Service Unavailable",
        504 => " Gateway Timeout",
        505 => " HTTP Version Not Supported",
        507 => " Insufficient Storage",
        508 => " Loop Detected",
        511 => " Network Authentication Required",
        _ => "",
    }
}

/// The beginning of a text the server wrote, for a one-line message.
pub struct Quoted<'t>(pub &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: usize = 60;
        match self.0.char_indices().nth(MAX) {
            Some((at, _)) => write!(f, "{:?}...", &self.0[..at]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Wanted;
    use healthd_plugin::{Options as _, serde_json};

    fn judge(options: Value, answer: &str) -> Result<(), String> {
        let mut all = serde_json::json!({"url": "http://x"});
        all.as_object_mut()
            .unwrap()
            .extend(options.as_object().unwrap().clone());
        let o = Options::parse(all.to_string().as_bytes())?;
        let expect = Expect::new(&o)?;
        let mut r = Response::new(Wanted {
            is_head_request: false,
            headers: expect.needs_headers(),
            body: expect.needs_body(),
            max_body: u64::from(o.max_body),
        });
        r.feed(answer.as_bytes()).unwrap();
        r.end().unwrap();
        expect.judge_head(&Url::parse(&o.url)?, &r)?;
        let judged = expect.judge_body(&crate::body::text(&r), r.cut);
        judged.map(|_| ()).map_err(|failed| failed.why)
    }

    const JSON: &str =
        "HTTP/1.1 200 OK\r\nServer: x/1.2\r\n\r\n{\"a\": [{\"up\": true, \"n\": 3}], \"s\": \"t\"}";

    #[test]
    fn good_answers() {
        for options in [
            serde_json::json!({}),
            serde_json::json!({"status": [200], "body_contains": "\"up\"", "body_regex": "\"n\": [0-9]"}),
            serde_json::json!({"expect_headers": {"server": "^x/1\\."}}),
            serde_json::json!({"json_path": "$.a[0].up"}),
            serde_json::json!({"json_path": "$.a[*].n", "json_equals": 3.0}),
            serde_json::json!({"json_path": "$.s", "json_equals": "t"}),
            serde_json::json!({"json_path": "$.a[?@.n > 2]"}),
            serde_json::json!({"json_path": "$[?count(@.*) == 1]"}),
            serde_json::json!({"body_not_contains": "down", "body_not_regex": "[A-Z]"}),
            serde_json::json!({"expect_not_headers": {"server": "^y", "x-none": ""}}),
        ] {
            assert_eq!(judge(options.clone(), JSON), Ok(()), "{options}");
        }
    }

    #[test]
    fn bad_answers_say_why() {
        for (options, why) in [
            (
                serde_json::json!({"status": ["5xx", 404]}),
                "HTTP 200 OK, expected 500-599, 404",
            ),
            (
                serde_json::json!({"expect_tls": true}),
                "http://x/ is not https, which expect_tls wants",
            ),
            (
                serde_json::json!({"expect_url": "/login"}),
                "http://x/ does not match /login, as expect_url wants",
            ),
            (
                serde_json::json!({"expect_headers": {"X-A": ""}}),
                "no header X-A",
            ),
            (
                serde_json::json!({"expect_headers": {"Server": "y"}}),
                "header Server: \"x/1.2\" does not match y",
            ),
            (
                serde_json::json!({"body_contains": "down"}),
                "body does not contain \"down\"",
            ),
            (
                serde_json::json!({"body_contains": "t\"}", "max_body": 4}),
                "body does not contain \"t\\\"}\" in the part that was read (max_body)",
            ),
            (
                serde_json::json!({"body_regex": "x{3}"}),
                "body does not match x{3}",
            ),
            (serde_json::json!({"json_path": "$.b"}), "$.b finds nothing"),
            (
                serde_json::json!({"body_not_contains": "up"}),
                "body contains \"up\"",
            ),
            (
                serde_json::json!({"body_not_regex": "\"n\": [0-9]"}),
                "body matches \"n\": [0-9]",
            ),
            (
                serde_json::json!({"expect_not_headers": {"server": "[0-9]"}}),
                "header server: \"x/1.2\" matches [0-9]",
            ),
            (
                serde_json::json!({"json": [{"path": "$.a[0].n", "below": 3}]}),
                "$.a[0].n is 3, not below 3",
            ),
            (
                serde_json::json!({"json_path": "$.a[0].n", "json_equals": "3"}),
                "$.a[0].n is 3, not \"3\"",
            ),
            (
                serde_json::json!({"json_path": "$.a", "max_body": 4}),
                "body is longer than max_body, so its JSON is cut",
            ),
            (serde_json::json!({"json_path": "$.["}), "json_path: "),
            (
                serde_json::json!({"json_equals": 1}),
                "json_equals: needs json_path",
            ),
            (serde_json::json!({"body_regex": "("}), "body_regex: "),
        ] {
            let got = judge(options.clone(), JSON).unwrap_err();
            assert!(got.starts_with(why), "{options}: {got}");
        }
        assert!(
            judge(
                serde_json::json!({"json_path": "$"}),
                "HTTP/1.1 200 OK\r\n\r\nx"
            )
            .unwrap_err()
            .starts_with("body is no JSON: ")
        );
    }
}
