//! Mean and spread of parts, and how they come together.
//!
//! A part is summed with Neumaier's compensation and looked through twice, so its mean and its sum of squared
//! distances are as good as doubles allow. Two parts are merged by the pairwise formula of T. F. Chan, G. H. Golub and
//! R. J. LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", Stanford STAN-CS-79-773
//! (1979), eq. 2.1: no difference of large squares is ever taken.

/// Of some values, or of none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    pub count: u64,
    pub sum: Sum,
    pub mean: f64,
    /// Sum of the squared distances from the mean.
    pub m2: f64,
}

/// A sum that keeps what rounding takes away (A. Neumaier, 1974).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum {
    pub high: f64,
    pub low: f64,
}

impl Sum {
    pub fn add(&mut self, value: f64) {
        let sum = self.high + value;
        self.low += if self.high.abs() >= value.abs() {
            (self.high - sum) + value
        } else {
            (value - sum) + self.high
        };
        self.high = sum;
    }

    pub fn value(self) -> f64 {
        // Beyond the range of doubles the rest is no number.
        if self.high.is_finite() {
            self.high + self.low
        } else {
            self.high
        }
    }
}

impl Moments {
    pub fn of(values: &[f64]) -> Moments {
        let mut sum = Sum::default();
        values.iter().for_each(|v| sum.add(*v));
        let count = values.len() as u64;
        if count == 0 {
            return Moments::default();
        }
        let mean = sum.value() / count as f64;
        // The second sum is what rounding made of the mean: zero if it were exact.
        let (mut squares, mut rest) = (Sum::default(), 0.0);
        for value in values {
            let distance = value - mean;
            squares.add(distance * distance);
            rest += distance;
        }
        let m2 = squares.value() - rest * rest / count as f64;
        Moments {
            count,
            sum,
            mean,
            m2: m2.max(0.0),
        }
    }

    pub fn merge(self, other: Moments) -> Moments {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        let mut sum = self.sum;
        sum.add(other.sum.high);
        sum.add(other.sum.low);
        let count = self.count + other.count;
        Moments {
            count,
            sum,
            // Of the whole sum, which is known better than the means of the parts.
            mean: sum.value() / count as f64,
            m2: self.m2 + other.m2 + apart * apart * (a * b / (a + b)),
        }
    }

    /// `sample`: divided by n - 1 instead of n.
    pub fn std(&self, sample: bool) -> f64 {
        let n = self.count.saturating_sub(u64::from(sample));
        (self.m2 / n as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() <= b.abs() * 1e-14, "{a} {b}");
    }

    #[test]
    fn the_classic_case_of_cancellation() {
        // Three values far from zero: the naive formula gives 0 or a negative variance.
        let values: Vec<f64> = [4.0, 7.0, 13.0, 16.0].iter().map(|v| v + 1e9).collect();
        let whole = Moments::of(&values);
        assert_eq!((whole.mean, whole.m2), (1e9 + 10.0, 90.0));
        assert_eq!(whole.std(true), 30f64.sqrt());
        let (a, b) = values.split_at(1);
        let merged = Moments::of(a).merge(Moments::of(b));
        assert_eq!((merged.mean, merged.m2), (whole.mean, whole.m2));
    }

    #[test]
    fn parts_make_the_whole_however_they_are_cut() {
        let values: Vec<f64> = (0..10_000u32)
            .map(|i| f64::from(i.wrapping_mul(2_654_435_761) >> 8) * 1e-3 + 1e6)
            .collect();
        let whole = Moments::of(&values);
        for size in [1, 7, 100, 9_999] {
            let merged = values
                .chunks(size)
                .map(Moments::of)
                .fold(Moments::default(), Moments::merge);
            assert_eq!(merged.count, whole.count);
            close(merged.mean, whole.mean);
            close(merged.m2, whole.m2);
            close(merged.sum.value(), whole.sum.value());
        }
    }

    #[test]
    fn a_sum_keeps_what_is_small() {
        let mut sum = Sum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.value(), 2.0);
        sum.add(f64::MAX);
        sum.add(f64::MAX);
        assert_eq!(sum.value(), f64::INFINITY);
    }
}
