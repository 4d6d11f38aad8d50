//! The `webhook` notifier: one POST a message. Its options and presets are in `WEBHOOK.md`.

mod answer;
mod exchange;
mod options;
mod presets;

use crate::end::{NotTaken, end};
use crate::message::Message;
use crate::sign::{hex, hmac_sha256};
use crate::templates::Templates;
use healthd_client::http::url::Url;
use healthd_client::server::Server;
use healthd_plugin::secrets::Secrets;
use healthd_plugin::serde_json;
use healthd_plugin::{Check, Cx, Status};
use options::Options;
use presets::Post;

pub struct Webhook {
    options: Options,
    base: Url,
    server: Server,
    templates: Templates,
    secrets: Secrets,
}

impl Check for Webhook {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        presets::check(&o)?;
        let url = o
            .url
            .clone()
            .or_else(|| o.preset.usual_url().map(str::to_owned));
        let url = url.ok_or("url: missing")?;
        let base = Url::parse(&url).map_err(|e| format!("url: {e}"))?;
        if !base.https && (o.ca_file.is_some() || o.insecure) {
            return Err("ca_file, insecure: need an https:// URL".into());
        }
        let server = Server::new(&base.host, base.port, o.family)?;
        let server = server.with_tls(base.https, o.ca_file.as_deref(), o.insecure, None)?;
        for (name, value) in &o.headers {
            let good = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
            if name.is_empty() || !name.chars().all(good) || value.chars().any(char::is_control) {
                return Err(format!("headers: {name:?} cannot be sent"));
            }
        }
        let mut secrets = Secrets::new();
        let hidden = [&o.key, &o.hmac_key, &o.user].into_iter().flatten();
        // The URL of a chat's webhook is its password.
        let path = Some(&base.path).filter(|path| path.len() > 8);
        for secret in hidden.chain(path).chain(o.headers.values()) {
            secrets.add(secret);
        }
        Ok(Webhook {
            base,
            server,
            templates: Templates::new(o.title.as_deref(), o.text.as_deref())?,
            options: o,
            secrets,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        end(cx, &self.secrets, self.deliver(cx).await)
    }
}

impl Webhook {
    async fn deliver(&self, cx: Cx<'_>) -> Result<String, NotTaken> {
        let (notice, message, words) = self.templates.message_of(cx)?;
        let fields =
            serde_json::from_str(notice.json).map_err(|e| NotTaken::surely(e.to_string()))?;
        let post = presets::post(&self.options, &self.base, &message, &words, fields);
        let post = post.map_err(NotTaken::surely)?;
        let request = self.request(&message, &post);
        let response = exchange::post(self, cx, &request).await?;
        answer::judge(self.options.preset, &response)
    }

    fn request(&self, message: &Message, post: &Post) -> Vec<u8> {
        let body = post.body.to_string();
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: healthd/{}\r\nAccept: application/json, */*\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\nIdempotency-Key: {}\r\n",
            post.path,
            self.base.authority(),
            env!("CARGO_PKG_VERSION"),
            body.len(),
            crate::words::one_line(&message.id),
        );
        let own = self
            .options
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.clone()));
        let signed = self.options.hmac_key.as_ref().map(|key| {
            let mac = hmac_sha256(key.as_bytes(), body.as_bytes());
            (
                self.options.hmac_header.as_str(),
                format!("sha256={}", hex(&mac)),
            )
        });
        let given = post
            .headers
            .iter()
            .map(|(name, value)| (*name, value.clone()));
        for (name, value) in given.chain(own).chain(signed) {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

#[cfg(test)]
mod tests;
