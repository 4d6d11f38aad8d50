//! From a plain protocol to TLS: what is said before the handshake, for the protocols that have such a command.

use crate::net::Lines;
use crate::options;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

options! {
    /// The protocol that asks for TLS.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Dialect {
        Smtp = "smtp",
        Imap = "imap",
        Pop3 = "pop3",
        Ftp = "ftp",
        Ldap = "ldap",
        Xmpp = "xmpp",
        Nntp = "nntp",
        Sieve = "sieve",
        Postgres = "postgres",
        Mysql = "mysql",
    }
}

/// The longest line, and the longest LDAP or MySQL message, that is taken.
const MAX: usize = 8 << 10;
/// So many lines of a greeting or a list of capabilities.
const MAX_LINES: usize = 200;

/// Reads the greeting, asks for TLS and returns the stream at the point where the handshake begins.
///
/// `server_name` is told to XMPP servers. A server that refuses, has no TLS, or sends something between its answer and
/// the handshake is an error that says so: what came in plain is never taken for something said inside of TLS.
pub async fn starttls<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    dialect: Dialect,
    server_name: &str,
) -> io::Result<S> {
    let mut lines = Lines::new(stream, MAX);
    match dialect {
        Dialect::Smtp => smtp(&mut lines).await?,
        Dialect::Imap => imap(&mut lines).await?,
        Dialect::Pop3 => pop3(&mut lines).await?,
        Dialect::Ftp => ftp(&mut lines).await?,
        Dialect::Ldap => ldap(&mut lines).await?,
        Dialect::Xmpp => xmpp(&mut lines, server_name).await?,
        Dialect::Nntp => nntp(&mut lines).await?,
        Dialect::Sieve => sieve(&mut lines).await?,
        Dialect::Postgres => postgres(&mut lines).await?,
        Dialect::Mysql => mysql(&mut lines).await?,
    }
    lines.into_stream()
}

/// One answer of SMTP's and FTP's kind: `250-a`, `250-b`, `250 c`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// The texts behind the code, one a line.
    pub lines: Vec<String>,
}

impl Reply {
    /// Reads a whole answer. All its lines must have one code.
    pub async fn read<S: AsyncRead + AsyncWrite + Unpin>(
        lines: &mut Lines<S>,
    ) -> io::Result<Reply> {
        let mut reply: Option<Reply> = None;
        loop {
            let line = lines.text().await?;
            let code = line
                .get(..3)
                .filter(|c| c.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|c| c.parse().ok());
            let rest = line.get(3..).unwrap_or_default();
            let (code, last) = match (code, rest.bytes().next()) {
                (Some(code), None | Some(b' ')) => (code, true),
                (Some(code), Some(b'-')) => (code, false),
                // FTP lets the lines between the first and the last be anything.
                _ if reply.is_some() => (reply.as_ref().map_or(0, |r| r.code), false),
                _ => return Err(unexpected("a code of three digits", &line)),
            };
            let text = rest.get(1..).unwrap_or_default().to_owned();
            let reply = reply.get_or_insert(Reply {
                code,
                lines: Vec::new(),
            });
            if reply.code != code {
                let both = format!("one code in all lines of an answer ({})", reply.code);
                return Err(unexpected(&both, &line));
            }
            reply.lines.push(text);
            if last {
                return Ok(reply.clone());
            }
            if reply.lines.len() >= MAX_LINES {
                return Err(invalid(format!("an answer of more than {MAX_LINES} lines")));
            }
        }
    }

    /// The code and the first line.
    pub fn text(&self) -> String {
        let first = self.lines.first().map_or("", String::as_str);
        shown(&format!("{} {first}", self.code))
    }

    fn want(self, code: u16) -> io::Result<Reply> {
        match self.code == code {
            true => Ok(self),
            false => Err(invalid(format!(
                "the server said {} where {code} is needed",
                self.text()
            ))),
        }
    }
}

async fn smtp<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    Reply::read(lines).await?.want(220)?;
    lines.write(b"EHLO healthd\r\n").await?;
    let hello = Reply::read(lines).await?.want(250)?;
    if !hello
        .lines
        .iter()
        .skip(1)
        .any(|l| l.eq_ignore_ascii_case("STARTTLS"))
    {
        return Err(no_tls());
    }
    lines.write(b"STARTTLS\r\n").await?;
    Reply::read(lines).await?.want(220).map(drop)
}

async fn ftp<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    Reply::read(lines).await?.want(220)?;
    lines.write(b"AUTH TLS\r\n").await?;
    Reply::read(lines).await?.want(234).map(drop)
}

async fn nntp<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    let greeting = Reply::read(lines).await?;
    if !matches!(greeting.code, 200 | 201) {
        greeting.want(200)?;
    }
    lines.write(b"STARTTLS\r\n").await?;
    Reply::read(lines).await?.want(382).map(drop)
}

async fn imap<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    let greeting = lines.text().await?;
    if starts(&greeting, "* PREAUTH") {
        return Err(invalid(
            "the server says PREAUTH, after which IMAP has no STARTTLS",
        ));
    }
    if !starts(&greeting, "* OK") {
        return Err(unexpected("an IMAP greeting", &greeting));
    }
    lines.write(b"a STARTTLS\r\n").await?;
    for _ in 0..MAX_LINES {
        let line = lines.text().await?;
        if starts(&line, "* BYE") {
            return Err(unexpected("a OK", &line));
        }
        if line.starts_with("* ") {
            continue;
        }
        return match starts(&line, "a OK") {
            true => Ok(()),
            false => Err(unexpected("a OK", &line)),
        };
    }
    Err(invalid("no end of untagged answers"))
}

async fn pop3<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    for command in [&b"STLS\r\n"[..], b""] {
        let line = lines.text().await?;
        if !starts(&line, "+OK") {
            return Err(unexpected("+OK", &line));
        }
        lines.write(command).await?;
    }
    Ok(())
}

async fn sieve<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    let mut offered = false;
    for asked in [false, true] {
        let mut left = MAX_LINES;
        loop {
            let line = lines.text().await?;
            if starts(&line, "OK") {
                break;
            }
            if starts(&line, "NO") || starts(&line, "BYE") || left == 0 || asked {
                return Err(unexpected("OK", &line));
            }
            offered |= starts(&line, "\"STARTTLS\"");
            left -= 1;
        }
        if !offered {
            return Err(no_tls());
        }
        if !asked {
            lines.write(b"STARTTLS\r\n").await?;
        }
    }
    Ok(())
}

async fn xmpp<S: AsyncRead + AsyncWrite + Unpin>(
    lines: &mut Lines<S>,
    server_name: &str,
) -> io::Result<()> {
    let name: String = server_name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))
        .collect();
    let open = format!(
        "<?xml version='1.0'?><stream:stream to='{name}' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
    );
    lines.write(open.as_bytes()).await?;
    let features = until(lines, b"</stream:features>").await?;
    if !features.contains("urn:ietf:params:xml:ns:xmpp-tls") {
        return Err(no_tls());
    }
    lines
        .write(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .await?;
    let answer = until(lines, b">").await?;
    match answer.trim_start().starts_with("<proceed") {
        true => Ok(()),
        false => Err(unexpected("<proceed/>", &answer)),
    }
}

async fn until<S: AsyncRead + AsyncWrite + Unpin>(
    lines: &mut Lines<S>,
    end: &[u8],
) -> io::Result<String> {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        if seen.len() >= MAX {
            return Err(invalid(format!(
                "no {} in {MAX} bytes",
                String::from_utf8_lossy(end)
            )));
        }
        seen.extend_from_slice(lines.bytes(1).await?);
    }
    Ok(String::from_utf8_lossy(&seen).into_owned())
}

async fn ldap<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    // LDAPMessage 1: ExtendedRequest of 1.3.6.1.4.1.1466.20037.
    let mut request = vec![0x30, 29, 2, 1, 1, 0x77, 24, 0x80, 22];
    request.extend_from_slice(b"1.3.6.1.4.1.1466.20037");
    lines.write(&request).await?;
    if lines.bytes(1).await? != [0x30] {
        return Err(invalid("the server does not speak LDAP"));
    }
    let length = ber_length(lines).await?;
    let body = lines.bytes(length).await?;
    // INTEGER 1; ExtendedResponse { ENUMERATED resultCode, ... }, whose own length may take several bytes.
    let code = match body {
        [2, 1, 1, 0x78, rest @ ..] => match rest {
            [n, rest @ ..] if *n < 0x80 => result_code(rest),
            [n, rest @ ..] => rest.get(usize::from(n & 0x7F)..).and_then(result_code),
            [] => None,
        },
        _ => None,
    };
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(invalid(format!(
            "the server refuses StartTLS: LDAP result {code}"
        ))),
        None => Err(invalid("no answer to StartTLS")),
    }
}

fn result_code(body: &[u8]) -> Option<u8> {
    match body {
        [0x0A, 1, code, ..] => Some(*code),
        _ => None,
    }
}

async fn ber_length<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<usize> {
    let first = usize::from(lines.bytes(1).await?[0]);
    let length = match first {
        0..=0x7F => first,
        0x81..=0x84 => lines
            .bytes(first - 0x80)
            .await?
            .iter()
            .fold(0, |n, b| n << 8 | usize::from(*b)),
        _ => MAX + 1,
    };
    match length {
        0..=MAX => Ok(length),
        _ => Err(invalid(format!("an LDAP message of more than {MAX} bytes"))),
    }
}

async fn postgres<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    lines.write(&[0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F]).await?;
    match lines.bytes(1).await?[0] {
        b'S' => Ok(()),
        b'N' => Err(no_tls()),
        b'E' => Err(invalid("the server answered SSLRequest with an error")),
        _ => Err(invalid("the server does not speak PostgreSQL")),
    }
}

async fn mysql<S: AsyncRead + AsyncWrite + Unpin>(lines: &mut Lines<S>) -> io::Result<()> {
    const CLIENT_PROTOCOL_41: u32 = 1 << 9;
    const CLIENT_SSL: u32 = 1 << 11;
    const CLIENT_SECURE_CONNECTION: u32 = 1 << 15;
    const CLIENT_PLUGIN_AUTH: u32 = 1 << 19;
    const UTF8MB4: u8 = 45;
    let head = lines.bytes(4).await?;
    let (length, sequence) = (u32::from_le_bytes([head[0], head[1], head[2], 0]), head[3]);
    if length as usize > MAX {
        return Err(invalid(format!("a greeting of {length} bytes")));
    }
    let greeting = lines.bytes(length as usize).await?;
    match greeting {
        [10, rest @ ..] => {
            // version NUL, thread id, 8 bytes of a salt, NUL, then the lower half of the capabilities
            let low = rest
                .iter()
                .position(|b| *b == 0)
                .and_then(|nul| rest.get(nul + 14..nul + 16));
            match low {
                Some(&[a, b]) if u32::from(u16::from_le_bytes([a, b])) & CLIENT_SSL != 0 => {}
                Some(_) => return Err(no_tls()),
                None => return Err(invalid("the greeting is cut short")),
            }
        }
        // An error packet: too many connections, host blocked.
        [0xFF, _, _, text @ ..] => {
            return Err(invalid(format!(
                "the server said {}",
                shown(&String::from_utf8_lossy(text))
            )));
        }
        _ => return Err(invalid("the server does not speak MySQL")),
    }
    let mut request = vec![32, 0, 0, sequence.wrapping_add(1)];
    let wanted = CLIENT_PROTOCOL_41 | CLIENT_SSL | CLIENT_SECURE_CONNECTION | CLIENT_PLUGIN_AUTH;
    request.extend_from_slice(&wanted.to_le_bytes());
    request.extend_from_slice(&(1u32 << 24).to_le_bytes());
    request.push(UTF8MB4);
    request.extend_from_slice(&[0; 23]);
    lines.write(&request).await
}

fn starts(line: &str, with: &str) -> bool {
    line.get(..with.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(with))
}

/// The beginning of what a server said, fit for a message.
fn shown(text: &str) -> String {
    text.chars()
        .take(80)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

fn no_tls() -> io::Error {
    invalid("the server offers no STARTTLS")
}

fn unexpected(wanted: &str, got: &str) -> io::Error {
    invalid(format!(
        "the server said {:?} where {wanted} is needed",
        shown(got)
    ))
}
