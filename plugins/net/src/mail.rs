//! What smtp, imap and pop3 have in common: when TLS begins, that no password is told in plain, and what is judged of
//! each conversation.

use crate::report::{Report, Unit, seconds_text};
use healthd_client::wire::{Begun, TlsMode};
use healthd_plugin::Metric;
use healthd_plugin::thresholds::{Lower, Upper, validity};

/// Refuses half of an account, and one without TLS.
pub fn account_is_safe(
    user: &Option<String>,
    password: &Option<String>,
    tls: TlsMode,
) -> Result<(), String> {
    match (user.is_some(), password.is_some(), tls) {
        (true, true, TlsMode::None) => {
            Err("user: a password is only told inside of TLS; see the option tls".into())
        }
        (user, password, _) if user != password => Err("user, password: both or none".into()),
        _ => Ok(()),
    }
}

/// The metrics `connect`, `tls` and `certificate`, if there was one, and `total`.
pub fn judge_conversation(
    report: &mut Report<'_>,
    begun: Begun,
    certificate: Lower,
    seconds: f64,
    latency: Upper,
) {
    let parts = [
        ("connect", Some(begun.connect_seconds)),
        ("tls", begun.tls_seconds),
    ];
    for (name, seconds) in parts {
        if let Some(seconds) = seconds {
            report.metric(Metric::new(name, seconds).unit("s").min(0.0));
        }
    }
    if let Some(days) = begun.certificate_days {
        let text = format!("certificate {}", validity(days));
        let metric = Metric::new("certificate", days).unit("d");
        report.lower(certificate, metric, days, &text, Unit::Days);
    }
    let metric = Metric::new("total", seconds).unit("s").min(0.0);
    let text = format!("took {}", seconds_text(seconds));
    report.upper(latency, metric, seconds, &text, Unit::Seconds);
}
