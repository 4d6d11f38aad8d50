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
use healthd_plugin::base64::base64;
use healthd_plugin::secrets::Secrets;
use healthd_plugin::serde_json;
use healthd_plugin::{Check, Cx, Status};
use options::Options;
use presets::Post;

pub struct Webhook {
    options: Options,
    base: Url,
    server: Server,
    proxy: Option<Proxy>,
    templates: Templates,
    secrets: Secrets,
}

/// An HTTP proxy on the way to the receiver.
struct Proxy {
    url: Url,
    server: Server,
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
        let proxy = o.proxy.as_ref().map(|text| Proxy::new(text, &o));
        let proxy = proxy.transpose()?;
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
        let urls = [Some(&base), proxy.as_ref().map(|proxy| &proxy.url)];
        for url in urls.into_iter().flatten() {
            if let Some((user, password)) = &url.userinfo {
                secrets.add(password);
                secrets.add(&basic(user, password));
            }
        }
        Ok(Webhook {
            base,
            server,
            proxy,
            templates: Templates::new(o.title.as_deref(), o.text.as_deref())?
                .with_body(o.body.as_deref())?,
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
        let mut post = post.map_err(NotTaken::surely)?;
        let own = words.body;
        let body = |post: &Post| own.clone().unwrap_or_else(|| post.body.to_string());
        let request = self.request(&message, &post, body(&post));
        let mut response = exchange::post(self, cx, &request).await?;
        // Too large, for the receiver or what stands before it: its first checks say what is the matter.
        if response.status == 413 && own.is_none() && presets::shorten(&mut post.body) {
            let request = self.request(&message, &post, body(&post));
            response = exchange::post(self, cx, &request).await?;
        }
        answer::judge(self.options.preset, &response)
    }

    fn request(&self, message: &Message, post: &Post, body: String) -> Vec<u8> {
        // What goes to a proxy in plain has the whole URL, and what opens the proxy.
        let (origin, authorization) = match &self.proxy {
            Some(proxy) if !self.base.https => (self.base.origin(), proxy.authorization()),
            _ => Default::default(),
        };
        let mut head = format!(
            "POST {origin}{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: healthd/{}\r\nAccept: application/json, */*\r\n\
             Content-Length: {}\r\nConnection: close\r\nIdempotency-Key: {}\r\n{authorization}",
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
        // Who writes the body may say what it is.
        if !self.says("content-type") {
            head += "Content-Type: application/json\r\n";
        }
        let given = post
            .headers
            .iter()
            .map(|(name, value)| (*name, value.clone()));
        let of_url = self.base.userinfo.as_ref();
        let of_url = of_url
            .filter(|_| !self.authorizes(post))
            .map(|(user, password)| ("Authorization", basic(user, password)));
        for (name, value) in given.chain(own).chain(of_url).chain(signed) {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

impl Webhook {
    /// Who we are is said already, by the preset or by a header of the config.
    fn authorizes(&self, post: &Post) -> bool {
        let mut given = post.headers.iter().map(|(name, _)| *name);
        self.says("authorization") || given.any(|name| name.eq_ignore_ascii_case("authorization"))
    }

    /// A header of the config.
    fn says(&self, name: &str) -> bool {
        let mut own = self.options.headers.keys();
        own.any(|own| own.eq_ignore_ascii_case(name))
    }
}

impl Proxy {
    fn new(text: &str, o: &Options) -> Result<Proxy, String> {
        let url = Url::parse(text).map_err(|e| format!("proxy: {e}"))?;
        if url.https || url.path != "/" {
            return Err("proxy: http://HOST:PORT is all that can be given".into());
        }
        let server = Server::new(&url.host, url.port, o.family)?;
        Ok(Proxy { url, server })
    }

    /// A line of a head, if the proxy has a user.
    fn authorization(&self) -> String {
        let line = |(user, password): &(String, String)| {
            format!("Proxy-Authorization: {}\r\n", basic(user, password))
        };
        self.url.userinfo.as_ref().map(line).unwrap_or_default()
    }
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{password}").as_bytes()))
}

#[cfg(test)]
mod tests;
