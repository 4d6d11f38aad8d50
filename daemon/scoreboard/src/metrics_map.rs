//! `metrics.map`: what the last run of each check measured, for the readers that want it.

use super::map::{Map, each_record};
use healthd_core::check::outcome::Metric;
use healthd_core::check::schedule;
use healthd_core::wire::maps::words_at;
use healthd_core::wire::metrics::{
    MEASURED_WORDS, METRICS_FILE, METRICS_HEAD, METRICS_MAGIC, METRICS_VERSION, Value, from_words,
    measured, measured_offset, metrics_header as h, metrics_size, to_words,
};
use healthd_sys::files;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub struct MetricsMap(Map);

impl MetricsMap {
    /// A map for these checks, in this order, in place of the one that has the name; with what that one had.
    pub fn create<'a>(
        dir: &Path,
        names: impl ExactSizeIterator<Item = &'a str>,
        mode: u32,
    ) -> io::Result<MetricsMap> {
        let mut left: HashMap<u64, [u64; MEASURED_WORDS]> = HashMap::new();
        if let Ok(view) = MetricsView::open(dir) {
            let _ = each_record(&view.file, measured_offset(0), view.checks, |_, words| {
                left.extend(words.map(|w: &[u64; MEASURED_WORDS]| (w[measured::HASH], *w)));
            });
        }
        let checks = names.len();
        let mut map = Map::prepare(&dir.join(METRICS_FILE), measured_offset(checks), mode)?;
        map.set(h::CHECKS, checks as u64);
        map.set(h::VERSION, METRICS_VERSION);
        map.set(h::MAGIC, METRICS_MAGIC);
        for (index, name) in names.enumerate() {
            let hash = schedule::hash(name.as_bytes());
            let record = left.remove(&hash).unwrap_or_else(|| to_words(hash, &[]));
            map.publish(measured_offset(index), &record);
        }
        map.reveal()?;
        Ok(MetricsMap(map))
    }

    /// None any more: a reader finds no file.
    pub fn remove(dir: &Path) {
        let _ = std::fs::remove_file(dir.join(METRICS_FILE));
    }

    pub fn write(&self, index: usize, metrics: &[Metric]) {
        let at = measured_offset(index);
        if at + MEASURED_WORDS <= self.0.words().len() {
            let hash = self.0.get(at + measured::HASH);
            self.0.publish(at, &to_words(hash, metrics));
        }
    }
}

/// The map as another process reads it.
pub struct MetricsView {
    file: File,
    pub checks: usize,
}

impl MetricsView {
    pub fn open(dir: &Path) -> io::Result<MetricsView> {
        let file = files::open(&dir.join(METRICS_FILE))?;
        let mut head = vec![0; METRICS_HEAD as usize];
        file.read_exact_at(&mut head, 0)?;
        let said = metrics_size(&head).map_err(io::Error::other)?;
        if file.metadata()?.len() != said {
            return Err(io::Error::other("it has not the size that it claims"));
        }
        let words: [u64; 3] = words_at(&head, 0).ok_or(io::ErrorKind::InvalidData)?;
        Ok(MetricsView {
            file,
            checks: words[h::CHECKS] as usize,
        })
    }

    /// Of each check its index, its values, and how many had no room.
    pub fn each(&self, mut take: impl FnMut(usize, Vec<Value>, u64)) -> io::Result<()> {
        each_record(&self.file, measured_offset(0), self.checks, |n, words| {
            if let Some(words) = words {
                let (values, dropped) = from_words(words);
                take(n, values, dropped);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_with_their_check_in_another_order() {
        let dir = std::env::temp_dir().join(format!("healthd-metrics-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        let metric = |value: f64| Metric {
            name: "used".into(),
            value: Some(value),
            unit: "%".into(),
            warn: None,
            crit: None,
            min: None,
            max: None,
            counter: false,
        };
        let all = || {
            let mut found = Vec::new();
            let view = MetricsView::open(&dir).expect("a map");
            view.each(|n, values, _| found.extend(values.into_iter().map(|v| (n, v.value))))
                .expect("read");
            found
        };
        let map = MetricsMap::create(&dir, ["a", "b"].into_iter(), 0o600).expect("map");
        map.write(1, &[metric(7.0)]);
        map.write(2, &[metric(9.0)]);
        assert_eq!(all(), [(1, 7.0)]);
        let map = MetricsMap::create(&dir, ["b", "c", "a"].into_iter(), 0o600).expect("map");
        assert_eq!(all(), [(0, 7.0)]);
        map.write(0, &[]);
        assert_eq!(all(), []);
        std::fs::remove_dir_all(dir).expect("remove");
    }
}
