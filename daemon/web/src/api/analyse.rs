//! Numbers in, what they come to out: as the plugin `stats` has it, on all cores. It waits for nobody: a thread of its
//! own, and one request at a time.

use super::{body, json};
use crate::problem::Problem;
use crate::routes::{Answered, Call};
use healthd_numbers::moments::Moments;
use healthd_numbers::runs::{edges, histogram, quantile};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use std::thread;
use tokio::sync::Semaphore;

/// It takes all cores, so two at once would both be late.
static TURN: Semaphore = Semaphore::const_new(1);
/// Fewer than this are not worth a thread.
const PART: usize = 16_384;
const BINS: f64 = 1_000.0;
/// So many of them as a body holds have a sum.
const MOST: f64 = 1e300;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    values: Vec<f64>,
    /// Of the histogram; a whole number, as JSON has it: 10.0 is one.
    #[serde(default = "ten")]
    bins: f64,
    /// `std` divided by n - 1 instead of n.
    #[serde(default)]
    sample: bool,
}

fn ten() -> f64 {
    10.0
}

#[derive(Debug, PartialEq, Serialize)]
struct Analysis {
    count: u64,
    mean: f64,
    /// Null: a sample of one value has none.
    std: Option<f64>,
    min: f64,
    max: f64,
    sum: f64,
    median: f64,
    percentiles: Percentiles,
    histogram: Histogram,
}

#[derive(Debug, PartialEq, Serialize)]
struct Percentiles {
    p25: f64,
    p50: f64,
    p75: f64,
    p95: f64,
    p99: f64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Histogram {
    edges: Vec<f64>,
    counts: Vec<u64>,
}

pub async fn analyse(call: Call) -> Answered {
    let asked: Asked = body(&call)?;
    if asked.values.is_empty() {
        return Err(Problem::bad(
            "`values` is empty: there is nothing to tell of no numbers",
        ));
    }
    if let Some(beyond) = asked.values.iter().find(|v| v.abs() > MOST) {
        return Err(Problem::bad(format!(
            "{beyond} of `values` is beyond {MOST:e}"
        )));
    }
    if !(1.0..=BINS).contains(&asked.bins) || asked.bins.fract() != 0.0 {
        return Err(Problem::bad(format!("`bins` is none of 1 to {BINS}")));
    }
    let _turn = TURN.acquire().await.expect("it is never closed");
    let done = tokio::task::spawn_blocking(move || of(asked)).await;
    let analysis = done.map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "it could not be computed",
        )
    })?;
    json(StatusCode::OK, &analysis)
}

fn of(asked: Asked) -> Analysis {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let size = asked.values.len().div_ceil(cores).max(PART);
    let part = |values: &[f64]| {
        let mut values = values.to_vec();
        values.sort_unstable_by(f64::total_cmp);
        (Moments::of(&values), values)
    };
    let parts: Vec<(Moments, Vec<f64>)> = thread::scope(|scope| {
        let threads: Vec<_> = asked
            .values
            .chunks(size)
            .map(|values| scope.spawn(move || part(values)))
            .collect();
        let joined = threads.into_iter().map(|t| t.join());
        joined.map(|done| done.expect("it only counts")).collect()
    });
    let (moments, runs): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let moments = moments.into_iter().fold(Moments::default(), Moments::merge);
    let quantile = |p| quantile(&runs, moments.count, p);
    let (min, max, median) = (quantile(0.0), quantile(1.0), quantile(0.5));
    let edges = edges(min, max, asked.bins as u32);
    Analysis {
        count: moments.count,
        mean: moments.mean,
        std: Some(moments.std(asked.sample)).filter(|std| std.is_finite()),
        min,
        max,
        sum: moments.sum.value(),
        median,
        percentiles: Percentiles {
            p25: quantile(0.25),
            p50: median,
            p75: quantile(0.75),
            p95: quantile(0.95),
            p99: quantile(0.99),
        },
        histogram: Histogram {
            counts: histogram(&runs, &edges),
            edges,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn analysis(values: Vec<f64>) -> Analysis {
        of(Asked {
            values,
            bins: 2.0,
            sample: false,
        })
    }

    #[test]
    fn it_is_what_numpy_says() {
        // np.mean, np.std, np.percentile, np.histogram(.., 2) of these.
        let found = analysis(vec![40.0, 15.0, 50.0, 20.0, 35.0]);
        assert_eq!((found.count, found.mean, found.sum), (5, 32.0, 160.0));
        assert!((found.std.expect("there is") - 12.884_098_726_725_126).abs() < 1e-12);
        assert_eq!((found.min, found.median, found.max), (15.0, 35.0, 50.0));
        assert_eq!((found.percentiles.p25, found.percentiles.p75), (20.0, 40.0));
        assert!((found.percentiles.p99 - 49.6).abs() < 1e-12);
        assert_eq!(found.histogram.edges, [15.0, 32.5, 50.0]);
        assert_eq!(found.histogram.counts, [2, 3]);
    }

    #[test]
    fn many_parts_are_one_whole() {
        let values: Vec<f64> = (0..100_000u32).map(|n| f64::from(n % 1_000)).collect();
        let found = analysis(values);
        assert_eq!((found.count, found.mean), (100_000, 499.5));
        assert_eq!(found.percentiles.p25, 249.75);
        assert_eq!(found.histogram.counts, [50_000, 50_000]);
        assert_eq!(analysis(vec![7.0]).histogram.counts, [1]);
    }
}
