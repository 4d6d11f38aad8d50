//! From a config file to all that the event loop needs, in an order that leaves nothing behind if a step
//! fails: config, log, folders, limits, privileges, lock, socket.

use crate::folders::{self, Folders};
use crate::instance::Instance;
use crate::placing::{self, Placing};
use crate::refusal::{self, Refusal, exit};
use healthd_catalog::{RealFiles, Shelf};
use healthd_core::config::json_schema;
use healthd_core::config::{self, Daemon, Pool};
use healthd_core::wire::history::full_bytes;
use healthd_sys::privileges::{self, Account};
use healthd_sys::spawn::SelfExe;
use healthd_sys::{clock, files, limits, logging};
use healthd_units::size;
use nix::libc;
use nix::unistd::{AccessFlags, Gid, eaccess, fchown, geteuid, getuid};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// What the event loop runs on.
pub struct Setup {
    pub exe: SelfExe,
    pub null: OwnedFd,
    pub listener: UnixListener,
    pub instance: Instance,
    pub folders: Folders,
    /// Absolute, as are the folders: a reload must not depend on where we were started.
    pub config: PathBuf,
    pub runtime_dir: PathBuf,
    pub state_dir: PathBuf,
    pub log: String,
    pub grace_ns: u64,
    /// CLOCK_REALTIME, ns.
    pub started: u64,
    /// The uid before privileges were dropped.
    pub started_as: u32,
    pub placing: Placing,
    /// Of the environment, a NUL behind each: only a manager inherits them.
    pub secret_variables: Vec<u8>,
}

pub fn prepare(config: &Path) -> Result<Setup, i32> {
    let started = clock::realtime_ns();
    // Without the plugins: the manager reads it with them, and a start need not do that twice.
    let Ok(model) = config::load(config, &RealFiles, None) else {
        // All mistakes are shown at once, those in plugins' options too.
        test(config, false);
        return Err(exit::BAD_CONFIG);
    };
    let log = log_filter(&model.daemon.log);
    logging::init_filtered("supervisor", &log);
    set_up(config, model.daemon, log, started).map_err(Refusal::print)
}

/// Judges the config with its plugins, as a reload does. Returns the exit code. `json`: one object for a program.
pub fn test(config: &Path, json: bool) -> i32 {
    let owners = healthd_catalog::owners(getuid().as_raw());
    let judged = healthd_catalog::judge(config, &owners, &mut Shelf::default());
    let mut room = None;
    let mut listens = None;
    let mut pool = None;
    let (checks, said) = match judged {
        Ok(loaded) => {
            let checks = loaded.model.checks.len() as u64;
            let history = loaded.model.history.as_ref();
            room = history.map(|h| (full_bytes(checks), h.max_size));
            listens = loaded.model.web.as_ref().map(|w| w.listen.clone());
            pool = Some(loaded.model.pool);
            let mut said = loaded.model.warnings;
            // A start looks for these as well.
            let Daemon {
                user,
                users,
                control_group: group,
                ..
            } = &loaded.model.daemon;
            let refused = account(user.as_deref())
                .map(drop)
                .and_then(|()| Placing::read(users).map(drop))
                .and_then(|()| control_group(group.as_deref()).map(drop));
            said.items.extend(refused.err().map(Refusal::diagnostic));
            (loaded.model.checks.len(), said)
        }
        Err(mistakes) => (0, mistakes),
    };
    let good = said.errors() == 0;
    if json {
        let answer = serde_json::json!({
            "ok": good,
            "config": config,
            "checks": good.then_some(checks),
            "diagnostics": said,
            "history": room.map(|(full, most)| serde_json::json!({
                "full_bytes": full,
                "max_bytes": most,
            })),
            "web": listens,
            // `auto` is a number here.
            "pool": pool.map(|p| serde_json::json!({
                "io": { "workers": p.io.workers, "threads": p.io.threads },
                "cpu": { "workers": p.cpu.workers },
            })),
        });
        refusal::say(&format!("{answer}\n"));
    } else {
        refusal::print(&said);
        if let Some(Pool { io, cpu, .. }) = pool.filter(|_| good) {
            refusal::say(&format!(
                "workers: io {} with up to {} threads each, cpu {}\n",
                io.workers, io.threads, cpu.workers
            ));
        }
        if good {
            refusal::say(&format!("{}: good, checks: {checks}\n", config.display()));
            if let Some((full, most)) = room {
                let about = |bytes: u64| size::about(bytes as f64);
                let (full, most) = (about(full.min(most)), about(most));
                refusal::say(&format!(
                    "history: {full} when it is full, of at most {most}\n"
                ));
            }
        }
    }
    if good { exit::OK } else { exit::BAD_CONFIG }
}

/// Judges a plugin file as the manager does. Returns the exit code.
pub fn verify(file: &Path) -> i32 {
    let owners = healthd_catalog::owners(getuid().as_raw());
    let (code, answer) = match healthd_catalog::verify(file, &owners) {
        Ok(plugins) => (
            exit::OK,
            serde_json::json!({ "ok": true, "plugins": plugins }),
        ),
        Err(reason) => (
            exit::FAILED,
            serde_json::json!({ "ok": false, "reason": reason }),
        ),
    };
    refusal::say(&format!("{answer}\n"));
    code
}

/// Prints the JSON Schema of the config with the options of the plugins in this folder, and which of them a start
/// would refuse. Returns the exit code.
pub fn schema(plugins: &Path) -> i32 {
    let owners = healthd_catalog::owners(getuid().as_raw());
    let catalog = Shelf::default().scan(plugins, &owners).catalog;
    let answer = serde_json::json!({
        "schema": json_schema::of_config(&catalog.plugins),
        "plugins": catalog.plugins.len(),
        "refused": catalog.refused,
    });
    refusal::say(&format!("{answer}\n"));
    exit::OK
}

/// The config's level, unless the environment has one.
fn log_filter(configured: &str) -> String {
    match std::env::var("HEALTHD_LOG") {
        Ok(filter) if !filter.trim().is_empty() => filter,
        _ => configured.to_owned(),
    }
}

fn set_up(config: &Path, daemon: Daemon, log: String, started: u64) -> Result<Setup, Refusal> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|e| Refusal::new(exit::SYSTEM, format!("{}: {e}", path.display())))
    };
    let config = absolute(config)?;
    let runtime_dir = absolute(&daemon.runtime_dir)?;
    let state_dir = absolute(&daemon.state_dir)?;
    let started_as = getuid().as_raw();
    let account = account(daemon.user.as_deref())?;
    let mut placing = Placing::read(&daemon.users)?;
    let group = control_group(daemon.control_group.as_deref())?;

    // Opened while its path can surely be reached.
    let exe = SelfExe::open(environment(account.as_ref())).map_err(|e| {
        let message = format!("cannot open this program's own file in /proc: {e}");
        Refusal::new(exit::SYSTEM, message).help("healthd needs /proc to be mounted")
    })?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null =
        null.map_err(|e| Refusal::new(exit::SYSTEM, format!("cannot open /dev/null: {e}")))?;

    // The maps in the runtime folder follow its group, so that whoever may ask the socket may read them.
    folders::make_runtime_dir(&runtime_dir, account.as_ref(), group)?;
    folders::make_state_dir(&state_dir, account.as_ref())?;
    let files = limits::raise_open_files();
    placing.take_force();
    if let Some(account) = &account {
        let dropped = match placing.is_wanted() {
            true => privileges::drop_to_and_place(account, group),
            false => privileges::drop_to(account, group),
        };
        dropped.map_err(|e| {
            let message = format!("cannot become user `{}`: {e}", account.name);
            Refusal::new(exit::SYSTEM, message)
        })?;
    } else if placing.is_wanted() && !geteuid().is_root() {
        privileges::keep_placing().map_err(|e| {
            let message = format!("cannot give up capabilities: {e}");
            Refusal::new(exit::SYSTEM, message)
        })?;
    }
    for (key, dir) in [("runtime_dir", &runtime_dir), ("state_dir", &state_dir)] {
        check_writable(key, dir)?;
    }
    let folders = Folders {
        state: Folders::place(&state_dir),
        group,
    };
    // Secrets of the config went through it.
    healthd_sys::process::keep_memory_private();
    let mut instance = Instance::claim(&runtime_dir)?;
    let listener = instance.listen(group)?;
    log::debug!(
        "set up  open_files={files} runtime_dir={}",
        runtime_dir.display()
    );
    Ok(Setup {
        exe,
        null: null.into(),
        listener,
        instance,
        folders,
        config,
        runtime_dir,
        state_dir,
        log,
        grace_ns: u64::try_from(daemon.stop_grace.as_nanos()).unwrap_or(u64::MAX),
        started,
        started_as,
        placing,
        secret_variables: Vec::new(),
    })
}

/// Whom to become; None: stay who we are.
fn account(user: Option<&str>) -> Result<Option<Account>, Refusal> {
    let root = geteuid().is_root();
    let Some(user) = user else {
        if root {
            log::warn!("running as root: set `user` in [daemon] to run checks with fewer rights");
        }
        return Ok(None);
    };
    match placing::named(user, "`user` in [daemon]")? {
        account if root => Ok(Some(account)),
        account => {
            if account.uid != geteuid() {
                log::warn!(
                    "not started as root, so the user stays  wanted={user} uid={}",
                    geteuid()
                );
            }
            Ok(None)
        }
    }
}

fn control_group(name: Option<&str>) -> Result<Option<Gid>, Refusal> {
    let Some(name) = name else { return Ok(None) };
    let group = privileges::lookup_group(name).map_err(|e| {
        let message = format!("cannot look up group `{name}`: {e}");
        Refusal::new(exit::SYSTEM, message)
    })?;
    let Some(group) = group else {
        let message =
            format!("there is no group `{name}`, which `control_group` in [daemon] names");
        let help = format!("make it with `groupadd --system {name}`, or correct the name");
        return Err(Refusal::new(exit::BAD_CONFIG, message).help(help));
    };
    if !geteuid().is_root() && !privileges::in_group(group) {
        let message = format!(
            "the control socket cannot be given to group `{name}`: this user is not a member of it"
        );
        let help = format!(
            "add the user to the group (in a unit: SupplementaryGroups={name}), or leave `control_group` out"
        );
        return Err(Refusal::new(exit::BAD_CONFIG, message).help(help));
    }
    Ok(Some(group))
}

/// What a login as that user would set; systemd does the same for `User=`.
fn environment(account: Option<&Account>) -> Vec<(OsString, OsString)> {
    // As it was before ours is raised: programs are started with that.
    let mut all = vec![(
        limits::SOFT_FILES.into(),
        limits::open_files().to_string().into(),
    )];
    all.extend(account.iter().flat_map(|a| a.environment()));
    all
}

/// Makes a folder that is missing, and refuses one that others could change. `group`: whoever is in it may read what
/// lies there.
pub fn make_dir(
    key: &str,
    dir: &Path,
    mode: u32,
    account: Option<&Account>,
    group: Option<Gid>,
) -> Result<(), Refusal> {
    let refuse = |what: String, help: String| Refusal::new(exit::CANNOT_CREATE, what).help(help);
    let failed = |e: std::io::Error| {
        let help = format!(
            "set `{key}` in [daemon] to a folder that this user may write, or start healthd as root with `user` set"
        );
        refuse(
            format!("cannot make {}: {}", dir.display(), plain(&e)),
            help,
        )
    };
    let mut owners = vec![account.map_or_else(geteuid, |a| a.uid).as_raw(), 0];
    owners.dedup();
    let there = fs::symlink_metadata(dir);
    let missing = there.is_err();
    if missing {
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        DirBuilder::new().mode(mode).create(dir).map_err(failed)?;
    }
    // A link that root or the user has made may lead where they like, but nothing is changed through it.
    let link = there.is_ok_and(|m| m.is_symlink() && owners.contains(&m.uid()));
    let follow = if link { 0 } else { libc::O_NOFOLLOW };
    let flags = libc::O_DIRECTORY | libc::O_CLOEXEC | follow;
    let opened = File::options().read(true).custom_flags(flags).open(dir);
    let opened = opened.map_err(|e| {
        let what = match e.raw_os_error() {
            Some(libc::ENOTDIR | libc::ELOOP) => "it is no folder".into(),
            _ => plain(&e),
        };
        let help = format!("move it away, or set `{key}` in [daemon] to another folder");
        refuse(
            format!("cannot use {} as `{key}`: {what}", dir.display()),
            help,
        )
    })?;
    if missing {
        // The umask may have taken bits away.
        let with_mode = opened.set_permissions(Permissions::from_mode(mode));
        with_mode.map_err(failed)?;
        if let Some(account) = account {
            fchown(&opened, Some(account.uid), Some(account.gid)).map_err(|e| failed(e.into()))?;
        }
    }
    let meta = opened.metadata().map_err(failed)?;
    if let Some(why) = files::changed_by_others(&meta, &owners) {
        let help = format!(
            "`chown {} {1}`, `chmod go-w {1}`, or set `{key}` in [daemon] to a folder below it, which healthd then makes",
            owners[0],
            dir.display()
        );
        let what = format!("cannot rely on {} as `{key}`: {why}", dir.display());
        return Err(refuse(what, help));
    }
    if let Some(group) = group
        && !link
        && meta.gid() != group.as_raw()
        && let Err(e) = fchown(&opened, None, Some(group))
    {
        let dir = dir.display();
        log::warn!("group of the folder not set  dir={dir} why=\"{e}\"");
    }
    Ok(())
}

fn check_writable(key: &str, dir: &Path) -> Result<(), Refusal> {
    eaccess(dir, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|e| {
        let owner = fs::metadata(dir).map_or("?".into(), |m| m.uid().to_string());
        let uid = geteuid();
        let message = format!(
            "cannot write in {}: {} (it belongs to uid {owner}, healthd runs as uid {uid})",
            dir.display(),
            e.desc().to_lowercase()
        );
        let help = format!(
            "`chown -R {uid} {}`, or set `{key}` in [daemon] to another folder",
            dir.display()
        );
        Refusal::new(exit::CANNOT_CREATE, message).help(help)
    })
}

/// Without the number that Rust adds.
pub fn plain(e: &std::io::Error) -> String {
    let text = e.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}
