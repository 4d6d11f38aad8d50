//! The conversation with the mail server. Until the dot that ends the mail has left, whatever goes wrong is a definite
//! refusal; from then on only the server's answer says what became of it.

use super::{Mail, compose};
use crate::end::NotTaken;
use crate::message::Message;
use healthd_client::wire::Wire;
use healthd_plugin::Cx;
use healthd_plugin::net::Lines;
use healthd_plugin::tls::Reply;

const LINE_MAX: usize = 4 << 10;

/// The receipt: what the server said to the mail.
pub async fn send(
    mail: &Mail,
    cx: Cx<'_>,
    message: &Message,
    from: &str,
    body: &[u8],
) -> Result<String, NotTaken> {
    let o = &mail.options;
    let helo = compose::domain(o.helo.as_ref().unwrap_or(&message.host));
    let mut lines = mail.server.lines(cx, LINE_MAX).await?;
    let banner = reply(cx, &mut lines, "banner").await?;
    if banner.code != 220 {
        return Err(refused("banner", &banner));
    }
    let mut offer = hello(cx, &mut lines, &helo).await?;
    if mail.server.is_starttls() {
        if !offer
            .lines
            .iter()
            .skip(1)
            .any(|l| l.eq_ignore_ascii_case("STARTTLS"))
        {
            return Err(NotTaken::surely("the server offers no STARTTLS"));
        }
        let go = command(cx, &mut lines, "starttls", "STARTTLS").await?;
        if go.code != 220 {
            return Err(refused("STARTTLS", &go));
        }
        lines = mail.server.upgrade(lines).await?;
        offer = hello(cx, &mut lines, &helo).await?;
    }
    if let Some(login) = &mail.login {
        login.log_in(cx, &mut lines, &offer).await?;
    }
    let eight = offer
        .lines
        .iter()
        .any(|l| l.eq_ignore_ascii_case("8BITMIME"));
    let eight = if eight { " BODY=8BITMIME" } else { "" };
    let done = command(
        cx,
        &mut lines,
        "mail",
        &format!("MAIL FROM:<{from}>{eight}"),
    )
    .await?;
    if done.code != 250 {
        return Err(refused("MAIL FROM", &done));
    }
    let mut not = Vec::new();
    let mut taken = 0;
    for to in &o.to.0 {
        let done = command(cx, &mut lines, "rcpt", &format!("RCPT TO:<{to}>")).await?;
        match done.code {
            250 | 251 => taken += 1,
            _ => not.push(format!("RCPT TO {to}: {}", done.text())),
        }
    }
    if taken == 0 {
        return Err(NotTaken::surely(not.join("; ")));
    }
    let go = command(cx, &mut lines, "data", "DATA").await?;
    if go.code != 354 {
        return Err(refused("DATA", &go));
    }
    cx.phase("data");
    let (most, last) = stuffed(body);
    let sent = lines.write(&most).await;
    sent.map_err(|e| NotTaken::before("data", &e))?;
    // With these bytes the mail is the server's, if it gets them.
    lines
        .write(last)
        .await
        .map_err(|e| NotTaken::after("data", &e))?;
    let done = Reply::read(&mut lines)
        .await
        .map_err(|e| NotTaken::after("data", &e))?;
    cx.phase("quit");
    let _ = lines.write(b"QUIT\r\n").await;
    if done.code != 250 {
        return Err(refused("DATA", &done));
    }
    let but = if not.is_empty() {
        String::new()
    } else {
        format!("; but {}", not.join("; "))
    };
    Ok(format!("{}{but}", done.text()))
}

async fn hello(cx: Cx<'_>, lines: &mut Lines<Wire<'_>>, helo: &str) -> Result<Reply, NotTaken> {
    let offer = command(cx, lines, "ehlo", &format!("EHLO {helo}")).await?;
    match offer.code {
        250 => Ok(offer),
        _ => Err(refused("EHLO", &offer)),
    }
}

pub async fn command(
    cx: Cx<'_>,
    lines: &mut Lines<Wire<'_>>,
    phase: &str,
    line: &str,
) -> Result<Reply, NotTaken> {
    cx.phase(phase);
    let sent = lines.write(format!("{line}\r\n").as_bytes()).await;
    sent.map_err(|e| NotTaken::before(phase, &e))?;
    reply(cx, lines, phase).await
}

async fn reply(cx: Cx<'_>, lines: &mut Lines<Wire<'_>>, phase: &str) -> Result<Reply, NotTaken> {
    cx.phase(phase);
    Reply::read(lines)
        .await
        .map_err(|e| NotTaken::before(phase, &e))
}

fn refused(said: &str, reply: &Reply) -> NotTaken {
    NotTaken::surely(format!("{said}: {}", reply.text()))
}

/// A dot more before each line that begins with one; and the end, apart.
pub fn stuffed(body: &[u8]) -> (Vec<u8>, &'static [u8]) {
    let mut out = Vec::with_capacity(body.len() + 64);
    let mut at_start = true;
    for &b in body {
        if at_start && b == b'.' {
            out.push(b'.');
        }
        out.push(b);
        at_start = b == b'\n';
    }
    if at_start {
        (out, b".\r\n")
    } else {
        (out, b"\r\n.\r\n")
    }
}
