//! What runs: a config that has been checked in full. Nothing in it needs checking again.
//!
//! Built only by `resolve`. It travels as JSON to a manager that is started anew, so every part of
//! it is plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::alert_keys::CheckAlerts;
use super::changes::AtStart;
use super::diagnostic::Diagnostics;
use super::on_change::RUN_BY;
use super::probes::Probe;
use super::push::Push;
use super::readers::{History, Web};
use super::slo::Slo;
use crate::wire::class::WorkerClass;

/// The longest name of a check, and its longest title, in bytes.
pub const NAME_MAX: usize = 255;
/// The longest name of a group, in bytes.
pub const GROUP_NAME_MAX: usize = 64;
/// How many checks one config may hold.
pub const CHECKS_MAX: usize = 100_000;
/// The largest config of one check, as JSON. It has to fit in one message to a worker.
pub const CONFIG_JSON_MAX: usize = 128 * 1024;
/// The longest path of a unix socket that the kernel takes (`sun_path` without its final NUL).
pub const SOCKET_PATH_MAX: usize = 107;
/// The name of the control socket in `runtime_dir`.
pub const SOCKET_NAME: &str = "control.sock";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    pub daemon: Daemon,
    pub pool: Pool,
    /// None: nobody answers HTTP.
    #[serde(default)]
    pub web: Option<Web>,
    /// None: nothing is pushed. There is a `web` with it.
    #[serde(default)]
    pub push: Option<Push>,
    /// None: nothing is recorded.
    #[serde(default)]
    pub history: Option<History>,
    /// In the order of the files, and of the lists in them.
    pub checks: Vec<CheckSpec>,
    /// Checks that run only when `/probe` asks for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<CheckSpec>,
    /// What each route of alerts runs to tell somebody, in their order: no check, but defined as one.
    #[serde(default)]
    pub notifiers: Vec<CheckSpec>,
    /// Who is told of what, and when: as `healthd-alerts` writes and reads it.
    #[serde(default)]
    pub alerts: serde_json::Value,
    /// Of the texts it was read from: another one says that somebody has edited them since.
    #[serde(default)]
    pub digest: u64,
    /// Where secrets were read from: what stands there may change.
    #[serde(default)]
    pub secret_files: Vec<PathBuf>,
    /// Variables of the environment that are secrets: no process with plugins in it inherits them.
    #[serde(default)]
    pub secret_variables: Vec<String>,
    /// What the daemon that runs was started with; None: nothing runs by this config yet.
    #[serde(default)]
    pub at_start: Option<AtStart>,
    /// What is allowed but looks like a slip. Only for the one who reads the config now.
    #[serde(skip)]
    pub warnings: Diagnostics,
}

impl Model {
    /// Name and title of each check.
    pub fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.checks.iter().map(|c| (&*c.name, &*c.title))
    }

    /// What is no check and yet runs as one. A route that is switched off ends what it has told.
    pub fn others(&self) -> impl Iterator<Item = &CheckSpec> {
        let modules = self.modules.iter().filter(|m| m.enabled);
        modules.chain(&self.notifiers)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Daemon {
    pub plugin_dir: PathBuf,
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    /// Whom to become when started as root; `None` keeps the user.
    pub user: Option<String>,
    #[serde(default)]
    pub users: Users,
    /// Members of this group may change things over the control socket.
    pub control_group: Option<String>,
    pub stop_grace: Duration,
    /// First runs are spread over this, or over a check's interval if that is shorter.
    pub start_spread: Duration,
    /// A change in `plugin_dir` is taken as it happens.
    pub plugin_watch: bool,
    /// So long the new bytes of a plugin have to prove themselves; zero: not at all.
    pub plugin_trial: Duration,
    /// A plugin that may not be put into a sandbox is not used.
    pub require_sandbox: bool,
    /// A filter as `env_logger` reads it: `info`, or `info,healthd_manager=debug`.
    pub log: String,
}

/// `[users]`: under whom workers run, if not under the daemon's user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Workers of classes io and cpu.
    pub worker: Option<String>,
    /// Workers that start programs, and so these programs.
    pub exec: Option<String>,
}

impl Users {
    pub fn of(&self, class: WorkerClass) -> Option<&str> {
        match class.row().starts_programs {
            true => self.exec.as_deref(),
            false => self.worker.as_deref(),
        }
    }
}

impl Daemon {
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join(SOCKET_NAME)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub io: IoPool,
    pub cpu: CpuPool,
    pub exec: ExecPool,
    /// Each plugin file that did not come with healthd has workers of its own.
    pub isolate: bool,
    /// Plugins whose workers are theirs together.
    pub groups: Vec<PoolGroup>,
}

/// `[pool.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolGroup {
    /// `shared` are the workers of the plugins that came with healthd.
    pub name: String,
    pub plugins: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPool {
    pub workers: u16,
    /// The most threads of one worker's run lane.
    pub threads: u16,
    pub limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuPool {
    pub workers: u16,
    pub limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPool {
    /// The most programs that run at one time; 0: as many as the processors can serve (`auto`).
    pub max_parallel: u16,
    pub limits: Limits,
}

impl ExecPool {
    /// More than that are never in a worker at once, whatever they do there.
    pub fn most(&self) -> u16 {
        match self.max_parallel {
            0 => 32,
            n => n,
        }
    }
}

/// What one worker of a pool may hold or do before another takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of resident memory; 0: no limit.
    pub max_rss: u64,
    /// Open descriptors; 0: what the system lets a process have.
    pub max_fds: u64,
    /// Runs; 0: no limit.
    pub max_runs: u64,
    pub sandbox: UseSandbox,
}

/// Do the workers of a pool give up what their checks do not need?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UseSandbox {
    /// Where programs of checks lose nothing by it that they had.
    #[default]
    Auto,
    On,
    Off,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_rss: 512 << 20,
            max_fds: 0,
            max_runs: 0,
            sandbox: UseSandbox::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckSpec {
    pub name: String,
    /// What people call it; empty: its name is all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    pub plugin: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub retry_interval: Duration,
    pub attempts: u32,
    pub enabled: bool,
    pub timeout_status: TimeoutStatus,
    /// Each is entered before a run of it may start, and left at the run's end.
    pub groups: Vec<Group>,
    /// The checks that must be ok for this one's problems to be believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub alerts: CheckAlerts,
    /// It is one of [`Model::modules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// How much of which time it should be up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slo: Option<Slo>,
    /// Canonical JSON (sorted keys, no spaces) with the secrets in it: for the plugin, for nobody else.
    pub config: String,
    /// The same with `***` for each secret: for everybody else.
    pub shown_config: String,
    /// Why this check cannot run although the config is right, for example a refused plugin file.
    /// It is UNKNOWN with this reason.
    pub unusable: Option<String>,
    pub source: Source,
    /// What it has from elsewhere than its own block: templates, its host, the defaults. Checks of one block share it.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub from: Arc<[Layer]>,
}

fn is_nothing(layers: &Arc<[Layer]>) -> bool {
    layers.is_empty()
}

impl CheckSpec {
    /// What it runs: its own plugin, and the one that runs its programs of `on_change`.
    pub fn plugins(&self) -> impl Iterator<Item = &str> {
        let acts = !self.alerts.actions.is_empty();
        iter::once(self.plugin.as_str()).chain(acts.then_some(RUN_BY))
    }

    /// A number that changes when the check has to be planned anew. It is the same in every process
    /// and every build, and leaves out the name and the place in the file: moving a check to
    /// another line is no change.
    pub fn fingerprint(&self) -> u64 {
        let mut h = Fnv::new();
        h.text(&self.plugin);
        h.duration(self.interval);
        h.duration(self.timeout);
        h.duration(self.retry_interval);
        h.number(u64::from(self.attempts));
        h.number(u64::from(self.enabled));
        h.text(self.timeout_status.name());
        // A check without a title has the number that it had before there were any.
        if !self.title.is_empty() {
            h.text("title");
            h.text(&self.title);
        }
        for needs in &self.needs {
            h.text("needs");
            h.text(needs);
        }
        h.number(self.labels.len() as u64);
        for (key, value) in &self.labels {
            h.text(key);
            h.text(value);
        }
        // A check without groups has the number that it had before there were any.
        for group in &self.groups {
            h.text(&group.key());
            h.number(u64::from(group.most));
        }
        h.text(&self.config);
        match &self.unusable {
            None => h.number(0),
            Some(reason) => {
                h.number(1);
                h.text(reason);
            }
        }
        h.0
    }
}

/// Checks of which only so many run at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub most: u32,
    /// Made by `max_parallel`: the checks of the block of this name. Else by `exclusive`.
    pub is_block: bool,
}

impl Group {
    pub fn exclusive(name: String) -> Group {
        Group {
            name,
            most: 1,
            is_block: false,
        }
    }

    pub fn block(name: String, most: u32) -> Group {
        Group {
            name,
            most,
            is_block: true,
        }
    }

    /// Tells it from all others: a block may be called as a group is.
    pub fn key(&self) -> String {
        let kind = if self.is_block { "block" } else { "group" };
        format!("{kind} {}", self.name)
    }
}

/// The status of a run whose target did not answer in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeoutStatus {
    #[default]
    Critical,
    Warning,
    Unknown,
}

impl TimeoutStatus {
    pub const NAMES: [&'static str; 3] = ["critical", "warning", "unknown"];

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "critical" => Some(Self::Critical),
            "warning" => Some(Self::Warning),
            "unknown" => Some(Self::Unknown),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
        }
    }
}

/// Where a check is written: the line of its `[[check]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub file: String,
    pub line: u32,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Keys that lie below those of a check's own block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// ``template `ping` ``, ``host `web1` ``, `[defaults]`.
    pub what: String,
    pub source: Source,
    /// `interval`, `labels.team`, `config.port`: those that nothing lies over.
    pub keys: Vec<String>,
}

/// FNV-1a, 64 bits. Each text is led by its length, so that "ab","c" differs from "a","bc".
pub(super) struct Fnv(pub(super) u64);

impl Fnv {
    pub(super) fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn number(&mut self, n: u64) {
        self.bytes(&n.to_le_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes(text.as_bytes());
    }

    fn duration(&mut self, d: Duration) {
        self.number(d.as_secs());
        self.number(u64::from(d.subsec_nanos()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check() -> CheckSpec {
        CheckSpec {
            name: "web".into(),
            title: String::new(),
            plugin: "http".into(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            retry_interval: Duration::from_secs(10),
            attempts: 3,
            enabled: true,
            timeout_status: TimeoutStatus::Critical,
            groups: Vec::new(),
            needs: Vec::new(),
            labels: BTreeMap::new(),
            alerts: CheckAlerts::default(),
            probe: None,
            slo: None,
            config: r#"{"url":"http://127.0.0.1/"}"#.into(),
            shown_config: r#"{"url":"http://127.0.0.1/"}"#.into(),
            unusable: None,
            source: Source {
                file: "healthd.toml".into(),
                line: 3,
            },
            from: Arc::default(),
        }
    }

    #[test]
    fn fingerprint_is_a_stable_number() {
        // If this value changes, every check is planned anew after an upgrade: say so in the changelog.
        assert_eq!(check().fingerprint(), 1_719_872_318_610_157_192);
    }

    #[test]
    fn fingerprint_ignores_name_and_place_and_sees_the_rest() {
        let a = check();
        let mut moved = a.clone();
        moved.name = "web2".into();
        moved.source.line = 99;
        moved.shown_config = "{}".into();
        assert_eq!(a.fingerprint(), moved.fingerprint());

        let changes: [fn(&mut CheckSpec); 13] = [
            |c| c.title = "The web".into(),
            |c| c.plugin = "tcp".into(),
            |c| c.interval += Duration::from_millis(1),
            |c| c.timeout += Duration::from_millis(1),
            |c| c.retry_interval += Duration::from_millis(1),
            |c| c.attempts += 1,
            |c| c.enabled = false,
            |c| c.timeout_status = TimeoutStatus::Warning,
            |c| c.groups.push(Group::exclusive("db".into())),
            |c| c.needs.push("uplink".into()),
            |c| drop(c.labels.insert("a".into(), "b".into())),
            |c| c.config = "{}".into(),
            |c| c.unusable = Some("refused".into()),
        ];
        for change in changes {
            let mut b = a.clone();
            change(&mut b);
            assert_ne!(a.fingerprint(), b.fingerprint(), "{b:?}");
        }
    }

    #[test]
    fn a_model_survives_its_trip_as_json() {
        let model = Model {
            daemon: Daemon {
                plugin_dir: "/p".into(),
                runtime_dir: "/r".into(),
                state_dir: "/s".into(),
                user: Some("healthd".into()),
                users: Users {
                    worker: Some("healthd-worker".into()),
                    exec: None,
                },
                control_group: None,
                stop_grace: Duration::from_secs(10),
                start_spread: Duration::from_secs(60),
                plugin_watch: true,
                plugin_trial: Duration::from_secs(30),
                require_sandbox: true,
                log: "info".into(),
            },
            pool: Pool {
                io: IoPool {
                    workers: 2,
                    threads: 64,
                    limits: Limits::default(),
                },
                cpu: CpuPool {
                    workers: 2,
                    limits: Limits {
                        max_rss: 1 << 30,
                        max_fds: 100,
                        max_runs: 1000,
                        sandbox: UseSandbox::Off,
                    },
                },
                exec: ExecPool {
                    max_parallel: 0,
                    limits: Limits::default(),
                },
                isolate: true,
                groups: vec![PoolGroup {
                    name: "ours".into(),
                    plugins: vec!["a".into(), "b".into()],
                }],
            },
            web: None,
            push: None,
            history: None,
            checks: vec![check()],
            modules: vec![check()],
            notifiers: vec![check()],
            alerts: serde_json::json!({ "routes": [] }),
            digest: 7,
            secret_files: vec!["/run/token".into()],
            secret_variables: vec!["TOKEN".into()],
            at_start: None,
            warnings: Diagnostics::default(),
        };
        let json = serde_json::to_string(&model).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Model>(&json).expect("what we wrote"),
            model
        );
    }
}
