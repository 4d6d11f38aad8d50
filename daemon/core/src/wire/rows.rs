//! A row of `status` as `state.map` holds it: for whoever asks while the daemon does not answer.

use super::control::CheckRow;
use super::maps::CheckRecord;

impl CheckRecord<'_> {
    /// Always stale. `whole`: its words belong together. `real` and `monotonic` write times of these clocks.
    pub fn row(
        &self,
        index: usize,
        whole: bool,
        real: impl Fn(u64) -> Option<String>,
        monotonic: impl Fn(u64) -> Option<String>,
    ) -> CheckRow {
        let known = CheckRow {
            name: self.name.to_string(),
            title: self.title.to_string(),
            plugin: self.plugin.to_string(),
            stale: true,
            index: index as u64,
            ..CheckRow::default()
        };
        if !whole {
            // Its writer was stopped inside: name and plugin never change in a record, the rest may be mixed.
            return known;
        }
        let has_run = self.last_run != 0;
        CheckRow {
            verdict: self.verdict(),
            status: self.status(),
            fault: self.fault,
            message: Some(self.message.to_string()).filter(|_| has_run),
            since: real(self.since),
            last_run: real(self.last_run),
            next_run: monotonic(self.next_run),
            latency_ms: has_run.then(|| (self.latency_ns as f64 / 1e3).round() / 1e3),
            attempt: Some(self.attempt),
            attempts: Some(self.attempts),
            worker: (self.worker != u32::MAX).then_some(self.worker),
            paused: self.paused,
            disabled: self.disabled,
            quarantined: self.standing.quarantine.is_some(),
            ..known
        }
    }
}
