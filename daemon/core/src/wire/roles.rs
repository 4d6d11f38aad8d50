//! The arguments that the supervisor starts the other roles with. Both sides use these structs, so the
//! words of the command line stand in one place.

use super::supervisor::WorkerClass;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// What a process that the supervisor starts is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Manager(ManagerArgs),
    Worker(WorkerArgs),
    Reader(ReaderArgs),
}

/// The roles that only read what the manager writes. Any of them may be dead for an hour: no check notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// Writes `history.db`.
    Recorder,
    /// Answers HTTP.
    Web,
}

impl Reader {
    pub const ALL: [Reader; 2] = [Reader::Recorder, Reader::Web];

    /// Its word in argv, in logs and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Reader::Recorder => "recorder",
            Reader::Web => "web",
        }
    }

    fn parse(word: &str) -> Option<Reader> {
        Reader::ALL.into_iter().find(|r| r.as_str() == word)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerArgs {
    /// Number of the fd that leads to the supervisor.
    pub link: i32,
    /// Number of the fd of the listening control socket.
    pub listen: i32,
    /// The supervisor's pid: whoever finds another parent has lost it.
    pub parent: u32,
    /// Absolute, as are the other paths.
    pub config: PathBuf,
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    /// A filter as `env_logger` reads it.
    pub log: String,
    /// CLOCK_REALTIME of the daemon's start, ns; the same for every manager of one supervisor.
    pub started: u64,
    /// The uid that healthd was started as: whose plugin files may be loaded, besides root's.
    pub started_as: u32,
    /// Under whom what runs, for people.
    pub users: String,
    /// The first messages will be `Restore`: go on with that model instead of reading the config.
    pub restore: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerArgs {
    /// Number of the fd that leads to the manager.
    pub link: i32,
    /// The supervisor's pid.
    pub parent: u32,
    /// The daemon's runtime folder, for people who look at `ps`: it is not opened.
    pub of: PathBuf,
    pub slot: u32,
    pub class: WorkerClass,
    pub generation: u64,
    /// Run-lane threads, or children at once in class exec.
    pub threads: u32,
    /// Number of the fd of its own map, an empty file: it has no way into the runtime folder.
    pub map: i32,
    /// Number of the fd of the counters that plugins share; -1: there are none.
    pub counters: i32,
    /// Number of the fd that the worker's log goes to; 2 is what plugins write to as well.
    pub log_to: i32,
    /// Number of the fd for [`told_secrets`](super::told_secrets); -1: nobody wants to know.
    pub secrets_to: i32,
    pub log: String,
}

/// All that a reader is started with; the same for each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderArgs {
    pub role: Reader,
    /// The supervisor's pid.
    pub parent: u32,
    /// Number of the fd of a sealed memfd: what the config says for it, as JSON. Secrets may be in it.
    pub settings: i32,
    /// Number of the fd of a socket that the service manager has handed over; -1: none.
    pub socket: i32,
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    pub log: String,
}

impl ManagerArgs {
    /// The whole argv, the program's name first.
    pub fn to_argv(&self) -> Vec<OsString> {
        let mut argv = Argv::new("manager");
        argv.pair("--link", self.link.to_string());
        argv.pair("--listen", self.listen.to_string());
        argv.pair("--parent", self.parent.to_string());
        argv.pair("--config", &self.config);
        argv.pair("--runtime-dir", &self.runtime_dir);
        argv.pair("--state-dir", &self.state_dir);
        argv.pair("--log", &self.log);
        argv.pair("--started", self.started.to_string());
        argv.pair("--started-as", self.started_as.to_string());
        argv.pair("--users", &self.users);
        if self.restore {
            argv.0.push("--restore".into());
        }
        argv.0
    }
}

impl WorkerArgs {
    /// The whole argv, the program's name first.
    pub fn to_argv(&self) -> Vec<OsString> {
        let mut argv = Argv::new("worker");
        argv.pair("--link", self.link.to_string());
        argv.pair("--parent", self.parent.to_string());
        argv.pair("--of", &self.of);
        argv.pair("--slot", self.slot.to_string());
        argv.pair("--class", self.class.as_str());
        argv.pair("--generation", self.generation.to_string());
        argv.pair("--threads", self.threads.to_string());
        argv.pair("--map", self.map.to_string());
        argv.pair("--counters", self.counters.to_string());
        argv.pair("--log-to", self.log_to.to_string());
        argv.pair("--secrets-to", self.secrets_to.to_string());
        argv.pair("--log", &self.log);
        argv.0
    }
}

impl ReaderArgs {
    /// The whole argv, the program's name first.
    pub fn to_argv(&self) -> Vec<OsString> {
        let mut argv = Argv::new(self.role.as_str());
        argv.pair("--parent", self.parent.to_string());
        argv.pair("--settings", self.settings.to_string());
        argv.pair("--socket", self.socket.to_string());
        argv.pair("--runtime-dir", &self.runtime_dir);
        argv.pair("--state-dir", &self.state_dir);
        argv.pair("--log", &self.log);
        argv.0
    }
}

impl Role {
    /// From what follows `--role` on the command line. The error is for whoever tried this by hand.
    pub fn from_args(args: &[OsString]) -> Result<Role, String> {
        let (role, rest) = args.split_first().ok_or("--role needs a name")?;
        let mut given = Given::read(rest)?;
        let role = match role.to_str() {
            Some("manager") => Role::Manager(ManagerArgs {
                link: given.number("--link")?,
                listen: given.number("--listen")?,
                parent: given.number("--parent")?,
                config: given.take("--config")?.into(),
                runtime_dir: given.take("--runtime-dir")?.into(),
                state_dir: given.take("--state-dir")?.into(),
                log: given.text("--log")?,
                started: given.number("--started")?,
                started_as: given.number("--started-as")?,
                users: given.text("--users")?,
                restore: given.0.remove(RESTORE).is_some(),
            }),
            Some("worker") => Role::Worker(WorkerArgs {
                link: given.number("--link")?,
                parent: given.number("--parent")?,
                of: given.take("--of")?.into(),
                slot: given.number("--slot")?,
                class: {
                    let class = given.text("--class")?;
                    WorkerClass::parse(&class).ok_or(format!("unknown class `{class}`"))?
                },
                generation: given.number("--generation")?,
                threads: given.number("--threads")?,
                map: given.number("--map")?,
                counters: given.number("--counters")?,
                log_to: given.number("--log-to")?,
                secrets_to: given.number("--secrets-to")?,
                log: given.text("--log")?,
            }),
            other => match other.and_then(Reader::parse) {
                Some(role) => Role::Reader(ReaderArgs {
                    role,
                    parent: given.number("--parent")?,
                    settings: given.number("--settings")?,
                    socket: given.number("--socket")?,
                    runtime_dir: given.take("--runtime-dir")?.into(),
                    state_dir: given.take("--state-dir")?.into(),
                    log: given.text("--log")?,
                }),
                None => return Err(format!("unknown role `{}`", role.display())),
            },
        };
        match given.0.keys().next() {
            None => Ok(role),
            Some(name) => Err(format!("unknown option `{name}` of this role")),
        }
    }
}

struct Argv(Vec<OsString>);

impl Argv {
    fn new(role: &str) -> Argv {
        Argv(vec!["healthd".into(), "--role".into(), role.into()])
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }
}

/// Options and their values; the one option without a value has an empty one.
struct Given(BTreeMap<String, OsString>);

impl Given {
    fn read(args: &[OsString]) -> Result<Given, String> {
        let mut given = BTreeMap::new();
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let name = name
                .to_str()
                .ok_or_else(|| format!("unknown option `{}`", name.display()))?;
            let value = match name {
                RESTORE => OsString::new(),
                _ => args
                    .next()
                    .ok_or_else(|| format!("{name} needs a value"))?
                    .clone(),
            };
            if given.insert(name.to_owned(), value).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(Given(given))
    }

    fn take(&mut self, name: &str) -> Result<OsString, String> {
        self.0
            .remove(name)
            .ok_or_else(|| format!("{name} is missing"))
    }

    fn text(&mut self, name: &str) -> Result<String, String> {
        self.take(name)?
            .into_string()
            .map_err(|_| format!("{name}: not UTF-8"))
    }

    fn number<T: FromStr>(&mut self, name: &str) -> Result<T, String> {
        let text = self.text(name)?;
        text.parse()
            .map_err(|_| format!("{name}: `{text}` is no such number"))
    }
}

const RESTORE: &str = "--restore";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn manager() -> ManagerArgs {
        ManagerArgs {
            link: 5,
            listen: 7,
            parent: 4242,
            // A path may hold any bytes.
            config: OsString::from_vec(b"/etc/\xff conf".to_vec()).into(),
            runtime_dir: "/run/healthd".into(),
            state_dir: "--state".into(),
            log: "info,healthd_manager=debug".into(),
            started: u64::MAX,
            started_as: 1000,
            users: "everything runs under `me`".into(),
            restore: true,
        }
    }

    fn worker() -> WorkerArgs {
        WorkerArgs {
            link: 9,
            parent: 1,
            of: "/run/healthd".into(),
            slot: 3,
            class: WorkerClass::Exec,
            generation: 17,
            threads: 32,
            map: 13,
            counters: -1,
            log_to: 11,
            secrets_to: 12,
            log: "trace".into(),
        }
    }

    #[test]
    fn every_role_survives_its_argv() {
        let fresh = ManagerArgs {
            restore: false,
            ..manager()
        };
        for args in [manager(), fresh] {
            let argv = args.to_argv();
            assert_eq!(Role::from_args(&argv[2..]), Ok(Role::Manager(args)));
        }
        for class in WorkerClass::ALL {
            let args = WorkerArgs { class, ..worker() };
            let argv = args.to_argv();
            assert_eq!(Role::from_args(&argv[2..]), Ok(Role::Worker(args)));
        }
        for role in Reader::ALL {
            let args = ReaderArgs {
                role,
                parent: 1,
                settings: 12,
                socket: -1,
                runtime_dir: "/run/healthd".into(),
                state_dir: "/var/lib/healthd".into(),
                log: "info".into(),
            };
            let argv = args.to_argv();
            assert_eq!(Role::from_args(&argv[2..]), Ok(Role::Reader(args)));
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let with = |change: fn(&mut Vec<OsString>)| {
            let mut argv = worker().to_argv();
            change(&mut argv);
            Role::from_args(&argv[2..]).expect_err("it is wrong")
        };
        assert_eq!(with(|a| a.truncate(5)), "--parent is missing");
        assert_eq!(with(|a| drop(a.pop())), "--log needs a value");
        assert_eq!(with(|a| a[2] = "cook".into()), "unknown role `cook`");
        assert_eq!(with(|a| a[4] = "x".into()), "--link: `x` is no such number");
        assert_eq!(
            with(|a| a.extend(["--link".into(), "4".into()])),
            "--link is given twice"
        );
        assert_eq!(
            with(|a| a.extend(["--odd".into(), "4".into()])),
            "unknown option `--odd` of this role"
        );
        assert_eq!(Role::from_args(&[]), Err("--role needs a name".into()));
    }
}
