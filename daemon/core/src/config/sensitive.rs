//! Values that are secrets by where they stand: the password in a URL, in an option of that name, in a header. They are
//! masked wherever options are shown, as those that come from a file are.

use super::schema::Step;
use crate::scrub::{MASK, mask_userinfo};
use serde_json::Value as Json;
use std::ops::Range;

/// How a value is known to be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The name of its option, or of what it sets, says so.
    Name,
    /// User and password in a URL.
    Url,
    /// `name=value` in the query of a URL.
    Query,
    /// A user alone, who is nobody's secret and not shown either.
    User,
    /// `key=value` within a longer text, which may be meant otherwise.
    Within,
}

/// Where something was masked, and why.
pub type Places = Vec<(Vec<Step>, Place)>;

/// The options as they may be shown, and where something was masked. None: as they are.
pub fn masked(options: &Json) -> Option<(Json, Places)> {
    let mut found = Vec::new();
    find(options, &mut Vec::new(), &mut found);
    if found.is_empty() {
        return None;
    }
    let mut shown = options.clone();
    let mut places = Vec::with_capacity(found.len());
    for (path, place, text) in found {
        super::options::put(&mut shown, &path, Json::String(text));
        places.push((path, place));
    }
    Some((shown, places))
}

fn find(value: &Json, path: &mut Vec<Step>, found: &mut Vec<(Vec<Step>, Place, String)>) {
    match value {
        Json::Object(map) => {
            for (key, inner) in map {
                path.push(Step::Key(key.clone()));
                match inner {
                    Json::String(text) if is_secret_name(key) && is_secret_text(text) => {
                        found.push((path.clone(), Place::Name, MASK.into()));
                    }
                    _ => find(inner, path, found),
                }
                path.pop();
            }
        }
        Json::Array(items) => {
            let mut before = "";
            for (i, item) in items.iter().enumerate() {
                path.push(Step::Index(i));
                match item {
                    // `--password`, `WORD`
                    Json::String(text) if names_next(before) && is_secret_text(text) => {
                        found.push((path.clone(), Place::Name, MASK.into()));
                    }
                    _ => find(item, path, found),
                }
                path.pop();
                before = item.as_str().unwrap_or_default();
            }
        }
        Json::String(text) => {
            if let Some((place, shown)) = masked_text(text) {
                found.push((path.clone(), place, shown));
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn is_secret_text(text: &str) -> bool {
    !text.is_empty() && text != MASK
}

fn names_next(word: &str) -> bool {
    word.strip_prefix("--")
        .is_some_and(|name| !name.contains('=') && is_secret_name(name))
}

/// `password`, `PGPASSWORD`, `client_secret`, `X-Api-Key`; not `password_file`.
pub fn is_secret_name(name: &str) -> bool {
    let name: String = name.to_ascii_lowercase().replace(['-', '_'], "");
    ENDINGS.iter().any(|e| name.ends_with(e))
}

const ENDINGS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "authorization",
    "cookie",
    "community",
    "credentials",
];

/// `NAME=value`, `Name: value`, a URL with a user, `key=value` somewhere.
fn masked_text(text: &str) -> Option<(Place, String)> {
    for sign in ['=', ':'] {
        if let Some((name, value)) = text.split_once(sign) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if !name.is_empty()
                && name.chars().all(plain)
                && is_secret_name(name)
                && is_secret_text(value.trim())
                && !value.starts_with("//")
            {
                let blank = if value.starts_with(' ') { " " } else { "" };
                return Some((Place::Name, format!("{name}{sign}{blank}{MASK}")));
            }
        }
    }
    let url = mask_userinfo(text);
    let whole = mask_within(&url);
    match (
        *url == *text || text.contains(&format!("://{MASK}@")),
        whole,
    ) {
        (false, whole) => {
            let place = match (has_password(text), &whole) {
                (true, _) => Place::Url,
                (false, Some(_)) if is_url(text) => Place::Query,
                (false, _) => Place::User,
            };
            Some((place, whole.unwrap_or_else(|| url.into_owned())))
        }
        (true, Some(whole)) if is_url(text) => Some((Place::Query, whole)),
        (true, Some(whole)) => Some((Place::Within, whole)),
        (true, None) => None,
    }
}

/// Nothing else, and with a query.
fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    !scheme.is_empty()
        && scheme.chars().all(|c| c.is_ascii_alphanumeric())
        && text.contains('?')
        && !text.contains(char::is_whitespace)
}

/// In a URL of it, behind a user: `https://user:password@host`. A token may stand in the user's place.
fn has_password(text: &str) -> bool {
    text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        let end = rest.find(|c: char| c.is_whitespace() || "/\\?#\"'`<>".contains(c));
        let user = rest[..end.unwrap_or(rest.len())].rsplit_once('@');
        user.is_some_and(|(user, _)| !is_user_alone(user))
    })
}

/// No user's name is so long.
const LIKE_A_TOKEN: usize = 20;

/// What stands before the `@` of a URL is a name without a password.
pub fn is_user_alone(userinfo: &str) -> bool {
    let password = userinfo
        .split_once(':')
        .map_or("", |(_, password)| password);
    matches!(password, "" | MASK) && userinfo.len() < LIKE_A_TOKEN
}

/// `host=a password=b`, `?token=c&x=d`.
fn mask_within(text: &str) -> Option<String> {
    let in_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut out = String::new();
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('=') {
        let (before, after) = rest.split_at(at + 1);
        let key = before[..at].rfind(|c| !in_key(c));
        let key = key.map_or(&before[..at], |n| {
            &before[n + before[n..].chars().next().map_or(1, char::len_utf8)..at]
        });
        out += before;
        rest = after;
        let quoted = rest
            .starts_with('\'')
            .then(|| rest[1..].find('\'').map(|n| n + 2))
            .flatten();
        let is_end = |c: char| c.is_whitespace() || "&;#'\"".contains(c);
        let end = quoted.unwrap_or_else(|| rest.find(is_end).unwrap_or(rest.len()));
        if is_secret_name(key) && is_secret_text(&rest[..end]) {
            out += MASK;
            rest = &rest[end..];
            changed = true;
        }
    }
    changed.then(|| out + rest)
}

/// What of a line of a config is a secret by where it stands, in bytes: for lines that are shown.
pub fn in_line(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let in_key = |c: char| c.is_ascii_alphanumeric() || "_-\"'".contains(c);
    for (at, _) in line.match_indices('=') {
        let before = line[..at].trim_end();
        let key = before.rfind(|c| !in_key(c)).map_or(before, |n| {
            &before[n + before[n..].chars().next().map_or(1, char::len_utf8)..]
        });
        let value = line[at + 1..].trim_start();
        let from = line.len() - value.len();
        if let Some(quote) = value.chars().next().filter(|c| "\"'".contains(*c))
            && is_secret_name(key.trim_matches(['"', '\'']))
        {
            let inner = &value[1..];
            let length = inner.find(quote).unwrap_or(inner.len());
            found.push(from + 1..from + 1 + length);
        }
    }
    for (at, _) in line.match_indices("://") {
        let rest = &line[at + 3..];
        let end = rest.find(|c: char| c.is_whitespace() || "/\\?#\"'`<>".contains(c));
        if let Some(user) = rest[..end.unwrap_or(rest.len())].rfind('@') {
            found.push(at + 3..at + 3 + user);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_a_secret_in_a_line_is_found() {
        for (line, secrets) in [
            (
                r#"config = { url = "http://u:p@h/", password = "s1", port = 1 }"#,
                vec!["s1", "u:p"],
            ),
            (r#"headers = { "X-Api-Key"='s2', a = "b" }"#, vec!["s2"]),
            (r#"password = "never closed"#, vec!["never closed"]),
            (r#"password_file = "/x""#, vec![]),
            ("=", vec![]),
        ] {
            let found: Vec<&str> = in_line(line)
                .into_iter()
                .map(|range| &line[range])
                .collect();
            assert_eq!(found, secrets, "{line}");
        }
    }

    #[test]
    fn what_is_a_secret_by_its_place_is_masked() {
        let options = json!({
            "password": "s1", "password_file": "/etc/x", "user": "u", "port": 5432,
            "headers": { "Authorization": "Bearer s2", "Accept": "*/*", "X-Api-Key": "s3" },
            "url": "https://u:s4@h/x?token=s5&page=2",
            "conninfo": "host=h password='s 6' user=u",
            "argv": ["/bin/check", "--password", "s7", "--community=s8", "-p", "80"],
            "env": ["PGPASSWORD=s9", "LANG=C"],
            "lines": ["Cookie: s10", "Host: h"],
            "body_contains": "no secret: here = 1",
        });
        let (shown, places) = masked(&options).expect("there are some");
        assert_eq!(
            shown,
            json!({
                "password": "***", "password_file": "/etc/x", "user": "u", "port": 5432,
                "headers": { "Authorization": "***", "Accept": "*/*", "X-Api-Key": "***" },
                "url": "https://***@h/x?token=***&page=2",
                "conninfo": "host=h password=*** user=u",
                "argv": ["/bin/check", "--password", "***", "--community=***", "-p", "80"],
                "env": ["PGPASSWORD=***", "LANG=C"],
                "lines": ["Cookie: ***", "Host: h"],
                "body_contains": "no secret: here = 1",
            })
        );
        assert_eq!(places.len(), 9);
        for (url, place) in [
            ("postgres://health@db/app", Place::User),
            ("postgres://health:@db/app", Place::User),
            ("postgres://health:s@db/app", Place::Url),
            ("https://ghp_16C7e42F292c6912E7@h/", Place::Url),
            ("https://health@h/x?a=1&api_key=s", Place::Query),
        ] {
            let (shown, places) = masked(&json!({ "url": url })).expect("a user");
            assert_eq!(places[0].1, place, "{url}");
            assert!(
                shown["url"].as_str().is_some_and(|u| u.contains("://***@")),
                "{shown}"
            );
        }
        for (text, place) in [
            ("https://h/x?page=2&access_token=s", Some(Place::Query)),
            ("see https://h/x?token=s", Some(Place::Within)),
            ("https://h/x?page=2", None),
        ] {
            let found = masked(&json!({ "url": text })).map(|(_, places)| places[0].1);
            assert_eq!(found, place, "{text}");
        }
        // What was masked already is no news.
        assert!(masked(&shown).is_none(), "{:?}", masked(&shown));
    }
}
