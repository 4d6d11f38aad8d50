//! The question in bytes, and the answer out of bytes that anybody may have sent.

use simple_dns::rdata::RData;
use simple_dns::{Packet, PacketFlag, ResourceRecord};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    labels: Vec<Vec<u8>>,
    pub kind: u16,
    pub class: u16,
    pub recurse: bool,
    /// Ask for signatures (DO).
    pub signatures: bool,
    /// Ask whether it was validated (AD).
    pub validated: bool,
}

/// What a server answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub rcode: u16,
    pub authoritative: bool,
    pub truncated: bool,
    pub validated: bool,
    /// Those of the type that was asked for.
    pub records: Vec<Record>,
    /// Of an SOA record.
    pub serial: Option<u32>,
    /// When the first of the signatures runs out, in seconds since 1970.
    pub signed_until: Option<u32>,
    /// Of the whole message, in bytes.
    pub size: usize,
    /// Records in the parts `answer`, `authority` and `additional`.
    pub parts: [usize; 3],
}

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub text: String,
    pub ttl: u32,
}

/// Why a message is no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum NoAnswer {
    /// To another question, or sent by a stranger: the real one may still come.
    Stranger(&'static str),
    /// Of our server, and broken.
    Broken(String),
}

const HEADER: usize = 12;
/// What a UDP answer may have (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;
const ANY: u16 = 255;
const RRSIG: u16 = 46;
const OPT: u16 = 41;
const DO: u8 = 0x80;

impl Question {
    /// `name` in dots. The error says what is wrong with it.
    pub fn new(name: &str, kind: u16, class: u16) -> Result<Question, String> {
        let bare = name.strip_suffix('.').unwrap_or(name);
        let labels: Vec<Vec<u8>> = match bare {
            "" => Vec::new(),
            some => some.split('.').map(|l| l.as_bytes().to_vec()).collect(),
        };
        let length: usize = labels.iter().map(|l| l.len() + 1).sum::<usize>() + 1;
        if length > 255 || labels.iter().any(|l| l.is_empty() || l.len() > 63) {
            return Err(format!("name: {name:?} is no domain name"));
        }
        if !name.is_ascii() {
            return Err(format!(
                "name: {name:?} has to be written in ASCII (xn--...)"
            ));
        }
        Ok(Question {
            labels,
            kind,
            class,
            recurse: true,
            signatures: false,
            validated: false,
        })
    }

    /// The name under which an address has its PTR record.
    pub fn reverse(ip: IpAddr) -> String {
        let mut name = String::new();
        match ip {
            IpAddr::V4(v4) => {
                for byte in v4.octets().iter().rev() {
                    let _ = write!(name, "{byte}.");
                }
                name + "in-addr.arpa"
            }
            IpAddr::V6(v6) => {
                for byte in v6.octets().iter().rev() {
                    let _ = write!(name, "{:x}.{:x}.", byte & 15, byte >> 4);
                }
                name + "ip6.arpa"
            }
        }
    }

    pub fn bytes(&self, id: u16) -> Vec<u8> {
        let mut out = id.to_be_bytes().to_vec();
        out.push(u8::from(self.recurse));
        out.push(u8::from(self.validated) << 5);
        // One question, no answer, no authority, one additional record: EDNS.
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
        out.extend_from_slice(&self.section());
        out.push(0);
        out.extend_from_slice(&OPT.to_be_bytes());
        out.extend_from_slice(&UDP_SIZE.to_be_bytes());
        let flags = if self.signatures { DO } else { 0 };
        out.extend_from_slice(&[0, 0, flags, 0, 0, 0]);
        out
    }

    /// The question's section of a message.
    fn section(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for label in &self.labels {
            out.push(label.len() as u8);
            out.extend_from_slice(label);
        }
        out.push(0);
        out.extend_from_slice(&self.kind.to_be_bytes());
        out.extend_from_slice(&self.class.to_be_bytes());
        out
    }

    /// Reads what came back.
    pub fn answer(&self, id: u16, message: &[u8]) -> Result<Answer, NoAnswer> {
        let broken = |why: &str| NoAnswer::Broken(format!("the answer is broken: {why}"));
        let Some(header) = message.first_chunk::<HEADER>() else {
            return Err(broken("shorter than a header"));
        };
        if header[..2] != id.to_be_bytes() {
            return Err(NoAnswer::Stranger("another id"));
        }
        if header[2] & 0x80 == 0 {
            return Err(NoAnswer::Stranger("no answer but a question"));
        }
        let rcode = u16::from(header[3] & 0x0F);
        let asked = self.section();
        let end = HEADER + asked.len();
        let questions = u16::from_be_bytes([header[4], header[5]]);
        match questions {
            // An error need not repeat the question.
            0 if rcode != 0 => {}
            1 if message.len() < end => return Err(broken("cut off in the question")),
            1 if message[HEADER..end].eq_ignore_ascii_case(&asked) => {}
            _ => return Err(NoAnswer::Stranger("another question")),
        }
        // simple-dns refuses questions of types that it has no word for (TLSA); the question has been looked at.
        let mut message = message.to_vec();
        if questions == 1 {
            message[end - 4..end].copy_from_slice(&[0, 1, 0, 1]);
        }
        let packet = match Packet::parse(&message) {
            Ok(packet) => packet,
            // What an old server says of EDNS, or one that understands nothing: the code is enough.
            Err(_) if rcode != 0 && message.len() == HEADER => Packet::new_reply(id),
            Err(e) => return Err(broken(&e.to_string().to_lowercase())),
        };
        let of_type = |r: &&ResourceRecord<'_>| {
            self.kind == ANY || u16::from(r.rdata.type_code()) == self.kind
        };
        let records = packet.answers.iter().filter(of_type).map(|r| Record {
            text: text(&r.rdata),
            ttl: r.ttl,
        });
        let records = records.collect();
        let signatures = packet.answers.iter().filter_map(|r| match &r.rdata {
            RData::RRSIG(s) if self.kind == ANY || s.type_covered == self.kind => {
                Some(s.signature_expiration)
            }
            _ => None,
        });
        let signed_until = signatures.min();
        let serial = packet.answers.iter().find_map(|r| match &r.rdata {
            RData::SOA(soa) => Some(soa.serial),
            _ => None,
        });
        Ok(Answer {
            rcode,
            authoritative: header[2] & 4 != 0,
            truncated: header[2] & 2 != 0,
            validated: packet.has_flags(PacketFlag::AUTHENTIC_DATA) || header[3] & 0x20 != 0,
            records,
            serial,
            signed_until,
            size: message.len(),
            parts: [
                packet.answers.len(),
                packet.name_servers.len(),
                packet.additional_records.len(),
            ],
        })
    }
}

pub fn rcode_text(code: u16) -> String {
    let words = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE",
    ];
    words
        .get(usize::from(code))
        .map_or_else(|| format!("RCODE {code}"), |w| (*w).to_owned())
}

/// A record's data as in a zone file, with names in lower case and without the dot at their end.
fn text(data: &RData<'_>) -> String {
    let name = |n: &simple_dns::Name<'_>| match n.to_string() {
        root if root.is_empty() => ".".to_owned(),
        name => name.to_ascii_lowercase(),
    };
    match data {
        RData::A(a) => Ipv4Addr::from(a.address).to_string(),
        RData::AAAA(a) => Ipv6Addr::from(a.address).to_string(),
        RData::NS(n) => name(&n.0),
        RData::CNAME(n) => name(&n.0),
        RData::PTR(n) => name(&n.0),
        RData::MX(mx) => format!("{} {}", mx.preference, name(&mx.exchange)),
        RData::SRV(s) => format!("{} {} {} {}", s.priority, s.weight, s.port, name(&s.target)),
        RData::SOA(s) => format!(
            "{} {} {} {} {} {} {}",
            name(&s.mname),
            name(&s.rname),
            s.serial,
            s.refresh,
            s.retry,
            s.expire,
            s.minimum
        ),
        RData::TXT(txt) => {
            let mut all = Vec::new();
            for (key, value) in txt.iter_raw() {
                all.extend_from_slice(key);
                if let Some(value) = value {
                    all.push(b'=');
                    all.extend_from_slice(value);
                }
            }
            String::from_utf8_lossy(&all).into_owned()
        }
        RData::CAA(caa) => {
            let tag = String::try_from(caa.tag.clone()).unwrap_or_default();
            let value = String::from_utf8_lossy(&caa.value).into_owned();
            format!("{} {tag} {value:?}", caa.flag)
        }
        RData::DS(d) => format!(
            "{} {} {} {}",
            d.key_tag,
            d.algorithm,
            d.digest_type,
            hex(&d.digest)
        ),
        RData::DNSKEY(k) => format!(
            "{} {} {} {}",
            k.flags,
            k.protocol,
            k.algorithm,
            hex(&k.public_key)
        ),
        RData::NULL(kind, data) => match (*kind, data.get_data()) {
            (52, [usage, selector, matching, hash @ ..]) => {
                format!("{usage} {selector} {matching} {}", hex(hash))
            }
            (44, [algorithm, kind, hash @ ..]) => format!("{algorithm} {kind} {}", hex(hash)),
            (_, data) => format!("\\# {} {}", data.len(), hex(data)),
        },
        other if u16::from(other.type_code()) == RRSIG => "RRSIG".into(),
        other => format!("{:?}", other.type_code()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

/// What people write of a record, in the form that [`Answer`] has.
pub fn wanted(text: &str) -> String {
    match text.parse::<IpAddr>() {
        Ok(ip) => ip.to_string(),
        Err(_) if text.len() > 1 => text.strip_suffix('.').unwrap_or(text).to_owned(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question::new("www.Example.org.", 1, 1).unwrap()
    }

    /// An answer to it with two addresses, the second's name a pointer.
    fn answer() -> Vec<u8> {
        let mut m = question().bytes(0x1234);
        m[2] = 0x85;
        m[3] = 0x80;
        m[7] = 2;
        m[11] = 0;
        m.truncate(m.len() - 11);
        for last in [1, 2] {
            m.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, last]);
        }
        m
    }

    #[test]
    fn a_question_and_its_answer() {
        let a = question().answer(0x1234, &answer()).unwrap();
        let texts: Vec<_> = a.records.iter().map(|r| r.text.as_str()).collect();
        assert_eq!(texts, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(
            (a.rcode, a.authoritative, a.truncated, a.validated),
            (0, true, false, false)
        );
        assert_eq!(a.records[0].ttl, 300);
        assert_eq!(
            Question::reverse([192, 0, 2, 1].into()),
            "1.2.0.192.in-addr.arpa"
        );
        let v6 = Question::reverse("2001:db8::1".parse().unwrap());
        assert!(v6.starts_with("1.0.0.0.") && v6.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"));
        for bad in ["a..b", &"x".repeat(64), &"x.".repeat(130), "bücher.example"] {
            assert!(Question::new(bad, 1, 1).is_err(), "{bad}");
        }
        assert!(Question::new(".", 2, 1).is_ok());
    }

    #[test]
    fn of_strangers() {
        let q = question();
        let stranger = |m: &[u8]| match q.answer(0x1234, m) {
            Err(NoAnswer::Stranger(why)) => why,
            other => panic!("{other:?}"),
        };
        let mut m = answer();
        m[1] = 0;
        assert_eq!(stranger(&m), "another id");
        let mut m = answer();
        m[13] = b'v';
        assert_eq!(stranger(&m), "another question");
        let mut m = answer();
        m[2] = 1;
        assert_eq!(stranger(&m), "no answer but a question");
        // Another case is the same name.
        let mut m = answer();
        m[13] = b'W';
        assert!(q.answer(0x1234, &m).is_ok());
    }

    #[test]
    fn cut_off_anywhere_and_with_any_byte_changed() {
        let whole = answer();
        for end in 0..whole.len() {
            assert!(question().answer(0x1234, &whole[..end]).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut m = whole.clone();
                m[at] = byte;
                let _ = question().answer(0x1234, &m);
            }
        }
    }

    #[test]
    fn loops_of_pointers() {
        for pointer in [[0xC0, 12], [0xC0, 33], [0xC0, 35], [0xFF, 0xFF]] {
            let mut m = answer();
            // The name of the first record; and then the question's own.
            let at = m.len() - 32;
            m[at..at + 2].copy_from_slice(&pointer);
            let _ = question().answer(0x1234, &m);
            let mut m = answer();
            m[12..14].copy_from_slice(&pointer);
            assert!(question().answer(0x1234, &m).is_err());
        }
    }

    #[test]
    fn an_error_without_a_question() {
        let mut m = vec![0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(question().answer(0x1234, &m).unwrap().rcode, 1);
        m[11] = 1;
        m.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        assert_eq!(question().answer(0x1234, &m).unwrap().rcode, 1);
        m[3] = 0;
        assert!(question().answer(0x1234, &m).is_err());
        assert_eq!(rcode_text(3), "NXDOMAIN");
        assert_eq!(rcode_text(15), "RCODE 15");
    }
}
