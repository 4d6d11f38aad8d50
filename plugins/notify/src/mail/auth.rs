//! AUTH: the four ways to log in, and which to take.

use super::options::{Mechanism, Options};
use crate::end::NotTaken;
use crate::mail::send::command;
use crate::sign::{hex, hmac_md5};
use healthd_client::wire::Wire;
use healthd_plugin::Cx;
use healthd_plugin::base64::{base64, from_base64};
use healthd_plugin::net::Lines;
use healthd_plugin::tls::Reply;

pub struct Login {
    user: String,
    secret: String,
    mechanism: Option<Mechanism>,
    is_token: bool,
}

impl Login {
    pub fn new(o: &Options) -> Result<Option<Login>, String> {
        let (secret, is_token) = match (&o.user, &o.password, &o.token) {
            (None, None, None) if o.auth.is_none() => return Ok(None),
            (None, ..) => return Err("password, token, auth: need `user`".into()),
            (_, Some(_), Some(_)) => return Err("password, token: one of the two".into()),
            (_, Some(password), None) => (password, false),
            (_, None, Some(token)) => (token, true),
            (Some(_), None, None) => return Err("user: needs `password` or `token`".into()),
        };
        let wants_token = o.auth.map(|auth| auth == Mechanism::XOauth2);
        if wants_token.is_some_and(|wants| wants != is_token) {
            return Err("auth: xoauth2 goes with `token`, the others with `password`".into());
        }
        Ok(Some(Login {
            user: o.user.clone().unwrap_or_default(),
            secret: secret.clone(),
            mechanism: o.auth,
            is_token,
        }))
    }

    /// The one that is wanted, or the best that is offered.
    fn choose(&self, offer: &Reply) -> Result<Mechanism, NotTaken> {
        let line = |l: &&String| {
            l.get(..5)
                .is_some_and(|w| w.eq_ignore_ascii_case("AUTH ") || w.eq_ignore_ascii_case("AUTH="))
        };
        let words = offer
            .lines
            .iter()
            .filter(line)
            .flat_map(|l| l[5..].split(' '));
        let offered: Vec<String> = words.map(str::to_ascii_uppercase).collect();
        let best: &[Mechanism] = match (self.mechanism, self.is_token) {
            (Some(one), _) => &[one],
            (None, true) => &[Mechanism::XOauth2],
            (None, false) => &[Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5],
        };
        let found = best.iter().find(|m| offered.iter().any(|o| o == word(**m)));
        found.copied().ok_or_else(|| {
            let wanted: Vec<&str> = best.iter().map(|m| word(*m)).collect();
            let there = if offered.is_empty() {
                "no AUTH".to_owned()
            } else {
                offered.join(", ")
            };
            NotTaken::surely(format!(
                "the server offers {there}, and not {}",
                wanted.join(", ")
            ))
        })
    }

    /// Nothing of the message has left yet: whatever goes wrong here is a definite refusal.
    pub async fn log_in(
        &self,
        cx: Cx<'_>,
        lines: &mut Lines<Wire<'_>>,
        offer: &Reply,
    ) -> Result<(), NotTaken> {
        let (user, secret) = (self.user.as_str(), self.secret.as_str());
        let reply = match self.choose(offer)? {
            Mechanism::Plain => {
                let word = base64(format!("\0{user}\0{secret}").as_bytes());
                command(cx, lines, "auth", &format!("AUTH PLAIN {word}")).await?
            }
            Mechanism::Login => {
                expect(command(cx, lines, "auth", "AUTH LOGIN").await?, 334)?;
                expect(
                    command(cx, lines, "auth", &base64(user.as_bytes())).await?,
                    334,
                )?;
                command(cx, lines, "auth", &base64(secret.as_bytes())).await?
            }
            Mechanism::CramMd5 => {
                let asked = expect(command(cx, lines, "auth", "AUTH CRAM-MD5").await?, 334)?;
                let challenge = asked
                    .lines
                    .first()
                    .and_then(|text| from_base64(text.trim()));
                let Some(challenge) = challenge else {
                    return Err(NotTaken::surely(
                        "AUTH: the server's challenge is no base64",
                    ));
                };
                let digest = hex(&hmac_md5(secret.as_bytes(), &challenge));
                command(
                    cx,
                    lines,
                    "auth",
                    &base64(format!("{user} {digest}").as_bytes()),
                )
                .await?
            }
            Mechanism::XOauth2 => {
                let word =
                    base64(format!("user={user}\x01auth=Bearer {secret}\x01\x01").as_bytes());
                let reply = command(cx, lines, "auth", &format!("AUTH XOAUTH2 {word}")).await?;
                // The reason comes as a challenge; an empty answer brings the refusal.
                match reply.code {
                    334 => {
                        let why = reply
                            .lines
                            .first()
                            .and_then(|text| from_base64(text.trim()));
                        let why = String::from_utf8_lossy(&why.unwrap_or_default()).into_owned();
                        let end = command(cx, lines, "auth", "").await?;
                        return Err(NotTaken::surely(format!(
                            "AUTH: {} {}",
                            end.text(),
                            crate::words::one_line(&why)
                        )));
                    }
                    _ => reply,
                }
            }
        };
        expect(reply, 235).map(drop)
    }
}

fn expect(reply: Reply, code: u16) -> Result<Reply, NotTaken> {
    match reply.code == code {
        true => Ok(reply),
        false => Err(NotTaken::surely(format!("AUTH: {}", reply.text()))),
    }
}

fn word(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Plain => "PLAIN",
        Mechanism::Login => "LOGIN",
        Mechanism::CramMd5 => "CRAM-MD5",
        Mechanism::XOauth2 => "XOAUTH2",
    }
}
