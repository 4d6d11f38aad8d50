//! Prometheus' remote write 1.0: the four messages of its protobuf that have no choice in them, and snappy around them.
//!
//! A series that is there no more gets a mark (`STALE`), or whoever asks would see its last value for five minutes more:
//! `healthd_check_up` of a check of which nothing is known any more.

use super::queue::Body;
use crate::metrics::format::{Family, Labels, Value, bound};
use std::collections::{BTreeMap, HashMap};

/// The value that says that a series has ended: a NaN of its own.
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// Of series that have ended, in one body.
const ENDED_AT_ONCE: usize = 1_000;

pub struct RemoteWrite {
    labels: BTreeMap<String, String>,
    /// Each series by its encoded labels, and whether this picture has it.
    seen: HashMap<Box<[u8]>, bool>,
}

impl RemoteWrite {
    pub fn new(labels: BTreeMap<String, String>) -> RemoteWrite {
        RemoteWrite {
            labels,
            seen: HashMap::new(),
        }
    }

    pub fn body(&mut self, families: &[Family], at: u64) -> Body {
        let mut request = Request::new(at);
        for family in families {
            for (labels, value) in &family.points {
                self.point(&family.name, labels, value, &mut request);
            }
        }
        request.body()
    }

    pub fn ended(&mut self, at: u64) -> Vec<Body> {
        let mut ended = Vec::new();
        self.seen.retain(|labels, is_there| {
            if !*is_there {
                ended.push(labels.clone());
            }
            std::mem::take(is_there)
        });
        let bodies = ended.chunks(ENDED_AT_ONCE).map(|part| {
            let mut request = Request::new(at);
            for labels in part {
                request.series(labels, f64::from_bits(STALE));
            }
            request.body()
        });
        bodies.collect()
    }

    fn point(&mut self, name: &str, labels: &Labels, value: &Value, request: &mut Request) {
        let mut one = |suffix: &str, le: Option<String>, value: f64| {
            let labels = self.encoded(&format!("{name}{suffix}"), labels, le);
            request.series(&labels, value);
            self.seen.insert(labels.into(), true);
        };
        match value {
            Value::Number(value) => one("", None, *value),
            Value::Summary { sum, count } => {
                one("_sum", None, *sum);
                one("_count", None, *count as f64);
            }
            Value::Histogram { counts, sum } => {
                for (upper, count) in counts {
                    one("_bucket", Some(bound(*upper)), *count as f64);
                }
                one("_sum", None, *sum);
                let all = counts.last().map_or(0, |(_, count)| *count);
                one("_count", None, all as f64);
            }
        }
    }

    /// In the order of their names, as the receiver wants them; one without a value is no label.
    fn encoded(&self, name: &str, own: &Labels, le: Option<String>) -> Vec<u8> {
        let mut all = BTreeMap::from([("__name__", name.to_owned())]);
        let own = own.pairs().chain(le.map(|le| ("le", le)));
        let common = self.labels.iter().map(|(n, v)| (n.as_str(), v.clone()));
        for (name, value) in own.chain(common).filter(|(_, value)| !value.is_empty()) {
            all.entry(name).or_insert(value);
        }
        let mut labels = Vec::new();
        for (name, value) in all {
            let mut label = Vec::new();
            field(1, name.as_bytes(), &mut label);
            field(2, value.as_bytes(), &mut label);
            field(1, &label, &mut labels);
        }
        labels
    }
}

/// A `WriteRequest`.
struct Request {
    bytes: Vec<u8>,
    points: u64,
    /// ms.
    at: u64,
}

impl Request {
    fn new(at: u64) -> Request {
        Request {
            bytes: Vec::new(),
            points: 0,
            at: at / 1_000_000,
        }
    }

    /// A `TimeSeries` of one `Sample`.
    fn series(&mut self, labels: &[u8], value: f64) {
        let mut sample = vec![1 << 3 | FIXED64];
        sample.extend_from_slice(&value.to_le_bytes());
        sample.push(2 << 3 | VARINT);
        varint(self.at, &mut sample);
        let mut series = labels.to_vec();
        field(2, &sample, &mut series);
        field(1, &series, &mut self.bytes);
        self.points += 1;
    }

    fn body(self) -> Body {
        let compressed = snap::raw::Encoder::new().compress_vec(&self.bytes);
        Body {
            // It fails for 4 GiB alone.
            bytes: compressed.unwrap_or_default().into(),
            points: self.points,
            mark: None,
        }
    }
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;

fn field(number: u8, bytes: &[u8], to: &mut Vec<u8>) {
    to.push(number << 3 | BYTES);
    varint(bytes.len() as u64, to);
    to.extend_from_slice(bytes);
}

fn varint(mut n: u64, to: &mut Vec<u8>) {
    while n >= 0x80 {
        to.push(n as u8 | 0x80);
        n >>= 7;
    }
    to.push(n as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::format::{Kind, Writer};

    const AT: u64 = 1_700_000_000_123_456_789;

    fn raw(body: &Body) -> Vec<u8> {
        let raw = snap::raw::Decoder::new().decompress_vec(&body.bytes);
        raw.expect("it was compressed")
    }

    fn picture(names: &[&str]) -> Vec<Family> {
        let mut out = Writer::families();
        for name in names {
            out.family(name, Kind::Gauge, "help");
            out.sample(name, &Labels::none().with("z", "1").with("empty", ""), 1.5);
        }
        out.take()
    }

    #[test]
    fn a_series_is_what_the_schema_says() {
        let labels = BTreeMap::from([("job".to_owned(), "j".to_owned())]);
        let body = RemoteWrite::new(labels).body(&picture(&["up"]), AT);
        let mut wanted = vec![0x0a, 52];
        wanted.extend_from_slice(b"\x0a\x0e\x0a\x08__name__\x12\x02up");
        wanted.extend_from_slice(b"\x0a\x08\x0a\x03job\x12\x01j");
        wanted.extend_from_slice(b"\x0a\x06\x0a\x01z\x12\x011");
        wanted.extend_from_slice(&[0x12, 16, 0x09]);
        wanted.extend_from_slice(&1.5f64.to_le_bytes());
        // 1,700,000,000,123 ms.
        wanted.extend_from_slice(&[0x10, 0xfb, 0xd0, 0x95, 0xff, 0xbc, 0x31]);
        assert_eq!((raw(&body), body.points), (wanted, 1));
    }

    #[test]
    fn a_series_that_is_there_no_more_is_ended_once() {
        let mut encoder = RemoteWrite::new(BTreeMap::new());
        encoder.body(&picture(&["a", "b"]), AT);
        assert!(encoder.ended(AT).is_empty());
        encoder.body(&picture(&["b"]), AT);
        let ended = encoder.ended(AT);
        assert_eq!((ended.len(), ended[0].points), (1, 1));
        let raw = raw(&ended[0]);
        assert!(raw.windows(3).any(|w| w == b"\x01a\x0a"), "{raw:?}");
        let stale = STALE.to_le_bytes();
        assert!(raw.windows(8).any(|w| w == stale), "{raw:?}");
        encoder.body(&picture(&["b"]), AT);
        assert!(encoder.ended(AT).is_empty());
    }

    #[test]
    fn a_histogram_is_its_buckets_sum_and_count() {
        let mut out = Writer::families();
        out.family("h", Kind::Histogram, "help");
        let counts = [(Some(0.5), 2), (None, 3)];
        out.histogram("h", &Labels::none(), counts.into_iter(), 4.0);
        out.family("s", Kind::Summary, "help");
        out.summary("s", &Labels::none(), 4.0, 3);
        let body = RemoteWrite::new(BTreeMap::new()).body(&out.take(), AT);
        assert_eq!(body.points, 6);
        let raw = raw(&body);
        for word in [
            &b"h_bucket"[..],
            b"+Inf",
            b"0.5",
            b"h_sum",
            b"h_count",
            b"s_sum",
            b"s_count",
        ] {
            assert!(raw.windows(word.len()).any(|w| w == word), "{word:?}");
        }
    }
}
