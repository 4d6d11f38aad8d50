//! Metrics: what the last run of each check measured. The layout of `metrics.map`, which is there only where somebody
//! reads it: `[web]`, or `keep` of `[history]`.
//!
//! One record a check, in the order of the configuration; one writer, the manager.

use super::maps::{HEADER_WORDS, WORD, get_text, put_text, words_at};
use crate::check::outcome::Metric;

pub const METRICS_FILE: &str = "metrics.map";
/// "HDMETRC1", read as a big-endian number.
pub const METRICS_MAGIC: u64 = 0x4844_4d45_5452_4331;
pub const METRICS_VERSION: u64 = 1;

/// So many of a check are kept.
pub const METRICS_MOST: usize = 16;
const NAME_WORDS: usize = 5;
const METRIC_WORDS: usize = NAME_WORDS + 2;
const HEAD: usize = 4;
/// 928 bytes.
pub const MEASURED_WORDS: usize = HEAD + METRICS_MOST * METRIC_WORDS;

/// Header words.
pub mod metrics_header {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 1;
    pub const CHECKS: usize = 2;
}

/// Words of a record; the first is its sequence number.
pub mod measured {
    /// How many there are, and from bit 32 how many had no room.
    pub const COUNT: usize = 1;
    /// Of the check's name.
    pub const HASH: usize = 2;
}

pub fn measured_offset(index: usize) -> usize {
    HEADER_WORDS + index * MEASURED_WORDS
}

pub const METRICS_HEAD: u64 = (3 * WORD) as u64;

/// How long a file with this header is. Err: it is no such map, or one of another layout.
pub fn metrics_size(head: &[u8]) -> Result<u64, String> {
    use metrics_header as h;
    let head: [u64; 3] = words_at(head, 0).ok_or("shorter than its header")?;
    match (head[h::MAGIC], head[h::VERSION], head[h::CHECKS]) {
        (METRICS_MAGIC, METRICS_VERSION, checks @ 0..=2_000_000) => {
            Ok((measured_offset(checks as usize) * WORD) as u64)
        }
        (METRICS_MAGIC, METRICS_VERSION, checks) => Err(format!("it claims {checks} checks")),
        (METRICS_MAGIC, layout, _) => Err(format!("layout {layout}")),
        _ => Err("not a map of metrics".into()),
    }
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub name: String,
    pub unit: String,
    pub value: f64,
}

/// What a run measured, as it is written. A name that is too long is left out: cut, it might be another's.
pub fn to_words(hash: u64, metrics: &[Metric]) -> [u64; MEASURED_WORDS] {
    let mut w = [0; MEASURED_WORDS];
    w[measured::HASH] = hash;
    let (mut kept, mut dropped) = (0, 0u64);
    for metric in metrics {
        let Some(value) = metric.value else { continue };
        let fits = (1..=NAME_WORDS * WORD).contains(&metric.name.len());
        if kept == METRICS_MOST || !fits || metric.unit.len() > WORD {
            dropped += 1;
            continue;
        }
        let at = HEAD + kept * METRIC_WORDS;
        put_text(&mut w[at..at + NAME_WORDS], &metric.name);
        put_text(&mut w[at + NAME_WORDS..at + NAME_WORDS + 1], &metric.unit);
        w[at + NAME_WORDS + 1] = value.to_bits();
        kept += 1;
    }
    w[measured::COUNT] = kept as u64 | dropped << 32;
    w
}

/// The values, and how many had no room.
pub fn from_words(w: &[u64; MEASURED_WORDS]) -> (Vec<Value>, u64) {
    let count = (w[measured::COUNT] as u32 as usize).min(METRICS_MOST);
    let values = (0..count).map(|n| {
        let at = HEAD + n * METRIC_WORDS;
        Value {
            name: get_text(&w[at..at + NAME_WORDS]),
            unit: get_text(&w[at + NAME_WORDS..at + NAME_WORDS + 1]),
            value: f64::from_bits(w[at + NAME_WORDS + 1]),
        }
    });
    (values.collect(), w[measured::COUNT] >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: &str, value: Option<f64>, unit: &str) -> Metric {
        Metric {
            name: name.into(),
            value,
            unit: unit.into(),
            warn: None,
            crit: None,
            min: None,
            max: None,
            counter: false,
        }
    }

    #[test]
    fn values_survive_the_map_and_what_has_no_room_is_counted() {
        let mut metrics = vec![
            metric("used", Some(91.5), "%"),
            metric("none", None, ""),
            metric(&"x".repeat(41), Some(1.0), ""),
            metric("é", Some(-0.0), "certific"),
        ];
        let (values, dropped) = from_words(&to_words(7, &metrics));
        let names: Vec<&str> = values.iter().map(|v| v.name.as_str()).collect();
        assert_eq!((names, dropped), (vec!["used", "é"], 1));
        assert_eq!((values[0].value, values[0].unit.as_str()), (91.5, "%"));
        metrics.extend((0..20).map(|n| metric(&format!("m{n}"), Some(1.0), "s")));
        let (values, dropped) = from_words(&to_words(7, &metrics));
        assert_eq!((values.len(), dropped), (16, 7));
        let _ = from_words(&[u64::MAX; MEASURED_WORDS]);
    }
}
