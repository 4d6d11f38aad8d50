//! Where on the page what is: for the page itself, and for messages that lead there.

use std::fmt::Write;

/// What is open, and who was told.
pub const ALERTS: &str = "/alerts";

/// Where the page of this check is.
pub fn check_path(name: &str) -> String {
    // A browser takes such a segment away before it asks.
    match name.split('/').any(|part| matches!(part, "." | "..")) {
        true => format!("/check/?name={}", encoded(name)),
        false => format!("/check/{}", encoded(name)),
    }
}

/// For a path: slashes stay.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' => {
                out.push(char::from(byte));
            }
            byte => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_a_path() {
        for (name, path) in [
            ("shop/db", "/check/shop/db"),
            ("a b", "/check/a%20b"),
            ("\u{e9}?", "/check/%C3%A9%3F"),
            ("x/..", "/check/?name=x/.."),
        ] {
            assert_eq!(check_path(name), path);
        }
    }
}
