//! A question in bytes, and the answer out of bytes that anybody may have sent.

use simple_dns::rdata::RData;
use simple_dns::{Name, Packet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The type of the records that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    A,
    Aaaa,
    /// Only to see whether a server is there.
    Ns,
}

/// What goes into a question beside the name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    pub edns0: bool,
    pub trust_ad: bool,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// At least one.
    Addresses {
        ips: Vec<IpAddr>,
        ttl_s: u32,
    },
    /// The name exists, and has none of this kind.
    NoData {
        ttl_s: Option<u32>,
        alias: Option<String>,
    },
    NoName {
        ttl_s: Option<u32>,
    },
    /// Cut off: TCP has the whole of it.
    Truncated,
    /// It did not tell; another server may.
    Failed(Why),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    Code(u8),
    /// It neither knows nor asks for us.
    Lame,
    Broken(String),
}

const HEADER: usize = 12;
/// What a UDP answer may have (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;
const MOST_ADDRESSES: usize = 64;
const MOST_ALIASES: usize = 16;
const NO_NAME: u8 = 3;

impl Kind {
    fn code(self) -> u16 {
        match self {
            Kind::A => 1,
            Kind::Ns => 2,
            Kind::Aaaa => 28,
        }
    }
}

/// `name` has passed `name::parse`; empty is the root.
pub fn question(id: u16, name: &str, kind: Kind, extras: Extras) -> Vec<u8> {
    let mut out = id.to_be_bytes().to_vec();
    let ad = u8::from(extras.trust_ad) << 5;
    // Recursion desired, one question, and EDNS if wanted.
    out.extend_from_slice(&[1, ad, 0, 1, 0, 0, 0, 0, 0, u8::from(extras.edns0)]);
    out.extend_from_slice(&section(name, kind));
    if extras.edns0 {
        out.extend_from_slice(&[0, 0, 41]);
        out.extend_from_slice(&UDP_SIZE.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
    }
    out
}

fn section(name: &str, kind: Kind) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 6);
    for label in name.split('.').filter(|l| !l.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out.extend_from_slice(&kind.code().to_be_bytes());
    out.extend_from_slice(&[0, 1]);
    out
}

/// None: it answers another question, or somebody else sent it. The real one may still come.
pub fn read(id: u16, name: &str, kind: Kind, message: &[u8]) -> Option<Reply> {
    let header = message.first_chunk::<HEADER>()?;
    if header[..2] != id.to_be_bytes() || header[2] & 0x80 == 0 {
        return None;
    }
    let code = header[3] & 0x0F;
    let asked = section(name, kind);
    match u16::from_be_bytes([header[4], header[5]]) {
        // An error need not repeat the question.
        0 if code != 0 => return Some(Reply::Failed(Why::Code(code))),
        1 => {
            let there = message.get(HEADER..HEADER + asked.len())?;
            if !there.eq_ignore_ascii_case(&asked) {
                return None;
            }
        }
        _ => return None,
    }
    if header[2] & 2 != 0 {
        return Some(Reply::Truncated);
    }
    if code != 0 && code != NO_NAME {
        return Some(Reply::Failed(Why::Code(code)));
    }
    let packet = match Packet::parse(message) {
        Ok(packet) => packet,
        Err(e) => return Some(Reply::Failed(Why::Broken(e.to_string().to_lowercase()))),
    };
    let found = Found::of(&packet, name, kind);
    let recursive = header[3] & 0x80 != 0;
    let authoritative = header[2] & 4 != 0;
    Some(match (code, found) {
        (_, Found { ips, ttl_s, .. }) if !ips.is_empty() => Reply::Addresses { ips, ttl_s },
        (NO_NAME, _) => Reply::NoName {
            ttl_s: negative_ttl(&packet),
        },
        (_, Found { alias, .. }) => {
            // A referral, or an alias whose end it does not look for.
            if !recursive && !authoritative {
                return Some(Reply::Failed(Why::Lame));
            }
            Reply::NoData {
                ttl_s: negative_ttl(&packet),
                alias,
            }
        }
    })
}

struct Found {
    ips: Vec<IpAddr>,
    /// The least of all records on the way.
    ttl_s: u32,
    alias: Option<String>,
}

impl Found {
    /// Along the aliases (CNAME) to the addresses of the last name.
    fn of(packet: &Packet<'_>, name: &str, kind: Kind) -> Found {
        let mut found = Found {
            ips: Vec::new(),
            ttl_s: u32::MAX,
            alias: None,
        };
        let Ok(mut at) = Name::new(name) else {
            return found;
        };
        for _ in 0..MOST_ALIASES {
            let of_name = || packet.answers.iter().filter(|r| r.name == at);
            for record in of_name() {
                let ip = match (&record.rdata, kind) {
                    (RData::A(a), Kind::A) => Ipv4Addr::from(a.address).into(),
                    (RData::AAAA(a), Kind::Aaaa) => Ipv6Addr::from(a.address).into(),
                    _ => continue,
                };
                found.ttl_s = found.ttl_s.min(record.ttl);
                if found.ips.len() < MOST_ADDRESSES && !found.ips.contains(&ip) {
                    found.ips.push(ip);
                }
            }
            let alias = of_name().find_map(|r| match &r.rdata {
                RData::CNAME(to) => Some((to.0.clone(), r.ttl)),
                _ => None,
            });
            match alias {
                Some((to, ttl)) if found.ips.is_empty() => {
                    found.ttl_s = found.ttl_s.min(ttl);
                    found.alias = Some(to.to_string().to_ascii_lowercase());
                    at = to;
                }
                _ => break,
            }
        }
        found
    }
}

/// How long "no" may be kept (RFC 2308); None: the server does not say.
fn negative_ttl(packet: &Packet<'_>) -> Option<u32> {
    packet.name_servers.iter().find_map(|r| match &r.rdata {
        RData::SOA(soa) => Some(r.ttl.min(soa.minimum)),
        _ => None,
    })
}

pub fn code_text(code: u8) -> String {
    let words = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE",
    ];
    words
        .get(usize::from(code))
        .map_or_else(|| format!("RCODE {code}"), |w| (*w).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with these flags and answer records, and one SOA as authority if wanted.
    fn answer(flags: [u8; 2], records: &[Vec<u8>], soa: Option<(u32, u32)>) -> Vec<u8> {
        let mut m = question(0x1234, "www.Example.org", Kind::A, Extras::default());
        (m[2], m[3]) = (flags[0], flags[1]);
        m[7] = records.len() as u8;
        m[9] = u8::from(soa.is_some());
        records.iter().for_each(|r| m.extend_from_slice(r));
        if let Some((ttl, minimum)) = soa {
            let mut data = vec![0, 0];
            for n in [1u32, 2, 3, 4, minimum] {
                data.extend_from_slice(&n.to_be_bytes());
            }
            m.extend_from_slice(&[0, 0, 6, 0, 1]);
            m.extend_from_slice(&ttl.to_be_bytes());
            m.extend_from_slice(&(data.len() as u16).to_be_bytes());
            m.extend_from_slice(&data);
        }
        m
    }

    fn record(name: &[u8], kind: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut r = name.to_vec();
        r.extend_from_slice(&[0, kind, 0, 1]);
        r.extend_from_slice(&ttl.to_be_bytes());
        r.extend_from_slice(&(data.len() as u16).to_be_bytes());
        r.extend_from_slice(data);
        r
    }

    const HERE: &[u8] = &[0xC0, 12];
    const OTHER: &[u8] = b"\x01X\x04test\x00";

    fn reply(m: &[u8]) -> Option<Reply> {
        read(0x1234, "www.example.org", Kind::A, m)
    }

    #[test]
    fn addresses_also_behind_aliases() {
        let a = |name, ttl, last| record(name, 1, ttl, &[192, 0, 2, last]);
        let ips = |last: &[u8]| {
            last.iter()
                .map(|l| IpAddr::from([192, 0, 2, *l]))
                .collect::<Vec<_>>()
        };
        let m = answer(
            [0x81, 0x80],
            &[
                a(HERE, 300, 1),
                a(HERE, 60, 2),
                a(HERE, 60, 2),
                a(OTHER, 1, 9),
            ],
            None,
        );
        let ips_12 = ips(&[1, 2]);
        assert_eq!(
            reply(&m),
            Some(Reply::Addresses {
                ips: ips_12,
                ttl_s: 60
            })
        );
        let m = answer(
            [0x81, 0x80],
            &[record(HERE, 5, 20, b"\x01x\x04TEST\x00"), a(OTHER, 300, 1)],
            None,
        );
        assert_eq!(
            reply(&m),
            Some(Reply::Addresses {
                ips: ips(&[1]),
                ttl_s: 20
            })
        );
        // An alias of itself, and one that leads to nothing.
        let m = answer([0x81, 0x80], &[record(HERE, 5, 20, HERE)], None);
        assert!(matches!(reply(&m), Some(Reply::NoData { .. })));
        let m = answer([0x81, 0x80], &[record(HERE, 5, 20, OTHER)], Some((9, 5)));
        let alias = Some("x.test".to_owned());
        assert_eq!(
            reply(&m),
            Some(Reply::NoData {
                ttl_s: Some(5),
                alias
            })
        );
    }

    #[test]
    fn what_is_no_address() {
        let no_data = |ttl_s| Some(Reply::NoData { ttl_s, alias: None });
        assert_eq!(reply(&answer([0x81, 0x80], &[], None)), no_data(None));
        assert_eq!(
            reply(&answer([0x85, 0], &[], Some((30, 60)))),
            no_data(Some(30))
        );
        let m = answer([0x81, 0x83], &[], Some((600, 7)));
        assert_eq!(reply(&m), Some(Reply::NoName { ttl_s: Some(7) }));
        assert_eq!(
            reply(&answer([0x81, 0], &[], None)),
            Some(Reply::Failed(Why::Lame))
        );
        assert_eq!(
            reply(&answer([0x81, 0x82], &[], None)),
            Some(Reply::Failed(Why::Code(2)))
        );
        assert_eq!(
            reply(&answer([0x81, 0x85], &[], None)),
            Some(Reply::Failed(Why::Code(5)))
        );
        assert_eq!(
            reply(&answer([0x83, 0x80], &[], None)),
            Some(Reply::Truncated)
        );
        let mut bare = answer([0x80, 1], &[], None);
        bare.truncate(12);
        bare[5] = 0;
        assert_eq!(reply(&bare), Some(Reply::Failed(Why::Code(1))));
        assert_eq!(
            (code_text(2), code_text(15)),
            ("SERVFAIL".into(), "RCODE 15".into())
        );
    }

    #[test]
    fn of_strangers() {
        let whole = answer([0x81, 0x80], &[record(HERE, 1, 1, &[1, 2, 3, 4])], None);
        for (at, byte) in [(1, 0), (2, 1), (13, b'v'), (5, 2)] {
            let mut m = whole.clone();
            m[at] = byte;
            assert_eq!(reply(&m), None, "{at}");
        }
        assert_eq!(read(0x1234, "www.example.org", Kind::Aaaa, &whole), None);
    }

    #[test]
    fn cut_off_anywhere_loops_and_with_any_byte_changed() {
        let whole = answer(
            [0x81, 0x80],
            &[
                record(HERE, 5, 1, OTHER),
                record(OTHER, 1, 1, &[1, 2, 3, 4]),
            ],
            Some((1, 1)),
        );
        assert!(matches!(reply(&whole), Some(Reply::Addresses { .. })));
        for end in 0..whole.len() {
            let cut = reply(&whole[..end]);
            assert!(
                !matches!(
                    cut,
                    Some(Reply::Addresses { .. } | Reply::NoData { .. } | Reply::NoName { .. })
                ),
                "{end} {cut:?}"
            );
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut m = whole.clone();
                m[at] = byte;
                let _ = reply(&m);
            }
        }
        let at = 12 + 21;
        for pointer in [[0xC0, at as u8], [0xC0, at as u8 + 2], [0xFF, 0xFF]] {
            let mut m = answer([0x81, 0x80], &[record(&pointer, 1, 1, &[1, 2, 3, 4])], None);
            assert!(!matches!(reply(&m), Some(Reply::Addresses { .. })));
            m.resize(1 << 16, 0xC0);
            let _ = reply(&m);
        }
    }
}
