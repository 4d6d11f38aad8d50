//! The `mail` notifier. Its options, and what a mail looks like, are in `MAIL.md`.

mod auth;
mod compose;
mod options;
mod send;

use crate::end::{NotTaken, end};
use crate::templates::Templates;
use auth::Login;
use healthd_client::host::host_and_port;
use healthd_client::server::Server;
use healthd_client::wire::TlsMode;
use healthd_plugin::secrets::Secrets;
use healthd_plugin::{Check, Cx, Status};
use options::Options;

pub struct Mail {
    options: Options,
    server: Server,
    login: Option<Login>,
    templates: Templates,
    secrets: Secrets,
}

impl Check for Mail {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        let usual = if o.tls == TlsMode::Implicit { 465 } else { 25 };
        let (name, port) = host_and_port(&o.server, usual).map_err(|e| format!("server: {e}"))?;
        if o.tls == TlsMode::None && (o.ca_file.is_some() || o.insecure) {
            return Err("ca_file, insecure: need `tls`".into());
        }
        let server = Server::new(&name, port, o.family)?;
        let server = server.with_tls(o.tls, o.ca_file.as_deref(), o.insecure, None)?;
        let login = Login::new(&o)?;
        if login.is_some() && o.tls == TlsMode::None {
            return Err("user: a password is only told inside of TLS; see the option tls".into());
        }
        let addresses = o.to.0.iter().chain(&o.from).chain(&o.reply_to);
        for address in addresses {
            compose::address(address)?;
        }
        let mut secrets = Secrets::new();
        for secret in [&o.password, &o.token].into_iter().flatten() {
            secrets.add(secret);
        }
        Ok(Mail {
            server,
            login,
            templates: Templates::new(o.title.as_deref(), o.text.as_deref())?,
            options: o,
            secrets,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        end(cx, &self.secrets, self.deliver(cx).await)
    }
}

impl Mail {
    async fn deliver(&self, cx: Cx<'_>) -> Result<String, NotTaken> {
        let (notice, message, words) = self.templates.message_of(cx)?;
        let from = compose::from(&self.options, &message);
        let mail = compose::mail(&self.options, &from, notice.kind, &message, &words);
        send::send(self, cx, &message, &from, &mail.map_err(NotTaken::surely)?).await
    }
}

#[cfg(test)]
mod servers;
#[cfg(test)]
mod tests;
