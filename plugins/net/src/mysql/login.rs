//! From the greeting to being logged in: handshake version 10, the ways to prove a password.
//!
//! A password itself is told only where nobody on the way can read it. Of the abilities that a server may use, few are
//! announced: not LOCAL INFILE, not several statements in one.

use super::packet::{Bytes, Packets};
use super::{Trouble, server_error, shown};
use healthd_client::server::Server;
use healthd_plugin::{Cx, Status};
use ring::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const UTF8MB4: u8 = 45;

const NATIVE: &str = "mysql_native_password";
const SHA2: &str = "caching_sha2_password";
/// A server that changes its mind for ever.
const TURNS_MAX: usize = 5;

/// Whom to log in as.
pub struct Account<'o> {
    pub user: &'o str,
    pub password: &'o str,
    pub database: Option<&'o str>,
    /// Nobody on the way can read what is sent.
    pub private: bool,
}

#[derive(Debug, PartialEq)]
struct Greeting {
    version: String,
    abilities: u32,
    salt: Vec<u8>,
    plugin: String,
}

/// The phases `greeting`, `tls` and `login`. Returns the server's version. The error is the outcome, with its message set.
pub async fn login<'a>(
    cx: Cx<'a>,
    mut packets: Packets<'a>,
    server: &Server,
    account: &Account<'_>,
) -> Result<(Packets<'a>, String), Status> {
    cx.phase("greeting");
    let greeting = async { Greeting::parse(&packets.read().await?) };
    let greeting = greeting.await.map_err(|t| t.told(cx, "greeting"))?;
    let mut abilities =
        LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    // Before 5.5 servers had one way only.
    abilities &= greeting.abilities | LONG_PASSWORD;
    if account.database.is_some() {
        abilities |= CONNECT_WITH_DB;
    }
    if server.is_starttls() {
        if greeting.abilities & SSL == 0 {
            return Err(cx.critical("the server offers no TLS"));
        }
        abilities |= SSL;
        let sent = packets.write(&opening(abilities)).await;
        sent.map_err(|t| t.told(cx, "greeting"))?;
        packets = packets.secure(cx, server).await?;
    }
    cx.phase("login");
    let done = prove(&mut packets, &greeting, abilities, account).await;
    done.map_err(|t| t.told(cx, "login"))?;
    Ok((packets, greeting.version))
}

/// The beginning of our first packet, which is all of it that is said before TLS.
fn opening(abilities: u32) -> Vec<u8> {
    let mut packet = abilities.to_le_bytes().to_vec();
    packet.extend_from_slice(&(1u32 << 24).to_le_bytes());
    packet.push(UTF8MB4);
    packet.extend_from_slice(&[0; 23]);
    packet
}

async fn prove(
    packets: &mut Packets<'_>,
    greeting: &Greeting,
    abilities: u32,
    account: &Account<'_>,
) -> Result<(), Trouble> {
    // Another plugin than these is changed to by the server, if it insists.
    let mut plugin = match greeting.plugin.as_str() {
        SHA2 => SHA2,
        _ => NATIVE,
    }
    .to_owned();
    let first = proof(&plugin, account, &greeting.salt)?;
    let mut packet = opening(abilities);
    packet.extend_from_slice(account.user.as_bytes());
    packet.push(0);
    packet.push(u8::try_from(first.len()).unwrap_or(0));
    packet.extend_from_slice(&first);
    for text in [account.database, Some(plugin.as_str())]
        .into_iter()
        .flatten()
    {
        packet.extend_from_slice(text.as_bytes());
        packet.push(0);
    }
    packets.write(&packet).await?;
    for _ in 0..TURNS_MAX {
        let said = packets.read().await?;
        match said.first() {
            Some(0) => return Ok(()),
            Some(0xFF) => return Err(server_error(&said)),
            Some(0xFE) if said.len() > 1 => {
                let mut b = Bytes(&said[1..]);
                plugin = String::from_utf8_lossy(b.until_nul()).into_owned();
                let salt = b.0.strip_suffix(b"\0").unwrap_or(b.0);
                packets.write(&proof(&plugin, account, salt)?).await?;
            }
            Some(0xFE) => return Err(unable("mysql_old_password")),
            // The server knows the proof; its OK follows.
            Some(1) if plugin == SHA2 && said[1..] == [3] => {}
            // It does not, and wants the password itself.
            Some(1) if plugin == SHA2 && said[1..] == [4] => {
                packets.write(&clear(&plugin, account)?).await?;
            }
            _ => return Err(Trouble::odd("it answers a login with something else")),
        }
    }
    Err(Trouble::odd(format!(
        "it asks for the password in {TURNS_MAX} ways, and goes on"
    )))
}

/// What proves the password to this plugin.
fn proof(plugin: &str, account: &Account<'_>, salt: &[u8]) -> Result<Vec<u8>, Trouble> {
    match plugin {
        NATIVE | SHA2 if account.password.is_empty() => Ok(Vec::new()),
        NATIVE => Ok(native(account.password, salt)),
        SHA2 => Ok(caching_sha2(account.password, salt)),
        "mysql_clear_password" | "sha256_password" => clear(plugin, account),
        other => Err(unable(other)),
    }
}

fn unable(plugin: &str) -> Trouble {
    Trouble::Ours(format!(
        "the server wants this user to log in by {}; this check knows {NATIVE} and {SHA2}",
        shown(plugin)
    ))
}

fn clear(plugin: &str, account: &Account<'_>) -> Result<Vec<u8>, Trouble> {
    match account.private {
        true => Ok([account.password.as_bytes(), b"\0"].concat()),
        false => Err(Trouble::Ours(format!(
            "the server wants the password itself ({plugin}), which is only told inside of TLS or over a unix socket; \
             see the option tls"
        ))),
    }
}

fn sha1(parts: &[&[u8]]) -> Digest {
    let mut all = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| all.update(part));
    all.finish()
}

fn sha256(parts: &[&[u8]]) -> Digest {
    let mut all = Context::new(&SHA256);
    parts.iter().for_each(|part| all.update(part));
    all.finish()
}

fn xor(a: &Digest, b: &Digest) -> Vec<u8> {
    a.as_ref()
        .iter()
        .zip(b.as_ref())
        .map(|(a, b)| a ^ b)
        .collect()
}

fn native(password: &str, salt: &[u8]) -> Vec<u8> {
    let once = sha1(&[password.as_bytes()]);
    let twice = sha1(&[once.as_ref()]);
    xor(&once, &sha1(&[salt, twice.as_ref()]))
}

fn caching_sha2(password: &str, salt: &[u8]) -> Vec<u8> {
    let once = sha256(&[password.as_bytes()]);
    let twice = sha256(&[once.as_ref()]);
    xor(&once, &sha256(&[twice.as_ref(), salt]))
}

impl Greeting {
    fn parse(packet: &[u8]) -> Result<Greeting, Trouble> {
        let mut b = Bytes(packet);
        match b.byte() {
            Some(10) => {}
            Some(0xFF) => return Err(server_error(packet)),
            Some(n) => {
                return Err(Trouble::odd(format!(
                    "it greets with version {n} of its protocol, not 10"
                )));
            }
            None => return Err(Trouble::odd("it greets with nothing")),
        }
        let version = shown(&String::from_utf8_lossy(b.until_nul()));
        let rest = |b: &mut Bytes<'_>| -> Option<Greeting> {
            b.take(4)?;
            let mut salt = b.take(8)?.to_vec();
            b.take(1)?;
            let low = b.number(2)? as u32;
            let mut greeting = Greeting {
                // MariaDB says that it is a MySQL 5.5.5, for the sake of old replicas.
                version: version
                    .strip_prefix("5.5.5-")
                    .unwrap_or(&version)
                    .to_owned(),
                abilities: low,
                salt: salt.clone(),
                plugin: String::new(),
            };
            b.take(3)?;
            greeting.abilities |= (b.number(2)? as u32) << 16;
            let size = usize::from(b.byte()?);
            b.take(10)?;
            // Twelve bytes and a NUL.
            let more = b.take(size.saturating_sub(8).max(13).min(b.0.len()))?;
            more.get(..12)?;
            salt.extend_from_slice(more.strip_suffix(b"\0").unwrap_or(more));
            greeting.salt = salt;
            greeting.plugin = String::from_utf8_lossy(b.until_nul()).into_owned();
            Some(greeting)
        };
        let greeting = rest(&mut b).ok_or_else(|| Trouble::odd("its greeting is cut short"))?;
        match greeting.abilities & PROTOCOL_41 != 0 && greeting.abilities & SECURE_CONNECTION != 0 {
            true => Ok(greeting),
            false => Err(Trouble::Ours(format!(
                "the server is older than MySQL 4.1 ({})",
                greeting.version
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// By Python's hashlib, after the formulas in MySQL's manual.
    #[test]
    fn proofs_of_a_password() {
        let salt = b"abcdefghijklmnopqrst";
        assert_eq!(
            hex(&native("s3cret", salt)),
            "8510605a5ec0d3d958058636e0a2ebdfcf34be4c"
        );
        assert_eq!(
            hex(&caching_sha2("s3cret", salt)),
            "5661ac17cec0e6001d3747b3aaa0d0c1927fdc43c56deeab05d4c42d73b2b642"
        );
    }

    #[test]
    fn greetings() {
        let mut greeting = b"\x0a5.5.5-10.11.6-MariaDB\0\x01\0\0\0abcdefgh\0".to_vec();
        greeting.extend_from_slice(&[0xff, 0xf7, 45, 2, 0, 0xff, 0x81, 21]);
        greeting.extend_from_slice(&[0; 10]);
        greeting.extend_from_slice(b"ijklmnopqrst\0mysql_native_password\0");
        let parsed = Greeting::parse(&greeting).ok().unwrap();
        assert_eq!(parsed.version, "10.11.6-MariaDB");
        assert_eq!(parsed.salt, b"abcdefghijklmnopqrst");
        assert_eq!(parsed.plugin, NATIVE);
        assert_eq!(parsed.abilities, 0x81ff_f7ff);
        // Cut at each byte before the plugin's name it is refused.
        let named = greeting.len() - NATIVE.len() - 2;
        for cut in 0..named {
            let refused = Greeting::parse(&greeting[..cut]).is_err();
            assert!(refused, "{cut}");
        }
        assert!(Greeting::parse(&greeting[..named]).is_ok());
    }
}
