//! Filters as people write them (RFC 4515), in BER.

use crate::ber::{OCTETS, tagged};

const DEPTH_MAX: usize = 20;

/// The error is in words.
pub fn encode(text: &str) -> Result<Vec<u8>, String> {
    let mut left = text.trim();
    let filter = one(&mut left, 0)?;
    match left.is_empty() {
        true => Ok(filter),
        false => Err(format!("{left:?} is left over")),
    }
}

fn one(left: &mut &str, depth: usize) -> Result<Vec<u8>, String> {
    let inner = left
        .strip_prefix('(')
        .ok_or_else(|| format!("{left:?} does not begin with ("))?;
    if depth == DEPTH_MAX {
        return Err(format!("more than {DEPTH_MAX} deep"));
    }
    let tag = match inner.chars().next() {
        Some('&') => 0xA0,
        Some('|') => 0xA1,
        Some('!') => 0xA2,
        _ => {
            let (item, rest) = inner.split_once(')').ok_or("a ( without its )")?;
            *left = rest;
            return simple(item);
        }
    };
    *left = &inner[1..];
    let mut parts = Vec::new();
    while left.starts_with('(') {
        parts.push(one(left, depth + 1)?);
    }
    *left = left.strip_prefix(')').ok_or("a ( without its )")?;
    if parts.is_empty() || tag == 0xA2 && parts.len() != 1 {
        return Err("! takes one filter, & and | at least one".into());
    }
    Ok(tagged(tag, &parts.concat()))
}

/// `name=value`, with `*` for any text; `>=`, `<=`, `~=`.
fn simple(item: &str) -> Result<Vec<u8>, String> {
    let (name, value) = item
        .split_once('=')
        .ok_or_else(|| format!("{item:?} has no ="))?;
    let (tag, name) = match name.chars().last() {
        Some('>') => (0xA5, &name[..name.len() - 1]),
        Some('<') => (0xA6, &name[..name.len() - 1]),
        Some('~') => (0xA8, &name[..name.len() - 1]),
        _ => (0xA3, name),
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-.;_".contains(&b);
    if name.is_empty() || !name.bytes().all(good) {
        return Err(format!("{name:?} is no attribute"));
    }
    if tag == 0xA3 && value == "*" {
        return Ok(tagged(0x87, name.as_bytes()));
    }
    let attribute = tagged(OCTETS, name.as_bytes());
    let pieces: Vec<&str> = value.split('*').collect();
    if tag != 0xA3 || pieces.len() == 1 {
        let value = tagged(OCTETS, &unescaped(value)?);
        return Ok(tagged(tag, &[attribute, value].concat()));
    }
    let mut parts = Vec::new();
    for (i, piece) in pieces.iter().enumerate().filter(|(_, p)| !p.is_empty()) {
        let tag = match i {
            0 => 0x80,
            i if i + 1 == pieces.len() => 0x82,
            _ => 0x81,
        };
        parts.push(tagged(tag, &unescaped(piece)?));
    }
    if parts.is_empty() {
        return Ok(tagged(0x87, name.as_bytes()));
    }
    let parts = tagged(0x30, &parts.concat());
    Ok(tagged(0xA4, &[attribute, parts].concat()))
}

/// `\2a` is a `*`.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.ok_or_else(|| format!("\\{part}: two hexadecimal digits are needed"))?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::encode;

    #[test]
    fn filters() {
        assert_eq!(encode("(cn=*)").unwrap(), b"\x87\x02cn");
        assert_eq!(encode("(a=b)").unwrap(), b"\xa3\x06\x04\x01a\x04\x01b");
        assert_eq!(encode("(a>=5)").unwrap(), b"\xa5\x06\x04\x01a\x04\x015");
        assert_eq!(
            encode(r"(a=\2a\c3\a4)").unwrap(),
            b"\xa3\x08\x04\x01a\x04\x03*\xc3\xa4"
        );
        assert_eq!(
            encode("(a=x*y*z)").unwrap(),
            b"\xa4\x0e\x04\x01a\x30\x09\x80\x01x\x81\x01y\x82\x01z"
        );
        assert_eq!(
            encode("(&(a=*)(!(b=*)))").unwrap(),
            b"\xa0\x08\x87\x01a\xa2\x03\x87\x01b"
        );
        for bad in [
            "",
            "a=b",
            "(a=b",
            "(a=b))",
            "(a)",
            "(=b)",
            "(&)",
            "(!(a=*)(b=*))",
            r"(a=\2)",
            r"(a=\zz)",
            "(a b=c)",
            "(&(a=b)",
            r"(a=\ä)",
        ] {
            assert!(encode(bad).is_err(), "{bad}");
        }
        let deep = "(!".repeat(10_000);
        assert!(encode(&deep).is_err());
    }
}
