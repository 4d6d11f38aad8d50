//! Looks for texts in a body as it comes: what is found does not depend on how long the body is, nor does the memory.

use crate::body;
use crate::response::{Onlooker, Response};
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, WINDOWS_1252};
use std::sync::Arc;

/// Bytes that are text at the same time.
const AT_ONCE: usize = 8 << 10;

#[derive(Debug)]
pub struct Search {
    wanted: Arc<[String]>,
    /// The body as text. If nobody says what it is written in, one after the other: what is no UTF-8 is the second.
    readings: Vec<Reading>,
}

struct Reading {
    decoder: Decoder,
    /// The end of what was read, in which a text may begin that goes on in the next piece.
    text: String,
    found: Vec<bool>,
    is_broken: bool,
}

impl Search {
    pub fn new(wanted: Arc<[String]>) -> Search {
        Search {
            wanted,
            readings: Vec::new(),
        }
    }
}

impl Onlooker for Search {
    fn begin(&mut self, response: &Response) {
        let declared = body::declared(response);
        let readings = match declared {
            Some((encoding, _)) => vec![encoding],
            // Where all is ASCII both find the same.
            None if self.wanted.iter().all(|text| text.is_ascii()) => vec![UTF_8],
            None => vec![UTF_8, WINDOWS_1252],
        };
        let new = |encoding: &'static Encoding| Reading {
            decoder: encoding.new_decoder_without_bom_handling(),
            text: String::new(),
            found: vec![false; self.wanted.len()],
            is_broken: false,
        };
        self.readings = readings.into_iter().map(new).collect();
        self.look(&response.body[declared.map_or(0, |(_, mark)| mark)..]);
    }

    fn look(&mut self, piece: &[u8]) {
        for reading in &mut self.readings {
            for piece in piece.chunks(AT_ONCE) {
                reading.read(piece);
                reading.search(&self.wanted);
            }
        }
    }

    fn has_seen(&self, which: usize) -> bool {
        let good = self.readings.iter().find(|r| !r.is_broken);
        let reading = good.or(self.readings.last());
        reading.is_some_and(|r| r.found[which])
    }
}

impl Reading {
    fn read(&mut self, mut piece: &[u8]) {
        loop {
            let most = self
                .decoder
                .max_utf8_buffer_length_without_replacement(piece.len());
            self.text.reserve(most.unwrap_or(piece.len()).max(16));
            let (done, read) =
                self.decoder
                    .decode_to_string_without_replacement(piece, &mut self.text, false);
            piece = &piece[read..];
            match done {
                DecoderResult::InputEmpty => return,
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(..) => {
                    self.is_broken = true;
                    self.text.push(char::REPLACEMENT_CHARACTER);
                }
            }
        }
    }

    fn search(&mut self, wanted: &[String]) {
        for (found, wanted) in self.found.iter_mut().zip(wanted) {
            *found = *found || self.text.contains(wanted.as_str());
        }
        let longest = wanted.iter().map(String::len).max().unwrap_or(0);
        let mut cut = self.text.len().saturating_sub(longest.saturating_sub(1));
        while !self.text.is_char_boundary(cut) {
            cut -= 1;
        }
        self.text.drain(..cut);
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading")
            .field("found", &self.found)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Wanted;

    /// What is found in a body in pieces of so many bytes, and in the same body kept whole.
    fn found(content_type: &str, body: &[u8], wanted: &str, size: usize) -> [bool; 2] {
        let read = |search: Option<Search>| {
            let wanted = Wanted {
                is_head_request: false,
                headers: false,
                body: true,
                max_body: 1 << 24,
            };
            let search = search.map(|s| Box::new(s) as Box<dyn Onlooker>);
            let mut r = Response::new(wanted).looked_at_by(search);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n");
            r.feed(head.as_bytes()).expect("a head");
            for piece in body.chunks(size) {
                r.feed(piece).expect("a body");
            }
            r
        };
        let seen = read(Some(Search::new(Arc::new([wanted.to_owned()]))));
        assert!(seen.body.is_empty() && seen.body_bytes == body.len() as u64);
        let seen = seen.onlooker().expect("it was too long").has_seen(0);
        [seen, body::text(&read(None)).contains(wanted)]
    }

    #[test]
    fn a_body_that_passes_is_read_as_one_that_is_kept() {
        let long = |before: &[u8], middle: &[u8]| {
            [before, &vec![b'.'; 100_000], middle, &[b'.'; 10_000]].concat()
        };
        let utf16: Vec<u8> = "f\u{fc}r"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        for (content_type, body, is_there) in [
            ("text/plain", long(b"", "f\u{fc}r".as_bytes()), true),
            ("text/plain", long(b"f\xfcr", b""), true),
            // No UTF-8, of which the first half says nothing.
            ("text/plain", long(b"", b"f\xfcr"), true),
            ("text/plain; charset=latin1", long(b"", b"f\xfcr"), true),
            ("text/plain; charset=utf-8", long(b"", b"f\xfcr"), false),
            ("text/plain; charset=utf-16le", long(b"", &utf16), true),
            (
                "text/plain",
                long(b"\xEF\xBB\xBF", "f\u{fc}r".as_bytes()),
                true,
            ),
            ("text/plain", long(b"", b"fur"), false),
        ] {
            for size in [997, 16 << 10, body.len()] {
                let found = found(content_type, &body, "f\u{fc}r", size);
                assert_eq!(found, [is_there; 2], "{content_type} {size} {}", body.len());
            }
        }
        for at in 0..40 {
            let mut body = vec![b'a'; 80_000];
            body[70_000 + at..][..6].copy_from_slice(b"needle");
            assert_eq!(found("a/b", &body, "needle", 7), [true; 2], "{at}");
        }
    }
}
