//! Escapes in `send`: protocols end their lines in ways a config file cannot show.

/// `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` become their bytes; anything else is itself.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(r"\x needs two hexadecimal digits".into()),
                }
            }
            Some(other) => {
                return Err(format!(
                    r"\{} is no escape; there are \r \n \t \0 \\ \xHH",
                    char::from(other)
                ));
            }
            None => return Err(r"a \ at the end; write \\".into()),
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_become_bytes() {
        assert_eq!(
            unescape(r"EHLO x\r\n\t\0\\\x7fü").unwrap(),
            b"EHLO x\r\n\t\0\\\x7F\xC3\xBC"
        );
        assert_eq!(unescape("plain\r\n").unwrap(), b"plain\r\n");
        for bad in ["\\", "\\q", "\\x1", "\\xg0", "\\x"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }
}
