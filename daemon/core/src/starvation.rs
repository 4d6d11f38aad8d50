//! Slow, or starved? Of the time that a thread has not come back, only the part in which it could run is its own.
//!
//! The kernel tells how long a thread has run, and how long it has waited for a processor, the latter only once it got
//! one (proc(5), schedstat). A thread that waits now, or whose cgroup has used up its quota, is runnable and gains nothing.

/// What a thread has had until now, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// CLOCK_MONOTONIC of the look.
    pub at_ns: u64,
    pub ran_ns: u64,
    pub waited_ns: u64,
    /// It runs, or would if it were let.
    pub runnable: bool,
}

impl Share {
    /// From a thread's `schedstat` and `stat`. None: they are not what proc(5) says.
    pub fn parse(at_ns: u64, schedstat: &str, stat: &str) -> Option<Share> {
        let mut numbers = schedstat.split_ascii_whitespace();
        // The name before the state may hold anything, brackets too.
        let state = stat.rsplit_once(')')?.1.trim_start();
        Some(Share {
            at_ns,
            ran_ns: numbers.next()?.parse().ok()?,
            waited_ns: numbers.next()?.parse().ok()?,
            runnable: state.starts_with('R'),
        })
    }
}

/// A thread that is looked at because it is late. Nobody looks before.
#[derive(Clone, Copy, Debug)]
pub struct Suspicion {
    last: Share,
    watched_ns: u64,
    lacked_ns: u64,
    /// Somebody was told that it starves.
    pub told: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lateness {
    /// It may still be on time, or has not been looked at for long enough.
    Bearable,
    /// The machine does not let it run.
    Starving,
    /// It had its time, and is not back.
    Stalled,
    /// It never got its time, and there is an end to everything.
    Starved,
}

impl Suspicion {
    pub fn new(first: Share) -> Suspicion {
        Suspicion {
            last: first,
            watched_ns: 0,
            lacked_ns: 0,
            told: false,
        }
    }

    /// How much of the time since the last look it could not run.
    pub fn look(&mut self, now: Share) -> u64 {
        let span = now.at_ns.saturating_sub(self.last.at_ns);
        let ran = now.ran_ns.saturating_sub(self.last.ran_ns).min(span);
        let waited = now.waited_ns.saturating_sub(self.last.waited_ns);
        let rest = span - ran;
        // How long it has waited by now is not told yet: all that it did not run counts for it.
        let lacked = if now.runnable { rest } else { waited.min(rest) };
        self.lacked_ns += lacked;
        self.watched_ns += span;
        self.last = now;
        lacked
    }

    /// `late_ns`: since when it is not back. `bound_ns`: so much it may take of its own. `end_ns`: so long is waited at most.
    pub fn judge(&self, late_ns: u64, bound_ns: u64, end_ns: u64) -> Lateness {
        if late_ns <= bound_ns || self.watched_ns == 0 {
            return Lateness::Bearable;
        }
        if self.own_ns(late_ns) > bound_ns {
            Lateness::Stalled
        } else if late_ns > end_ns {
            Lateness::Starved
        } else {
            Lateness::Starving
        }
    }

    /// Before it was looked at it had the same share as since.
    fn own_ns(&self, late_ns: u64) -> u64 {
        let own = u128::from(self.watched_ns - self.lacked_ns) * u128::from(late_ns);
        u64::try_from(own / u128::from(self.watched_ns.max(1))).unwrap_or(u64::MAX)
    }

    /// In so many percent of the time that it was watched it could run.
    pub fn percent(&self) -> u64 {
        self.own_ns(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const BOUND: u64 = 1000 * MS;
    const END: u64 = 15_000 * MS;

    /// Looks every 250 ms from the `from`th on; per look: ms run, ms waited as it is told, runnable.
    fn judged(from: u64, looks: &[(u64, u64, bool)]) -> Vec<Lateness> {
        let mut share = Share {
            at_ns: 77_000 * MS,
            ran_ns: 5000 * MS,
            waited_ns: 70 * MS,
            runnable: looks[0].2,
        };
        let begun = share.at_ns - from * MS;
        let mut suspicion = Suspicion::new(share);
        let mut verdicts = vec![suspicion.judge(from * MS, BOUND, END)];
        for (ran, waited, runnable) in looks {
            share.at_ns += 250 * MS;
            share.ran_ns += ran * MS;
            share.waited_ns += waited * MS;
            share.runnable = *runnable;
            suspicion.look(share);
            verdicts.push(suspicion.judge(share.at_ns - begun, BOUND, END));
        }
        verdicts
    }

    use Lateness::{Bearable, Stalled, Starved, Starving};

    #[test]
    fn the_kernel_s_words() {
        let stat = |name: &str, state| format!("17 ({name}) {state} 1 17 17 0 -1");
        let share = Share::parse(5, "42590316 18387901 217\n", &stat("healthd-io0", 'R'));
        let expected = Share {
            at_ns: 5,
            ran_ns: 42_590_316,
            waited_ns: 18_387_901,
            runnable: true,
        };
        assert_eq!(share, Some(expected));
        for (name, state, runnable) in [("a) R (b", 'S', false), (") D", 'R', true)] {
            let share = Share::parse(5, "1 2 3\n", &stat(name, state)).expect("two numbers");
            assert_eq!(share.runnable, runnable);
        }
        for (schedstat, stat) in [
            ("", "1 (x) R 1"),
            ("1 b 3", "1 (x) R 1"),
            ("1 2 3", "1 x R"),
        ] {
            assert_eq!(Share::parse(5, schedstat, stat), None);
        }
    }

    #[test]
    fn who_sleeps_or_computes_all_the_time_is_stalled_at_the_bound() {
        let sleeps = [(0, 0, false); 3];
        assert_eq!(
            judged(50, &sleeps),
            [Bearable, Bearable, Bearable, Bearable]
        );
        assert_eq!(judged(550, &sleeps)[2..], [Stalled, Stalled]);
        // A little is always lost.
        assert_eq!(judged(550, &[(245, 5, true); 3])[2..], [Stalled, Stalled]);
        // Looked at late: one look more.
        assert_eq!(judged(1200, &sleeps)[..2], [Bearable, Stalled]);
    }

    #[test]
    fn who_never_gets_a_processor_is_starving_until_there_is_an_end() {
        // Nothing is told while it waits.
        let verdicts = judged(600, &[(0, 0, true); 60]);
        assert_eq!(verdicts[..2], [Bearable, Bearable]);
        assert!(verdicts[2..57].iter().all(|v| *v == Starving));
        assert_eq!(verdicts[58], Starved);
        // Its cgroup gives it a tenth, and it is seen at any moment of that.
        let verdicts = judged(600, &[(25, 225, true); 40]);
        assert!(verdicts[2..36].iter().all(|v| *v == Starving));
        assert_eq!(verdicts[39], Stalled, "it had a second by now");
        let verdicts = judged(600, &[(2, 248, true), (2, 400, false)].repeat(20));
        assert!(verdicts[2..].iter().all(|v| *v == Starving));
    }

    #[test]
    fn who_gets_half_of_a_processor_has_twice_the_time() {
        let verdicts = judged(500, &[(125, 125, true); 8]);
        assert_eq!(
            verdicts[2..7],
            [Bearable, Starving, Starving, Starving, Starving][..]
        );
        assert_eq!(verdicts[7], Stalled);
    }

    #[test]
    fn a_clock_that_goes_backwards_is_no_panic() {
        let mut suspicion = Suspicion::new(Share {
            at_ns: 100,
            ran_ns: 100,
            waited_ns: 100,
            runnable: true,
        });
        suspicion.look(Share::default());
        assert_eq!(suspicion.judge(u64::MAX, BOUND, END), Bearable);
        suspicion.look(Share {
            at_ns: 50,
            ran_ns: u64::MAX,
            ..Share::default()
        });
        assert_eq!(suspicion.judge(u64::MAX, BOUND, END), Stalled);
    }
}
