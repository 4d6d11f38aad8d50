//! Why a run did not end by its plugin's own word, as data: one list for the wire, the maps, the disk and JSON.
//!
//! No text is ever asked for it: a target may say anything, also what we say ourselves.

use serde::{Deserialize, Serialize};

/// The words are part of the control protocol: `fault` of a row, and `cause` of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Fault {
    // Of the target, or of the plugin: the result counts.
    /// The host ended it at its deadline; the target is too slow.
    Timeout = 1,
    /// A call was not back at its deadline.
    Overrun = 2,
    /// A call blocked its worker's event loop until the worker had to be killed.
    Stalled = 3,
    /// It killed its worker.
    Crash = 4,
    /// A panic or an exception, caught at the plugin's border.
    Panic = 5,
    /// The plugin said that it failed itself, or what the ABI does not know.
    PluginError = 6,
    /// The plugin rejects its config.
    Config = 7,
    /// The plugin cannot be used: its file was refused, or it was left out.
    NoPlugin = 8,
    // Our own: this machine or daemon could not do its part, and the result changes no verdict.
    /// No more descriptors, memory, ports or threads for it.
    Resources = 32,
    /// It could not start in time.
    Overload = 33,
    /// No worker of its class is ready.
    NoWorker = 34,
    /// Two workers ended during the run.
    WorkerDied = 35,
    /// It was kept from the processors.
    Starved = 36,
    /// The check that it needs is not ok.
    Dependency = 37,
    /// Its turn in a group did not come.
    Exclusive = 38,
    /// Its turn among the checks of its block did not come.
    MaxParallel = 39,
    /// Its worker had not what it needs to begin it.
    Dispatch = 40,
    /// Names could not be looked up: no name server answers this machine, or no descriptor was left for it.
    Resolver = 41,
    /// The check that it needs could not be evaluated, by a fault of ours.
    Needed = 42,
    /// A word of a later version.
    #[serde(other)]
    Other = 255,
}

impl Fault {
    pub const ALL: [Fault; 20] = [
        Fault::Timeout,
        Fault::Overrun,
        Fault::Stalled,
        Fault::Crash,
        Fault::Panic,
        Fault::PluginError,
        Fault::Config,
        Fault::NoPlugin,
        Fault::Resources,
        Fault::Overload,
        Fault::NoWorker,
        Fault::WorkerDied,
        Fault::Starved,
        Fault::Dependency,
        Fault::Exclusive,
        Fault::MaxParallel,
        Fault::Dispatch,
        Fault::Resolver,
        Fault::Needed,
        Fault::Other,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Fault::Timeout => "timeout",
            Fault::Overrun => "overrun",
            Fault::Stalled => "stalled",
            Fault::Crash => "crash",
            Fault::Panic => "panic",
            Fault::PluginError => "plugin-error",
            Fault::Config => "config",
            Fault::NoPlugin => "no-plugin",
            Fault::Resources => "resources",
            Fault::Overload => "overload",
            Fault::NoWorker => "no-worker",
            Fault::WorkerDied => "worker-died",
            Fault::Starved => "starved",
            Fault::Dependency => "dependency",
            Fault::Exclusive => "exclusive",
            Fault::MaxParallel => "max-parallel",
            Fault::Dispatch => "dispatch",
            Fault::Resolver => "resolver",
            Fault::Needed => "needed",
            Fault::Other => "other",
        }
    }

    pub fn from_code(code: u8) -> Option<Fault> {
        Self::ALL.into_iter().find(|f| *f as u8 == code)
    }

    /// This machine or daemon could not do its part: nothing is known of the target, and no verdict changes.
    pub fn is_own(self) -> bool {
        (Fault::Resources as u8..=Fault::Needed as u8).contains(&(self as u8))
    }

    /// The message of a run that ended by our own fault.
    pub fn message(self, text: &str) -> String {
        let word = match self {
            // As it was called before there was a list.
            Fault::Dependency => "uplink",
            fault => fault.as_str(),
        };
        format!("self:{word}: {text}")
    }

    /// What it means, and what can be done about it.
    pub fn help(self) -> Option<&'static str> {
        Some(match self {
            Fault::Overload => {
                "it could not start in time: `healthctl workers` shows how full they are, `plugins --cost` who takes the time"
            }
            Fault::NoWorker => {
                "no worker of its class is ready: `healthctl workers`, and the log, say why"
            }
            Fault::Resources => {
                "this machine or a limit of healthd had no more descriptors, memory, ports or threads for it"
            }
            Fault::Starved => {
                "this machine, or the CPU quota of healthd, did not let it run: something else takes the processors"
            }
            Fault::Resolver => {
                "this machine could not look up names: /etc/resolv.conf names the servers that it asks"
            }
            Fault::WorkerDied => "it lost two workers, by which nothing is known of its target",
            Fault::Dependency => {
                "the check that it needs is not ok: `healthctl why` says more about that one"
            }
            Fault::Needed => {
                "whether the check that it needs is ok could not be found out: `healthctl why` says more about that one"
            }
            own if own.is_own() => "nothing is known of its target by this run",
            _ => return None,
        })
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_code_and_its_word_lead_back_to_it() {
        for fault in Fault::ALL {
            assert_eq!(Fault::from_code(fault as u8), Some(fault));
            let json = serde_json::to_string(&fault).expect("a word");
            assert_eq!(json, format!("\"{fault}\""));
            assert_eq!(serde_json::from_str::<Fault>(&json).ok(), Some(fault));
        }
        assert_eq!(Fault::from_code(0), None);
        let later: Fault = serde_json::from_str("\"burnt-down\"").expect("of a later version");
        assert_eq!(later, Fault::Other);
    }

    #[test]
    fn what_is_known_of_the_target_is_not_our_fault() {
        let own: Vec<&str> = Fault::ALL
            .into_iter()
            .filter(|f| f.is_own())
            .map(Fault::as_str)
            .collect();
        assert_eq!(
            own,
            [
                "resources",
                "overload",
                "no-worker",
                "worker-died",
                "starved",
                "dependency",
                "exclusive",
                "max-parallel",
                "dispatch",
                "resolver",
                "needed"
            ]
        );
    }
}
