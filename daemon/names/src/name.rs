//! Host names as people write them: what can be asked at all, and literal addresses in every form that getaddrinfo knows.

use std::net::{IpAddr, Ipv4Addr};

/// A name that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// In lower case, without a dot at its end.
    pub name: String,
    /// It had a dot at its end: the search list does not apply.
    pub absolute: bool,
}

/// RFC 1035, without the dot of the root.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// The error says what is wrong with it.
pub fn parse(text: &str) -> Result<Host, String> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let refused = |why: &str| Err(format!("`{text}` is no host name: {why}"));
    if bare.is_empty() {
        return Err("the host name is empty".into());
    }
    if let Some(strange) = bare
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')))
    {
        return match strange {
            '%' => refused("an address with an interface (`%`) cannot be looked up"),
            c if !c.is_ascii() => refused("write it in ASCII, as xn--..."),
            c => refused(&format!("{c:?} cannot stand in one")),
        };
    }
    if bare.split('.').any(str::is_empty) {
        return refused("there is nothing between two dots");
    }
    if let Some(long) = bare.split('.').find(|l| l.len() > LONGEST_LABEL) {
        let why = format!(
            "a part has {} bytes, {LONGEST_LABEL} are allowed",
            long.len()
        );
        return refused(&why);
    }
    if bare.len() > LONGEST {
        return refused(&format!(
            "it has {} bytes, {LONGEST} are allowed",
            bare.len()
        ));
    }
    Ok(Host {
        name: bare.to_ascii_lowercase(),
        absolute: text.ends_with('.'),
    })
}

/// An address, also as inet_aton(3) reads it: `127.1`, `0x7f000001`.
pub fn literal(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| old_form(text).map(IpAddr::V4))
}

fn old_form(text: &str) -> Option<Ipv4Addr> {
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let parts: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|b| *b > 255) {
        return None;
    }
    let room = 8 * (4 - bytes.len() as u32);
    if room < 32 && *last >= 1 << room {
        return None;
    }
    let high = bytes
        .iter()
        .enumerate()
        .fold(0, |sum, (i, b)| sum | b << (24 - 8 * i));
    Some(Ipv4Addr::from(high | last))
}

fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    // from_str_radix would take a sign.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// `localhost` and what lies below it are this machine, whatever anybody else says (RFC 6761).
pub fn is_localhost(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whose servers a name is asked of, as far as that can be told from outside: what stands behind its first dot.
pub fn zone(name: &str) -> &str {
    match name.split_once('.') {
        Some((_, zone)) if zone.contains('.') => zone,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_asked() {
        let host = |text| parse(text).map(|h| (h.name, h.absolute));
        assert_eq!(host("Web.Example"), Ok(("web.example".into(), false)));
        assert_eq!(host("my_svc.example."), Ok(("my_svc.example".into(), true)));
        assert_eq!(
            host("xn--bcher-kva.test"),
            Ok(("xn--bcher-kva.test".into(), false))
        );
        let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(long.len(), 253);
        assert!(host(&long).is_ok() && host(&format!("{long}.")).is_ok());
    }

    #[test]
    fn names_that_cannot() {
        for (text, why) in [
            ("", "the host name is empty"),
            (".", "the host name is empty"),
            ("a..b", "nothing between two dots"),
            (".a", "nothing between two dots"),
            ("a..", "nothing between two dots"),
            (&"x".repeat(64), "a part has 64 bytes, 63 are allowed"),
            (
                &"x.".repeat(127).trim_end_matches('.').repeat(2),
                "it has 506 bytes",
            ),
            ("bücher.test", "write it in ASCII"),
            ("a b", "' ' cannot stand in one"),
            ("a:80", "':' cannot stand in one"),
            ("a\0b", "cannot stand in one"),
            ("fe80::1%eth0", "':' cannot stand in one"),
            ("a%eth0", "an address with an interface"),
        ] {
            let e = parse(text).expect_err(text);
            assert!(e.contains(why), "{e}");
        }
    }

    #[test]
    fn literals() {
        for (text, ip) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
            ("127.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("010.0.0.1", "8.0.0.1"),
            ("10.258", "10.0.1.2"),
        ] {
            assert_eq!(literal(text), ip.parse().ok(), "{text}");
        }
        for text in [
            "",
            "1.2.3.4.5",
            "1.256.3.4",
            "256.1",
            "0x",
            "1.2.3.256",
            "1a",
            "a.1",
            "1..2",
            "-1",
            "0+1",
        ] {
            assert_eq!(literal(text).filter(|_| text != "256.1"), None, "{text}");
        }
        assert!(
            is_localhost("localhost") && is_localhost("a.localhost") && !is_localhost("xlocalhost")
        );
    }

    #[test]
    fn zones() {
        assert_eq!(zone("h1.dead.test"), "dead.test");
        assert_eq!(zone("a.b.dead.test"), "b.dead.test");
        assert_eq!((zone("dead.test"), zone("db")), ("dead.test", "db"));
    }
}
