//! Host names as people type them: an international one becomes ASCII, and what can be none is refused before it runs.

use std::borrow::Cow;
use std::net::IpAddr;

/// RFC 1035, without the dot of the root.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// For `create`: the name as it is looked up and as certificates have it, or what is wrong with it. An address stays as it
/// is.
///
/// ```
/// use healthd_plugin::host_name;
/// assert_eq!(host_name("b\u{fc}cher.example").unwrap(), "xn--bcher-kva.example");
/// assert!(host_name("web.example:443").is_err());
/// ```
pub fn host_name(text: &str) -> Result<Cow<'_, str>, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.into());
    }
    let name = to_ascii(text)?;
    let refused = |why: String| Err(format!("`{text}` is no host name: {why}"));
    let bare = name.strip_suffix('.').unwrap_or(&name);
    if bare.is_empty() {
        return refused("there is nothing in it".into());
    }
    if bare.contains('/') {
        return refused("write the name alone, without a scheme and a path".into());
    }
    let strange = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    match bare.chars().find(strange) {
        None => {}
        Some(':') => {
            return refused("':' cannot stand in one; a port has an option of its own".into());
        }
        Some(c) => return refused(format!("{c:?} cannot stand in one")),
    }
    if bare.split('.').any(str::is_empty) {
        return refused("there is nothing between two dots".into());
    }
    if let Some(long) = bare.split('.').map(str::len).find(|n| *n > LONGEST_LABEL) {
        return refused(format!(
            "a part has {long} bytes, {LONGEST_LABEL} are allowed"
        ));
    }
    if bare.len() > LONGEST {
        return refused(format!(
            "it has {} bytes, {LONGEST} are allowed",
            bare.len()
        ));
    }
    Ok(name)
}

/// As WHATWG has it for URLs; what is ASCII already is not looked at.
pub(crate) fn to_ascii(name: &str) -> Result<Cow<'_, str>, String> {
    if name.is_ascii() {
        return Ok(name.into());
    }
    idna::domain_to_ascii(name).map(Cow::Owned).map_err(|_| {
        format!("`{name}` is no host name, as it cannot be written in ASCII (xn--...)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn international_names_and_addresses() {
        for (text, name) in [
            ("web.example", "web.example"),
            ("web.example.", "web.example."),
            ("_svc.Example", "_svc.Example"),
            ("B\u{dc}cher.test", "xn--bcher-kva.test"),
            // Decomposed, as some keyboards write it, and with a dot of its own.
            ("bu\u{308}cher\u{3002}test", "xn--bcher-kva.test"),
            ("::1", "::1"),
            ("10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(host_name(text).as_deref(), Ok(name), "{text}");
        }
    }

    #[test]
    fn what_can_be_no_name() {
        let long = format!("{}.test", "a".repeat(64));
        for (text, why) in [
            ("", "there is nothing in it"),
            (".", "there is nothing in it"),
            ("a..b", "there is nothing between two dots"),
            ("web.example:443", "a port has an option of its own"),
            (
                "http://web.example",
                "write the name alone, without a scheme",
            ),
            ("web.example/x", "write the name alone, without a scheme"),
            ("a b", "' ' cannot stand in one"),
            ("fe80::1%eth0", "':' cannot stand in one"),
            (&long, "a part has 64 bytes, 63 are allowed"),
            ("b\u{fc} cher", "' ' cannot stand in one"),
            ("\u{fffd}.test", "cannot be written in ASCII"),
        ] {
            let told = host_name(text).expect_err(text);
            assert!(told.contains(why), "{text}: {told}");
        }
    }
}
