//! What a run has cost goes to the accounts of its check and its plugin.

use super::cost::add;
use crate::books::Books;
use crate::checks::Checks;
use healthd_core::wire::report::Report;
use healthd_core::wire::worker::Growth;

impl Books {
    /// A run that a worker has finished, whatever came of it.
    pub(super) fn charge(&mut self, checks: &mut Checks, f: &Report<'_>) {
        let Some(check) = checks.get_mut(f.check) else {
            return;
        };
        check.counts.tally.finished(f);
        let plugin = self.costs.of(&check.spec.plugin);
        plugin.tally.finished(f);
        plugin.walls.add(f.finished_ns.saturating_sub(f.started_ns));
    }

    /// What came of a run after its end was told.
    pub fn charge_late(
        &mut self,
        checks: &mut Checks,
        (id, epoch): (u32, u32),
        cpu_ns: u64,
        grew: Growth,
    ) {
        let check = checks.get_mut(id);
        // One that was changed since may have another plugin by now.
        let Some(check) = check.filter(|c| c.identity.epoch == epoch) else {
            return;
        };
        for tally in [
            &mut check.counts.tally,
            &mut self.costs.of(&check.spec.plugin).tally,
        ] {
            add(&mut tally.cpu_ns, cpu_ns);
            tally.grew(grew);
        }
    }

    /// It killed its worker, or blocked it until it had to be replaced.
    pub fn charge_death(&mut self, checks: &mut Checks, id: u32, stalled: bool) {
        let Some(check) = checks.get_mut(id) else {
            return;
        };
        for tally in [
            &mut check.counts.tally,
            &mut self.costs.of(&check.spec.plugin).tally,
        ] {
            if stalled {
                tally.stalls = tally.stalls.saturating_add(1);
            } else {
                tally.crashes += 1;
            }
        }
    }
}
