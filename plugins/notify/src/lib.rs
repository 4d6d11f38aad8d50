//! Notifiers: they deliver one message a run to people, and say what became of it. `MAIL.md`, `SCRIPT.md` and
//! `WEBHOOK.md` beside this crate have the options, the presets and the fields of templates.
//!
//! Runs in: the step lane. What a receiver has accepted is ok, what it does not have for certain is critical, anything
//! else is unknown, and is tried again with the same id.

#![forbid(unsafe_code)]

mod end;
mod mail;
mod message;
mod script;
mod sign;
mod templates;
mod webhook;
mod words;

#[cfg(test)]
mod tests;

use healthd_plugin::abi::{F_INSTANCE_MT, F_NOTIFY, F_SANDBOX};

healthd_plugin::plugins! {
    step mail::Mail {
        name: "mail",
        summary: "tells people by mail, over SMTP",
        default_timeout_ms: 30_000,
        flags: F_INSTANCE_MT | F_NOTIFY | F_SANDBOX,
    }
    exec script::Script {
        name: "script",
        summary: "runs a program that tells somebody, such as those of Nagios and Icinga",
        default_timeout_ms: 60_000,
        flags: F_INSTANCE_MT | F_NOTIFY | F_SANDBOX,
    }
    step webhook::Webhook {
        name: "webhook",
        summary: "tells Slack, PagerDuty, Alertmanager and anybody who takes JSON",
        default_timeout_ms: 15_000,
        flags: F_INSTANCE_MT | F_NOTIFY | F_SANDBOX,
    }
}
