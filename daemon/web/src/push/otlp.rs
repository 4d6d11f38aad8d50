//! OpenTelemetry's OTLP over HTTP in its JSON form, which every receiver has to take: no schema and no generated code.

use super::queue::Body;
use crate::metrics::format::{Family, Kind, Labels, Value};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::io::Write;

/// Counted since a start that is not told: `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// `at`: CLOCK_REALTIME, ns.
pub fn metrics(families: &[Family], labels: &BTreeMap<String, String>, at: u64) -> Body {
    let metrics: Vec<Json> = families.iter().map(|family| metric(family, at)).collect();
    let points = families.iter().map(|f| f.points.len() as u64).sum();
    let whole = json!({ "resourceMetrics": [{
        "resource": resource(labels),
        "scopeMetrics": [{ "scope": scope(), "metrics": metrics }],
    }] });
    compressed(&whole, points)
}

/// Who tells: `job` and `instance` under the names that they have there.
pub fn resource(labels: &BTreeMap<String, String>) -> Json {
    let attributes = labels.iter().map(|(name, value)| {
        let name = match name.as_str() {
            "job" => "service.name",
            "instance" => "service.instance.id",
            other => other,
        };
        attribute(name, value)
    });
    json!({ "attributes": attributes.collect::<Vec<Json>>() })
}

pub fn scope() -> Json {
    json!({ "name": "healthd", "version": env!("CARGO_PKG_VERSION") })
}

pub fn attribute(name: &str, value: &str) -> Json {
    json!({ "key": name, "value": { "stringValue": value } })
}

pub fn compressed(whole: &Json, points: u64) -> Body {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Neither a vector nor plain data fails.
    let _ = encoder.write_all(whole.to_string().as_bytes());
    Body {
        bytes: encoder.finish().unwrap_or_default().into(),
        points,
        mark: None,
    }
}

fn metric(family: &Family, at: u64) -> Json {
    let points: Vec<Json> = family
        .points
        .iter()
        .map(|(labels, value)| point(labels, value, at))
        .collect();
    let (kind, data) = match family.kind {
        Kind::Gauge => ("gauge", json!({ "dataPoints": points })),
        Kind::Counter => (
            "sum",
            json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true }),
        ),
        Kind::Summary => ("summary", json!({ "dataPoints": points })),
        Kind::Histogram => (
            "histogram",
            json!({ "dataPoints": points, "aggregationTemporality": CUMULATIVE }),
        ),
    };
    let base = family.name.strip_suffix("_total").unwrap_or(&family.name);
    let unit = match base.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    };
    json!({ "name": family.name, "description": family.help, "unit": unit, kind: data })
}

/// Numbers of 64 bits are texts, as JSON has none so long.
fn point(labels: &Labels, value: &Value, at: u64) -> Json {
    let attributes: Vec<Json> = labels
        .pairs()
        .map(|(name, value)| attribute(name, &value))
        .collect();
    let mut point = json!({ "attributes": attributes, "timeUnixNano": at.to_string() });
    match value {
        Value::Number(value) => point["asDouble"] = number(*value),
        Value::Summary { sum, count } => {
            point["sum"] = number(*sum);
            point["count"] = count.to_string().into();
        }
        Value::Histogram { counts, sum } => {
            // Here each bucket stands for itself.
            let mut below = 0;
            let alone = counts.iter().map(|(_, count)| {
                let alone = count.saturating_sub(below);
                below = *count;
                alone.to_string()
            });
            point["bucketCounts"] = alone.collect::<Vec<_>>().into();
            let bounds = counts.iter().filter_map(|(upper, _)| *upper);
            point["explicitBounds"] = bounds.collect::<Vec<_>>().into();
            point["count"] = below.to_string().into();
            point["sum"] = number(*sum);
        }
    }
    point
}

fn number(value: f64) -> Json {
    match value {
        v if v.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        v => v.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::format::Writer;
    use std::io::Read;

    fn read(body: &Body) -> Json {
        let mut text = String::new();
        flate2::read::GzDecoder::new(&body.bytes[..])
            .read_to_string(&mut text)
            .expect("it was compressed");
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn each_kind_has_its_form() {
        let mut out = Writer::families();
        let labels = Labels::none().with("check", "a\"b");
        out.family("a_total", Kind::Counter, "help");
        out.sample("a_total", &labels, 7.0);
        out.family("b_seconds", Kind::Histogram, "help");
        let counts = [(Some(0.5), 2), (Some(1.0), 2), (None, 3)];
        out.histogram("b_seconds", &labels, counts.into_iter(), 4.5);
        out.family("c_bytes", Kind::Gauge, "help");
        out.sample("c_bytes", &labels, f64::NAN);
        out.family("d_seconds", Kind::Summary, "help");
        out.summary("d_seconds", &labels, 2.5, 9);
        let external = BTreeMap::from([("job".to_owned(), "healthd".to_owned())]);
        let body = metrics(&out.take(), &external, 12);
        assert_eq!(body.points, 4);
        let whole = read(&body);
        let of = &whole["resourceMetrics"][0];
        assert_eq!(
            of["resource"]["attributes"],
            json!([attribute("service.name", "healthd")])
        );
        let metrics = &of["scopeMetrics"][0]["metrics"];
        let own = json!([attribute("check", "a\"b")]);
        assert_eq!(
            metrics[0],
            json!({ "name": "a_total", "description": "help", "unit": "", "sum": {
                "dataPoints": [{ "attributes": own, "timeUnixNano": "12", "asDouble": 7.0 }],
                "aggregationTemporality": 2, "isMonotonic": true } })
        );
        assert_eq!(
            metrics[1]["histogram"],
            json!({ "aggregationTemporality": 2, "dataPoints": [{ "attributes": own, "timeUnixNano": "12",
                "bucketCounts": ["2", "0", "1"], "explicitBounds": [0.5, 1.0], "count": "3", "sum": 4.5 }] })
        );
        assert_eq!(
            (&metrics[1]["unit"], &metrics[2]["unit"]),
            (&json!("s"), &json!("By"))
        );
        assert_eq!(metrics[2]["gauge"]["dataPoints"][0]["asDouble"], "NaN");
        let summary = &metrics[3]["summary"]["dataPoints"][0];
        assert_eq!(
            (&summary["count"], &summary["sum"]),
            (&json!("9"), &json!(2.5))
        );
    }
}
