//! Values that must be in no message: known to a check, and taken out of whatever it says.

use std::borrow::Cow;
use std::fmt;

/// What is shown instead.
pub const MASK: &str = "***";
/// Shorter ones are no secrets, and would blank out half of every message.
const SHORTEST: usize = 3;

/// The secrets of one check. Shown nowhere, also not by `{:?}`.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Longest first: one may be part of another.
    values: Vec<String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.values.len())
    }
}

impl Secrets {
    pub fn new() -> Secrets {
        Secrets::default()
    }

    /// Adds a value as it is, as a URL has it and as a quoted text has it. Of a text of several lines each is one.
    pub fn add(&mut self, secret: &str) {
        let lines = secret.lines().map(str::trim).filter(|l| *l != secret);
        let all: Vec<&str> = std::iter::once(secret).chain(lines).collect();
        for value in all.into_iter().filter(|v| v.chars().count() >= SHORTEST) {
            let quoted: String = value.escape_debug().collect();
            for form in [value.to_owned(), percent_encoded(value), quoted] {
                if !self.values.contains(&form) {
                    self.values.push(form);
                }
            }
        }
        self.values.sort_by_key(|v| std::cmp::Reverse(v.len()));
    }

    /// The text without any of them, and without user and password in a URL.
    pub fn mask<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = mask_userinfo(text);
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = Cow::Owned(text.replace(value.as_str(), MASK));
            }
        }
        text
    }
}

/// Takes `user:password@` out of every URL in a text.
pub fn mask_userinfo(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let is_end = |c: char| c.is_whitespace() || "/\\?#\"'`<>".contains(c);
        let authority = &after[..after.find(is_end).unwrap_or(after.len())];
        out += before;
        rest = after;
        if let Some((userinfo, _)) = authority.rsplit_once('@') {
            out += MASK;
            rest = &after[userinfo.len()..];
        }
    }
    match out.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_in_no_text() {
        let mut secrets = Secrets::new();
        for secret in [
            "s3cret",
            "s3cret&more",
            "a\"b\u{e9}\\",
            "ab",
            "line one\nline two\n",
        ] {
            secrets.add(secret);
        }
        for (text, shown) in [
            ("header X: \"s3cret\" is bad", "header X: \"***\" is bad"),
            ("s3cret&more and s3cret", "*** and ***"),
            ("?t=s3cret%26more", "?t=***"),
            (r#"body is "a\"b\u{e9}\\""#, r#"body is "a\"b\u{e9}\\""#),
            ("a\"b\u{e9}\\!", "***!"),
            ("absolutely fine", "absolutely fine"),
            ("it says line two", "it says ***"),
        ] {
            assert_eq!(secrets.mask(text), shown);
        }
        let quoted = format!("body is {:?}", "a\"b\u{e9}\\");
        assert_eq!(secrets.mask(&quoted), "body is \"***\"");
        assert!(!format!("{secrets:?}").contains("s3cret"));
    }

    #[test]
    fn users_and_passwords_of_urls() {
        for (text, shown) in [
            (
                "to http://u:p@h/x and ftp://v@h",
                "to http://***@h/x and ftp://***@h",
            ),
            ("http://u:p@q@h:80?x=y@z", "http://***@h:80?x=y@z"),
            ("\"https://u:p@h\": bad", "\"https://***@h\": bad"),
            (
                "mail to a@b, see http://h/a@b",
                "mail to a@b, see http://h/a@b",
            ),
            ("://", "://"),
        ] {
            assert_eq!(mask_userinfo(text), shown);
        }
    }
}
