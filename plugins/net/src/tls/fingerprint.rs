//! SHA-256 of a certificate, as people copy it and as we compare it.

use ring::digest::{SHA256, digest};
use std::fmt::Write as _;

/// SHA-256 in hexadecimal digits.
pub fn fingerprint(der: &[u8]) -> String {
    let mut text = String::new();
    for byte in digest(&SHA256, der).as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// With colons or without, in either case.
pub fn plain_fingerprint(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix("sha256:").unwrap_or(text);
    let plain: String = bare.chars().filter(|c| *c != ':').collect();
    match plain.len() == 64 && plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(plain.to_ascii_lowercase()),
        false => Err(format!("{text:?} is no SHA-256: 64 hexadecimal digits")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(fingerprint(b""), empty);
        let pairs: Vec<_> = empty
            .as_bytes()
            .chunks(2)
            .map(String::from_utf8_lossy)
            .collect();
        assert_eq!(
            plain_fingerprint(&pairs.join(":").to_uppercase()).unwrap(),
            empty
        );
        assert!(plain_fingerprint("e3b0").is_err());
        assert!(plain_fingerprint(&"x".repeat(64)).is_err());
    }
}
