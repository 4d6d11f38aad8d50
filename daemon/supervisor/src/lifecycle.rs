//! The daemon's life as a pure step: Starting -> Running -> Reloading | Draining -> Killing -> Stopped.
//!
//! The event loop turns every wake-up into an `Event` and carries out the `Command`s. Stopping only
//! escalates: drain, then now, then SIGKILL, each with a deadline.

use healthd_core::wire::supervisor::ToManager;
use healthd_sys::process::Exit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first manager is not ready yet. `reload`: a SIGHUP waits for it.
    Starting {
        reload: bool,
    },
    Running,
    /// `again`: a SIGHUP came while the manager was at it.
    Reloading {
        again: bool,
    },
    /// The manager died; its successor is not ready yet.
    Recovering {
        reload: bool,
    },
    /// The manager lets runs end until then. `hurried`: it was told to stop at once.
    Draining {
        until: u64,
        hurried: bool,
    },
    /// Everything has been killed and is being collected.
    Killing {
        until: u64,
        code: i32,
    },
    Stopped {
        code: i32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    ManagerReady {
        status: String,
    },
    ReloadBegan,
    ReloadEnded {
        status: String,
    },
    Status {
        status: String,
    },
    StillDraining {
        in_flight: u64,
    },
    /// SIGTERM, SIGINT, or a client of the control socket.
    Terminate,
    /// SIGQUIT.
    Quit,
    /// SIGHUP.
    HangUp,
    ManagerDied(Exit),
    /// A folder was taken away and cannot be made anew: only the service manager can mend that.
    FolderLost,
    /// No child is left, ours or adopted.
    NobodyLeft,
    Tick,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Tell(ToManager),
    Notify(Notice),
    /// Kill the dead manager's workers, and when they are gone start manager and workers anew.
    Recover,
    KillEverything,
}

/// What the service manager is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Ready {
        status: String,
    },
    Reloading,
    Stopping,
    /// We are still at it: this long from now no time-out, please.
    ExtendTimeout {
        ns: u64,
    },
    Status(String),
}

/// What a step may know of the world.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// CLOCK_MONOTONIC, ns; so are all times here.
    pub ns: u64,
    /// `stop_grace`.
    pub grace_ns: u64,
    /// Is there a manager to talk to?
    pub manager: bool,
}

pub fn step(phase: Phase, event: Event, now: Now) -> (Phase, Vec<Command>) {
    match phase {
        Phase::Starting { reload } => starting(reload, event, now),
        Phase::Running => running(event, now),
        Phase::Reloading { again } => reloading(again, event, now),
        Phase::Recovering { reload } => recovering(reload, event, now),
        Phase::Draining { until, hurried } => draining(until, hurried, event, now),
        Phase::Killing { until, code } => (killing(until, code, event, now), Vec::new()),
        Phase::Stopped { .. } => (phase, Vec::new()),
    }
}

fn starting(reload: bool, event: Event, now: Now) -> (Phase, Vec<Command>) {
    let here = Phase::Starting { reload };
    match event {
        Event::ManagerReady { status } => came_up(reload, status),
        Event::ManagerDied(Exit::Code(BAD_CONFIG)) => kill(now, BAD_CONFIG),
        Event::ManagerDied(_) => (here, vec![Command::Recover]),
        Event::Status { status } => (here, say(status)),
        Event::Terminate => drain(now),
        Event::FolderLost => kill(now, CANNOT_CREATE),
        Event::Quit => hurry(now),
        Event::HangUp => (Phase::Starting { reload: true }, Vec::new()),
        Event::ReloadBegan
        | Event::ReloadEnded { .. }
        | Event::StillDraining { .. }
        | Event::NobodyLeft
        | Event::Tick => (here, Vec::new()),
    }
}

fn running(event: Event, now: Now) -> (Phase, Vec<Command>) {
    let here = Phase::Running;
    match event {
        Event::ReloadBegan => (
            Phase::Reloading { again: false },
            vec![Command::Notify(Notice::Reloading)],
        ),
        // A reload that began and ended unseen, or a second word of it: the text is news all the same.
        Event::ReloadEnded { status }
        | Event::ManagerReady { status }
        | Event::Status { status } => (here, say(status)),
        Event::ManagerDied(exit) => recover(exit, false),
        Event::Terminate => drain(now),
        Event::FolderLost => kill(now, CANNOT_CREATE),
        Event::Quit => hurry(now),
        Event::HangUp => (here, vec![Command::Tell(ToManager::Reload)]),
        Event::StillDraining { .. } | Event::NobodyLeft | Event::Tick => (here, Vec::new()),
    }
}

fn reloading(again: bool, event: Event, now: Now) -> (Phase, Vec<Command>) {
    let here = Phase::Reloading { again };
    match event {
        Event::ReloadEnded { status } | Event::ManagerReady { status } => came_up(again, status),
        Event::Status { status } => (here, say(status)),
        // The new config is not in force yet, so the next manager reads what is there by then.
        Event::ManagerDied(exit) => recover(exit, true),
        Event::Terminate => drain(now),
        Event::FolderLost => kill(now, CANNOT_CREATE),
        Event::Quit => hurry(now),
        Event::HangUp => (Phase::Reloading { again: true }, Vec::new()),
        Event::ReloadBegan | Event::StillDraining { .. } | Event::NobodyLeft | Event::Tick => {
            (here, Vec::new())
        }
    }
}

fn recovering(reload: bool, event: Event, now: Now) -> (Phase, Vec<Command>) {
    let here = Phase::Recovering { reload };
    match event {
        Event::ManagerReady { status } => came_up(reload, status),
        Event::ManagerDied(exit) => recover(exit, reload),
        Event::Status { status } => (here, say(status)),
        Event::Terminate => drain(now),
        Event::FolderLost => kill(now, CANNOT_CREATE),
        Event::Quit => hurry(now),
        Event::HangUp => (Phase::Recovering { reload: true }, Vec::new()),
        Event::ReloadBegan
        | Event::ReloadEnded { .. }
        | Event::StillDraining { .. }
        | Event::NobodyLeft
        | Event::Tick => (here, Vec::new()),
    }
}

fn draining(until: u64, hurried: bool, event: Event, now: Now) -> (Phase, Vec<Command>) {
    let here = Phase::Draining { until, hurried };
    match event {
        Event::ManagerDied(Exit::Code(0)) => kill(now, 0),
        Event::ManagerDied(_) => kill(now, FAILED),
        Event::Terminate | Event::Quit if hurried => kill(now, FAILED),
        Event::Terminate | Event::Quit => hurry(now),
        Event::Tick if now.ns >= until => kill(now, FAILED),
        Event::Tick => (here, vec![Command::Notify(extension())]),
        Event::StillDraining { in_flight } => {
            let runs = if in_flight == 1 { "run" } else { "runs" };
            (here, say(format!("Stopping: {in_flight} {runs} in flight")))
        }
        Event::Status { status } => (here, say(status)),
        Event::ManagerReady { .. }
        | Event::ReloadBegan
        | Event::ReloadEnded { .. }
        | Event::HangUp
        | Event::FolderLost
        | Event::NobodyLeft => (here, Vec::new()),
    }
}

fn killing(until: u64, code: i32, event: Event, now: Now) -> Phase {
    match event {
        Event::NobodyLeft => Phase::Stopped { code },
        // What does not die of SIGKILL hangs in the kernel; waiting longer would not help.
        Event::Tick if now.ns >= until => Phase::Stopped {
            code: if code == 0 { FAILED } else { code },
        },
        Event::Tick
        | Event::ManagerReady { .. }
        | Event::ReloadBegan
        | Event::ReloadEnded { .. }
        | Event::Status { .. }
        | Event::StillDraining { .. }
        | Event::Terminate
        | Event::Quit
        | Event::HangUp
        | Event::FolderLost
        | Event::ManagerDied(_) => Phase::Killing { until, code },
    }
}

fn came_up(reload: bool, status: String) -> (Phase, Vec<Command>) {
    let mut commands = vec![Command::Notify(Notice::Ready { status })];
    if reload {
        commands.push(Command::Tell(ToManager::Reload));
    }
    (Phase::Running, commands)
}

fn recover(exit: Exit, reload: bool) -> (Phase, Vec<Command>) {
    let why = crate::reaper::death(exit);
    let mut commands = say(format!("The manager died ({why}) and is started anew"));
    commands.push(Command::Recover);
    (Phase::Recovering { reload }, commands)
}

fn drain(now: Now) -> (Phase, Vec<Command>) {
    if !now.manager {
        return stop_without_manager(now);
    }
    let phase = Phase::Draining {
        until: now.ns + now.grace_ns + MARGIN,
        hurried: false,
    };
    let stop = ToManager::Stop {
        grace_ms: now.grace_ns / 1_000_000,
    };
    let commands = vec![
        Command::Notify(Notice::Stopping),
        Command::Notify(extension()),
        Command::Tell(stop),
    ];
    (phase, commands)
}

fn hurry(now: Now) -> (Phase, Vec<Command>) {
    if !now.manager {
        return stop_without_manager(now);
    }
    let phase = Phase::Draining {
        until: now.ns + HURRY,
        hurried: true,
    };
    let commands = vec![
        Command::Notify(Notice::Stopping),
        Command::Notify(extension()),
        Command::Tell(ToManager::StopNow),
    ];
    (phase, commands)
}

/// Between two managers no run is in flight, and what was known is on disk.
fn stop_without_manager(now: Now) -> (Phase, Vec<Command>) {
    let (phase, mut commands) = kill(now, 0);
    commands.insert(0, Command::Notify(Notice::Stopping));
    (phase, commands)
}

fn kill(now: Now, code: i32) -> (Phase, Vec<Command>) {
    let until = now.ns + LAST_WAIT;
    (
        Phase::Killing { until, code },
        vec![Command::KillEverything],
    )
}

fn say(status: String) -> Vec<Command> {
    vec![Command::Notify(Notice::Status(status))]
}

fn extension() -> Notice {
    Notice::ExtendTimeout { ns: EXTENSION }
}

/// sysexits.h EX_CONFIG; the unit has RestartPreventExitStatus=78.
const BAD_CONFIG: i32 = 78;
const CANNOT_CREATE: i32 = 73;
/// The stop was not clean: something had to be killed.
const FAILED: i32 = 1;

const SECOND: u64 = 1_000_000_000;
/// After its grace the manager still has to write its state.
const MARGIN: u64 = 5 * SECOND;
/// "Now" leaves time for that and for nothing else.
const HURRY: u64 = 3 * SECOND;
const LAST_WAIT: u64 = 5 * SECOND;
/// Renewed each second while draining.
const EXTENSION: u64 = 10 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now {
        ns: 100 * SECOND,
        grace_ns: 10 * SECOND,
        manager: true,
    };

    fn at(ns: u64) -> Now {
        Now { ns, ..NOW }
    }

    fn ready(status: &str) -> Event {
        let status = status.to_owned();
        Event::ManagerReady { status }
    }

    fn told(commands: &[Command]) -> Vec<&ToManager> {
        commands
            .iter()
            .filter_map(|c| match c {
                Command::Tell(message) => Some(message),
                Command::Notify(_) | Command::Recover | Command::KillEverything => None,
            })
            .collect()
    }

    #[test]
    fn ready_is_said_once_the_manager_is() {
        let (phase, commands) = step(Phase::Starting { reload: false }, ready("3 checks"), NOW);
        assert_eq!(phase, Phase::Running);
        let status = "3 checks".into();
        assert_eq!(commands, [Command::Notify(Notice::Ready { status })]);
    }

    #[test]
    fn a_bad_config_ends_the_start_and_a_crash_does_not() {
        let starting = Phase::Starting { reload: false };
        let (phase, commands) = step(starting, Event::ManagerDied(Exit::Code(78)), NOW);
        assert!(matches!(phase, Phase::Killing { code: 78, .. }));
        assert_eq!(commands, [Command::KillEverything]);
        let (phase, _) = step(phase, Event::NobodyLeft, NOW);
        assert_eq!(phase, Phase::Stopped { code: 78 });

        let (phase, commands) = step(starting, Event::ManagerDied(Exit::Code(101)), NOW);
        assert_eq!((phase, commands), (starting, vec![Command::Recover]));
        // Once it was ready, 78 is a death like any other: monitoring goes on with the config it had.
        let (phase, _) = step(Phase::Running, Event::ManagerDied(Exit::Code(78)), NOW);
        assert_eq!(phase, Phase::Recovering { reload: false });
    }

    #[test]
    fn sigterm_drains_and_only_escalates() {
        let (drained, commands) = step(Phase::Running, Event::Terminate, NOW);
        let until = NOW.ns + NOW.grace_ns + MARGIN;
        let hurried = false;
        assert_eq!(drained, Phase::Draining { until, hurried });
        assert_eq!(told(&commands), [&ToManager::Stop { grace_ms: 10_000 }]);
        assert!(commands.contains(&Command::Notify(Notice::Stopping)));

        let (same, commands) = step(drained, Event::HangUp, NOW);
        assert_eq!((same, commands.len()), (drained, 0));
        let (same, commands) = step(drained, Event::Tick, at(until - 1));
        assert_eq!(same, drained);
        assert_eq!(commands, [Command::Notify(extension())]);

        let (hurried, commands) = step(drained, Event::Terminate, NOW);
        assert!(matches!(hurried, Phase::Draining { hurried: true, .. }));
        assert_eq!(told(&commands), [&ToManager::StopNow]);
        let (killed, commands) = step(hurried, Event::Quit, NOW);
        assert!(matches!(killed, Phase::Killing { code: FAILED, .. }));
        assert_eq!(commands, [Command::KillEverything]);

        let (late, _) = step(drained, Event::Tick, at(until));
        assert!(matches!(late, Phase::Killing { code: FAILED, .. }));
    }

    #[test]
    fn a_stop_is_clean_only_if_the_manager_says_so() {
        let draining = Phase::Draining {
            until: u64::MAX,
            hurried: false,
        };
        let code_after = |exit| match step(draining, Event::ManagerDied(exit), NOW).0 {
            Phase::Killing { code, .. } => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code_after(Exit::Code(0)), 0);
        assert_eq!(code_after(Exit::Code(3)), FAILED);
        let core = false;
        assert_eq!(code_after(Exit::Signal { signal: 9, core }), FAILED);
    }

    #[test]
    fn without_a_manager_there_is_nothing_to_drain() {
        let now = Now {
            manager: false,
            ..NOW
        };
        for event in [Event::Terminate, Event::Quit] {
            let (phase, commands) = step(Phase::Recovering { reload: false }, event, now);
            assert!(matches!(phase, Phase::Killing { code: 0, .. }));
            let stop = [Command::Notify(Notice::Stopping), Command::KillEverything];
            assert_eq!(commands, stop);
        }
    }

    #[test]
    fn a_reload_waits_for_a_manager_that_can_do_it() {
        let (phase, commands) = step(Phase::Starting { reload: false }, Event::HangUp, NOW);
        assert_eq!(
            (phase, commands.len()),
            (Phase::Starting { reload: true }, 0)
        );
        let (phase, commands) = step(phase, ready(""), NOW);
        assert_eq!(phase, Phase::Running);
        assert_eq!(told(&commands), [&ToManager::Reload]);

        let (phase, commands) = step(phase, Event::ReloadBegan, NOW);
        assert_eq!(commands, [Command::Notify(Notice::Reloading)]);
        let (phase, commands) = step(phase, Event::HangUp, NOW);
        assert_eq!(
            (phase, commands.len()),
            (Phase::Reloading { again: true }, 0)
        );
        let ended = Event::ReloadEnded {
            status: String::new(),
        };
        let (phase, commands) = step(phase, ended, NOW);
        assert_eq!(phase, Phase::Running);
        assert_eq!(told(&commands), [&ToManager::Reload]);
        assert!(matches!(commands[0], Command::Notify(Notice::Ready { .. })));
    }

    #[test]
    fn a_manager_that_dies_in_a_reload_leaves_it_to_its_successor() {
        let died = Event::ManagerDied(Exit::Signal {
            signal: 11,
            core: false,
        });
        let (phase, commands) = step(Phase::Reloading { again: false }, died, NOW);
        assert_eq!(phase, Phase::Recovering { reload: true });
        let status = "The manager died (SIGSEGV) and is started anew".into();
        assert_eq!(
            commands,
            [Command::Notify(Notice::Status(status)), Command::Recover]
        );
        // READY=1 also tells the service manager that the reload is over.
        let (phase, commands) = step(phase, ready("up"), NOW);
        assert_eq!(phase, Phase::Running);
        assert_eq!(commands.len(), 2);
    }

    #[test]
    fn what_cannot_be_killed_is_not_waited_for() {
        let killing = Phase::Killing {
            until: NOW.ns,
            code: 0,
        };
        let (phase, _) = step(killing, Event::Tick, at(NOW.ns - 1));
        assert_eq!(phase, killing);
        let (phase, _) = step(killing, Event::Tick, NOW);
        assert_eq!(phase, Phase::Stopped { code: FAILED });
    }
}
