//! SNMP's questions and answers (RFC 1157, 3416) in BER, as far as GET needs them, from an agent that may say anything.

use crate::ber::{INTEGER, OCTETS, Reader, SEQUENCE, integer, signed, tagged};
use healthd_plugin::Width;
use std::fmt;

/// So many numbers has an OID at most (RFC 2578).
pub const ARCS_MAX: usize = 128;

const NULL: u8 = 0x05;
const OID: u8 = 0x06;
const GET: u8 = 0xA0;
const RESPONSE: u8 = 0xA2;
/// Of version 3: what an agent says of the message, and not of its question.
const REPORT: u8 = 0xA8;

/// `1.3.6.1.2.1.1.3.0`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oid(Vec<u32>);

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Counter(u64, Width),
    /// Hundredths of a second.
    Ticks(u64),
    Text(Vec<u8>),
    Name(Oid),
    Address([u8; 4]),
    Null,
    /// There is no such thing at this agent, and why.
    Missing(&'static str),
}

/// An answer.
#[derive(Debug, PartialEq)]
pub struct Response {
    pub is_report: bool,
    pub id: i32,
    /// 0: none.
    pub error: i64,
    /// Of which of the asked OIDs, from 1.
    pub error_index: i64,
    pub values: Vec<(Oid, Value)>,
}

impl Oid {
    /// As people write it; a point at its beginning is allowed.
    pub fn parse(text: &str) -> Option<Oid> {
        let numbers = text.strip_prefix('.').unwrap_or(text).split('.');
        let arcs: Option<Vec<u32>> = numbers
            .map(|n| {
                n.parse()
                    .ok()
                    .filter(|_| n.bytes().all(|b| b.is_ascii_digit()))
            })
            .collect();
        let arcs = arcs.filter(|a| (2..=ARCS_MAX).contains(&a.len()))?;
        let fits = arcs[0] <= 2 && (arcs[1] < 40 || arcs[0] == 2 && arcs[1] < u32::MAX - 80);
        fits.then_some(Oid(arcs))
    }

    fn encode(&self) -> Vec<u8> {
        let mut content = Vec::new();
        let first = self.0[0] * 40 + self.0[1];
        for arc in std::iter::once(&first).chain(&self.0[2..]) {
            let bytes = (1..5).rev().filter(|n| arc >> (7 * n) > 0);
            content.extend(bytes.map(|n| (arc >> (7 * n)) as u8 & 0x7F | 0x80));
            content.push(*arc as u8 & 0x7F);
        }
        tagged(OID, &content)
    }

    fn decode(content: &[u8]) -> Result<Oid, String> {
        let mut arcs: Vec<u32> = Vec::new();
        let mut arc = 0u64;
        let mut open = false;
        for byte in content {
            arc = arc << 7 | u64::from(byte & 0x7F);
            if arc > u32::MAX.into() {
                return Err("an OID with a number of more than 32 bits".into());
            }
            open = byte & 0x80 != 0;
            if open {
                continue;
            }
            match arcs.is_empty() {
                true => {
                    let top = (arc / 40).min(2);
                    arcs.extend([top as u32, (arc - top * 40) as u32]);
                }
                false => arcs.push(arc as u32),
            }
            arc = 0;
        }
        match arcs.len() {
            0 => Err("an OID without numbers".into()),
            _ if open => Err("an OID that is cut short".into()),
            n if n > ARCS_MAX => Err(format!("an OID of {n} numbers")),
            _ => Ok(Oid(arcs)),
        }
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arcs: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&arcs.join("."))
    }
}

/// The question for these.
pub fn get(id: i32, oids: &[Oid]) -> Vec<u8> {
    let pairs = oids
        .iter()
        .map(|oid| tagged(SEQUENCE, &[oid.encode(), tagged(NULL, &[])].concat()));
    let pairs = tagged(SEQUENCE, &pairs.collect::<Vec<_>>().concat());
    tagged(GET, &[integer(id), integer(0), integer(0), pairs].concat())
}

/// A question as versions 1 and 2c send it. `version` is 0 for 1, 1 for 2c.
pub fn with_community(version: i32, community: &str, question: &[u8]) -> Vec<u8> {
    let head = [integer(version), tagged(OCTETS, community.as_bytes())];
    tagged(SEQUENCE, &[&head.concat(), question].concat())
}

/// Some agents forget the byte that keeps a large number from being a negative one.
fn unsigned(content: &[u8]) -> Result<u64, String> {
    let digits = match content {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    match digits.len() {
        0 => Err("it has a number without bytes".into()),
        1..=8 => Ok(digits.iter().fold(0, |n, b| n << 8 | u64::from(*b))),
        n => Err(format!("it has a number of {n} bytes")),
    }
}

fn value(tag: u8, content: &[u8]) -> Result<Value, String> {
    Ok(match tag {
        INTEGER => Value::Number(signed(content)? as f64),
        OCTETS => Value::Text(content.to_vec()),
        NULL => Value::Null,
        OID => Value::Name(Oid::decode(content)?),
        0x40 => Value::Address(content.try_into().map_err(|_| "it has a bad address")?),
        0x41 => Value::Counter(unsigned(content)?, Width::Bits32),
        0x42 => Value::Number(unsigned(content)? as f64),
        0x43 => Value::Ticks(unsigned(content)?),
        0x44 => opaque(content),
        0x46 => Value::Counter(unsigned(content)?, Width::Bits64),
        0x80 => Value::Missing("no such object"),
        0x81 => Value::Missing("no such instance"),
        0x82 => Value::Missing("nothing behind it"),
        _ => return Err(format!("it has a value of type {tag:#04x}")),
    })
}

/// net-snmp's floating-point numbers; anything else stays bytes.
fn opaque(content: &[u8]) -> Value {
    match content {
        [0x9F, 0x78, 4, rest @ ..] => match rest.try_into() {
            Ok(bytes) => Value::Number(f32::from_be_bytes(bytes).into()),
            Err(_) => Value::Text(content.to_vec()),
        },
        [0x9F, 0x79, 8, rest @ ..] => match rest.try_into() {
            Ok(bytes) => Value::Number(f64::from_be_bytes(bytes)),
            Err(_) => Value::Text(content.to_vec()),
        },
        _ => Value::Text(content.to_vec()),
    }
}

impl Response {
    /// Out of a message of version 1 or 2c.
    pub fn parse(datagram: &[u8]) -> Result<Response, String> {
        let mut message = Reader(Reader(datagram).want(SEQUENCE)?);
        message.integer()?;
        message.want(OCTETS)?;
        Response::read(&mut message)
    }

    pub fn read(message: &mut Reader<'_>) -> Result<Response, String> {
        let (tag, content) = message.next()?;
        if tag != RESPONSE && tag != REPORT {
            return Err(format!(
                "it has type {tag:#04x} where {RESPONSE:#04x} belongs"
            ));
        }
        let mut pdu = Reader(content);
        let id = pdu.integer()?;
        let (error, error_index) = (pdu.integer()?, pdu.integer()?);
        let mut pairs = Reader(pdu.want(SEQUENCE)?);
        let mut values = Vec::new();
        while !pairs.0.is_empty() {
            let mut pair = Reader(pairs.want(SEQUENCE)?);
            let oid = Oid::decode(pair.want(OID)?)?;
            let (tag, content) = pair.next()?;
            values.push((oid, value(tag, content)?));
        }
        Ok(Response {
            is_report: tag == REPORT,
            id: i32::try_from(id).map_err(|_| "it has a number of no request")?,
            error,
            error_index,
            values,
        })
    }
}

impl Value {
    /// What can be compared with limits.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(n) => Some(*n).filter(|n| n.is_finite()),
            Value::Counter(n, _) => Some(*n as f64),
            Value::Ticks(n) => Some(*n as f64 / 100.0),
            // Many agents have floating-point numbers as text.
            Value::Text(text) => {
                let text = std::str::from_utf8(text).ok()?.trim();
                text.parse().ok().filter(|n: &f64| n.is_finite())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(n) => write!(f, "{n}"),
            Value::Counter(n, _) => write!(f, "{n}"),
            Value::Ticks(n) => write!(f, "{}", *n as f64 / 100.0),
            Value::Name(oid) => oid.fmt(f),
            Value::Address([a, b, c, d]) => write!(f, "{a}.{b}.{c}.{d}"),
            Value::Null => f.write_str("nothing"),
            Value::Missing(why) => f.write_str(why),
            Value::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => {
                    f.write_str(text.trim_end())
                }
                // A hardware address, a date: as snmpget shows them.
                _ => {
                    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
                    f.write_str(&hex.join(":"))
                }
            },
        }
    }
}

#[cfg(test)]
/// What an agent answers: for the tests.
pub fn response(id: i32, error: i32, pairs: &[(Oid, Vec<u8>)]) -> Vec<u8> {
    with_community(1, "public", &answer(RESPONSE, id, error, pairs))
}

#[cfg(test)]
/// The same without its envelope: that something has no value.
pub fn response_pdu(id: i32, oid: &str) -> Vec<u8> {
    let oid = Oid::parse(oid).expect("an OID");
    answer(RESPONSE, id, 0, &[(oid, tagged(NULL, &[]))])
}

#[cfg(test)]
/// What an agent reports of a message of version 3.
pub fn report(id: i32, oid: &str) -> Vec<u8> {
    let oid = Oid::parse(oid).expect("an OID");
    answer(REPORT, id, 0, &[(oid, vec![0x41, 1, 1])])
}

#[cfg(test)]
fn answer(tag: u8, id: i32, error: i32, pairs: &[(Oid, Vec<u8>)]) -> Vec<u8> {
    let pairs = pairs
        .iter()
        .map(|(oid, value)| tagged(SEQUENCE, &[oid.encode(), value.clone()].concat()));
    let pairs = tagged(SEQUENCE, &pairs.collect::<Vec<_>>().concat());
    tagged(
        tag,
        &[integer(id), integer(error), integer(1), pairs].concat(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(text: &str) -> Oid {
        Oid::parse(text).unwrap()
    }

    #[test]
    fn oids() {
        for text in [
            "1.3.6.1.2.1.1.3.0",
            "2.999.3",
            "0.0",
            "1.3.4294967295.128.127.16383",
        ] {
            let bytes = oid(text).encode();
            let mut r = Reader(&bytes);
            assert_eq!(Oid::decode(r.want(OID).unwrap()).unwrap().to_string(), text);
        }
        assert_eq!(oid(".1.3.6"), oid("1.3.6"));
        for bad in [
            "",
            "1",
            "1.",
            "1..3",
            "1.40",
            "3.1",
            "1.3.x",
            "1.3.-1",
            "1.3.+1",
            "1.3.4294967296",
            "sysUpTime.0",
        ] {
            assert_eq!(Oid::parse(bad), None, "{bad}");
        }
        let long = vec!["1"; ARCS_MAX].join(".");
        let content = &oid(&long).encode()[2..];
        assert_eq!(Oid::decode(content).unwrap().to_string(), long);
        assert_eq!(
            Oid::decode(&[content, &[1]].concat()).unwrap_err(),
            "an OID of 129 numbers"
        );
        assert!(Oid::parse(&format!("{long}.1")).is_none());
        assert!(Oid::decode(&[0x2b, 0x86]).is_err());
        assert!(Oid::decode(&[0x2b, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
        assert!(Oid::decode(&[]).is_err());
    }

    #[test]
    fn numbers() {
        for (n, bytes) in [
            (0, &[2, 1, 0][..]),
            (127, &[2, 1, 127]),
            (128, &[2, 2, 0, 128]),
            (-1, &[2, 1, 0xFF]),
            (-129, &[2, 2, 0xFF, 0x7F]),
            (i32::MAX, &[2, 4, 0x7F, 0xFF, 0xFF, 0xFF]),
            (i32::MIN, &[2, 4, 0x80, 0, 0, 0]),
        ] {
            assert_eq!(integer(n), bytes);
            assert_eq!(Reader(bytes).integer(), Ok(n.into()));
        }
        assert_eq!(unsigned(&[0, 0xFF, 0xFF, 0xFF, 0xFF]), Ok(u32::MAX.into()));
        assert_eq!(unsigned(&[0xFF; 8]), Ok(u64::MAX));
        assert!(unsigned(&[1; 9]).is_err() && signed(&[1; 9]).is_err() && unsigned(&[]).is_err());
        assert_eq!(
            value(0x44, &[0x9F, 0x78, 4, 0x3F, 0x80, 0, 0]),
            Ok(Value::Number(1.0))
        );
        assert_eq!(Value::Text(b" 1.5 ".to_vec()).number(), Some(1.5));
        assert_eq!(Value::Text(b"\0\x1b\x21".to_vec()).to_string(), "00:1b:21");
        assert_eq!(Value::Ticks(150).to_string(), "1.5");
    }

    #[test]
    fn an_answer_cut_anywhere_is_refused() {
        let whole = response(7, 0, &[(oid("1.3.6.1"), vec![0x41, 2, 1, 0])]);
        let parsed = Response::parse(&whole).unwrap();
        assert_eq!(
            parsed.values,
            [(oid("1.3.6.1"), Value::Counter(256, Width::Bits32))]
        );
        assert_eq!((parsed.id, parsed.error), (7, 0));
        for cut in 0..whole.len() {
            assert!(Response::parse(&whole[..cut]).is_err(), "{cut}");
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7F, 0x80, 0x84, 0xFF] {
                let mut odd = whole.clone();
                odd[at] = byte;
                let _ = Response::parse(&odd);
            }
        }
    }
}
