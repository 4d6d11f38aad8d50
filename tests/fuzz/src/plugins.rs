//! What plugins read: a program's output, a server's answer, addresses in options.

#[path = "../../../plugins/sdk/src/certificate.rs"]
mod certificate;
#[path = "../../../plugins/tcp/src/escape.rs"]
mod escape;
#[path = "../../../plugins/postgres/src/guard.rs"]
mod guard;
#[path = "../../../plugins/exec/src/output.rs"]
mod output;

use healthd_client::http::head::Header;
use healthd_client::http::url::Url;
use healthd_client::http::{Response, Wanted};
use output::Output;

pub fn perfdata(data: &[u8]) {
    let output = Output::parse(data);
    assert!(!output.message.contains('\n'));
    for entry in &output.perfdata.entries {
        assert!(!entry.label.is_empty());
        assert!(entry.value.is_none_or(f64::is_finite));
        let _ = entry.metric();
        let _ = entry.labels().count();
    }
}

/// The first byte says what is wanted and in which pieces the answer comes. Pieces change nothing.
pub fn http(data: &[u8]) {
    let Some((&how, answer)) = data.split_first() else {
        return;
    };
    let wanted = Wanted {
        is_head_request: how & 1 != 0,
        headers: how & 2 != 0,
        body: how & 4 != 0,
        max_body: 1000,
    };
    let whole = read(wanted, answer, answer.len().max(1));
    let pieces = read(wanted, answer, 1 + usize::from(how >> 3));
    assert_eq!(whole, pieces);
    if let Ok((_, headers, body, ..)) = &whole {
        assert!(body.len() <= 1000);
        let base = Url::parse("https://example.org:8443/a/../b?q").expect("a good one");
        for header in headers {
            let _ = base.join(&header.value);
        }
    }
}

type Read = (u16, Vec<Header>, Vec<u8>, u64, bool);

fn read(wanted: Wanted, answer: &[u8], piece: usize) -> Result<Read, String> {
    let mut response = Response::new(wanted);
    for piece in answer.chunks(piece) {
        response.feed(piece).map_err(|e| e.to_string())?;
    }
    response.end().map_err(|e| e.to_string())?;
    let Response {
        status,
        headers,
        body,
        body_bytes,
        cut,
        ..
    } = response;
    Ok((status, headers, body, body_bytes, cut))
}

/// A URL, the text that tcp sends, a certificate, and the headers of a PostgreSQL server's messages.
pub fn targets(data: &[u8]) {
    let _ = certificate::not_after(data);
    let mut guards = [guard::Guard::default(), guard::Guard::default()];
    let whole = guards[0].look(data).map_err(|e| e.to_string());
    let pieces = data.chunks(3).try_for_each(|piece| guards[1].look(piece));
    assert_eq!(whole, pieces.map_err(|e| e.to_string()));
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(bytes) = escape::unescape(text) {
        assert!(bytes.len() <= text.len());
    }
    if let Ok(url) = Url::parse(text) {
        let _ = (url.ip(), url.authority(), url.same_origin(&url));
        let _ = url.join(text.as_bytes());
    }
}
