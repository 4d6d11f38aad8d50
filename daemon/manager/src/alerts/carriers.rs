//! Carriers: what a message is sent by. Each is a check that no config names, so that a delivery is a run like any other:
//! with a deadline, a culprit if its worker dies, a hold, and a worker of its own if it kills too many.
//!
//! A route has as many as it delivers at once; they are made when they are needed.

use super::actions::Acted;
use super::deliveries::Sent;
use crate::check::Check;
use crate::checks::Checks;
use crate::rollout::plugin_use::{PluginUse, target_of};
use healthd_alerts::{Delivery, Outcome};
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Status;
use healthd_core::config::CheckSpec;
use healthd_core::wire::report::Report;
use healthd_core::wire::worker::{Ending, Notice};
use healthd_sys::{clock, memfd};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// By the number of its check.
#[derive(Default)]
pub struct Carriers(HashMap<u32, Carrier>);

struct Carrier {
    route: Arc<str>,
    cargo: Option<Cargo>,
    /// Its route is defined otherwise by now.
    is_old: bool,
}

struct Cargo {
    what: Load,
    notice: Notice,
    json: Arc<OwnedFd>,
}

/// What a run is about.
pub enum Load {
    Message(Sent),
    /// Of `on_change`.
    Act(Acted),
}

impl Carriers {
    /// Finds one for the message, or makes it. Err: it is refused, as nothing has left.
    pub fn load(
        &mut self,
        (delivery, what): (&Delivery, Load),
        json: &str,
        notifier: &CheckSpec,
        checks: &mut Checks,
        plugins: &[PluginUse],
    ) -> Result<u32, Outcome> {
        let refused = |reason: String| Outcome::Refused {
            reason,
            retry_after: None,
        };
        let target = target_of(notifier, plugins).map_err(refused)?;
        let free = self.0.iter().find(|(id, c)| {
            let is_idle = checks.get(**id).is_some_and(|check| !check.stage.is_busy());
            c.route == delivery.route && c.cargo.is_none() && !c.is_old && is_idle
        });
        let id = match free.map(|(id, _)| *id) {
            Some(id) => id,
            None => checks.add_unnamed(Check::carrier(carried_by(notifier, &what), target)),
        };
        let json = memfd::sealed_bytes("healthd-message", json.as_bytes());
        let json = json.map_err(|e| refused(format!("no memory for the message: {e}")))?;
        let cargo = Cargo {
            what,
            notice: Notice {
                run_id: 0,
                id: delivery.id.to_string(),
                notice: delivery.notice.to_string(),
                kind: delivery.kind.as_str().to_owned(),
            },
            json: Arc::new(json),
        };
        let carrier = Carrier {
            route: delivery.route.clone(),
            // Each program has one of its own.
            is_old: matches!(cargo.what, Load::Act(_)),
            cargo: Some(cargo),
        };
        self.0.insert(id, carrier);
        let Some(check) = checks.get_mut(id) else {
            return Err(refused("its carrier is gone".to_owned()));
        };
        check.target = Some(target);
        let now = clock::monotonic_ns();
        if let Some(hold) = check.standing.hold.filter(|hold| hold.until_ns > now) {
            self.unload(id);
            return Err(Outcome::Held {
                reason: format!(
                    "not sent: its plugin `{}` has killed a worker",
                    notifier.plugin
                ),
                left: Duration::from_nanos(hold.until_ns - now),
            });
        }
        // It is asked for: sent back at once, and not given up for being late.
        check.wanted = true;
        Ok(id)
    }

    /// What goes to the worker ahead of this run.
    pub fn letter(&self, id: u32, run_id: u64) -> Option<(Notice, Arc<OwnedFd>)> {
        let cargo = self.0.get(&id)?.cargo.as_ref()?;
        let notice = Notice {
            run_id,
            ..cargo.notice.clone()
        };
        Some((notice, cargo.json.clone()))
    }

    pub fn cargo(&self, id: u32) -> Option<&Load> {
        Some(&self.0.get(&id)?.cargo.as_ref()?.what)
    }

    pub fn unload(&mut self, id: u32) -> Option<Load> {
        let cargo = self.0.get_mut(&id)?.cargo.take()?;
        Some(cargo.what)
    }

    /// Routes may be others from now on: those that there are carry nothing more.
    pub fn renew(&mut self) {
        self.0.values_mut().for_each(|c| c.is_old = true);
    }

    /// Those that are not needed any more, and those whose run was given up without a word.
    pub fn sweep(&mut self, checks: &mut Checks, plugins: &[PluginUse]) -> Swept {
        let mut swept = Swept::default();
        for (id, carrier) in &self.0 {
            let Some(check) = checks.get_mut(*id) else {
                swept.gone.push(*id);
                continue;
            };
            match (check.stage.is_busy(), carrier.cargo.is_some()) {
                (false, true) => swept.lost.push(*id),
                (false, false) if carrier.is_old => swept.gone.push(*id),
                (false, false) => {}
                // Sent again, it goes by the numbers that plugins have now.
                (true, _) => check.target = target_of(&check.spec, plugins).ok(),
            }
        }
        for id in &swept.gone {
            self.0.remove(id);
        }
        swept
    }
}

#[derive(Default)]
pub struct Swept {
    /// To be forgotten.
    pub gone: Vec<u32>,
    pub lost: Vec<u32>,
}

/// As it is called in the log, and where its worker's death is told.
fn carried_by(notifier: &CheckSpec, what: &Load) -> CheckSpec {
    CheckSpec {
        name: match what {
            Load::Message(_) => format!("route {}", notifier.name),
            Load::Act(_) => notifier.name.clone(),
        },
        ..notifier.clone()
    }
}

/// `was_sent`: a worker may have begun with it. `lost`: so may another one, which has died with it: whatever comes of this
/// try, the receiver may have the message of that one.
pub fn outcome_of(f: &Report<'_>, was_sent: bool, lost: bool) -> Outcome {
    let reason = f.message.to_string();
    let retry_after = retry_after(f);
    // Whatever it was, the plugin was not called.
    let not_begun = matches!(
        f.ending.fault(),
        Some(
            Fault::Config
                | Fault::NoPlugin
                | Fault::Dispatch
                | Fault::NoWorker
                | Fault::Overload
                | Fault::Exclusive
                | Fault::MaxParallel
        )
    );
    match (f.status, f.ending) {
        (Status::Ok, Ending::Returned) => Outcome::Accepted { receipt: reason },
        (Status::Critical, Ending::Returned) if !lost => Outcome::Refused {
            reason,
            retry_after,
        },
        _ if !lost && (!was_sent || not_begun) => Outcome::Refused {
            reason,
            retry_after,
        },
        _ => Outcome::Unknown {
            reason,
            retry_after,
        },
    }
}

fn retry_after(f: &Report<'_>) -> Option<Duration> {
    let metric = f.metrics().find(|m| m.name == "retry_after")?;
    let seconds = metric.value.filter(|v| (0.0..1e9).contains(v))?;
    Some(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_core::wire::report::Items;

    fn finished(status: Status, ending: Ending) -> Report<'static> {
        Report {
            run_id: 1,
            check: 1,
            attempt: 1,
            status,
            ending,
            started_ns: 0,
            finished_ns: 0,
            queue_ns: 0,
            cpu_ns: 0,
            steps: 0,
            stalls: 0,
            blocked: 0,
            grew: Default::default(),
            message: "".into(),
            detail: "".into(),
            metrics: Items::default(),
            labels: Items::default(),
            phases: Items::default(),
        }
    }

    #[test]
    fn a_refusal_after_a_try_that_was_lost_is_none() {
        let word = |status, ending, was_sent, lost| match outcome_of(
            &finished(status, ending),
            was_sent,
            lost,
        ) {
            Outcome::Accepted { .. } => "accepted",
            Outcome::Refused { .. } => "refused",
            Outcome::Unknown { .. } => "unknown",
            Outcome::Held { .. } => "held",
        };
        let no_worker = Ending::Fault(Fault::NoWorker);
        for (status, ending, was_sent, lost, expected) in [
            (Status::Ok, Ending::Returned, true, false, "accepted"),
            (Status::Ok, Ending::Returned, true, true, "accepted"),
            (Status::Critical, Ending::Returned, true, false, "refused"),
            (Status::Critical, Ending::Returned, true, true, "unknown"),
            (Status::Unknown, Ending::Returned, true, false, "unknown"),
            (Status::Unknown, no_worker, false, false, "refused"),
            (Status::Unknown, no_worker, true, false, "refused"),
            (Status::Unknown, no_worker, true, true, "unknown"),
            (
                Status::Unknown,
                Ending::Fault(Fault::WorkerDied),
                true,
                true,
                "unknown",
            ),
        ] {
            let said = word(status, ending, was_sent, lost);
            assert_eq!(said, expected, "{status:?} {ending:?} {was_sent} {lost}");
        }
    }
}
