//! The two works: integer arithmetic (a prime factorisation by trial division) and floating point (a sum over
//! sqrt(i)*sin(i)). Both have known results, so that a CPU that computes wrong is found as well.

use std::hint::black_box;

/// Operations between two looks at the clock and the cancel flag: well below a millisecond.
pub const CHUNK: u64 = 1 << 14;

/// Something to compute, in chunks, for ever.
pub trait Work {
    /// About `CHUNK` operations; returns how many.
    fn chunk(&mut self) -> Result<u64, Wrong>;
}

/// The CPU gave a result that is not the known one.
#[derive(Debug, PartialEq)]
pub struct Wrong(pub String);

/// Semiprimes and their smaller factors: about 300,000 to 440,000 divisions each.
const SEMIPRIMES: [(u64, u64); 4] = [
    (1_100_012_300_027, 1_000_003),
    (855_009_050_009, 900_001),
    (1_207_541_000_297, 1_050_011),
    (1_820_051_500_357, 1_300_021),
];

/// Finds the smaller factor of one semiprime after the other. A division is an operation.
pub struct Factor {
    number: usize,
    divisor: u64,
}

impl Factor {
    pub fn new() -> Self {
        Factor {
            number: 0,
            divisor: 5,
        }
    }
}

impl Work for Factor {
    fn chunk(&mut self) -> Result<u64, Wrong> {
        let (n, smaller) = SEMIPRIMES[self.number];
        let n = black_box(n);
        for done in (0..CHUNK).step_by(2) {
            // All primes above 3 lie beside a multiple of 6.
            let d = self.divisor;
            let found = match (n % d, n % (d + 2)) {
                (0, _) => d,
                (_, 0) => d + 2,
                _ if d > smaller => {
                    return Err(Wrong(format!("{n} has no factor up to {smaller}")));
                }
                _ => {
                    self.divisor += 6;
                    continue;
                }
            };
            if found != smaller || n / found * found != n {
                return Err(Wrong(format!("{n} is not {found} * {}", n / found)));
            }
            *self = Factor {
                number: (self.number + 1) % SEMIPRIMES.len(),
                ..Factor::new()
            };
            return Ok(done + 2);
        }
        Ok(CHUNK)
    }
}

/// Adds sqrt(i)*sin(i) for i from 1 to `CHUNK`, again and again. A term is an operation.
pub struct Sine;

/// The sum, exact to the last digit of the 16 decimals an f64 has.
const SUM: f64 = 61.825_755_154_520_8;
/// Another libm may round the last bit of each term another way.
const TOLERANCE: f64 = 1e-6;

impl Work for Sine {
    fn chunk(&mut self) -> Result<u64, Wrong> {
        let mut sum = 0.0;
        for i in 1..=CHUNK {
            let x = black_box(i as f64);
            sum += x.sqrt() * x.sin();
        }
        // Written so that a NaN is wrong too.
        if (sum - SUM).abs() < TOLERANCE {
            Ok(CHUNK)
        } else {
            Err(Wrong(format!(
                "the sum over sqrt(i)*sin(i) is {sum}, not {SUM}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_are_factorised_and_counted() {
        let mut work = Factor::new();
        let mut operations = 0;
        let mut seen = [false; SEMIPRIMES.len()];
        while !seen.iter().all(|s| *s) || work.number != 0 {
            seen[work.number] = true;
            operations += work.chunk().unwrap();
        }
        // Each takes two divisions for every multiple of 6 up to its smaller factor.
        let expected: u64 = SEMIPRIMES.iter().map(|(_, f)| f / 3).sum();
        assert!(
            operations.abs_diff(expected) < 16,
            "{operations} {expected}"
        );
    }

    #[test]
    fn the_sum_is_the_known_one() {
        assert_eq!(Sine.chunk(), Ok(CHUNK));
    }

    #[test]
    fn a_wrong_division_is_noticed() {
        // As if the divisions up to here had missed the factor.
        let mut work = Factor {
            number: 0,
            divisor: SEMIPRIMES[0].1 + 4,
        };
        assert!(work.chunk().is_err());
    }
}
