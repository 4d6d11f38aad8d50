//! What a check needs of an X.509 certificate, also of one that webpki refuses: version 1, odd keys, no names.
//! x509-parser would bring 20 crates for it.

use std::fmt;
use std::net::IpAddr;

/// A certificate's fields. Nothing in it is verified.
#[derive(Clone, Debug)]
pub struct Certificate<'d> {
    /// 1 or 3.
    pub version: u8,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// The distinguished names, DER.
    subject: &'d [u8],
    issuer: &'d [u8],
    /// SubjectPublicKeyInfo with its tag: what pins are made of.
    pub public_key_info: &'d [u8],
    pub key: KeyKind,
    extensions: &'d [u8],
}

/// The kind of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Rsa { bits: usize },
    Ec { curve: &'static str },
    Ed25519,
    Ed448,
    Other,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::Rsa { bits } => write!(f, "RSA key of {bits} bits"),
            KeyKind::Ec { curve } => write!(f, "key on curve {curve}"),
            KeyKind::Ed25519 => f.write_str("Ed25519 key"),
            KeyKind::Ed448 => f.write_str("Ed448 key"),
            KeyKind::Other => f.write_str("key of an unknown kind"),
        }
    }
}

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;

/// The end of a DER certificate's validity, in seconds since 1970.
pub fn not_after(certificate: &[u8]) -> Option<i64> {
    Certificate::parse(certificate).map(|c| c.not_after)
}

impl<'d> Certificate<'d> {
    pub fn parse(der: &'d [u8]) -> Option<Certificate<'d>> {
        const VERSION: u8 = 0xA0;
        let (_, certificate, _) = tlv(der)?;
        let (tag, mut tbs, _) = tlv(certificate)?;
        if tag != SEQUENCE {
            return None;
        }
        let mut version = 1;
        if *tbs.first()? == VERSION {
            let (_, explicit, rest) = tlv(tbs)?;
            version = tlv(explicit)?.1.last()?.checked_add(1)?;
            tbs = rest;
        }
        // Serial number, signature algorithm.
        for _ in 0..2 {
            tbs = tlv(tbs)?.2;
        }
        let (_, issuer, tbs) = tlv(tbs)?;
        let (_, validity, tbs) = tlv(tbs)?;
        let (tag, text, after) = tlv(validity)?;
        let not_before = unix_time(tag, text)?;
        let (tag, text, _) = tlv(after)?;
        let not_after = unix_time(tag, text)?;
        let (_, subject, tbs) = tlv(tbs).unwrap_or((0, &[], &[]));
        let rest = tlv(tbs).map_or(&[][..], |(_, _, rest)| rest);
        let public_key_info = &tbs[..tbs.len() - rest.len()];
        Some(Certificate {
            version,
            not_before,
            not_after,
            subject,
            issuer,
            public_key_info,
            key: key_kind(public_key_info).unwrap_or(KeyKind::Other),
            extensions: extensions(rest).unwrap_or_default(),
        })
    }

    /// Its issuer has the same name: self-signed, or at the top of a chain.
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Distinguished names, DER.
    pub fn subject(&self) -> &'d [u8] {
        self.subject
    }

    pub fn issuer(&self) -> &'d [u8] {
        self.issuer
    }

    /// The DNS names among its alternative names.
    pub fn dns_names(&self) -> Vec<&'d str> {
        let dns = |name| match name {
            AlternativeName::Dns(name) => Some(name),
            AlternativeName::Ip(_) => None,
        };
        let names = self.alternative_names().into_iter();
        names.filter_map(dns).collect()
    }

    /// The subject's common name, else its organisation; for people.
    pub fn name(&self) -> String {
        name_of(self.subject)
    }

    pub fn issuer_name(&self) -> String {
        name_of(self.issuer)
    }

    /// Whether it is for this DNS name; without names among its extensions the common name counts, as it did for
    /// devices of old.
    pub fn is_for_name(&self, name: &str) -> bool {
        let names = self.alternative_names();
        let mut dns = names
            .iter()
            .filter_map(|n| match n {
                AlternativeName::Dns(d) => Some(*d),
                _ => None,
            })
            .peekable();
        if dns.peek().is_none() && names.is_empty() {
            return matches_name(
                &attribute(self.subject, COMMON_NAME).unwrap_or_default(),
                name,
            );
        }
        dns.any(|pattern| matches_name(pattern, name))
    }

    pub fn is_for_address(&self, ip: IpAddr) -> bool {
        let names = self.alternative_names();
        let same = |n: &AlternativeName<'_>| matches!(n, AlternativeName::Ip(i) if *i == ip);
        match names.is_empty() {
            true => attribute(self.subject, COMMON_NAME).is_some_and(|n| n == ip.to_string()),
            false => names.iter().any(same),
        }
    }

    /// Without a word on what it is for it is for all.
    pub fn is_for_servers(&self) -> bool {
        const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1D, 0x25];
        const SERVER_AUTH: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
        const ANY: &[u8] = &[0x55, 0x1D, 0x25, 0x00];
        let mut said = self.values_of(EXTENDED_KEY_USAGE).peekable();
        said.peek().is_none()
            || said.any(|mut uses| {
                std::iter::from_fn(move || {
                    let (_, oid, after) = tlv(uses)?;
                    uses = after;
                    Some(oid)
                })
                .any(|oid| oid == SERVER_AUTH || oid == ANY)
            })
    }

    /// What is inside of the SEQUENCE of each extension of this kind.
    fn values_of(&self, kind: &'static [u8]) -> impl Iterator<Item = &'d [u8]> {
        let mut rest = self.extensions;
        let extensions = std::iter::from_fn(move || {
            let (_, extension, after) = tlv(rest)?;
            rest = after;
            Some(extension)
        });
        extensions.filter_map(move |extension| {
            let (OID, oid, mut value) = tlv(extension)? else {
                return None;
            };
            // A BOOLEAN may say that it is critical.
            if let Some((0x01, _, after)) = tlv(value) {
                value = after;
            }
            let inside = tlv(value).and_then(|(_, octets, _)| tlv(octets));
            (oid == kind).then_some(inside.map_or(&[][..], |(_, inside, _)| inside))
        })
    }

    fn alternative_names(&self) -> Vec<AlternativeName<'d>> {
        const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];
        let mut found = Vec::new();
        for mut names in self.values_of(SUBJECT_ALT_NAME) {
            while let Some((tag, name, after)) = tlv(names) {
                names = after;
                let ip = |name: &[u8]| match name.len() {
                    4 => Some(IpAddr::from(<[u8; 4]>::try_from(name).ok()?)),
                    16 => Some(IpAddr::from(<[u8; 16]>::try_from(name).ok()?)),
                    _ => None,
                };
                let name = match tag {
                    0x82 => std::str::from_utf8(name).ok().map(AlternativeName::Dns),
                    0x87 => ip(name).map(AlternativeName::Ip),
                    _ => None,
                };
                found.extend(name);
            }
        }
        found
    }
}

enum AlternativeName<'d> {
    Dns(&'d str),
    Ip(IpAddr),
}

/// `*.example.org` is for one label more.
fn matches_name(pattern: &str, name: &str) -> bool {
    let name = name.trim_end_matches('.');
    match pattern.strip_prefix("*.") {
        Some(domain) => name
            .split_once('.')
            .is_some_and(|(first, rest)| !first.is_empty() && rest.eq_ignore_ascii_case(domain)),
        None => !pattern.is_empty() && pattern.eq_ignore_ascii_case(name),
    }
}

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0A];

/// The common name of a distinguished name, else the organisation.
pub fn name_of(name: &[u8]) -> String {
    const SHOWN: usize = 64;
    let text = attribute(name, COMMON_NAME)
        .or_else(|| attribute(name, ORGANISATION))
        .unwrap_or_else(|| "without a name".into());
    text.chars()
        .filter(|c| !c.is_control())
        .take(SHOWN)
        .collect()
}

/// The last attribute of this type in a distinguished name.
fn attribute(name: &[u8], wanted: &[u8]) -> Option<String> {
    let of_type = attributes(name).filter(|(oid, _)| *oid == wanted);
    of_type.last().map(|(_, text)| text)
}

/// The object identifier and the text of each attribute of a distinguished name, in their order.
pub fn attributes(mut name: &[u8]) -> impl Iterator<Item = (&[u8], String)> {
    let mut set: &[u8] = &[];
    std::iter::from_fn(move || {
        loop {
            while set.is_empty() {
                let (_, content, rest) = tlv(name)?;
                (set, name) = (content, rest);
            }
            let Some((_, pair, rest)) = tlv(set) else {
                set = &[];
                continue;
            };
            set = rest;
            if let Some((OID, oid, value)) = tlv(pair)
                && let Some((_, text, _)) = tlv(value)
            {
                return Some((oid, String::from_utf8_lossy(text).into_owned()));
            }
        }
    })
}

fn key_kind(info: &[u8]) -> Option<KeyKind> {
    let (_, info, _) = tlv(info)?;
    let (_, algorithm, key) = tlv(info)?;
    let (_, oid, parameters) = tlv(algorithm)?;
    Some(match oid {
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, _] => {
            // A BIT STRING that holds SEQUENCE { modulus, exponent }.
            let (_, bits, _) = tlv(key)?;
            let (_, pair, _) = tlv(bits.get(1..)?)?;
            let (_, modulus, _) = tlv(pair)?;
            let zeros = modulus.iter().take_while(|b| **b == 0).count();
            let first = modulus.get(zeros)?;
            KeyKind::Rsa {
                bits: (modulus.len() - zeros) * 8 - first.leading_zeros() as usize,
            }
        }
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01] => KeyKind::Ec {
            curve: match tlv(parameters)?.1 {
                [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07] => "P-256",
                [0x2B, 0x81, 0x04, 0x00, 0x22] => "P-384",
                [0x2B, 0x81, 0x04, 0x00, 0x23] => "P-521",
                [0x2B, 0x81, 0x04, 0x00, 0x0A] => "secp256k1",
                [0x2B, 0x24, 0x03, 0x03, 0x02, ..] => "brainpool",
                _ => "of another kind",
            },
        },
        [0x2B, 0x65, 0x70] => KeyKind::Ed25519,
        [0x2B, 0x65, 0x71] => KeyKind::Ed448,
        _ => KeyKind::Other,
    })
}

/// The extensions' SEQUENCE content, among what follows the public key.
fn extensions(mut rest: &[u8]) -> Option<&[u8]> {
    const EXTENSIONS: u8 = 0xA3;
    loop {
        let (tag, content, after) = tlv(rest)?;
        if tag == EXTENSIONS {
            return Some(tlv(content)?.1);
        }
        rest = after;
    }
}

/// Tag, content and what follows.
fn tlv(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let bytes = usize::from(first & 0x7F);
        if bytes == 0 || bytes > 4 {
            return None;
        }
        let (digits, after) = rest.split_at_checked(bytes)?;
        length = digits.iter().fold(0, |n, b| n << 8 | usize::from(*b));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ` (RFC 5280 allows no other form).
fn unix_time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text
        .strip_suffix(b"Z")
        .filter(|d| d.iter().all(u8::is_ascii_digit))?;
    let pair = |i: usize| {
        Some(i64::from(digits.get(i)? - b'0') * 10 + i64::from(digits.get(i + 1)? - b'0'))
    };
    let (year, at) = match (tag, digits.len()) {
        (0x17, 12) => {
            let y = pair(0)?;
            (if y < 50 { 2000 + y } else { 1900 + y }, 2)
        }
        (0x18, 14) => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    let (month, day) = (pair(at)?, pair(at + 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 of a Gregorian date: years begin in March, so that the leap day is the last one.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day
            - 1
            - 719_468;
    Some(days * 86_400 + pair(at + 4)? * 3600 + pair(at + 6)? * 60 + pair(at + 8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_certificates() {
        assert_eq!(unix_time(0x17, b"700101000000Z"), Some(0));
        assert_eq!(unix_time(0x17, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(unix_time(0x18, b"20000229120000Z"), Some(951_825_600));
        assert_eq!(unix_time(0x18, b"99991231235959Z"), Some(253_402_300_799));
        for bad in [
            &b"700101000000"[..],
            b"70010100000Z",
            b"701301000000Z",
            b"7001010000x0Z",
            b"Z",
            b"",
        ] {
            assert_eq!(unix_time(0x17, bad), None);
        }
    }

    #[test]
    fn cut_off_certificates_are_no_panic() {
        // SEQUENCE { SEQUENCE { serial, algorithm, issuer, validity { time, time } } }
        let time = [&[0x17u8, 13][..], b"300101000000Z"].concat();
        let validity = [&[0x30, 30][..], &time, &time].concat();
        let tbs = [&[2, 1, 1, 0x30, 0, 0x30, 0][..], &validity].concat();
        let tbs = [&[0x30, tbs.len() as u8][..], &tbs].concat();
        let whole = [&[0x30, tbs.len() as u8][..], &tbs].concat();
        assert_eq!(not_after(&whole), Some(1_893_456_000));
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "{end}");
        }
        assert_eq!(not_after(&[0x30, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), None);
    }
}
