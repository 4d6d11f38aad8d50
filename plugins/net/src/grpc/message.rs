//! What goes over HTTP/2: a message behind its length, a question of one field and an answer of one.

/// More than any answer to this question has.
pub const MESSAGE_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Health {
    Unknown,
    Serving,
    NotServing,
    /// Only said to who watches a service.
    ServiceUnknown,
    Other(u64),
}

/// HealthCheckRequest { service = 1 }, behind "not compressed" and its length.
pub fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0A);
        let mut n = service.len();
        while n > 0x7F {
            message.push(n as u8 & 0x7F | 0x80);
            n >>= 7;
        }
        message.push(n as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// Judges the head as soon as it is there: a length that nobody needs is not waited for.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some((head, _)) = bytes.split_at_checked(5) else {
        return Ok(None);
    };
    if head[0] != 0 {
        return Err("its answer is compressed, which it was not asked for".into());
    }
    match u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize {
        n if n <= MESSAGE_MAX => Ok(Some(n)),
        n => Err(format!("its answer is a message of {n} bytes")),
    }
}

/// HealthCheckResponse { status = 1 }. Fields that we do not know are skipped.
pub fn answer(bytes: &[u8]) -> Result<Health, String> {
    let cut = || "its answer is cut short".to_owned();
    let n = length(bytes)?.ok_or_else(cut)?;
    let mut left = bytes.get(5..5 + n).ok_or_else(cut)?;
    // A field that has its usual value is left out.
    let mut health = Health::Unknown;
    while !left.is_empty() {
        let key = varint(&mut left).ok_or_else(cut)?;
        let skip = match key & 7 {
            0 => {
                let value = varint(&mut left).ok_or_else(cut)?;
                if key >> 3 == 1 {
                    health = match value {
                        0 => Health::Unknown,
                        1 => Health::Serving,
                        2 => Health::NotServing,
                        3 => Health::ServiceUnknown,
                        n => Health::Other(n),
                    };
                }
                0
            }
            1 => 8,
            2 => varint(&mut left).ok_or_else(cut)?,
            5 => 4,
            _ => return Err("its answer is no protobuf".into()),
        };
        let skip = usize::try_from(skip).map_err(|_| cut())?;
        left = left.get(skip..).ok_or_else(cut)?;
    }
    Ok(health)
}

fn varint(left: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = left.split_first()?;
        *left = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        assert_eq!(question(""), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.b"), b"\0\0\0\0\x05\x0a\x03a.b");
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0A, 0xAC, 2]);
    }

    #[test]
    fn answers() {
        for (bytes, health) in [
            (&b"\0\0\0\0\0"[..], Health::Unknown),
            (b"\0\0\0\0\x02\x08\x01", Health::Serving),
            (b"\0\0\0\0\x02\x08\x02", Health::NotServing),
            (b"\0\0\0\0\x02\x08\x63", Health::Other(99)),
            // Fields of a later version.
            (b"\0\0\0\0\x06\x12\x02hi\x08\x01", Health::Serving),
        ] {
            assert_eq!(answer(bytes), Ok(health));
            for cut in 0..bytes.len() {
                assert!(answer(&bytes[..cut]).is_err());
            }
        }
        for bad in [
            &b"\0\xff\xff\xff\xff"[..],
            b"\x01\0\0\0\0",
            b"\0\0\0\0\x02\x08\x80",
            b"\0\0\0\0\x02\x0f\x01",
            b"\0\0\0\0\x0b\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\0\0\0\0\x0c\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert!(answer(bad).is_err(), "{bad:?}");
        }
    }
}
