//! `healthd --tryout`: a plugin makes instances of checks, which are thrown away, so that a config can be judged by
//! those who know its options. What crashes or hangs here ends this process, and whoever asked knows over which check.
//!
//! There is no event loop and no manager: a plugin that asks one in `create` is told that there is none.

use healthd_abi as abi;
use healthd_abi::HdCacheStats;
use healthd_core::text::cut;
use healthd_core::wire::asks::{LockAsk, MapAsk, MapReply};
use healthd_core::wire::frame::MAX_MESSAGE;
use healthd_core::wire::tryout::{Answer, Load, Outcome, Question, SAID_MAX};
use healthd_loader::{
    Asker, Cancel, Context, ContextSpec, Ended, ExecSpec, Instance, Library, Owner, Plugin,
    Services, host,
};
use healthd_scoreboard::objects_map::ObjectsMap;
use healthd_sys::unix_socket::{self, Received};
use healthd_sys::{clock, limits, privileges, process};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Once};
use std::time::Duration;

/// A person may wait for the answer, but checks that run come first.
const NICE: i32 = 10;
/// What the main thread of a process has.
const STACK: usize = 8 << 20;
const CREATE_TIME: Duration = Duration::from_secs(5);

/// Standard input is the link. `user`: whom to become, as the daemon does.
pub fn tryout_main(parent: u32, user: Option<&str>) -> i32 {
    healthd_sys::signals::unblock_all();
    // `create` comes on a thread that is not the first.
    let answered = begin(parent, user).and_then(|link| apart("run", move || answer_all(link))?);
    let code = match answered {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("error: --tryout: {e}");
            1
        }
    };
    process::end_all_below();
    // What plugins hung into exit(3) is not run, as at the end of a worker.
    process::exit_now(code)
}

fn begin(parent: u32, user: Option<&str>) -> io::Result<OwnedFd> {
    process::die_with_parent(parent)?;
    process::become_subreaper()?;
    healthd_sandbox::spare(parent);
    process::set_name(c"healthd-tryout");
    limits::no_core()?;
    let _ = limits::nice_thread(process::gettid(), NICE);
    let link = io::stdin().as_fd().try_clone_to_owned()?;
    if let Some(user) = user {
        let account = privileges::lookup_user(user)?
            .ok_or_else(|| io::Error::other(format!("there is no user `{user}`")))?;
        privileges::drop_to(&account, None)?;
        // The change of identity has taken this back (prctl(2)).
        process::die_with_parent(parent)?;
    }
    host::set_services(&Alone);
    Ok(link)
}

fn answer_all(link: OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; MAX_MESSAGE];
    let Some((length, Some(copy))) = next(&link, &mut buffer)? else {
        return Ok(());
    };
    let load: Load = serde_json::from_slice(&buffer[..length])?;
    let opened = apart("load", || {
        let library = Library::open(&copy, Path::new(&load.file)).map_err(|e| e.to_string())?;
        let plugins = load.plugins.iter().map(|index| {
            let plugin = library.plugins.get(*index as usize).copied();
            let plugin = plugin.ok_or_else(|| "it is gone from its file".to_owned());
            let ready = plugin.and_then(|p| p.init().map(|_| p));
            (*index, ready)
        });
        Ok::<HashMap<_, _>, String>(plugins.collect())
    })?;
    // Its number must never name another library: see Library::open.
    std::mem::forget(copy);
    let plugins = match opened {
        Ok(plugins) => plugins,
        Err(why) => return say(&link, Outcome::Broken, &why),
    };
    say(&link, Outcome::Made, "")?;
    // All stay until the end, as in a worker: what they share is made once.
    let mut instances = Vec::new();
    while let Some((length, _)) = next(&link, &mut buffer)? {
        let question = Question::decode(&buffer[..length])
            .ok_or_else(|| io::Error::other("a message that is no question"))?;
        match plugins.get(&question.index) {
            None => say(&link, Outcome::Broken, "it was not loaded")?,
            Some(Err(why)) => say(&link, Outcome::Broken, why)?,
            Some(Ok(plugin)) => {
                let (outcome, said, instance) = create(plugin, &question);
                instances.extend(instance);
                say(&link, outcome, &said)?;
            }
        }
    }
    instances.into_iter().for_each(std::mem::forget);
    Ok(())
}

/// On a thread of its own, with the stack of a process: what a worker does, and the header promises.
fn apart<R: Send>(name: &str, call: impl FnOnce() -> R + Send) -> io::Result<R> {
    std::thread::scope(|s| {
        let thread = std::thread::Builder::new()
            .name(name.into())
            .stack_size(STACK);
        let done = thread.spawn_scoped(s, call)?.join();
        done.map_err(|_| io::Error::other("a call did not come back"))
    })
}

/// None: nobody asks any more.
fn next(link: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<(usize, Option<OwnedFd>)>> {
    loop {
        let mut fds = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        match unix_socket::receive(link, buffer, true)? {
            Received::Empty => {}
            Received::Closed => return Ok(None),
            Received::Message(length, mut fds) => return Ok(Some((length, fds.pop()))),
        }
    }
}

fn say(link: &OwnedFd, outcome: Outcome, said: &str) -> io::Result<()> {
    let said = cut(said, SAID_MAX).to_owned();
    let message = serde_json::to_vec(&Answer { outcome, said })?;
    // One answer a question: there is always room.
    unix_socket::send(link, &message, &[]).map(drop)
}

/// What came of it, the plugin's words, and the instance.
type Made = (Outcome, String, Option<Arc<Instance>>);

fn create(plugin: &'static Plugin, question: &Question<'_>) -> Made {
    let cx = Context::new(ContextSpec {
        lane: abi::LANE_CREATE,
        attempt: 0,
        check_id: 0,
        run_id: 0,
        started_ns: clock::monotonic_ns(),
        deadline_ns: clock::monotonic_ns() + CREATE_TIME.as_nanos() as u64,
        name: question.check.into(),
        plugin: &plugin.descriptor.name,
        cancel: Cancel::flag_only(),
        task: u64::MAX,
        notice: None,
        on_phase: None,
    });
    let owner = Owner {
        plugin: 0,
        check: 0,
    };
    let made = plugin.create(&cx, question.config, owner);
    // `create` may have forked, and then there are two of us.
    healthd_sys::fork_guard::end_if_forked();
    let said = cx.take_results().message;
    match made {
        Ok(instance) => (Outcome::Made, said, Some(instance)),
        Err(abi::E_CONFIG) => (Outcome::Refused, said, None),
        Err(code) => {
            let what = match code {
                abi::E_PANIC => "panicked".to_owned(),
                abi::E_RESOURCES => "lacked something of this machine".to_owned(),
                code => format!("returned {code} from create"),
            };
            let more = if said.is_empty() { "" } else { ": " };
            (Outcome::Broken, format!("it {what}{more}{said}"), None)
        }
    }
}

/// The host of plugins that are only asked to make instances.
struct Alone;

impl Services for Alone {
    fn log(&self, _: Option<&str>, _: log::Level, _: &str, _: &str) {}

    fn io_watch(&self, _: u64, _: i32, _: u32) -> i32 {
        -libc::EPERM
    }

    fn io_unwatch(&self, _: u64, _: i32) {}

    fn timer(&self, _: u64, _: u64) {}

    fn resolve(&self, _: u64, _: &str, _: u32, _: u32, _: u64) -> i32 {
        -libc::EPERM
    }

    fn wake(&self, _: u64) {}

    fn exec(&self, _: u64, _: ExecSpec) -> i32 {
        -libc::EPERM
    }

    fn counter_open(&self, plugin: &str, name: &str, cells: u32, shared: bool) -> Result<u64, i32> {
        static MADE: Once = Once::new();
        MADE.call_once(|| {
            let Ok(dir) = crate::role::private_dir() else {
                return;
            };
            if let Ok(map) = ObjectsMap::create(&dir, 0o600) {
                crate::counters::set(map);
            }
            // It is mapped, and nobody else's.
            let _ = std::fs::remove_dir_all(dir);
        });
        crate::counters::open(plugin, name, cells, shared)
    }

    fn map_ask(&self, ask: MapAsk, _: Asker<'_>, reply: &mut dyn FnMut(&MapReply)) -> i32 {
        reply(&MapReply {
            ask: ask.ask,
            error: -libc::ENOSYS,
            ..MapReply::default()
        });
        0
    }

    fn lock_ask(&self, _: LockAsk, _: Asker<'_>) -> i32 {
        0
    }

    fn unlock(&self, _: u64) {}

    fn ended(&self, instance: Ended) {
        instance.destroy();
    }

    fn cache_show(&self, _: &'static str, _: &str, _: &'static HdCacheStats) -> i32 {
        0
    }

    fn counter_cell(&self, handle: u64, cell: u32) -> Option<&AtomicU64> {
        crate::counters::cell(handle, cell)
    }
}
