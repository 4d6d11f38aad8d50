//! What a worker tells its supervisor of its checks' secrets, so that what a plugin writes to standard error is told without
//! them also when the worker is dead: a file in memory that these two alone have open.
//!
//! Eight bytes say how many follow; then each secret, its length in four bytes before it. The worker only appends, and
//! says that there is more when it is there. Numbers are little-endian. Nothing in it is believed by whoever reads it.

/// So many bytes behind the head, and so many secrets: with more of them each line would cost the supervisor too much.
pub const MOST_BYTES: u64 = 512 << 10;
pub const MOST: usize = 2048;
pub const HEAD: u64 = 8;
/// Stands in the head instead of a length: there are more, so nothing can be told.
pub const TOO_MANY: u64 = u64::MAX;

/// One secret, to be appended.
pub fn record(secret: &str) -> Vec<u8> {
    let mut bytes = (secret.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(secret.as_bytes());
    bytes
}

/// None: that is no such file, or one with too many.
pub fn read(bytes: &[u8]) -> Option<Vec<&str>> {
    let mut rest = bytes;
    let mut secrets = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        secrets.push(std::str::from_utf8(after.get(..length)?).ok()?);
        rest = &after[length..];
    }
    (rest.is_empty() && secrets.len() <= MOST).then_some(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_cut_or_too_much_is_no_list() {
        let bytes = [record("one"), record(""), record("s\u{e9}cret")].concat();
        assert_eq!(read(&bytes), Some(vec!["one", "", "s\u{e9}cret"]));
        assert_eq!(read(&[]), Some(vec![]));
        for end in 1..7 {
            assert_eq!(read(&bytes[..end]), None, "{end}");
        }
        let full = record("x").repeat(MOST);
        assert_eq!(read(&full).map(|all| all.len()), Some(MOST));
        assert_eq!(read(&[full, record("y")].concat()), None);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
        }
    }
}
