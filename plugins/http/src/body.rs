//! From the bytes of a body to its text: content codings undone, within bounds and in small pieces, and its charset read.

use crate::failed::Failed;
use crate::response::Response;
use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use flate2::bufread::GzDecoder;
use healthd_client::held::Held;
use healthd_plugin::Cx;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::borrow::Cow;
use std::io::{self, Cursor, Read};
use std::time::Duration;

/// So much is unpacked before other checks get their turn: well below a millisecond.
const PIECE: usize = 64 << 10;
/// As RFC 9659 bounds it for the web.
const LARGEST_WINDOW: u64 = 8 << 20;
const CODINGS: [&str; 5] = ["gzip", "x-gzip", "deflate", "br", "zstd"];
/// Codings on top of each other.
const MOST_CODINGS: usize = 4;

/// Undoes what the body was packed with on its way (Transfer-Encoding) and before (Content-Encoding); at most `max` bytes
/// come out.
pub async fn unpack(cx: Cx<'_>, response: &mut Response, max: usize) -> Result<(), Failed> {
    let mut codings: Vec<String> = Vec::new();
    for header in response.all("content-encoding") {
        let text = header.text().to_ascii_lowercase();
        let names = text.split(',').map(str::trim).filter(|n| !n.is_empty());
        codings.extend(names.map(str::to_owned));
    }
    codings.append(&mut response.transfer);
    codings.retain(|name| name != "identity");
    if codings.len() > MOST_CODINGS {
        let n = codings.len();
        return Err(Failed::critical(format!("body: {n} content codings")));
    }
    for (n, name) in codings.iter().enumerate().rev() {
        if response.body.is_empty() {
            return Ok(());
        }
        // A name that is no coding, as some servers send it: a browser shows what came.
        if !CODINGS.contains(&name.as_str()) && is_text(&response.body) {
            continue;
        }
        let (packed, _held) = response.take_packed();
        let mut reader = reader(name, Cursor::new(packed))?;
        // Still packed, or the body itself, which may be too long to be kept.
        let is_last = n == 0;
        let (mut out, mut size) = (Vec::new(), 0);
        let mut out_held = Held::default();
        loop {
            let has_room = match is_last {
                true => response.make_room(cx, PIECE).await,
                false => Box::pin(out_held.grow(cx, size + PIECE, max))
                    .await
                    .map(drop),
            };
            has_room.map_err(|e| Failed::io("body", &e))?;
            let room = (max - size).min(PIECE) as u64;
            let read = reader.by_ref().take(room).read_to_end(&mut out);
            size += read.as_ref().copied().unwrap_or(0);
            if is_last {
                response.keep(&out);
                out.clear();
            }
            match read {
                // What was cut at `max_body` ends where it must.
                Err(_) if response.cut => break,
                Err(_) => {
                    return Err(Failed::critical(format!("body: cannot be read as {name}")));
                }
                // The end, as it is not the whole piece.
                Ok(n) if (n as u64) < room => break,
                Ok(_) if size >= max => {
                    response.cut = true;
                    break;
                }
                Ok(_) => cx.sleep(Duration::from_micros(1)).await,
            }
        }
        if !is_last {
            response.put_packed(out, out_held);
        }
    }
    Ok(())
}

fn reader(name: &str, packed: Cursor<Vec<u8>>) -> Result<Box<dyn Read>, Failed> {
    let bad = || Failed::critical(format!("body: cannot be read as {name}"));
    Ok(match name {
        "gzip" | "x-gzip" => Box::new(Gzip(Some(GzDecoder::new(packed)))),
        // With the header of zlib, as the standard has it, or without, as some servers do.
        "deflate" => match packed.get_ref().as_slice() {
            [cmf, flg, ..]
                if cmf & 0x0F == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0 =>
            {
                Box::new(flate2::bufread::ZlibDecoder::new(packed))
            }
            _ => Box::new(flate2::bufread::DeflateDecoder::new(packed)),
        },
        "br" => Box::new(brotli_decompressor::Decompressor::new(packed, 4096)),
        "zstd" => {
            let first = skipped(packed.get_ref());
            let window = packed.get_ref().get(first..).and_then(zstd_window);
            let window = window.ok_or_else(bad)?;
            if window > LARGEST_WINDOW {
                return Err(Failed::critical(format!(
                    "body: zstd with a window of {window} bytes, more than the {LARGEST_WINDOW} that browsers allow"
                )));
            }
            Box::new(Zstd {
                between: Some(packed),
                frame: None,
            })
        }
        other => {
            return Err(Failed::unknown(format!(
                "body: the coding {:?} cannot be read here (gzip, deflate, br and zstd can)",
                other.chars().take(40).collect::<String>()
            )));
        }
    })
}

/// The members of a gzip file; what follows the last and is none is ignored, as browsers do.
struct Gzip(Option<GzDecoder<Cursor<Vec<u8>>>>);

impl Read for Gzip {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let n = member.read(out)?;
            if n > 0 || out.is_empty() {
                return Ok(n);
            }
            let rest = self.0.take().map(GzDecoder::into_inner);
            let is_next = |rest: &Cursor<Vec<u8>>| {
                let at = usize::try_from(rest.position()).ok();
                at.and_then(|at| rest.get_ref().get(at..))
                    .is_some_and(|bytes| bytes.starts_with(&[0x1F, 0x8B]))
            };
            self.0 = rest.filter(is_next).map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// The frames of zstd one after the other, as programs write them that pack in pieces; those that hold something else are
/// left out (RFC 8878, 3.1).
struct Zstd {
    /// Before, between and after them.
    between: Option<Cursor<Vec<u8>>>,
    frame: Option<StreamingDecoder<Cursor<Vec<u8>>, FrameDecoder>>,
}

impl Read for Zstd {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let n = frame.read(out)?;
                if n > 0 || out.is_empty() {
                    return Ok(n);
                }
                self.between = self.frame.take().map(StreamingDecoder::into_inner);
            }
            let Some(mut between) = self.between.take() else {
                return Ok(0);
            };
            let at = usize::try_from(between.position()).unwrap_or(usize::MAX);
            let rest = between.get_ref().get(at..).unwrap_or_default();
            let more = skipped(rest);
            if rest.len() == more {
                return Ok(0);
            }
            match zstd_window(&rest[more..]) {
                Some(window) if window <= LARGEST_WINDOW => {}
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
            between.set_position((at + more) as u64);
            self.frame = Some(StreamingDecoder::new(between).map_err(io::Error::other)?);
        }
    }
}

/// Bytes of the frames at the start that hold something else.
fn skipped(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some([kind, 0x2A, 0x4D, 0x18, size @ ..]) =
        bytes.get(at..).and_then(<[u8]>::first_chunk::<8>)
        && kind & 0xF0 == 0x50
    {
        let size = u32::from_le_bytes(*size) as usize;
        at = (at + 8).saturating_add(size).min(bytes.len());
    }
    at
}

fn is_text(body: &[u8]) -> bool {
    let is_odd = |c: char| c.is_control() && !c.is_whitespace();
    std::str::from_utf8(body).is_ok_and(|text| !text.contains(is_odd))
}

/// The window of a zstd frame (RFC 8878, 3.1.1.1), for which memory is taken.
fn zstd_window(frame: &[u8]) -> Option<u64> {
    let rest = frame.strip_prefix(&[0x28, 0xB5, 0x2F, 0xFD])?;
    let (descriptor, rest) = rest.split_first()?;
    let is_single = descriptor & 0x20 != 0;
    if !is_single {
        let window = rest.first()?;
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = rest.get(dictionary..)?;
    let bytes = |n: usize| {
        let bytes = size.get(..n)?;
        Some(bytes.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b)))
    };
    match descriptor >> 6 {
        0 => bytes(1),
        1 => Some(bytes(2)? + 256),
        2 => bytes(4),
        _ => bytes(8),
    }
}

/// The body as text: by its byte order mark, by the charset of Content-Type or of the page itself, else UTF-8, and what
/// is none as windows-1252, as browsers do.
pub fn text(response: &Response) -> Cow<'_, str> {
    let body = response.body.as_slice();
    if let Some((encoding, mark)) = declared(response) {
        return encoding.decode_without_bom_handling(&body[mark..]).0;
    }
    match std::str::from_utf8(body) {
        Ok(text) => text.into(),
        // Cut within a character.
        Err(e) if e.error_len().is_none() => UTF_8.decode_without_bom_handling(body).0,
        Err(_) => WINDOWS_1252.decode_without_bom_handling(body).0,
    }
}

/// What the body is said to be written in, and the bytes before it. None: nothing is said.
pub fn declared(response: &Response) -> Option<(&'static Encoding, usize)> {
    let body = response.body.as_slice();
    Encoding::for_bom(body).or_else(|| {
        let header = response.header("content-type");
        let said = header.and_then(|h| charset_of(&h.text()));
        Some((said.or_else(|| within(body))?, 0))
    })
}

/// `text/html; charset="utf-8"`
fn charset_of(content_type: &str) -> Option<&'static Encoding> {
    content_type.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        let value = value.trim().trim_matches(['"', '\'']);
        key.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| Encoding::for_label(value.as_bytes()))?
    })
}

/// `<meta charset=...>` and `<?xml encoding=...?>` at the beginning of a page.
fn within(body: &[u8]) -> Option<&'static Encoding> {
    let start = &body[..body.len().min(1024)];
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    let after = if start.trim_start().starts_with("<?xml") {
        let declaration = start.split("?>").next()?;
        declaration.split_once("encoding")?.1
    } else {
        let meta = start.split("<meta").skip(1);
        let mut tags = meta.filter_map(|m| m.split('>').next()?.split_once("charset"));
        tags.next()?.1
    };
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let value = value.trim_start_matches(['"', '\'']);
    let end = value.find(|c: char| c.is_whitespace() || "\"';/?".contains(c));
    let found = Encoding::for_label(&value.as_bytes()[..end.unwrap_or(value.len())])?;
    // Whoever can read the mark in ASCII is no UTF-16, whatever it says.
    Some(match found.name().starts_with("UTF-16") {
        true => UTF_8,
        false => found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Wanted;

    fn page(content_type: &str, body: &[u8]) -> String {
        let mut r = Response::new(Wanted {
            is_head_request: false,
            headers: false,
            body: true,
            max_body: 1 << 20,
        });
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n");
        r.feed(head.as_bytes()).expect("a head");
        r.feed(body).expect("a body");
        text(&r).into_owned()
    }

    #[test]
    fn charsets() {
        let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "f\u{fc}r".encode_utf16().flat_map(bytes).collect()
        };
        let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
        for (content_type, body) in [
            ("text/html; charset=iso-8859-1", &b"f\xfcr"[..]),
            ("text/html; Charset = \"ISO-8859-15\"", b"f\xfcr"),
            ("text/html; charset=utf-8", "f\u{fc}r".as_bytes()),
            ("text/html; charset=utf-16le", &little),
            ("text/html; charset=utf-16be", &big),
            (
                "text/html; charset=utf-16",
                &[&[0xFF, 0xFE][..], &little].concat(),
            ),
            (
                "text/plain; charset=latin1",
                &[&[0xFE, 0xFF][..], &big].concat(),
            ),
            ("text/plain", b"\xEF\xBB\xBFf\xc3\xbcr"),
            ("text/plain; charset=nonsense", "f\u{fc}r".as_bytes()),
            // Nothing said, and no UTF-8.
            ("text/plain", b"f\xfcr"),
        ] {
            assert_eq!(page(content_type, body), "f\u{fc}r", "{content_type}");
        }
        assert_eq!(page("a/b; charset=shift_jis", b"\x83\x65"), "\u{30c6}");
        assert!(page("text/html", b"<head><meta charset='koi8-r'>\xd4").ends_with('\u{442}'));
        let old = b"<meta http-equiv=x content=\"text/html; charset=windows-1251\">\xf2";
        assert!(page("text/html", old).ends_with('\u{442}'));
        let xml = b"<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>\xfc";
        assert!(page("text/xml", xml).ends_with('\u{fc}'));
        // Cut within the last character.
        assert_eq!(page("text/plain", b"f\xc3"), "f\u{fffd}");
    }

    #[test]
    fn windows_of_zstd() {
        let magic = [0x28, 0xB5, 0x2F, 0xFD];
        let window = |rest: &[u8]| zstd_window(&[&magic[..], rest].concat());
        assert_eq!(window(&[0x00, 0x58]), Some(2 << 20));
        assert_eq!(window(&[0x00, 0xFF]), Some((1 << 41) + (1 << 41) / 8 * 7));
        assert_eq!(window(&[0x20, 7]), Some(7));
        assert_eq!(window(&[0x60, 1, 0]), Some(257));
        assert_eq!(window(&[0xA1, 9, 1, 0, 0, 1]), Some((1 << 24) + 1));
        for cut in [&[][..], &[0x00], &[0x60, 1], &[0xE0, 1, 2, 3]] {
            assert_eq!(window(cut), None);
        }
        assert_eq!(zstd_window(b"gzip"), None);
    }
}
