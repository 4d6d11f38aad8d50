//! Flapping: a check that has flipped too often is believed to be well only after a while without a problem, and
//! after a longer one each time it was not true.

use crate::rate::{Rate, Times};
use crate::time::MINUTE;

#[derive(Clone, Debug, Default)]
pub struct Flap {
    flips: Times,
    /// How often the wait was in vain.
    broken: u32,
}

impl Flap {
    /// Its verdict went to or from ok.
    pub fn flipped(&mut self, rate: Option<Rate>, now: u64) {
        if let Some(rate) = rate {
            self.flips.add(now, rate);
        }
    }

    /// It has just become ok. Some: it is believed from then on only.
    pub fn believe_at(&self, rate: Option<Rate>, now: u64) -> Option<u64> {
        let flaps = self.flips.are_full(rate?, now);
        flaps.then(|| now + (MINUTE << self.broken.min(5)).min(LONGEST))
    }

    /// A problem came before it was believed.
    pub fn was_in_vain(&mut self) {
        self.broken = self.broken.saturating_add(1);
    }

    /// It was ok for long enough.
    pub fn settled(&mut self) {
        self.broken = 0;
        self.flips.clear();
    }

    /// When nothing of this has to be remembered any more; None: now.
    pub fn over_at(&self, rate: Option<Rate>) -> Option<u64> {
        self.flips.over_at(rate?)
    }

    pub fn is_still(&self) -> bool {
        self.flips.is_empty()
    }
}

const LONGEST: u64 = 30 * MINUTE;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    #[test]
    fn the_wait_grows_from_one_minute_to_thirty() {
        let rate = Some(Rate::parse("3/10m").expect("a rate"));
        let mut flap = Flap::default();
        flap.flipped(rate, 0);
        assert_eq!(flap.believe_at(rate, SECOND), None);
        flap.flipped(rate, SECOND);
        flap.flipped(rate, 2 * SECOND);
        let mut waits = Vec::new();
        for _ in 0..7 {
            waits.push(flap.believe_at(rate, 2 * SECOND).expect("it flaps") - 2 * SECOND);
            flap.was_in_vain();
        }
        assert_eq!(
            waits.iter().map(|w| w / MINUTE).collect::<Vec<_>>(),
            [1, 2, 4, 8, 16, 30, 30]
        );
        // Long after the last flip it is a check like any other.
        assert_eq!(flap.believe_at(rate, 20 * MINUTE), None);
        flap.settled();
        assert!(flap.is_still());
        assert_eq!(flap.believe_at(None, 0), None);
    }
}
