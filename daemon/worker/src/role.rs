//! From argv to a running worker.

use crate::fanout::WorkerFanout;
use crate::pool::{self, Pool};
use crate::reactor::{EndOfWork, Reactor};
use crate::services::{Shared, WorkerServices};
use crate::side;
use healthd_core::wire::roles::WorkerArgs;
use healthd_core::wire::supervisor::WorkerClass;
use healthd_core::wire::worker::ToManager;
use healthd_loader::host;
use healthd_scoreboard::crash;
use healthd_scoreboard::objects_map::ObjectsMap;
use healthd_scoreboard::worker_map::{Identity, WorkerMap};
use healthd_sys::{clock, fork_guard, process, signal_stacks, signals, spawn};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;

static MAP: OnceLock<&'static WorkerMap> = OnceLock::new();

pub(crate) fn worker_map() -> Option<&'static WorkerMap> {
    MAP.get().copied()
}

pub(crate) const MIN_STACK: usize = 512 << 10;
const EXEC_THREADS: u32 = 4;

/// Runs until the manager drains it or is gone. The exit code is for the log only: 0 after a drain.
pub fn main(args: &WorkerArgs) -> i32 {
    let name = format!("healthd-{}{}\0", args.class.as_str(), args.slot);
    process::set_name(
        std::ffi::CStr::from_bytes_until_nul(name.as_bytes()).unwrap_or(c"healthd-worker"),
    );
    let code = match start(args) {
        Ok(EndOfWork::Drained | EndOfWork::Orphaned) => 0,
        Err(e) => {
            log::error!("worker cannot go on: {e}");
            1
        }
    };
    // Not by exit(3), which would run what plugins hung into it: they have had their `destroy`, and a crash or a wait
    // in there would make a death of a good end.
    process::exit_now(code)
}

fn start(args: &WorkerArgs) -> std::io::Result<EndOfWork> {
    process::keep_the_heap_small();
    let link = spawn::adopt_fd(args.link)?;
    healthd_loader::secrets::tell_to(spawn::adopt_fd(args.secrets_to)?);
    signals::disregard()?;
    process::become_subreaper()?;
    process::die_with_parent(args.parent)?;
    healthd_sandbox::spare(args.parent);
    signal_stacks::install()?;
    let to_manager = link.try_clone()?;
    let files = Files {
        map: spawn::adopt_fd(args.map)?.into(),
        counters: match args.counters {
            -1 => None,
            fd => Some(spawn::adopt_fd(fd)?.into()),
        },
    };
    let end = serve(args, link, files);
    side::with(|s| s.children.kill_all());
    if let Err(e) = &end {
        last_words(&to_manager, e);
    }
    end
}

/// Why it cannot go on, so that its checks can say it.
fn last_words(link: &OwnedFd, error: &std::io::Error) {
    let mut message = Vec::new();
    let reason = format!("worker cannot go on: {error}");
    ToManager::Unwell { reason }.encode(&mut message);
    let _ = healthd_sys::unix_socket::send(link, &message, &[]);
}

/// What a worker writes to, opened by who started it.
pub(crate) struct Files {
    pub map: File,
    pub counters: Option<File>,
}

/// The part that `healthd --try` shares.
pub(crate) fn serve(args: &WorkerArgs, link: OwnedFd, files: Files) -> std::io::Result<EndOfWork> {
    let id = Identity {
        slot: args.slot,
        generation: args.generation,
        class: args.class as u8,
    };
    // What `threads` means depends on the class: of an exec worker it says how many children may run at once,
    // and only `create` needs its threads.
    let class = args.class.row();
    let (limit, groups) = match class.starts_programs {
        true => (EXEC_THREADS, args.threads.max(1) as usize),
        false => (args.threads.max(1), 1),
    };
    // The reactor, the pool, and as many again for threads that are written off.
    let lines = 2 * limit as usize + 8;
    let map = WorkerMap::create(&files.map, &id, lines, groups)?;
    let map: &'static WorkerMap = Box::leak(Box::new(map));
    let _ = MAP.set(map);
    let line = map
        .claim_line()
        .ok_or_else(|| std::io::Error::other("no line in a new map"))?;
    pool::set_current_line(Some(line));
    fork_guard::install()?;
    crash::install(map)?;
    crash::watch_exit()?;
    signals::unblock_all();
    side::install()?;
    // What a plugin or a program asks for on a terminal is not for whoever started healthd there.
    healthd_sys::process::leave_terminal();
    if class.starts_programs {
        side::with(|s| s.children.set_map(map));
        crate::contract::starts_programs();
    }
    healthd_sys::logging::clean_by(healthd_loader::secrets::scrub);
    match files.counters.map(|file| ObjectsMap::join(&file)) {
        Some(Ok(counters)) => crate::counters::set(counters),
        Some(Err(e)) => log::error!("no counters for plugins: {e}"),
        // The manager has said so.
        None => {}
    }
    host::set_services(&WorkerServices);
    healthd_loader::fanout::set_fanout(&WorkerFanout);
    let nice = class.nice;
    let shared = Shared::install(map, nice)?;
    let pool = Pool::new("run", limit as usize, MIN_STACK, Some((map, nice)));
    let mut reactor = Reactor::new(map, line, link, shared, pool)?;
    reactor.takes_fds = class.fans_out || args.class == WorkerClass::Notify;
    reactor.run()
}

/// A directory that only this process uses, for maps of roles that have no runtime directory.
pub(crate) fn private_dir() -> std::io::Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!(
        "healthd-{}-{}",
        std::process::id(),
        clock::monotonic_ns()
    ));
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&dir)?;
    Ok(dir)
}
