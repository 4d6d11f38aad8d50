//! From the text of a file to a model that cannot be invalid.
//!
//! [`load`] is the one function for start, reload and `validate`: it reads through [`Files`],
//! judges each check's options by its plugin's schema, and returns either a [`Model`] that needs
//! no further checking or every mistake at once, each with its place and a way out.
//!
//! `raw` is what the files say, `resolve` and `checks` turn it into the model; `templates` lays
//! templates below checks and makes checks of hosts; `for_each` makes many checks of one block; `probes` are checks
//! that run when they are asked; `options` deals with a check's `config` and its secrets.
//! `json_schema` tells editors what may stand in a file.

pub mod alert_keys;
pub mod auto;
mod catalog;
mod changes;
mod checks;
mod defaults;
mod diagnostic;
mod elsewhere;
mod files;
mod for_each;
mod groups;
mod hosts;
pub mod json_schema;
mod keys;
mod laid;
mod meant;
mod model;
mod needs;
mod not_toml;
pub mod notifiers;
pub mod on_change;
mod one_check;
mod options;
pub mod pairs;
mod pool_groups;
mod probes;
mod push;
pub mod raw;
mod readers;
pub mod reading;
pub mod report;
mod resolve;
pub mod schema;
mod secrets;
pub mod sensitive;
mod slo;
pub mod source;
mod syntax;
mod template;
mod templates;
mod tryout;
mod values;
mod words;

pub use catalog::{Catalog, Class, PluginInfo, Refused};
pub use changes::{AtStart, changes};
pub use diagnostic::{Diagnostic, Diagnostics, Place, Severity};
pub use elsewhere::plugin as plugin_meant;
pub use files::Files;
pub use keys::{Grammar, Key, Section, Takes};
pub use model::{
    CHECKS_MAX, CONFIG_JSON_MAX, CheckSpec, CpuPool, Daemon, ExecPool, Group, IoPool, Layer,
    Limits, Model, NAME_MAX, Pool, PoolGroup, SOCKET_NAME, SOCKET_PATH_MAX, Source, TimeoutStatus,
    UseSandbox, Users,
};
pub use needs::DEEPEST as DEEPEST_NEEDS;
pub use probes::{Probe, TARGET_MAX, host_of};
pub use push::{Endpoint, Push, PushFormat};
pub use readers::{
    ChosenLabels, History, LABELS_FILE, Listen, PUBLIC_LABEL, RecorderSettings, Web, WebSettings,
};
pub use resolve::{DaemonPaths, With, Written, daemon_paths, load, load_with, read};
pub use slo::{OBJECTIVES_FILE, Objective, Slo, objectives};
pub use tryout::{Complaint, TryOut, What};
pub use words::{did_you_mean, thousands};
