//! The options of the mail notifier. `MAIL.md` shows them in use.

use healthd_client::host::Family;
use healthd_client::wire::TlsMode;
use healthd_plugin::options;
use healthd_plugin::options::{Limits, OptionValue};
use healthd_plugin::serde_json::Value;

options! {
    /// Tells people by mail.
    pub struct Options {
        /// Who is told: an address, or a list of them.
        to: Addresses,
        /// Sender; `healthd@` and the name of this machine if it is left out.
        from: Option<String> { min_length: 3, max_length: 254 },
        /// Where answers go.
        reply_to: Option<String> { min_length: 3, max_length: 254 },
        /// Mail server, with its port unless that is 25 (465 with implicit TLS).
        server: String { min_length: 1, max_length: 260 } = "localhost:25".into(),
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// When TLS begins.
        tls: TlsMode = TlsMode::None,
        /// PEM file of the CA certificates to trust, instead of the machine's. For TLS.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate. For TLS.
        insecure: bool = false,
        /// User to log in as; needs TLS, and `password` or `token`.
        user: Option<String> { min_length: 1 },
        /// Password.
        password: Option<String> { min_length: 1 },
        /// OAuth 2 access token, in place of a password.
        token: Option<String> { min_length: 1 },
        /// How to log in; the best that the server offers if it is left out.
        auth: Option<Mechanism>,
        /// Name that we say we are; that of this machine if it is left out.
        helo: Option<String> { min_length: 1, max_length: 253 },
        /// Send the text as HTML as well.
        html: bool = true,
        /// Template of the subject.
        title: Option<String> { min_length: 1 },
        /// Template of the text.
        text: Option<String> { min_length: 1 },
    }
}

options! {
    /// How to log in.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Mechanism { Plain = "plain", Login = "login", CramMd5 = "cram-md5", XOauth2 = "xoauth2" }
}

/// One address, or a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Addresses(pub Vec<String>);

impl OptionValue for Addresses {
    fn schema(_: &Limits) -> String {
        r#""anyOf":[{"type":"string","minLength":3,"maxLength":254},{"type":"array","items":{"type":"string","minLength":3,"maxLength":254},"minItems":1,"maxItems":50}]"#.into()
    }

    fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
        let list = match value {
            Value::String(one) => vec![Value::String(one)],
            Value::Array(list) if !list.is_empty() => list,
            other => return Err(format!("{other} is no address; write \"ops@example.org\"")),
        };
        let text = |v: Value| match v {
            Value::String(text) => Ok(text),
            other => Err(format!("{other} is no address; write \"ops@example.org\"")),
        };
        Ok(Addresses(
            list.into_iter().map(text).collect::<Result<_, _>>()?,
        ))
    }

    fn to_json(&self) -> Value {
        self.0.clone().into()
    }
}
