//! The mail itself. One thread a notice: the problem's Message-ID is made of the notice, and all that follows it names
//! that one in References.

use super::options::Options;
use crate::message::{Kind, Message};
use crate::templates::Words;
use crate::words::{cut, one_line};
use mail_builder::MessageBuilder;
use mail_builder::headers::address::Address;
use mail_builder::headers::raw::Raw;

/// An address that can stand in a header and in a command of SMTP.
pub fn address(text: &str) -> Result<(), String> {
    let bad = |c: char| {
        c.is_control() || c.is_whitespace() || "<>()[],;:\\\"".contains(c) || !c.is_ascii()
    };
    match text.rsplit_once('@') {
        Some((name, domain)) if !name.is_empty() && !domain.is_empty() && !text.contains(bad) => {
            Ok(())
        }
        _ => Err(format!(
            "{text:?} is no address; write it as ops@example.org"
        )),
    }
}

pub fn from(o: &Options, message: &Message) -> String {
    match &o.from {
        Some(from) => from.clone(),
        None => format!("healthd@{}", domain(&message.host)),
    }
}

/// The name of this machine, as far as it can stand behind an `@`.
pub fn domain(host: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-.".contains(*c);
    let name: String = host.chars().filter(plain).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name.to_owned()
    }
}

/// With CRLF at the end of each line, and dots as they are.
pub fn mail(
    o: &Options,
    from: &str,
    kind: &str,
    m: &Message,
    words: &Words,
) -> Result<Vec<u8>, String> {
    let to: Vec<Address<'_>> = o.to.0.iter().map(|to| Address::from(to.as_str())).collect();
    let domain = domain(&m.host);
    let root = format!("{}.healthd@{domain}", plain(&m.notice));
    let is_root = m.kind == Kind::Problem;
    let id = if is_root {
        root.clone()
    } else {
        format!("{}.{}.healthd@{domain}", plain(&m.notice), plain(&m.id))
    };
    let title = cut(&one_line(&words.title), SUBJECT_MAX);
    // A thread is one subject for some readers: the marks `Re:` and `[..]` are left out of it.
    let subject = format!("[{}] {title}", one_line(&m.host));
    let mut builder = MessageBuilder::new()
        .message_id(id)
        .from(("healthd", from))
        .to(Address::new_list(to))
        .date(seconds(&m.time))
        .subject(subject)
        // No holiday notes: nobody reads them (RFC 3834).
        .header("Auto-Submitted", Raw::new("auto-generated"))
        .header("X-Healthd-Kind", Raw::new(plain(kind)));
    if !is_root && !matches!(m.kind, Kind::Test | Kind::Alive) {
        builder = builder.in_reply_to(root.clone()).references(root);
    }
    if let Some(reply_to) = &o.reply_to {
        builder = builder.reply_to(reply_to.as_str());
    }
    if m.kind == Kind::Problem && m.worst() == "critical" {
        builder = builder.header("Importance", Raw::new("high"));
    }
    builder = builder.text_body(lines(&words.text));
    if o.html {
        builder = builder.html_body(html(m, words));
    }
    builder
        .write_to_vec()
        .map_err(|e| format!("the mail cannot be written: {e}"))
}

fn html(m: &Message, words: &Words) -> String {
    let colour = match (m.is_over(), m.worst()) {
        (true, _) => "#1a7f37",
        (_, "critical") => "#b3261e",
        (_, "warning") => "#9a6700",
        _ => "#57606a",
    };
    format!(
        "<!DOCTYPE html>\n<html><body>\n<p style=\"border-left:4px solid {colour};padding-left:8px\"><strong>{}</strong></p>\n<pre style=\"white-space:pre-wrap\">{}</pre>\n</body></html>\n",
        escaped(&words.title),
        escaped(&words.text)
    )
}

pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() && c != '\n' && c != '\t' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// No CR of a check's message survives, so none can end a header or a part.
fn lines(text: &str) -> String {
    let keep = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            ' '
        } else {
            c
        }
    };
    text.replace("\r\n", "\n").chars().map(keep).collect()
}

/// Ids are numbers; whatever a host sends, it stays one word.
fn plain(id: &str) -> String {
    let word: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(40)
        .collect();
    if word.is_empty() {
        "0".to_owned()
    } else {
        word
    }
}

fn seconds(time: &str) -> i64 {
    let time: Option<jiff::Timestamp> = time.parse().ok();
    time.unwrap_or_else(jiff::Timestamp::now).as_second()
}

/// What still fits into a line of a list of mails.
const SUBJECT_MAX: usize = 200;
