//! What was known of a check goes back to it, and what is known goes to the disk.

use super::recall::{Past, ROWS_A_TURN};
use crate::books::saved::{Ahead, News, Saved, SavedCheck};
use crate::books::store::Due;
use crate::director::Manager;
use healthd_core::check::verdict::CheckState;
use healthd_sys::clock;

impl Manager {
    /// Gives a check back what was known of it, if it is still the same plugin's.
    pub fn remember(&mut self, id: u32, past: &Past) {
        let Some(check) = self.checks.get_mut(id) else {
            return;
        };
        let Some(saved) = past.of(&check.spec) else {
            return;
        };
        check.state = CheckState::restore(
            saved.verdict,
            saved.against(),
            saved.status,
            saved.fault,
            saved.since,
            saved.last_ok,
        );
        check.last.started_wall = saved.last_run;
        check.last.message = saved.message.clone();
        // Not when it was, only how long it took: that is all that is shown of it.
        check.last.finished_ns = saved.latency_ns;
        check.last.worker = saved.worker;
        check.paused = saved.paused.clone();
        check.counts.runs = saved.runs;
        check.counts.skipped = saved.skipped;
        if let Some(standing) = &saved.standing {
            check.remember_standing(standing);
        }
        self.time_pause(id);
    }

    /// All at once, for the end.
    pub fn saved(&self) -> Saved {
        let rows = self
            .checks
            .order()
            .iter()
            .filter_map(|id| self.saved_row(*id));
        Saved {
            next_run: self.books.next_run,
            checks: rows.collect(),
        }
    }

    fn saved_row(&self, id: u32) -> Option<SavedCheck> {
        let c = self.checks.get(id).filter(|c| !c.is_carrier())?;
        (c.state.status().is_some() || c.paused.is_some()).then(|| SavedCheck {
            standing: c.saved_standing(),
            name: c.spec.name.clone(),
            plugin: c.spec.plugin.clone(),
            verdict: c.verdict(),
            status: c.state.status(),
            attempt: c.state.attempt(),
            against: Some(c.state.against()),
            runs: c.counts.runs,
            skipped: c.counts.skipped,
            since: c.state.since(),
            last_run: c.last.started_wall,
            last_ok: c.state.last_ok().unwrap_or_default(),
            message: c.last.message.clone(),
            fault: c.state.fault(),
            latency_ns: c.latency_ns(),
            worker: c.last.worker,
            paused: c.paused.clone(),
            ahead: Ahead::default(),
        })
    }

    /// What a person has said of these is written without waiting: nothing would say it again.
    pub fn store_now(&mut self, ids: &[u32]) {
        self.books.saving.at_once(ids);
        self.store_if_due(clock::monotonic_ns());
    }

    pub fn store_if_due(&mut self, now: u64) {
        if self.rollout.not_begun().is_some() {
            // Nothing is in force yet: what the last one knew stays on disk.
            return;
        }
        match self.books.saving.due(now) {
            Due::Nothing => {}
            Due::News(ids) => {
                let mut news = News {
                    next_run: self.books.next_run,
                    ..News::default()
                };
                for id in &ids {
                    match (self.saved_row(*id), self.checks.get(*id)) {
                        (Some(row), _) => news.checks.push(row),
                        (None, Some(check)) if !check.is_carrier() => {
                            news.gone.push(check.spec.name.clone())
                        }
                        (None, _) => {}
                    }
                }
                self.books.saving.write_news(ids, news);
            }
            Due::Sweep => {
                self.sweep_on();
            }
        }
    }

    /// A part of the rows for the disk a turn: there may be 100,000. True: there is more to do.
    pub fn sweep_on(&mut self) -> bool {
        let Some(mut sweep) = self.books.saving.take_sweep() else {
            return false;
        };
        let end = (sweep.at + ROWS_A_TURN).min(self.checks.order().len());
        let ids = self.checks.order().get(sweep.at..end).unwrap_or_default();
        let rows = ids.iter().filter_map(|id| self.saved_row(*id));
        sweep.rows.extend(rows);
        sweep.at = end;
        let whole = end == self.checks.order().len();
        self.books
            .saving
            .swept(sweep, whole.then_some(self.books.next_run));
        !whole
    }
}
