//! The options of the webhook notifier. `WEBHOOK.md` shows them in use.

use healthd_client::host::Family;
use healthd_plugin::options;
use std::collections::BTreeMap;

options! {
    /// Tells a service by HTTP.
    pub struct Options {
        /// Whose language to speak.
        preset: Preset = Preset::Generic,
        /// Where to POST; known already for Telegram, Pushover, PagerDuty and Opsgenie.
        url: Option<String> { min_length: 8, max_length: 2_000 },
        /// Token or key: of Telegram's bot, Gotify's and Pushover's application, PagerDuty's integration, Opsgenie's API, ntfy's user.
        key: Option<String> { min_length: 1, max_length: 500 },
        /// Telegram's chat, or Pushover's user.
        user: Option<String> { min_length: 1, max_length: 200 },
        /// Further headers of the request.
        headers: BTreeMap<String, String> = BTreeMap::new(),
        /// Key by which the body is signed (HMAC-SHA256).
        hmac_key: Option<String> { min_length: 1 },
        /// Header that carries the signature, as `sha256=` and hexadecimal digits.
        hmac_header: String { min_length: 1, max_length: 100 } = "X-Healthd-Signature".into(),
        /// HTTP proxy to go through: http://HOST:PORT, with user:password@ before the host if it wants that.
        proxy: Option<String> { pattern: "^http://." },
        /// Address family to use for a host name.
        family: Family = Family::Any,
        /// PEM file of the CA certificates to trust, instead of the machine's.
        ca_file: Option<String> { min_length: 1 },
        /// Accept any certificate.
        insecure: bool = false,
        /// Template of the title.
        title: Option<String> { min_length: 1 },
        /// Template of the text.
        text: Option<String> { min_length: 1 },
        /// Template of the whole body, in place of the preset's.
        body: Option<String> { min_length: 1 },
    }
}

options! {
    /// A service.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub enum Preset {
        Generic = "generic",
        Slack = "slack",
        Discord = "discord",
        Teams = "teams",
        Mattermost = "mattermost",
        Telegram = "telegram",
        Ntfy = "ntfy",
        Gotify = "gotify",
        Pushover = "pushover",
        PagerDuty = "pagerduty",
        Opsgenie = "opsgenie",
        Alertmanager = "alertmanager",
    }
}
