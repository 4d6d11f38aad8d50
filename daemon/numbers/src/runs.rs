//! Order statistics of values that lie in several sorted runs: nothing is merged, each rank is searched for.

/// A sorted run of doubles: in memory, or a chunk's, as the bytes that it wrote.
#[allow(clippy::len_without_is_empty, reason = "nobody asks that of a part")]
pub trait Run {
    fn len(&self) -> usize;
    fn at(&self, index: usize) -> f64;

    /// How many are below `value`.
    fn below(&self, value: f64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.at(middle) < value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// How many are at most `value`.
    fn up_to(&self, value: f64) -> usize {
        self.below(value.next_up())
    }
}

impl Run for Vec<f64> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn at(&self, index: usize) -> f64 {
        self[index]
    }
}

/// A number that grows as the double does; the doubles are finite.
fn key(value: f64) -> u64 {
    // -0.0 is 0.0, or it would be below it.
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 0 {
        bits | 1 << 63
    } else {
        !bits
    }
}

fn value(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 {
        key & !(1 << 63)
    } else {
        !key
    })
}

/// The value of this rank, from 0 on, of all runs together.
pub fn rank<R: Run>(runs: &[R], rank: u64) -> f64 {
    let (mut low, mut high) = (key(f64::MIN), key(f64::MAX));
    // The least double of which more than `rank` values are at most: that is one of the values.
    while low < high {
        let middle = low + (high - low) / 2;
        let up_to: u64 = runs.iter().map(|r| r.up_to(value(middle)) as u64).sum();
        if up_to > rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    value(low)
}

/// The quantile `p` of 0 to 1 of `count` values, by linear interpolation between the two nearest ranks: definition 7 of
/// R. J. Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages" (1996), and the default of numpy.
pub fn quantile<R: Run>(runs: &[R], count: u64, p: f64) -> f64 {
    let place = (count - 1) as f64 * p;
    let below = (place.floor() as u64).min(count - 1);
    let part = place - below as f64;
    let a = rank(runs, below);
    if part == 0.0 || below + 1 == count {
        return a;
    }
    let b = rank(runs, below + 1);
    // As numpy rounds it, so that the same values give the same bits.
    if part < 0.5 {
        a + (b - a) * part
    } else {
        b - (b - a) * (1.0 - part)
    }
}

/// How many values lie in each bin: from one edge to the next, the last with both of its edges.
pub fn histogram<R: Run>(runs: &[R], edges: &[f64]) -> Vec<u64> {
    let below = |edge: f64| -> u64 { runs.iter().map(|r| r.below(edge) as u64).sum() };
    let mut counts: Vec<u64> = edges
        .windows(2)
        .map(|e| below(e[1]) - below(e[0]))
        .collect();
    if let (Some(last), Some(edge)) = (counts.last_mut(), edges.last()) {
        *last += below(edge.next_up()) - below(*edge);
    }
    counts
}

/// Edges of so many bins of the same width over all of them.
pub fn edges(low: f64, high: f64, bins: u32) -> Vec<f64> {
    // All the same: one bin, as wide as it must be.
    if low == high {
        return vec![low, high];
    }
    let part = f64::from(bins);
    let edge = |i: u32| low + (high / part - low / part) * f64::from(i);
    (0..bins).map(edge).chain([high]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(values: &[f64], parts: usize) -> Vec<Vec<f64>> {
        let mut runs: Vec<Vec<f64>> = vec![Vec::new(); parts];
        for (i, v) in values.iter().enumerate() {
            runs[i * 7 % parts].push(*v);
        }
        runs.iter_mut().for_each(|r| r.sort_by(f64::total_cmp));
        runs
    }

    #[test]
    fn every_rank_is_the_one_of_the_sorted_whole() {
        let mut values: Vec<f64> = (0..997u32)
            .map(|i| f64::from(i.wrapping_mul(2_654_435_761) as i32) / 1e4)
            .collect();
        values.extend([
            0.0,
            -0.0,
            1e-308,
            -1e-308,
            f64::MAX,
            f64::MIN,
            5.0,
            5.0,
            5.0,
        ]);
        let runs = runs(&values, 13);
        values.sort_by(f64::total_cmp);
        for (i, v) in values.iter().enumerate() {
            assert_eq!(rank(&runs, i as u64), *v, "rank {i}");
        }
    }

    #[test]
    fn quantiles_are_numpys() {
        // numpy.percentile([15, 20, 35, 40, 50], [5, 25, 40, 50, 99])
        let runs = runs(&[40.0, 15.0, 50.0, 20.0, 35.0], 2);
        for (p, expected) in [
            (0.05, 16.0),
            (0.25, 20.0),
            (0.4, 29.0),
            (0.5, 35.0),
            (0.99, 49.6),
        ] {
            assert!((quantile(&runs, 5, p) - expected).abs() < 1e-12, "{p}");
        }
        assert_eq!(quantile(&runs, 5, 0.0), 15.0);
        assert_eq!(quantile(&runs, 5, 1.0), 50.0);
        assert_eq!(quantile(&[vec![7.0]], 1, 0.99), 7.0);
    }

    #[test]
    fn bins_hold_every_value_once() {
        let runs = runs(&[0.0, 1.0, 1.0, 2.0, 2.5, 4.0], 3);
        assert_eq!(histogram(&runs, &[0.0, 1.0, 2.0, 4.0]), [1, 2, 3]);
        assert_eq!(histogram(&runs, &[1.0, 2.0]), [3]);
        assert_eq!(histogram(&runs, &[]), [0; 0]);
    }
}
