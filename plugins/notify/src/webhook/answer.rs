//! What an answer says of the message: 2xx has it, unless the service says otherwise in the body; 4xx but 408, 425 and 429 does not have it, for certain; of anything
//! else nobody knows.

use super::options::Preset;
use crate::end::NotTaken;
use crate::words::one_line;
use healthd_client::http::Response;
use healthd_client::http::url::masked;
use healthd_plugin::cut;
use healthd_plugin::serde_json::{self, Value};

pub fn judge(preset: Preset, response: &Response) -> Result<String, NotTaken> {
    let body = String::from_utf8_lossy(&response.body);
    let json: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let word = || match said(preset, &json) {
        Some(said) => format!(" {}", one_line(cut(&said, 200))),
        None if body.trim().is_empty() => String::new(),
        None => format!(" {}", one_line(cut(body.trim(), 200))),
    };
    let text = format!("HTTP {}{}", response.status, word());
    match response.status {
        200..=299 if objects(preset, &json, &body) => Err(NotTaken::surely(text)),
        200..=299 => Ok(text),
        300..=399 => {
            // A query may be a key.
            let to = header(response, "location").filter(|to| !to.is_empty());
            Err(NotTaken::perhaps(match to {
                Some(to) => format!("{text}: it has moved to {}; write that URL", masked(&to)),
                None => text,
            }))
        }
        408 | 425 | 429 | 500.. => Err(NotTaken {
            retry_after: retry_after(response, &json),
            ..NotTaken::perhaps(text)
        }),
        400..=499 => Err(NotTaken {
            retry_after: retry_after(response, &json),
            ..NotTaken::surely(text)
        }),
        _ => Err(NotTaken::perhaps(text)),
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.header(name).map(|h| h.text().into_owned())
}

/// These say by a body that they have not taken it, and 200 all the same.
fn objects(preset: Preset, json: &Value, body: &str) -> bool {
    match preset {
        Preset::Slack | Preset::Telegram => json["ok"] == false,
        Preset::Pushover => json["status"].as_i64().is_some_and(|status| status != 1),
        Preset::Teams => body.contains("delivery failed"),
        _ => false,
    }
}

/// The part of the answer that is for people.
fn said(preset: Preset, json: &Value) -> Option<String> {
    let keys = match preset {
        Preset::Slack => ["error", "ts"],
        Preset::Telegram => ["description", "message"],
        Preset::PagerDuty => ["dedup_key", "message"],
        Preset::Opsgenie => ["requestId", "message"],
        Preset::Ntfy | Preset::Gotify => ["id", "message"],
        Preset::Pushover => ["errors", "request"],
        _ => return None,
    };
    let value = keys.iter().find_map(|key| json.get(key))?;
    Some(match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// Seconds: by the header, as a number or a date, or as Telegram and Discord write it.
fn retry_after(response: &Response, json: &Value) -> Option<u64> {
    let said = header(response, "retry-after");
    let from_header = said.and_then(|text| seconds(text.trim(), jiff::Timestamp::now()));
    let in_body = [&json["parameters"]["retry_after"], &json["retry_after"]];
    let in_body = in_body
        .into_iter()
        .find_map(Value::as_f64)
        .map(|s| s.max(0.0).ceil() as u64);
    from_header.or(in_body)
}

pub fn seconds(text: &str, now: jiff::Timestamp) -> Option<u64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then(|| seconds.max(0.0).ceil() as u64);
    }
    // The form of today, and the two that RFC 9110 wants to be read as well.
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let older = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let older = older.into_iter().find_map(|form| {
        let time = jiff::civil::DateTime::strptime(form, text).ok()?;
        jiff::tz::TimeZone::UTC.to_timestamp(time).ok()
    });
    let date = parser.parse_timestamp(text).ok().or(older)?;
    Some(u64::try_from(date.as_second() - now.as_second()).unwrap_or(0))
}
