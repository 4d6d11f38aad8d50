//! Where the array of a JSON document begins.

use crate::records::{json_value, skip_blanks};
use crate::stream::{Stream, Wrong};
use healthd_plugin::serde_json;
use std::fs::File;

/// Where the first element of the array at `pointer` (RFC 6901) begins. Err(Ok): it is not there, in words.
pub fn array(file: &File, end: u64, pointer: &str) -> Result<Result<u64, String>, Wrong> {
    let mut stream = Stream::new(file, 0, end);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        skip_blanks(&mut stream)?;
        let open = stream.peek()?;
        let index = token.parse::<u64>().ok();
        let reached = match (open, index) {
            (Some(b'{'), _) => member(&mut stream, &token)?,
            (Some(b'['), Some(index)) => element(&mut stream, index)?,
            _ => false,
        };
        if !reached {
            return Ok(Err(format!("there is no {pointer:?} in it (no `{token}`)")));
        }
    }
    skip_blanks(&mut stream)?;
    match stream.peek()? {
        Some(b'[') => Ok(Ok(stream.at() + 1)),
        _ if pointer.is_empty() => Ok(Err("it is no array: name one with `pointer`".into())),
        _ => Ok(Err(format!("{pointer:?} is no array"))),
    }
}

fn member(stream: &mut Stream<'_>, wanted: &str) -> Result<bool, Wrong> {
    loop {
        // Over the brace or the comma.
        stream.advance(1);
        skip_blanks(stream)?;
        if stream.peek()? != Some(b'"') {
            return Ok(false);
        }
        let length = loop {
            match json_value(stream.rest(), stream.is_last()) {
                Some(length) => break length,
                None if stream.more()? => {}
                None => return Ok(false),
            }
        };
        let key: Option<String> = serde_json::from_slice(&stream.rest()[..length]).ok();
        stream.advance(length);
        skip_blanks(stream)?;
        if stream.peek()? != Some(b':') {
            return Ok(false);
        }
        stream.advance(1);
        skip_blanks(stream)?;
        if key.as_deref() == Some(wanted) {
            return Ok(true);
        }
        skip(stream)?;
        skip_blanks(stream)?;
        if stream.peek()? != Some(b',') {
            return Ok(false);
        }
    }
}

fn element(stream: &mut Stream<'_>, index: u64) -> Result<bool, Wrong> {
    stream.advance(1);
    for _ in 0..index {
        skip_blanks(stream)?;
        skip(stream)?;
        skip_blanks(stream)?;
        if stream.peek()? != Some(b',') {
            return Ok(false);
        }
        stream.advance(1);
    }
    Ok(true)
}

/// Over a value of any size.
fn skip(stream: &mut Stream<'_>) -> Result<(), Wrong> {
    let (mut depth, mut in_text) = (0usize, false);
    while let Some(byte) = stream.peek()? {
        match byte {
            b'\\' if in_text => stream.advance(1),
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b',' | b'}' | b']' if depth == 0 => return Ok(()),
            _ => {}
        }
        // A backslash at the very end of what is at hand.
        if stream.rest().is_empty() {
            stream.peek()?;
        }
        stream.advance(1);
    }
    Ok(())
}
