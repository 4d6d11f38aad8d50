//! Modules: checks that run when somebody asks, of a target that he names (`probe` of the control protocol, `/probe`).
//!
//! Each request is a check that no config names, as a carrier of alerts is: one run through the pool, and no verdict.

use super::client::error;
use super::clients::Asker;
use crate::check::Check;
use crate::checks::Checks;
use crate::rollout::plugin_use::{PluginUse, target_of};
use crate::time::MS;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::{Metric, Phase};
use healthd_core::check::schedule;
use healthd_core::config::{CheckSpec, did_you_mean};
use healthd_core::wire::control::{ControlError, ErrorCode};
use healthd_core::wire::probe::{ProbeAsk, Probed};
use healthd_core::wire::report::Report;
use healthd_core::wire::traces::Purpose;
use healthd_sys::clock;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Runs at the same time. Each has a client that waits.
const AT_ONCE: usize = 128;
/// A module that has killed a worker rests so long, and twice as long each time.
const REST_FIRST_NS: u64 = 1_000 * MS;
const REST_LAST_NS: u64 = 300_000 * MS;

#[derive(Default)]
pub struct Probes {
    /// By the number of its check.
    under_way: HashMap<u32, UnderWay>,
    ended: Vec<(Asker, Result<Probed, ControlError>)>,
    /// Modules that have killed a worker.
    resting: HashMap<String, Rest>,
}

struct UnderWay {
    asker: Asker,
    module: String,
    target: String,
    plugin: String,
    shown_config: String,
    is_over: bool,
}

#[derive(Clone, Copy)]
struct Rest {
    until_ns: u64,
    length_ns: u64,
}

impl Probes {
    /// The check to run for it.
    pub fn load(
        &mut self,
        ask: &ProbeAsk,
        asker: Asker,
        modules: &[CheckSpec],
        checks: &mut Checks,
        plugins: &[PluginUse],
    ) -> Result<u32, ControlError> {
        let Some(module) = modules.iter().find(|m| m.name == ask.module && m.enabled) else {
            let names = modules.iter().map(|m| m.name.as_str());
            let help = match did_you_mean(&ask.module, names) {
                Some(near) => format!("a module with a similar name exists: `{near}`"),
                None => "a module is a check with `probe = true`".to_owned(),
            };
            let message = format!("there is no module `{}`", ask.module);
            return Err(error(ErrorCode::NoSuchCheck, message, help));
        };
        let now = clock::monotonic_ns();
        if let Some(rest) = self.resting.get(&module.name).filter(|r| r.until_ns > now) {
            let left = (rest.until_ns - now) / MS;
            let message = format!("module `{}` has killed a worker", module.name);
            let help = format!("it is not run for {left} ms");
            return Err(error(ErrorCode::Failed, message, help));
        }
        if self.under_way.len() >= AT_ONCE {
            let message = format!("{AT_ONCE} probes are under way already");
            return Err(error(ErrorCode::Busy, message, "ask fewer at once"));
        }
        let target = target_of(module, plugins)
            .map_err(|why| error(ErrorCode::Failed, why, "`healthctl plugins` says more"))?;
        let timeout = Duration::from_millis(ask.timeout_ms.max(1));
        let spec = module
            .aimed(&ask.target, ask.hostname.as_deref(), timeout)
            .map_err(|why| error(ErrorCode::BadRequest, why, ""))?;
        let under_way = UnderWay {
            asker,
            module: module.name.clone(),
            target: ask.target.clone(),
            plugin: module.plugin.clone(),
            shown_config: spec.shown_config.clone(),
            is_over: false,
        };
        let mut check = Check::carrier(spec, target);
        check.identity.hash = schedule::hash(ask.target.as_bytes());
        let id = checks.add_unnamed(check);
        self.under_way.insert(id, under_way);
        Ok(id)
    }

    /// For whoever traces its run.
    pub fn purpose(&self, id: u32) -> Option<Purpose> {
        let probe = self.under_way.get(&id)?;
        Some(Purpose::probe(&probe.module, &probe.target))
    }

    /// What came of it. False: it is no probe.
    pub fn ended(&mut self, id: u32, f: &Report<'_>) -> bool {
        let Some(probe) = self.under_way.get_mut(&id) else {
            return false;
        };
        probe.is_over = true;
        let fault = f.ending.fault();
        match fault {
            Some(Fault::Crash) => {
                let before = self.resting.get(&probe.module).map(|r| r.length_ns);
                let length_ns = before.map_or(REST_FIRST_NS, |n| (n * 2).min(REST_LAST_NS));
                let until_ns = clock::monotonic_ns() + length_ns;
                let rest = Rest {
                    until_ns,
                    length_ns,
                };
                self.resting.insert(probe.module.clone(), rest);
            }
            _ if f.ending.is_own() => {}
            _ => drop(self.resting.remove(&probe.module)),
        }
        let probed = Probed {
            module: probe.module.clone(),
            plugin: probe.plugin.clone(),
            status: f.status,
            fault,
            message: f.message.to_string(),
            detail: f.detail.to_string(),
            took_ns: f.finished_ns.saturating_sub(f.started_ns),
            phases: f.phases().map(Phase::owned).collect(),
            metrics: f.metrics().map(Metric::owned).collect(),
            // Of several of a key the last counts.
            labels: f
                .labels()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect::<BTreeMap<_, _>>(),
            config: serde_json::from_str(&probe.shown_config).unwrap_or_default(),
        };
        self.ended.push((probe.asker, Ok(probed)));
        true
    }

    /// What is to be answered, and the checks that nobody needs any more.
    pub fn sweep(&mut self, checks: &mut Checks, plugins: &[PluginUse]) -> Swept {
        let mut swept = Swept::default();
        if self.under_way.is_empty() {
            return swept;
        }
        for (id, probe) in &mut self.under_way {
            let Some(check) = checks.get_mut(*id) else {
                lose(probe, &mut self.ended);
                swept.gone.push(*id);
                continue;
            };
            match check.stage.is_busy() {
                // Sent again, it goes by the numbers that plugins have now.
                true => check.target = target_of(&check.spec, plugins).ok(),
                false => {
                    lose(probe, &mut self.ended);
                    swept.gone.push(*id);
                }
            }
        }
        for id in &swept.gone {
            self.under_way.remove(id);
        }
        swept.answers = std::mem::take(&mut self.ended);
        swept
    }
}

#[derive(Default)]
pub struct Swept {
    pub answers: Vec<(Asker, Result<Probed, ControlError>)>,
    pub gone: Vec<u32>,
}

/// Its run was given up without a word.
fn lose(probe: &UnderWay, ended: &mut Vec<(Asker, Result<Probed, ControlError>)>) {
    if !probe.is_over {
        let e = error(ErrorCode::Failed, "the run was given up", "ask again");
        ended.push((probe.asker, Err(e)));
    }
}
