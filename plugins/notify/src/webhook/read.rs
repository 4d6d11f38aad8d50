//! An answer of HTTP/1 as it comes in, as far as it says what became of a message: its head, and the first 16 KiB of its
//! body. The server may be hostile: what is kept is capped, and a body is never waited for once its part is there.

use crate::head::{Header, each_header, status_line};

pub struct Answer {
    pub status: u16,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
}

impl Answer {
    /// None: more has to come. `closed`: nothing more will.
    pub fn read(bytes: &[u8], closed: bool) -> Result<Option<Answer>, &'static str> {
        let Some((head, rest)) = split_head(bytes) else {
            return match (closed, bytes) {
                (false, _)
                    if bytes.len() <= HEAD_MAX
                        && b"HTTP/".starts_with(&bytes[..bytes.len().min(5)]) =>
                {
                    Ok(None)
                }
                (true, []) => Err("connection closed without an answer"),
                _ if !bytes.starts_with(b"HTTP/") => Err("the answer is not HTTP"),
                (true, _) => Err("connection closed within the response head"),
                (false, _) => Err("the response head is too long"),
            };
        };
        let line_end = head.iter().position(|b| *b == b'\n').unwrap_or(head.len());
        let line = head[..line_end].trim_ascii_end();
        let status = status_line(line).ok_or("the answer is not HTTP")?.status;
        if (100..200).contains(&status) {
            return Answer::read(rest, closed);
        }
        let mut headers = Vec::new();
        each_header(&head[(line_end + 1).min(head.len())..], |name, value| {
            headers.push(Header {
                name: String::from_utf8_lossy(name).into_owned(),
                value: value.into_owned(),
            });
        });
        let mut answer = Answer {
            status,
            headers,
            body: Vec::new(),
        };
        let (body, whole) = answer.body_in(rest);
        answer.body = body;
        let enough = answer.body.len() >= BODY_MAX || rest.len() >= 2 * BODY_MAX;
        Ok((whole || enough || closed).then_some(answer))
    }

    pub fn header(&self, name: &str) -> Option<String> {
        let header = self.headers.iter().find(|h| h.is(name));
        header.map(|h| h.text().into_owned())
    }

    /// What is there of the body, and whether that is all.
    fn body_in(&self, rest: &[u8]) -> (Vec<u8>, bool) {
        if matches!(self.status, 204 | 304) {
            return (Vec::new(), true);
        }
        let is_chunked = self
            .header("transfer-encoding")
            .is_some_and(|c| c.to_ascii_lowercase().ends_with("chunked"));
        if is_chunked {
            return chunks(rest);
        }
        let length = self
            .header("content-length")
            .and_then(|text| text.trim().parse::<usize>().ok());
        let most = length.unwrap_or(usize::MAX).min(BODY_MAX);
        let body = rest[..rest.len().min(most)].to_vec();
        let whole = length.is_some_and(|length| rest.len() >= length);
        (body, whole)
    }
}

fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        let end = at + bytes[at..].iter().position(|b| *b == b'\n')? + 1;
        match &bytes[end..] {
            [b'\r', b'\n', rest @ ..] | [b'\n', rest @ ..] => return Some((&bytes[..end], rest)),
            _ => at = end,
        }
    }
}

fn chunks(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while body.len() < BODY_MAX {
        let Some(end) = rest.iter().position(|b| *b == b'\n') else {
            return (body, false);
        };
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = size.split(';').next().unwrap_or_default().trim();
        match usize::from_str_radix(size, 16) {
            // A chunk that is none: what came before it is the body.
            Ok(0) | Err(_) => return (body, true),
            Ok(size) => {
                let data = &rest[end + 1..];
                body.extend_from_slice(&data[..size.min(data.len()).min(BODY_MAX)]);
                match data.get(size..) {
                    Some(after) => rest = after.strip_prefix(b"\r\n").unwrap_or(after),
                    None => return (body, false),
                }
            }
        }
    }
    body.truncate(BODY_MAX);
    (body, true)
}

const HEAD_MAX: usize = 64 << 10;
const BODY_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// In any pieces it is the same, and a prefix is never taken for all of it.
    #[test]
    fn answers_in_any_pieces() {
        for (text, status, body) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 OK\r\nContent-Length: 1\r\n\r\n{",
                202,
                "{",
            ),
            (
                "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
                200,
                "abcd",
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ] {
            for end in 0..text.len() {
                let part =
                    Answer::read(&text.as_bytes()[..end], false).expect("nothing wrong so far");
                if let Some(answer) = part {
                    assert_eq!(
                        String::from_utf8_lossy(&answer.body),
                        body,
                        "{text:?} to {end}"
                    );
                }
            }
            let all = Answer::read(text.as_bytes(), false)
                .expect(text)
                .expect("all of it");
            assert_eq!(
                (all.status, String::from_utf8_lossy(&all.body).as_ref()),
                (status, body)
            );
        }
    }

    #[test]
    fn what_is_no_answer_and_what_never_ends() {
        for (text, closed, why) in [
            (&b""[..], true, "connection closed without an answer"),
            (b"nonsense", false, "the answer is not HTTP"),
            (
                b"HTTP/1.1 200",
                true,
                "connection closed within the response head",
            ),
            (b"HTTP/x\r\n\r\n", true, "the answer is not HTTP"),
        ] {
            assert_eq!(Answer::read(text, closed).err(), Some(why));
        }
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'x'; 70_000]].concat();
        assert_eq!(
            Answer::read(&endless, false).err(),
            Some("the response head is too long")
        );
        for head in [
            "",
            "Content-Length: 99999999999999999999\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            let endless = [
                format!("HTTP/1.1 200 OK\r\n{head}\r\nfffffff\r\n").into_bytes(),
                vec![b'x'; 70_000],
            ]
            .concat();
            let answer = Answer::read(&endless, false)
                .expect("an answer")
                .expect("enough of it");
            assert!(answer.body.len() <= BODY_MAX);
        }
    }
}
