//! IMAP's commands and answers (RFC 9051), as far as a check needs them, from a server that may say anything.

use healthd_client::wire::Wire;
use healthd_plugin::days_since_1970;
use healthd_plugin::net::Lines;
use std::io;

/// The longest literal that is taken, and all of one answer.
const LITERAL_MAX: u64 = 1 << 20;
const LINES_MAX: usize = 1000;
const ANSWER_MAX: usize = 4 << 20;
const TAG: &str = "a";

/// What a server said to one command.
#[derive(Debug)]
pub struct Answer {
    /// The lines that begin with `* `, without that; literals are in them.
    pub untagged: Vec<String>,
    /// OK, NO or BAD.
    pub ok: bool,
    /// The last line, without its tag.
    pub text: String,
}

/// Sends a command and reads all of its answer.
pub async fn command(lines: &mut Lines<Wire<'_>>, text: &str) -> io::Result<Answer> {
    lines.write(format!("{TAG} {text}\r\n").as_bytes()).await?;
    let mut untagged = Vec::new();
    let mut size = 0;
    for _ in 0..LINES_MAX {
        let line = whole_line(lines, size).await?;
        size += line.len();
        if size > ANSWER_MAX {
            break;
        }
        keep(lines, size).await?;
        if let Some(rest) = line.strip_prefix("* ") {
            if starts(rest, "BYE") && !starts(text, "LOGOUT") {
                return Err(invalid(format!("the server hangs up: {}", shown(rest))));
            }
            untagged.push(rest.to_owned());
            continue;
        }
        let Some(rest) = line.strip_prefix("a ") else {
            return Err(invalid(format!(
                "{:?} is nothing that IMAP says",
                shown(&line)
            )));
        };
        return Ok(Answer {
            untagged,
            ok: starts(rest, "OK"),
            text: shown(rest),
        });
    }
    Err(invalid("an answer without an end".into()))
}

/// Before an answer has so many bytes.
async fn keep(lines: &mut Lines<Wire<'_>>, bytes: usize) -> io::Result<()> {
    lines.get_mut().room(bytes, ANSWER_MAX).await
}

/// A line with the literals in it: `{3}` at its end, and the three bytes that follow. `size` is that of the lines before.
async fn whole_line(lines: &mut Lines<Wire<'_>>, size: usize) -> io::Result<String> {
    let mut whole = lines.text().await?;
    while let Some(length) = literal(&whole) {
        let length = length.filter(|n| *n <= LITERAL_MAX && whole.len() < ANSWER_MAX);
        let Some(length) = length else {
            let text = whole.rsplit('{').next().unwrap_or_default();
            return Err(invalid(format!(
                "a literal of {} bytes",
                text.trim_end_matches('}')
            )));
        };
        // As it was read, and in the line.
        keep(lines, size + whole.len() + 2 * length as usize).await?;
        let bytes = lines.bytes(length as usize).await?;
        whole += &String::from_utf8_lossy(bytes);
        whole += &lines.text().await?;
    }
    Ok(whole)
}

/// Some(None): a literal of a size that is no number of ours.
fn literal(line: &str) -> Option<Option<u64>> {
    let (_, digits) = line.strip_suffix('}')?.rsplit_once('{')?;
    let digits = digits.strip_suffix('+').unwrap_or(digits);
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok())
}

/// A text as IMAP quotes it. None if it cannot be.
pub fn quoted(text: &str) -> Option<String> {
    let plain = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    plain.then(|| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

pub fn starts(line: &str, with: &str) -> bool {
    line.get(..with.len())
        .is_some_and(|b| b.eq_ignore_ascii_case(with))
}

pub fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// The number behind a word: `STATUS INBOX (MESSAGES 3 UNSEEN 1)`.
pub fn number_of(line: &str, word: &str) -> Option<u32> {
    let mut words = line.split([' ', '(', ')']);
    words.find(|w| w.eq_ignore_ascii_case(word))?;
    words.next()?.parse().ok()
}

/// Seconds since 1970 of `1 FETCH (INTERNALDATE "17-Jul-1996 02:44:25 -0700")`.
pub fn internal_date(line: &str) -> Option<i64> {
    const MONTHS: &str = "janfebmaraprmayjunjulaugsepoctnovdec";
    let (_, rest) = line.split_once("INTERNALDATE \"")?;
    let (text, _) = rest.split_once('"')?;
    let mut words = text.trim_start().split(' ');
    let (date, time, zone) = (words.next()?, words.next()?, words.next()?);
    let mut date = date.split('-');
    let day: i64 = date.next()?.parse().ok()?;
    let month = date.next()?.to_ascii_lowercase();
    let month = MONTHS
        .find(&month)
        .filter(|at| month.len() == 3 && at % 3 == 0)? as i64
        / 3
        + 1;
    let year: i64 = date.next()?.parse().ok()?;
    let mut clock = time.split(':').map(|part| part.parse::<i64>().ok());
    let (h, m, s) = (clock.next()??, clock.next()??, clock.next()??);
    let (sign, digits) = zone.split_at_checked(1)?;
    let digits: i64 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    let zone = (digits / 100 * 60 + digits % 100) * 60 * if sign == "-" { -1 } else { 1 };
    if !(1..=31).contains(&day) || !(1900..=9999).contains(&year) || h > 23 || m > 59 || s > 60 {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + h * 3600 + m * 60 + s - zone)
}

pub fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let date = |text: &str| internal_date(&format!("1 FETCH (INTERNALDATE \"{text}\" UID 1)"));
        assert_eq!(date("17-Jul-1996 02:44:25 -9000000000000000000"), None);
        assert_eq!(date("01-Jan-1970 00:00:00 +0000"), Some(0));
        assert_eq!(date("17-Jul-1996 02:44:25 -0700"), Some(837_596_665));
        assert_eq!(date(" 1-Jan-2000 01:30:00 +0130"), Some(946_684_800));
        for bad in [
            "",
            "17-Jul-1996",
            "x-Jul-1996 02:44:25 -0700",
            "17-ulA-1996 02:44:25 -0700",
            "17-Jul-1996 99:00:00 -0700",
            "17-Jul-1996 02:44:25 z",
        ] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }

    #[test]
    fn words_of_a_line() {
        assert_eq!(
            number_of("STATUS \"a b\" (MESSAGES 3 UNSEEN 1)", "unseen"),
            Some(1)
        );
        assert_eq!(number_of("STATUS x (MESSAGES)", "MESSAGES"), None);
        assert_eq!(literal("BODY {12}"), Some(Some(12)));
        assert_eq!(literal("BODY {99999999999999999999}"), Some(None));
        assert_eq!(literal("BODY {a}"), None);
        assert_eq!(quoted("a\"b\\").as_deref(), Some("\"a\\\"b\\\\\""));
        assert_eq!(quoted("a\r\nb"), None);
    }
}
