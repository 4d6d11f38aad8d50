//! `probe`: one run of a module, for whoever asks. Others build on these shapes.

use crate::check::fault::Fault;
use crate::check::outcome::{Metric, Phase, Status};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeAsk {
    /// A check with `probe = true`.
    pub module: String,
    pub target: String,
    /// What the target is asked for, whatever its address is: the Host header, the name in TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The run may take so long; no longer than the module's own timeout.
    pub timeout_ms: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probed {
    pub module: String,
    pub plugin: String,
    pub status: Status,
    /// What ended the run, where that was not the plugin's own word.
    #[serde(default)]
    pub fault: Option<Fault>,
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    pub took_ns: u64,
    #[serde(default)]
    pub phases: Vec<Phase>,
    #[serde(default)]
    pub metrics: Vec<Metric>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The options with the target in them, secrets shown as `***`.
    #[serde(default)]
    pub config: serde_json::Value,
}
