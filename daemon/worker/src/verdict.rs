//! From a plugin's return value to the result that is reported.

use crate::active::{Active, CheckDef};
use healthd_abi as abi;
use healthd_core::check::fault::Fault;
use healthd_core::check::outcome::Status;
use healthd_core::wire::worker::{Ending, RunEnd};
use healthd_loader::Results;

/// How a run ended, before it becomes a `RunEnd`.
pub struct End {
    pub status: Status,
    pub ending: Ending,
    /// Put before the plugin's own message; alone if there is none.
    pub why: String,
}

impl End {
    /// Our own fault.
    pub fn own(fault: Fault, text: &str) -> End {
        End::fault(fault, fault.message(text))
    }

    pub fn fault(fault: Fault, why: String) -> End {
        End {
            status: Status::Unknown,
            ending: Ending::Fault(fault),
            why,
        }
    }

    pub fn starved(plugin: &str, call: &str, had_ns: u64, ran_ns: u64) -> End {
        let text = format!(
            "{call} of plugin `{plugin}` was not done after {}, in which it had {} of a processor",
            seconds(had_ns),
            seconds(ran_ns)
        );
        End::own(Fault::Starved, &text)
    }

    /// The plugin's own word: 0 to 3.
    pub fn status(ret: i32) -> End {
        let status = Status::from_code(ret as u8).unwrap_or(Status::Unknown);
        End {
            status,
            ending: Ending::Returned,
            why: String::new(),
        }
    }

    pub fn cancelled() -> End {
        End {
            status: Status::Unknown,
            ending: Ending::Cancelled,
            why: "cancelled".into(),
        }
    }

    pub fn timeout(def: &CheckDef, phase: Option<&str>) -> End {
        let after = seconds(def.timeout_ns);
        let why = match phase {
            Some(phase) => format!("timeout after {after} in phase {phase}"),
            None => format!("timeout after {after}"),
        };
        End {
            status: def.timeout_status,
            ending: Ending::Fault(Fault::Timeout),
            why,
        }
    }

    pub fn overrun(def: &CheckDef, plugin: &str, call: &str) -> End {
        let why = format!(
            "overrun: {call} of plugin `{plugin}` did not return within its timeout of {}",
            seconds(def.timeout_ns)
        );
        End::fault(Fault::Overrun, why)
    }

    /// What a plugin function returned. `call` names it, for codes that it should not return.
    pub fn returned(
        def: &CheckDef,
        plugin: &str,
        call: &str,
        ret: i32,
        cancelled: bool,
        said: &str,
    ) -> End {
        match ret {
            abi::OK | abi::WARN | abi::CRIT | abi::UNKNOWN => End::status(ret),
            abi::E_CONFIG => End::fault(
                Fault::Config,
                format!("plugin `{plugin}` rejects its config"),
            ),
            abi::E_PANIC => {
                let text = if said.is_empty() {
                    ""
                } else {
                    said.strip_prefix("panic: ").unwrap_or(said)
                };
                let why = if text.is_empty() {
                    format!("panic in plugin `{plugin}`")
                } else {
                    format!("panic in plugin `{plugin}`: {text}")
                };
                End::fault(Fault::Panic, why)
            }
            abi::E_CANCELLED if cancelled => End::timeout(def, None),
            abi::E_CANCELLED => End::fault(
                Fault::PluginError,
                format!("plugin `{plugin}` gave up unasked"),
            ),
            abi::E_INTERNAL => End::fault(
                Fault::PluginError,
                format!("internal error in plugin `{plugin}`"),
            ),
            abi::E_UNSUPPORTED => End::fault(
                Fault::PluginError,
                format!("plugin `{plugin}` does not support this"),
            ),
            abi::E_RESOURCES => End::fault(Fault::Resources, "self:resources".into()),
            other => End::fault(
                Fault::PluginError,
                format!(
                    "plugin `{plugin}` returned {other} from {call}, which the ABI does not define"
                ),
            ),
        }
    }
}

/// Puts a run's end and what the plugin said together.
pub fn finished(active: &Active, end: End, said: &mut Results, times: Times) -> RunEnd {
    let message = std::mem::take(&mut said.message);
    said.message = match end.ending {
        Ending::Fault(Fault::Panic) if !end.why.is_empty() => end.why,
        _ => join(end.why, message),
    };
    if said.detail.is_empty() && said.message.is_empty() && end.status != Status::Ok {
        said.detail.push_str("the plugin gave no message");
    }
    RunEnd {
        run_id: active.run.run_id,
        check: active.run.check,
        attempt: active.run.attempt,
        status: end.status,
        ending: end.ending,
        started_ns: times.started_ns,
        finished_ns: times.finished_ns,
        queue_ns: times.started_ns.saturating_sub(active.run.start_ns),
        cpu_ns: active.bill.cpu_ns,
        steps: active.bill.steps,
        stalls: active.bill.stalls,
        blocked: active.bill.blocked,
        grew: active.bill.grew,
    }
}

/// Why it is so, before what was said.
pub fn join(why: String, said: String) -> String {
    match (why.is_empty(), said.is_empty()) {
        (true, _) => said,
        (false, true) => why,
        (false, false) => format!("{why}: {said}"),
    }
}

#[derive(Clone, Copy)]
pub struct Times {
    pub started_ns: u64,
    pub finished_ns: u64,
}

/// "5s", "2.5s", "250ms".
pub fn seconds(ns: u64) -> String {
    let ms = ns / 1_000_000;
    if ms < 1000 {
        format!("{ms}ms")
    } else if ms.is_multiple_of(1000) {
        format!("{}s", ms / 1000)
    } else {
        format!("{}s", ms as f64 / 1000.0)
    }
}
