//! Pins: which certificates a server may show, as people write them in a config.

use super::trust::fingerprint;
use crate::base64::{base64, from_base64};
use crate::certificate::Certificate;
use crate::options::{Limits, OptionValue};
use serde_json::Value;

/// A certificate that a server must show. In a config `"sha256//BASE64"` or `"sha256:HEX"`; colons may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pin {
    /// SHA-256 of the public key (SubjectPublicKeyInfo), as `curl --pinnedpubkey` has it.
    PublicKey([u8; 32]),
    /// SHA-256 of the whole certificate: a fingerprint.
    Certificate([u8; 32]),
}

impl Pin {
    pub(super) fn fits(&self, own: &[u8]) -> bool {
        match self {
            Pin::Certificate(hash) => fingerprint(own) == *hash,
            Pin::PublicKey(hash) => {
                Certificate::parse(own).is_some_and(|c| fingerprint(c.public_key_info) == *hash)
            }
        }
    }

    fn parse(text: &str) -> Option<Pin> {
        if let Some(hash) = text.strip_prefix("sha256//") {
            let bytes = from_base64(hash)?.try_into().ok()?;
            return Some(Pin::PublicKey(bytes));
        }
        let digits = text.strip_prefix("sha256:")?.replace(':', "");
        let pair = |i| u8::from_str_radix(digits.get(i..i + 2)?, 16).ok();
        let all: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(pair).collect();
        Some(Pin::Certificate(all?.try_into().ok()?))
    }
}

impl OptionValue for Pin {
    fn schema(_: &Limits) -> String {
        r#""type":"string","pattern":"^sha256(//[A-Za-z0-9+/]{43}=|:([0-9A-Fa-f]{2}:?){32})$""#
            .into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        value.as_str().and_then(Pin::parse).ok_or_else(|| {
            format!("{value} is no pin; write \"sha256//\" and base64 of the public key's hash, or \"sha256:\" and a fingerprint")
        })
    }

    fn to_json(&self) -> Value {
        let hex = |hash: &[u8]| hash.iter().map(|b| format!("{b:02x}")).collect::<String>();
        match self {
            Pin::PublicKey(hash) => format!("sha256//{}", base64(hash)).into(),
            Pin::Certificate(hash) => format!("sha256:{}", hex(hash)).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_as_people_write_them() {
        let parse = |text: &str| Pin::from_json(text.into(), &Limits::NONE);
        let key = format!("sha256//{}", base64(&[7; 32]));
        assert_eq!(parse(&key), Ok(Pin::PublicKey([7; 32])));
        let hex = format!("sha256:{}", ["0A"; 32].join(":"));
        assert_eq!(parse(&hex), Ok(Pin::Certificate([10; 32])));
        assert_eq!(parse(&hex.to_lowercase()), Ok(Pin::Certificate([10; 32])));
        for pin in [Pin::PublicKey([7; 32]), Pin::Certificate([10; 32])] {
            assert_eq!(Pin::from_json(pin.to_json(), &Limits::NONE), Ok(pin));
        }
        for bad in ["", "sha256//", "sha256:0a", "sha1:00", &key[..20]] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
