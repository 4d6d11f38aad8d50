//! healthd and its peers in turn: a machine that changes meanwhile changes all of them.

use super::Size;
use crate::figures::median;

/// The figures of one measurement, always the same ones; None: what is to be measured is not installed.
pub type Figures = Option<Vec<f64>>;

pub type Turn<'a> = &'a mut dyn FnMut() -> Result<Figures, String>;

/// The medians of the figures of each.
pub fn medians<const N: usize>(
    size: Size,
    mut turns: [Turn<'_>; N],
) -> Result<[Figures; N], String> {
    let mut seen: [Vec<Vec<f64>>; N] = [const { Vec::new() }; N];
    for _ in 0..size.rounds {
        for (turn, seen) in turns.iter_mut().zip(&mut seen) {
            seen.extend(turn()?);
        }
    }
    Ok(seen.map(|rounds| {
        let figures = rounds.first()?.len();
        let of = |n: usize| -> Vec<f64> { rounds.iter().map(|round| round[n]).collect() };
        Some((0..figures).map(|n| median(&of(n))).collect())
    }))
}

/// One of them.
pub fn figure(of: &Figures, n: usize) -> Option<f64> {
    of.as_ref()?.get(n).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_figure_by_itself() {
        let size = Size {
            seconds: 1.0,
            rounds: 3,
        };
        let mut order = String::new();
        let mut rows = [vec![1.0, 9.0], vec![3.0, 7.0], vec![2.0, 8.0]].into_iter();
        let order_of = std::cell::RefCell::new(&mut order);
        let all = medians(
            size,
            [
                &mut || {
                    order_of.borrow_mut().push('a');
                    Ok(rows.next())
                },
                &mut || {
                    order_of.borrow_mut().push('b');
                    Ok(None)
                },
            ],
        );
        assert_eq!(all, Ok([Some(vec![2.0, 8.0]), None]));
        assert_eq!(order, "ababab");
    }
}
