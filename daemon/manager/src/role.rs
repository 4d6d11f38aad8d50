//! From argv to a running manager.

use crate::alerts::Alerts;
use crate::books::Books;
use crate::books::recall::{self, Past};
use crate::books::samples;
use crate::books::store::Saving;
use crate::books::traces;
use crate::checks::Checks;
use crate::control::Clients;
use crate::director::{Clockwork, Manager, Phase};
use crate::event_loop::{TOKEN_INBOX, TOKEN_SUPERVISOR};
use crate::fleet::Fleet;
use crate::fleet::slots::SlotState;
use crate::fleet::supervisor_link::SupervisorLink;
use crate::inbox::Inbox;
use crate::journal::{ClockWatch, Fact, Journal};
use crate::rollout::Rollout;
use crate::rollout::coming::Force;
use crate::rollout::generation::MAX_SLOTS;
use crate::rollout::handover::{self, Left, Restored};
use crate::rollout::plugins::Versions;
use crate::schedule::Schedule;
use crate::services::Services;
use crate::services::{KeptMaps, Locks, States};
use healthd_catalog::{Loaded, Shelf};
use healthd_core::check::schedule::Standstill;
use healthd_core::check::wheel::Wheel;
use healthd_core::config::{AtStart, Diagnostics, Model};
use healthd_core::wire::maps::{SlotRecord, state_header as h};
use healthd_core::wire::objects_map;
use healthd_core::wire::roles::ManagerArgs;
use healthd_scoreboard::objects_map::ObjectsMap;
use healthd_scoreboard::state_map::StateMap;
use healthd_sys::{clock, process, signals, spawn};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Bad config (sysexits.h, EX_CONFIG): systemd is told not to restart on it.
const EX_CONFIG: i32 = 78;
/// The maps have the mode of the socket.
pub const MAP_MODE: u32 = 0o640;

/// Until the daemon stops. 0: stopped as asked; 78: bad config; 1: something that another manager may not meet.
pub fn main(args: &ManagerArgs) -> i32 {
    process::set_name(c"healthd-manager");
    process::keep_the_heap_small();
    // All secrets are in it.
    process::keep_memory_private();
    match start(args) {
        Ok(code) => code,
        Err(e) => {
            log::error!("manager cannot go on: {e}");
            1
        }
    }
}

fn start(args: &ManagerArgs) -> io::Result<i32> {
    let link = spawn::adopt_fd(args.link)?;
    let listener = spawn::adopt_fd(args.listen)?;
    signals::disregard()?;
    process::die_with_parent(args.parent)?;
    signals::unblock_all();
    let owners = healthd_catalog::owners(args.started_as);
    let supervisor = SupervisorLink::new(link);
    let mut left = Left::default();
    let mut shelf = Shelf::default();
    let Restored {
        model,
        kept_model,
        scan,
        versions,
    } = if args.restore {
        let (restored, memory) = handover::restore(&supervisor)?;
        left = memory;
        restored
    } else {
        match healthd_catalog::load(&args.config, &owners, &mut shelf) {
            Ok(Loaded { model, scan }) => Restored {
                model: Model {
                    at_start: Some(AtStart::of(&model.daemon)),
                    ..model
                },
                kept_model: None,
                scan,
                versions: Versions::default(),
            },
            Err(diagnostics) => {
                tell(&diagnostics);
                return Ok(EX_CONFIG);
            }
        }
    };
    if !args.restore && !model.warnings.is_empty() {
        tell(&model.warnings);
    }
    let (kept, begun) = handover::packed_beside(&model, kept_model, || {
        let counted = samples::left(&args.runtime_dir);
        let past = recall::recall(&args.state_dir, &args.runtime_dir, counted);
        let manager = build(args, supervisor, listener, &model, owners, &past, left)?;
        io::Result::Ok((manager, past))
    });
    let (mut manager, past) = begun?;
    manager.rollout.go_on_from(shelf, versions);
    manager.first_start(
        Force::Model {
            model: Box::new(model),
            kept,
        },
        scan,
        past,
    );
    manager.run()?;
    Ok(0)
}

/// A disk that is full under standard error, or nobody who reads it, is no reason to end.
fn tell(diagnostics: &Diagnostics) {
    let text = diagnostics.render(io::stderr().is_terminal());
    let _ = io::stderr().write_all(text.as_bytes());
}

fn build(
    args: &ManagerArgs,
    supervisor: SupervisorLink,
    listener: OwnedFd,
    model: &Model,
    owners: Vec<u32>,
    past: &Past,
    left: Left,
) -> io::Result<Manager> {
    let now = clock::monotonic_ns();
    let mut map = StateMap::prepare(&args.runtime_dir, MAX_SLOTS, model.names(), MAP_MODE)?;
    map.header(h::STARTED, args.started);
    map.header(h::NEXT_RUN, past.next_run);
    map.header(h::GENERATION, past.generation);
    map.header(h::FINISHED, past.finished);
    for (index, spec) in model.checks.iter().enumerate() {
        map.check(index, &past.record(spec, now));
    }
    // The counters outlive a manager; the daemon's start makes them anew. Without room for them checks still run.
    if (!args.restore || ObjectsMap::open(&args.runtime_dir).is_err())
        && let Err(e) = ObjectsMap::create(&args.runtime_dir, MAP_MODE)
    {
        log::error!("no counters for plugins: {e}");
        let _ = std::fs::remove_file(args.runtime_dir.join(objects_map::FILE));
    }
    for (slot, record) in &past.slots {
        map.slot(*slot as usize, &buried(record));
    }
    map.reveal()?;
    let mut journal = Journal::open(
        &args.runtime_dir,
        &args.state_dir,
        model.checks.len(),
        MAP_MODE,
    );
    journal.record(Fact::started(std::process::id(), args.restore));
    let samples = samples::create(&args.runtime_dir, model, &past.counted);
    let metrics = samples::create_metrics(&args.runtime_dir, model);
    let traces = traces::create(&args.runtime_dir, model, MAP_MODE);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let inbox = Arc::new(Inbox::new()?);
    let readable = |token| EpollEvent::new(EpollFlags::EPOLLIN, token);
    epoll.add(
        supervisor.fd.as_fd(),
        EpollEvent::new(
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET,
            TOKEN_SUPERVISOR,
        ),
    )?;
    // The listener follows once there is something to tell: see `Manager::ready`.
    epoll.add(inbox.wake.as_fd(), readable(TOKEN_INBOX))?;
    let now_ms = now / 1_000_000;
    let alerts = Alerts::restore(left.alerts, &args.state_dir, &inbox);
    let clients = Clients::new(
        listener,
        model.daemon.control_group.as_deref(),
        supervisor.open_files,
    );
    Ok(Manager {
        args: args.clone(),
        model: settings_of(model),
        phase: Phase::Starting,
        clockwork: Clockwork {
            epoll,
            chores: Wheel::new(now_ms),
            inbox,
            stood: Standstill::default(),
            clock_watch: ClockWatch::default(),
            lacking_said: 0,
        },
        checks: Checks::default(),
        schedule: Schedule::new(now_ms),
        fleet: Fleet::new(supervisor, now),
        rollout: Rollout::new(past.generation, owners),
        services: Services {
            kept_maps: KeptMaps::restore(left.maps),
            locks: Locks::default(),
            states: States::default(),
        },
        books: Books::new(
            map,
            MAP_MODE,
            journal,
            (samples, metrics, traces),
            Saving::start(&args.state_dir)?,
            past,
        ),
        clients,
        alerts,
    })
}

/// The settings alone, until the checks take force.
fn settings_of(model: &Model) -> Model {
    Model {
        daemon: model.daemon.clone(),
        web: None,
        push: None,
        history: None,
        pool: model.pool.clone(),
        checks: Vec::new(),
        modules: Vec::new(),
        notifiers: Vec::new(),
        alerts: serde_json::Value::Null,
        digest: model.digest,
        secret_files: Vec::new(),
        secret_variables: Vec::new(),
        at_start: None,
        warnings: Diagnostics::default(),
    }
}

/// A slot of a manager that died, whose worker died with it.
fn buried(record: &SlotRecord) -> SlotRecord {
    SlotRecord {
        lost_replaced: record.lost_replaced + record.in_flight,
        in_flight: 0,
        pid: 0,
        state: SlotState::Dead as u8,
        ..*record
    }
}
