//! What a connection showed, as labels of a result: for whoever wants to see it without looking at every run.
//!
//! Names of people and organisations are written as Go writes them, and with it the Prometheus exporters.

use super::TlsStream;
use super::trust::fingerprint;
use crate::certificate::{Certificate, attributes};
use rustls::ProtocolVersion;
use std::fmt::Write;

/// Key and value of each label.
pub type Facts = Vec<(&'static str, String)>;

impl<S> TlsStream<S> {
    /// Version, cipher and the server's certificate. What cannot be read is left out.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts::new();
        let session = self.get_ref().1;
        facts.push(("tls_version", version(session.protocol_version())));
        if let Some(suite) = session.negotiated_cipher_suite() {
            let name = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            facts.push(("tls_cipher", name));
        }
        let chain = session.peer_certificates().unwrap_or_default();
        let ends = chain
            .iter()
            .filter_map(|c| crate::certificate::not_after(c));
        if let Some(first) = ends.min() {
            facts.push(("certificate_ends", first.to_string()));
        }
        // Without a path to a root there is no chain that could end.
        if let (Some(path), None) = (&self.seen().ends, &self.seen().unverified) {
            facts.push(("chain_ends", path.not_after.to_string()));
        }
        if let Some(own) = chain.first() {
            facts.push(("certificate_sha256", hex(&fingerprint(own))));
            if let Some(certificate) = Certificate::parse(own) {
                facts.push(("certificate_subject", distinguished(certificate.subject())));
                facts.push(("certificate_issuer", distinguished(certificate.issuer())));
                facts.push(("certificate_names", certificate.dns_names().join(",")));
            }
        }
        facts
    }
}

fn version(version: Option<ProtocolVersion>) -> String {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// Attributes that have a word, in the order in which a name is written from its end.
const WORDS: [(&[u8], &str); 9] = [
    (&[0x55, 0x04, 0x06], "C"),
    (&[0x55, 0x04, 0x08], "ST"),
    (&[0x55, 0x04, 0x07], "L"),
    (&[0x55, 0x04, 0x09], "STREET"),
    (&[0x55, 0x04, 0x11], "POSTALCODE"),
    (&[0x55, 0x04, 0x0A], "O"),
    (&[0x55, 0x04, 0x0B], "OU"),
    (&[0x55, 0x04, 0x03], "CN"),
    (&[0x55, 0x04, 0x05], "SERIALNUMBER"),
];

/// `CN=localhost,OU=a+OU=b,O=Test\, Inc.`: RFC 2253 as Go has it. Of several common names the last counts.
fn distinguished(name: &[u8]) -> String {
    let all: Vec<(&[u8], String)> = attributes(name).collect();
    let unknown = all
        .iter()
        .filter(|(oid, _)| !WORDS.iter().any(|(known, _)| known == oid))
        .map(|(oid, value)| format!("{}=#{}", dotted(oid), hex(&der_of(value))));
    let known = WORDS.iter().filter_map(|(oid, word)| {
        let values = all.iter().filter(|(o, _)| o == oid);
        let mut parts: Vec<String> = values
            .map(|(_, value)| format!("{word}={}", escaped(value)))
            .collect();
        if matches!(*word, "CN" | "SERIALNUMBER") {
            parts = parts.pop().into_iter().collect();
        }
        (!parts.is_empty()).then(|| parts.join("+"))
    });
    let mut parts: Vec<String> = unknown.chain(known).collect();
    parts.reverse();
    parts.join(",")
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut out = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        let escape = match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if escape {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A text as ASN.1 has it: printable, or UTF-8.
fn der_of(value: &str) -> Vec<u8> {
    let is_printable = |b: u8| b.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(&b);
    let tag = match value.bytes().all(is_printable) {
        true => 0x13,
        false => 0x0C,
    };
    let mut out = vec![tag];
    match value.len() {
        n if n < 0x80 => out.push(n as u8),
        n if n < 0x100 => out.extend([0x81, n as u8]),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend_from_slice(value.as_bytes());
    out
}

/// `2.5.4.12`.
fn dotted(oid: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            match numbers.is_empty() {
                // The first two are one.
                true => numbers.extend(match number {
                    n if n < 80 => [n / 40, n % 40],
                    n => [2, n - 80],
                }),
                false => numbers.push(number),
            }
            number = 0;
        }
    }
    let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    texts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name of these attributes, each in a set of its own.
    fn name(attributes: &[(&[u8], &str)]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| {
            let mut out = vec![tag, content.len() as u8];
            out.extend_from_slice(content);
            out
        };
        let sets = attributes.iter().map(|(oid, value)| {
            let pair = [wrap(0x06, oid), wrap(0x0C, value.as_bytes())].concat();
            wrap(0x31, &wrap(0x30, &pair))
        });
        sets.collect::<Vec<_>>().concat()
    }

    const CN: &[u8] = &[0x55, 4, 3];
    const OU: &[u8] = &[0x55, 4, 11];

    #[test]
    fn names_as_the_exporters_of_prometheus_write_them() {
        let all = name(&[
            (CN, "#fi<r>st;=,"),
            (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 1], "a@b.c"),
            (&[0x55, 4, 5], "5"),
            (&[0x55, 4, 9], "s"),
            (&[0x55, 4, 17], "9"),
            (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 1], "u"),
            (&[0x55, 4, 6], "DE"),
            (OU, "z"),
            (&[0x55, 4, 7], "loc"),
            (&[0x55, 4, 8], "stt"),
            (&[0x55, 4, 12], "dr"),
        ]);
        // What blackbox_exporter 0.23 says of a certificate with this subject.
        let said = "SERIALNUMBER=5,CN=\\#fi\\<r\\>st\\;=\\,,OU=z,POSTALCODE=9,STREET=s,L=loc,ST=stt,C=DE,\
                    2.5.4.12=#13026472,0.9.2342.19200300.100.1.1=#130175,1.2.840.113549.1.9.1=#0c056140622e63";
        assert_eq!(distinguished(&all), said);
        let two = name(&[(OU, "x "), (OU, " y"), (CN, "a"), (CN, "b")]);
        assert_eq!(distinguished(&two), "CN=b,OU=x\\ +OU=\\ y");
        assert_eq!(distinguished(&[]), "");
    }
}
