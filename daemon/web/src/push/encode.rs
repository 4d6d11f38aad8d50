//! A body of one format or the other, made of families.

use super::otlp;
use super::queue::Body;
use super::remote_write::RemoteWrite;
use crate::metrics::format::Family;
use healthd_core::config::PushFormat;
use std::collections::BTreeMap;

pub enum Encoder {
    RemoteWrite(RemoteWrite),
    Otlp { labels: BTreeMap<String, String> },
}

impl Encoder {
    /// `labels`: of each series.
    pub fn new(format: PushFormat, labels: BTreeMap<String, String>) -> Encoder {
        match format {
            PushFormat::RemoteWrite => Encoder::RemoteWrite(RemoteWrite::new(labels)),
            PushFormat::Otlp => Encoder::Otlp { labels },
        }
    }

    /// `at`: CLOCK_REALTIME, ns, of all that is in it.
    pub fn body(&mut self, families: &[Family], at: u64) -> Body {
        match self {
            Encoder::RemoteWrite(encoder) => encoder.body(families, at),
            Encoder::Otlp { labels } => otlp::metrics(families, labels, at),
        }
    }

    /// After the last body of a picture: what the picture before had, and this one has not.
    pub fn ended(&mut self, at: u64) -> Vec<Body> {
        match self {
            Encoder::RemoteWrite(encoder) => encoder.ended(at),
            // There whoever reads decides when a series is over.
            Encoder::Otlp { .. } => Vec::new(),
        }
    }
}
