//! What an answer says of the message: 2xx has it; 4xx but 408, 425 and 429 does not have it, for certain; of anything
//! else nobody knows.

use super::options::Preset;
use crate::end::NotTaken;
use crate::words::one_line;
use healthd_client::http::Response;
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
        200..=299 if preset == Preset::Telegram && json["ok"] == false => {
            Err(NotTaken::surely(text))
        }
        200..=299 => Ok(text),
        300..=399 => {
            let to = header(response, "location").unwrap_or_default();
            Err(NotTaken::perhaps(format!(
                "{text}: it has moved to {}; write that URL",
                one_line(cut(&to, 200))
            )))
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

/// The part of the answer that is for people.
fn said(preset: Preset, json: &Value) -> Option<String> {
    let key = match preset {
        Preset::Telegram => "description",
        Preset::PagerDuty => "dedup_key",
        Preset::Opsgenie => "requestId",
        Preset::Ntfy | Preset::Gotify => "id",
        Preset::Pushover => "request",
        _ => return None,
    };
    let value = json.get(key).or_else(|| json.get("message"))?;
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
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    Some(u64::try_from(date.as_second() - now.as_second()).unwrap_or(0))
}
