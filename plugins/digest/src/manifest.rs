//! sha256sum's format: `HASH  NAME`, `HASH *NAME`, with `\` in front if the name is escaped, or `SHA256 (NAME) = HASH`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

pub type Hash = [u8; 32];

#[derive(Debug, PartialEq)]
pub struct Entry {
    pub hash: Hash,
    /// As it stands there, without `./` in front.
    pub name: PathBuf,
}

#[derive(Debug, Default)]
pub struct Manifest {
    pub entries: Vec<Entry>,
    /// Lines that are none of the format: how many, and the number of the first.
    pub bad: usize,
    pub first_bad: usize,
}

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Manifest {
        let mut manifest = Manifest::default();
        for (number, line) in bytes.split(|b| *b == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // As `sha256sum -c` does: empty lines and comments are nothing.
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            match entry(line) {
                Some(entry) => manifest.entries.push(entry),
                None => {
                    manifest.bad += 1;
                    if manifest.bad == 1 {
                        manifest.first_bad = number + 1;
                    }
                }
            }
        }
        manifest
    }
}

fn entry(line: &[u8]) -> Option<Entry> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (hash, name) = match line.strip_prefix(b"SHA256 (") {
        Some(rest) => {
            let at = rest.windows(4).rposition(|w| w == b") = ")?;
            (&rest[at + 4..], &rest[..at])
        }
        None => {
            let (hash, rest) = line.split_at_checked(64)?;
            let name = rest.strip_prefix(b" ")?;
            // A second blank for text, a star for binary: on Linux they are the same.
            let name = name
                .strip_prefix(b" ")
                .or_else(|| name.strip_prefix(b"*"))?;
            (hash, name)
        }
    };
    let name = if escaped {
        unescape(name)?
    } else {
        name.to_vec()
    };
    let mut name = &name[..];
    while let Some(rest) = name.strip_prefix(b"./") {
        name = rest;
    }
    if name.is_empty() || name.contains(&0) {
        return None;
    }
    Some(Entry {
        hash: unhex(hash)?,
        name: OsString::from_vec(name.to_vec()).into(),
    })
}

fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            other => *other,
        });
    }
    Some(plain)
}

fn unhex(text: &[u8]) -> Option<Hash> {
    let digit = |b: u8| (b as char).to_digit(16);
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_line() {
        let hash = "0123456789abcdefABCDEF000000000000000000000000000000000000000009";
        let text = format!(
            "# a comment\n\n{hash}  plain\n{hash} *./binary name\r\n\\{hash}  a\\nb\\\\c\nSHA256 (x (1)) = {hash}\n\
             {hash} one blank\nabc  short\n\\{hash}  bad\\x\n{hash}  ./\n"
        );
        let manifest = Manifest::parse(text.as_bytes());
        let names: Vec<_> = manifest.entries.iter().map(|e| e.name.to_str()).collect();
        let expected = ["plain", "binary name", "a\nb\\c", "x (1)"].map(Some);
        assert_eq!(names, expected);
        assert_eq!((manifest.bad, manifest.first_bad), (4, 7));
        assert_eq!(manifest.entries[0].hash[..3], [0x01, 0x23, 0x45]);
    }
}
