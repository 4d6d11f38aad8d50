//! The 48 bytes of NTP (RFC 5905).

pub const SIZE: usize = 48;
/// Seconds from 1900 to 1970.
const TO_1970: u64 = 2_208_988_800;

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// 3: its clock is not synchronised.
    pub leap: u8,
    /// 0: a kiss of death.
    pub stratum: u8,
    /// In seconds.
    pub root_delay: f64,
    pub root_dispersion: f64,
    pub reference: [u8; 4],
    /// When it got the question and when it answered, in its own time.
    pub received: Stamp,
    pub sent: Stamp,
}

/// A time of NTP: seconds since the begin of an era in the upper half. Eras have 136 years; the next begins in 2036.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Of nanoseconds since 1970.
    pub fn of_unix(nanos: u128) -> Stamp {
        let seconds = (nanos / 1_000_000_000) as u64 + TO_1970;
        let fraction = ((nanos % 1_000_000_000) << 32) / 1_000_000_000;
        Stamp(seconds << 32 | fraction as u64)
    }

    /// How much later this is, in seconds. Whatever the eras, the nearer way around is meant.
    pub fn since(self, other: Stamp) -> f64 {
        self.0.wrapping_sub(other.0) as i64 as f64 / (1u64 << 32) as f64
    }
}

/// A question. `cookie` comes back; our own time is nobody's business.
pub fn question(cookie: u64) -> [u8; SIZE] {
    let mut packet = [0; SIZE];
    // No leap warning, version 4, client.
    packet[0] = 4 << 3 | 3;
    packet[40..].copy_from_slice(&cookie.to_be_bytes());
    packet
}

impl Answer {
    /// None: no answer to this question, whoever sent it.
    pub fn parse(packet: &[u8], cookie: u64) -> Option<Answer> {
        let p = packet.first_chunk::<SIZE>()?;
        let word = |at: usize| u32::from_be_bytes([p[at], p[at + 1], p[at + 2], p[at + 3]]);
        let long = |at: usize| u64::from(word(at)) << 32 | u64::from(word(at + 4));
        let (mode, version) = (p[0] & 7, p[0] >> 3 & 7);
        if mode != 4 || !(1..=4).contains(&version) || long(24) != cookie {
            return None;
        }
        let short = |at: usize| f64::from(word(at)) / 65_536.0;
        Some(Answer {
            leap: p[0] >> 6,
            stratum: p[1],
            root_delay: short(4),
            root_dispersion: short(8),
            reference: [p[12], p[13], p[14], p[15]],
            received: Stamp(long(32)),
            sent: Stamp(long(40)),
        })
    }

    /// The word of a kiss of death: RATE, DENY, RSTR.
    pub fn kiss(&self) -> Option<String> {
        let word = self.reference.iter().map(|b| char::from(*b));
        let word: String = word.filter(char::is_ascii_alphanumeric).collect();
        (self.stratum == 0 && !word.is_empty()).then_some(word)
    }

    /// How wrong the server may be.
    pub fn distance(&self) -> f64 {
        self.root_dispersion + self.root_delay / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_their_distances() {
        let unix = |s: f64| Stamp::of_unix((s * 1e9) as u128);
        assert_eq!(unix(0.5), Stamp(TO_1970 << 32 | 1 << 31));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(close(unix(1000.25).since(unix(1000.0)), 0.25));
        assert!(close(unix(1000.0).since(unix(1001.5)), -1.5));
        // Over the end of the era, on 7 February 2036.
        let end = (u64::from(u32::MAX) - TO_1970) as f64;
        assert!(close(unix(end + 2.0).since(unix(end - 1.0)), 3.0));
        assert!(close(unix(end - 1.0).since(unix(end + 2.0)), -3.0));
    }

    #[test]
    fn answers_to_our_question_only() {
        let mut p = [0; SIZE];
        (p[0], p[1]) = (0x24, 2);
        p[4..8].copy_from_slice(&[0, 1, 0x80, 0]);
        p[24..32].copy_from_slice(&7u64.to_be_bytes());
        let answer = Answer::parse(&p, 7).unwrap();
        assert_eq!(
            (answer.leap, answer.stratum, answer.root_delay),
            (0, 2, 1.5)
        );
        assert_eq!((answer.kiss(), answer.distance()), (None, 0.75));
        assert_eq!(Answer::parse(&p, 8), None);
        for end in 0..SIZE {
            assert_eq!(Answer::parse(&p[..end], 7), None);
        }
        // A question, a broadcast, a version of the future.
        for first in [0x23, 0x25, 0x3C] {
            p[0] = first;
            assert_eq!(Answer::parse(&p, 7), None);
        }
        (p[0], p[1]) = (0x24, 0);
        p[12..16].copy_from_slice(b"RATE");
        assert_eq!(
            Answer::parse(&p, 7).unwrap().kiss().as_deref(),
            Some("RATE")
        );
        assert_eq!(question(9)[40..], 9u64.to_be_bytes());
    }
}
