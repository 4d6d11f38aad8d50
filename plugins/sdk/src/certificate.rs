//! The one field of a certificate that a check needs: x509-parser would bring 20 crates for it.

/// The end of a DER certificate's validity, in seconds since 1970.
pub fn not_after(certificate: &[u8]) -> Option<i64> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xA0;
    let (_, certificate, _) = tlv(certificate)?;
    let (tag, mut tbs, _) = tlv(certificate)?;
    if tag != SEQUENCE {
        return None;
    }
    if *tbs.first()? == VERSION {
        tbs = tlv(tbs)?.2;
    }
    // serial number, signature algorithm, issuer
    for _ in 0..3 {
        tbs = tlv(tbs)?.2;
    }
    let (_, validity, _) = tlv(tbs)?;
    let (_, _, after) = tlv(validity)?;
    let (tag, text, _) = tlv(after)?;
    unix_time(tag, text)
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
