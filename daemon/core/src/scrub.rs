//! Takes secrets out of what is about to be said: one function for messages, details, labels, metrics and logs.
//!
//! A [`Scrubber`] knows the secret values of one check, and finds them as they are, percent-encoded, quoted, and in
//! base64 wherever they stand in it (`user:password` of Basic). Userinfo is taken out of every URL, known or not.

use crate::config::sensitive;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::fmt;

/// What is shown instead.
pub const MASK: &str = "***";
/// Shorter ones are no secrets, and would blank out half of every message.
pub const SHORTEST: usize = 3;
/// In base64 a shorter value is too few letters to be told from others.
const SHORTEST_INSIDE: usize = 6;
/// So much of a secret at a text's end is a secret that was cut.
const CUT: usize = 4;

/// The secrets of one check. Shown nowhere, also not by `{:?}`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Scrubber {
    /// Longest first: one may be part of another.
    values: Vec<String>,
    /// What they look like within longer texts in base64.
    encoded: Vec<String>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.values.len())
    }
}

impl Scrubber {
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Scrubber {
        let mut scrubber = Scrubber::default();
        for secret in secrets {
            scrubber.add(secret.as_ref());
        }
        for list in [&mut scrubber.values, &mut scrubber.encoded] {
            list.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
            list.dedup();
        }
        scrubber
    }

    /// One for several checks.
    pub fn merged<'s>(all: impl IntoIterator<Item = &'s Scrubber>) -> Scrubber {
        let mut merged = Scrubber::default();
        for one in all {
            merged.values.extend(one.values.iter().cloned());
            merged.encoded.extend(one.encoded.iter().cloned());
        }
        for list in [&mut merged.values, &mut merged.encoded] {
            list.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
            list.dedup();
        }
        merged
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn add(&mut self, secret: &str) {
        let lines = secret.lines().map(str::trim).filter(|l| *l != secret);
        let pieces = pieces_of_url(secret).chain(words(secret));
        for value in std::iter::once(secret).chain(lines).chain(pieces) {
            if value.chars().count() < SHORTEST || value == MASK {
                continue;
            }
            let debug: String = value.escape_debug().collect();
            let json = serde_json::to_string(value).unwrap_or_default();
            let json = json.trim_matches('"').to_owned();
            let percent = percent_encoded(value);
            let form = percent.replace("%20", "+");
            let (lower, lower_form) = (lower_hex(&percent), lower_hex(&form));
            let every: String = value.bytes().map(|b| format!("%{b:02X}")).collect();
            self.values.extend([lower_hex(&every), every.clone()]);
            if value.len() >= SHORTEST_INSIDE {
                let hex = every.replace('%', "");
                self.values.extend([hex.to_ascii_lowercase(), hex]);
            }
            self.values
                .extend([value.into(), debug, json, percent, form, lower, lower_form]);
            for engine in [STANDARD, URL_SAFE] {
                let whole = engine.encode(value);
                self.encoded.push(whole.trim_end_matches('=').to_owned());
                if value.len() >= SHORTEST_INSIDE {
                    self.encoded
                        .extend((1..3).map(|at| inside(&engine, value, at)));
                    self.encoded.push(inside(&engine, value, 0));
                }
            }
            self.encoded.retain(|e| e.len() >= SHORTEST);
        }
    }

    /// The text without any of them, and without the userinfo of URLs.
    pub fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = mask_userinfo(text);
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = Cow::Owned(text.replace(value.as_str(), MASK));
            }
        }
        for value in &self.encoded {
            if let Cow::Owned(masked) = mask_base64(&text, value) {
                text = Cow::Owned(masked);
            }
        }
        match self.cut_at_the_end(&text) {
            Some(end) => Cow::Owned(format!("{}{MASK}", &text[..end])),
            None => text,
        }
    }

    /// In place, which costs nothing where there is nothing.
    pub fn scrub_string(&self, text: &mut String) {
        if let Cow::Owned(clean) = self.scrub(text) {
            *text = clean;
        }
    }

    /// Where the start of a secret begins with which the text ends.
    fn cut_at_the_end(&self, text: &str) -> Option<usize> {
        let begins = |value: &String| {
            (CUT..value.len())
                .rev()
                .filter(|n| value.is_char_boundary(*n))
                .find(|n| text.ends_with(&value[..*n]))
                .map(|n| text.len() - n)
        };
        // What is shorter than two cuts is a word as others are.
        let long = self.values.iter().filter(|v| v.len() >= 2 * CUT);
        long.filter_map(begins).min()
    }
}

/// Of a URL that is a secret as a whole: what of its path and its query is no common word, as a message may show it alone.
fn pieces_of_url(secret: &str) -> impl Iterator<Item = &str> {
    let after = secret.split_once("://").map_or("", |(_, rest)| rest);
    let path = after.split_once('/').map_or("", |(_, path)| path);
    let pieces = path.split(['/', '?', '&', '#']).map(|piece| {
        let is_query = piece.split_once('=');
        is_query.map_or(piece, |(_, value)| value)
    });
    pieces.filter(is_uncommon)
}

/// Of a line that is a secret as a whole, `AUTH t0ken\\r\\n`: what may be said back without the rest.
fn words(secret: &str) -> impl Iterator<Item = &str> {
    let lines = secret
        .split("\\n")
        .map(|l| l.strip_suffix("\\r").unwrap_or(l));
    let words = lines.flat_map(str::split_whitespace);
    words.filter(move |word| is_uncommon(word) && *word != secret)
}

/// No word that a message could have by itself.
fn is_uncommon(piece: &&str) -> bool {
    let has = |is: fn(&char) -> bool| piece.chars().any(|c| is(&c));
    let mixed = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    match piece.len() {
        0..6 => false,
        12.. => true,
        n => has(char::is_ascii_digit) || (n >= 8 && mixed),
    }
}

/// The letters that `value` makes wherever it begins at a byte `at` of three, whatever stands before and behind it.
fn inside(engine: &impl base64::Engine, value: &str, at: usize) -> String {
    let mut bytes = vec![0; at];
    bytes.extend_from_slice(value.as_bytes());
    let whole = engine.encode(&bytes);
    // A letter has six bits: those that share a byte with what is around say nothing.
    let first = (at * 8).div_ceil(6);
    let last = bytes.len() * 8 / 6;
    whole.get(first..last).unwrap_or_default().to_owned()
}

/// Takes out the whole base64 text in which these letters stand.
fn mask_base64<'t>(text: &'t str, letters: &str) -> Cow<'t, str> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(letters) {
        let behind = at + letters.len();
        let from = rest[..at].rfind(|c| !is_letter(c));
        let from = from.map_or(0, |n| {
            n + rest[n..].chars().next().map_or(1, char::len_utf8)
        });
        let to = rest[behind..].find(|c| !is_letter(c));
        out += &rest[..from];
        out += MASK;
        rest = &rest[to.map_or(rest.len(), |n| behind + n)..];
    }
    match out.is_empty() {
        true => text.into(),
        false => (out + rest).into(),
    }
}

impl Scrubber {
    /// Of a check's options: the values at these places (JSON pointers), and what is a secret by where it stands.
    pub fn of_options(config: &str, places: &[String]) -> Scrubber {
        Scrubber::new(in_options(config, places))
    }
}

/// The values behind [`Scrubber::of_options`].
pub fn in_options(config: &str, places: &[String]) -> Vec<String> {
    let Ok(options) = serde_json::from_str::<Json>(config) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for value in places
        .iter()
        .filter_map(|place| options.pointer(place)?.as_str())
    {
        add_with_parts(value, &mut found);
    }
    if let Some((shown, _)) = sensitive::masked(&options) {
        differing(&options, &shown, &mut found);
    }
    found
}

/// Where in the options the whole value is hidden in `shown`, as JSON pointers.
pub fn hidden_places(config: &str, shown: &str) -> Vec<String> {
    if config == shown {
        return Vec::new();
    }
    let mut places = Vec::new();
    if let Ok(shown) = serde_json::from_str::<Json>(shown) {
        masks(&shown, &mut String::new(), &mut places);
    }
    places
}

fn masks(shown: &Json, at: &mut String, places: &mut Vec<String>) {
    let length = at.len();
    let mut step = |key: &str, inner: &Json| {
        at.push('/');
        at.push_str(&key.replace('~', "~0").replace('/', "~1"));
        masks(inner, at, places);
        at.truncate(length);
    };
    match shown {
        Json::Object(map) => map.iter().for_each(|(key, inner)| step(key, inner)),
        Json::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(i, inner)| step(&i.to_string(), inner)),
        Json::String(text) if text == MASK => places.push(at.clone()),
        _ => {}
    }
}

/// What of `config` does not stand in `shown`, where `***` stands for it: the secrets of a check, from its two texts.
pub fn secrets_of(config: &str, shown: &str) -> Vec<String> {
    if config == shown {
        return Vec::new();
    }
    let parse = |text: &str| serde_json::from_str::<Json>(text).unwrap_or_default();
    let mut found = Vec::new();
    differing(&parse(config), &parse(shown), &mut found);
    found
}

fn differing(config: &Json, shown: &Json, found: &mut Vec<String>) {
    match (config, shown) {
        (Json::Object(a), Json::Object(b)) => a
            .iter()
            .for_each(|(key, value)| differing(value, b.get(key).unwrap_or(&Json::Null), found)),
        (Json::Array(a), Json::Array(b)) => a
            .iter()
            .zip(b)
            .for_each(|(value, shown)| differing(value, shown, found)),
        (Json::String(a), Json::String(b)) if a != b => hidden(a, b, found),
        _ => {}
    }
}

/// What stands in `value` where `shown` has a mask.
fn hidden(value: &str, shown: &str, found: &mut Vec<String>) {
    let mut rest = value;
    let mut parts = shown.split(MASK);
    let mut before = parts.next().unwrap_or_default();
    rest = rest.strip_prefix(before).unwrap_or(rest);
    let mut parts = parts.peekable();
    while let Some(next) = parts.next() {
        let end = match (next.is_empty(), parts.peek().is_none()) {
            (_, true) => rest.len() - rest.len().min(next.len()),
            (true, false) => rest.len(),
            (false, false) => rest.find(next).unwrap_or(rest.len()),
        };
        if !rest.is_char_boundary(end) {
            return;
        }
        let secret = &rest[..end];
        // Masked where it stands in a URL; elsewhere the same word is no secret.
        let is_userinfo = before.ends_with("://") && next.starts_with('@');
        if !(is_userinfo && sensitive::is_user_alone(secret)) {
            add_with_parts(secret, found);
        }
        rest = rest[end..].strip_prefix(next).unwrap_or_default();
        before = next;
    }
}

/// A secret, and what in it is one by itself: user and password of a URL, what follows `Bearer`.
fn add_with_parts(secret: &str, found: &mut Vec<String>) {
    found.push(secret.to_owned());
    for userinfo in userinfos(secret).filter(|u| !sensitive::is_user_alone(u)) {
        found.push(userinfo.to_owned());
    }
    let userinfo = userinfos(secret).next().unwrap_or(secret);
    if let Some((_, password)) = userinfo.split_once(':') {
        found.push(password.to_owned());
        found.push(percent_decoded(password));
    }
    if let Some((scheme, credentials)) = secret.split_once(' ')
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !credentials.contains(' ')
    {
        found.push(credentials.to_owned());
    }
}

fn userinfos(text: &str) -> impl Iterator<Item = &str> {
    let starts = text.match_indices("://").map(|(at, _)| at + 3);
    starts.filter_map(|at| Some(authority(&text[at..]).rsplit_once('@')?.0))
}

fn authority(text: &str) -> &str {
    let is_end = |c: char| c.is_whitespace() || "/\\?#\"'`<>".contains(c);
    &text[..text.find(is_end).unwrap_or(text.len())]
}

/// Takes `user:password@` out of every URL in a text.
pub fn mask_userinfo(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out += before;
        rest = after;
        if let Some((userinfo, _)) = authority(after).rsplit_once('@') {
            out += MASK;
            rest = &after[userinfo.len()..];
        }
    }
    // Without a user nothing was changed.
    match out.len() + rest.len() == text.len() && !out.contains(MASK) {
        true => text.into(),
        false => (out + rest).into(),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            true => out.push(char::from(b)),
            false => out += &format!("%{b:02X}"),
        }
    }
    out
}

fn lower_hex(percent: &str) -> String {
    let mut out = String::with_capacity(percent.len());
    let mut hex = 0;
    for c in percent.chars() {
        out.push(if hex > 0 { c.to_ascii_lowercase() } else { c });
        hex = if c == '%' {
            2
        } else {
            usize::saturating_sub(hex, 1)
        };
    }
    out
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, more)) = rest.split_first() {
        let hex = more.get(..2).filter(|_| b == b'%');
        let byte = hex.and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                rest = &more[2..];
            }
            None => {
                out.push(b);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_of_a_secret_is_taken_out() {
        let secret = "p\"ä s/w+rd";
        let scrubber = Scrubber::new([secret]);
        for form in [
            secret.to_owned(),
            format!("{secret:?}"),
            serde_json::json!({ "password": secret }).to_string(),
            format!("GET /?p={}", percent_encoded(secret)),
            format!("GET /?p={}", lower_hex(&percent_encoded(secret))),
            format!("a=b&p={}", percent_encoded(secret).replace("%20", "+")),
            format!("Basic {}", STANDARD.encode(format!("user:{secret}"))),
            format!("Basic {}", STANDARD.encode(format!("u:{secret}"))),
            format!(
                "Basic {} rejected",
                URL_SAFE.encode(format!("us:{secret}:more"))
            ),
            secret.bytes().map(|b| format!("{b:02x}")).collect(),
            // Cut by who had no room for more.
            format!("the server said {}", &secret[..8]),
        ] {
            let shown = scrubber.scrub(&form);
            assert!(shown.contains(MASK), "{form}");
            for part in ["s/w", "w+rd", "s%2F", "w%2B"] {
                assert!(!shown.contains(part), "{form} -> {shown}");
            }
            assert!(
                !shown.contains("czo") && !shown.contains("cy93"),
                "{form} -> {shown}"
            );
        }
        assert_eq!(scrubber.scrub("nothing of it"), "nothing of it");
    }

    #[test]
    fn pieces_of_a_url_that_is_a_secret() {
        let scrubber =
            Scrubber::new(["https://hooks.test/services/T01234567/aBcDeFgH/x?key=k3y-k3y&v=2"]);
        for (text, shown) in [
            (
                "redirect to https://hooks.test/services/T01234567/y: refused",
                "redirect to https://hooks.test/services/***/y: refused",
            ),
            (
                "HTTP 302 to /services/x/aBcDeFgH",
                "HTTP 302 to /services/x/***",
            ),
            ("header X: k3y-k3y", "header X: ***"),
            (
                "the services of hooks.test, v 2",
                "the services of hooks.test, v 2",
            ),
        ] {
            assert_eq!(scrubber.scrub(text), shown);
        }
        let line = Scrubber::new(["AUTH t0k3n-x\\r\\n"]);
        assert_eq!(
            line.scrub("after AUTH the server said \"-ERR t0k3n-x\""),
            "after AUTH the server said \"-ERR ***\""
        );
    }

    #[test]
    fn a_user_without_a_password_is_masked_in_urls_alone() {
        let of = |config: &str, places: &[String]| Scrubber::of_options(config, places);
        for scrubber in [
            of(r#"{"url":"postgres://health@db/app"}"#, &[]),
            of(r#"{"url":"postgres://health@db/app"}"#, &["/url".into()]),
        ] {
            assert_eq!(
                scrubber.scrub("no role \"health\" at postgres://health@db/x"),
                "no role \"health\" at postgres://***@db/x"
            );
        }
        let scrubber = of(r#"{"url":"postgres://health:pass1@db/app"}"#, &[]);
        assert_eq!(
            scrubber.scrub("health: pass1, and health:pass1"),
            "health: ***, and ***"
        );
    }

    #[test]
    fn userinfo_is_taken_out_of_every_url() {
        let none = Scrubber::default();
        for (text, shown) in [
            (
                "moved to https://u:p@h/x, twice ftp://t@h",
                "moved to https://***@h/x, twice ftp://***@h",
            ),
            ("http://h/a@b and a@b", "http://h/a@b and a@b"),
            ("://@", "://***@"),
        ] {
            assert_eq!(none.scrub(text), shown);
        }
    }

    #[test]
    fn the_secrets_are_what_is_not_shown() {
        let config = r#"{"headers":{"A":"Bearer abcdef"},"url":"https://u:p%40ss@h/x","v":["k=v","x=secret y"],"n":1}"#;
        let shown =
            r#"{"headers":{"A":"***"},"url":"https://***@h/x","v":["k=v","x=*** y"],"n":1}"#;
        let found = secrets_of(config, shown);
        for secret in [
            "Bearer abcdef",
            "abcdef",
            "u:p%40ss",
            "p%40ss",
            "p@ss",
            "secret",
        ] {
            assert!(found.iter().any(|f| f == secret), "{secret}: {found:?}");
        }
        assert!(
            !found.iter().any(|f| f.contains("k=v") || f.contains("/x")),
            "{found:?}"
        );
        assert!(secrets_of(config, config).is_empty());
        let places = hidden_places(config, shown);
        assert_eq!(places, ["/headers/A"]);
        let scrubber = Scrubber::of_options(config, &places);
        for secret in ["abcdef", "p%40ss", "p@ss"] {
            assert_eq!(scrubber.scrub(secret), MASK, "{secret}");
        }
    }

    proptest! {
        /// Whatever the secret and whatever is around it: it is not in what comes out.
        #[test]
        fn no_secret_comes_out(
            secret in "[!-~äß€]{6,40}",
            before in ".{0,20}",
            user in "[a-z]{0,5}",
            behind in ".{0,20}",
        ) {
            prop_assume!(!secret.contains("***") && !MASK.contains(&secret));
            let scrubber = Scrubber::new([&secret]);
            let basic = STANDARD.encode(format!("{user}:{secret}"));
            for said in [
                format!("{before}{secret}{behind}"),
                format!("{before} {} {behind}", percent_encoded(&secret)),
                format!("{before} Basic {basic} {behind}"),
                format!("{before} {secret:?} {behind}"),
            ] {
                let shown = scrubber.scrub(&said);
                // It may stand in what is around, made of masks.
                prop_assert!(!shown.contains(&secret) || before.contains(&secret) || behind.contains(&secret), "{}", shown);
                prop_assert!(!shown.contains(&basic), "{}", shown);
            }
        }

        #[test]
        fn no_text_makes_it_panic(config in any::<String>(), shown in any::<String>(), text in any::<String>()) {
            let mut found = Vec::new();
            hidden(&config, &shown, &mut found);
            Scrubber::new(&found).scrub(&text);
        }
    }
}
