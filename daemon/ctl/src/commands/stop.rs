//! `stop`: a graceful stop of the whole daemon.

use crate::args::StopArgs;
use crate::error::CtlError;
use crate::exit;
use crate::interrupt::Interrupt;
use crate::session::Session;
use healthd_core::wire::control::{Op, Reply, VersionInfo};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;

pub fn run(session: &mut Session, args: &StopArgs) -> Result<u8, CtlError> {
    // The handle is taken before the stop: later the pid may be gone, or someone else's.
    let daemon = if args.wait {
        Some(handle(session)?)
    } else {
        None
    };
    session.ask_all(Op::Stop, |_| false)?;
    if let Some((pid, process)) = daemon {
        if !session.json {
            session
                .screen
                .progress(&format!("waiting for healthd (pid {pid}) to end"));
        }
        if !gone(session, &process)? {
            session.screen.note(
                "note",
                "healthd goes on stopping: `healthctl version` tells whether it is gone",
            );
            return Ok(exit::UNKNOWN);
        }
    }
    if session.json {
        let state = if args.wait { "stopped" } else { "stopping" };
        session.print_json(&serde_json::json!({ "healthd": state }))?;
    } else if args.wait {
        session.screen.print_line("healthd has stopped")?;
    } else {
        session
            .screen
            .print_line("healthd is stopping: no new runs, those in flight may finish")?;
    }
    Ok(exit::OK)
}

fn handle(session: &mut Session) -> Result<(u32, OwnedFd), CtlError> {
    let info: VersionInfo = session.ask_one(Op::Version, "version", |reply| match reply {
        Reply::Version(info) => Some(info),
        _ => None,
    })?;
    let unsupported = CtlError::Unsupported {
        what: "stop --wait",
        why: "the process of healthd is not visible from here (another PID namespace?); leave out --wait",
    };
    let raw = i32::try_from(info.supervisor_pid).ok();
    match raw
        .and_then(Pid::from_raw)
        .map(|pid| pidfd_open(pid, PidfdFlags::empty()))
    {
        Some(Ok(process)) => Ok((info.supervisor_pid, process)),
        _ => Err(unsupported),
    }
}

/// False: interrupted, or the time of `--timeout` is over.
fn gone(session: &Session, process: &OwnedFd) -> Result<bool, CtlError> {
    let interrupt = Interrupt::new()?;
    let limit = session
        .timeout()
        .and_then(|time| Timespec::try_from(time).ok());
    loop {
        let mut fds = [
            PollFd::new(process, PollFlags::IN),
            PollFd::new(&interrupt.readable, PollFlags::IN),
        ];
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => return Ok(!fds[0].revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(CtlError::Interrupt(error.into())),
        }
    }
}
