//! `doctor`: looks at this machine, and says what would mend what it finds.

use crate::args::DoctorArgs;
use crate::doctor::{self, Findings, Patient, Root, State, User, daemon};
use crate::error::CtlError;
use crate::exit;
use crate::render::doctor::table;
use crate::session::Session;
use healthd_catalog::RealFiles;
use healthd_core::config::daemon_paths;
use healthd_core::wire::control::VersionInfo;
use healthd_sys::privileges;
use rustix::process::{getgid, getuid};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const UNITS: [&str; 3] = [
    "/etc/systemd/system/healthd.service",
    "/usr/lib/systemd/system/healthd.service",
    "/lib/systemd/system/healthd.service",
];
/// Of the unit.
const USER: &str = "healthd";

pub fn run(session: &mut Session, args: &DoctorArgs) -> Result<u8, CtlError> {
    let asked = daemon::running(session);
    let patient = patient(session, args, asked.as_ref().ok());
    let root = Root("/".into());
    let now = session.screen.look().now;
    let judged = daemon::judged(&patient);
    let areas: [Findings; 11] = [
        daemon::program(),
        daemon::socket(session, &asked, &patient),
        daemon::config(&patient, &judged),
        daemon::plugins(&patient),
        doctor::web::look(&patient, judged.as_ref().ok()),
        doctor::permissions::look(&patient),
        doctor::limits::look(&root, &patient),
        doctor::disk::look(&patient),
        doctor::clock::look(&root, now),
        doctor::resolver::look(&root),
        doctor::kernel::look(&root),
    ];
    let mut findings: Vec<_> = areas.into_iter().flat_map(|area| area.list).collect();
    let worst = findings.iter().map(|f| f.state).max();
    if session.json {
        session.print_json_array(&findings)?;
    } else {
        // The gravest first.
        findings.sort_by_key(|f| std::cmp::Reverse(f.state));
        let look = session.screen.look();
        session.screen.print(&table(&findings, &look))?;
    }
    Ok(match worst {
        None | Some(State::Ok) => exit::OK,
        Some(State::Warning) => exit::WARNING,
        Some(State::Problem) => exit::CRITICAL,
    })
}

fn patient(session: &Session, args: &DoctorArgs, running: Option<&VersionInfo>) -> Patient {
    let told = running.map(|info| PathBuf::from(&info.config));
    let config = args.config.clone().or(told.filter(|path| path.is_file()));
    let config = config.unwrap_or_else(|| session.config().to_owned());
    let paths = daemon_paths(&config, &RealFiles);
    let pid = running.map(|info| info.supervisor_pid);
    let here = session.is_here();
    let has_unit = has_unit();
    let of_process = pid.and_then(|pid| std::fs::metadata(format!("/proc/{pid}")).ok());
    let user = match (of_process, &paths.user) {
        (Some(process), _) => account(&process.uid().to_string()),
        (None, Some(user)) => account(user),
        (None, None) if has_unit && !here => account(USER),
        (None, None) => Some(User {
            name: "you".into(),
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
            groups: Vec::new(),
        }),
    };
    Patient {
        config,
        plugin_dir: paths.plugin_dir,
        runtime_dir: paths.runtime_dir,
        state_dir: paths.state_dir,
        here,
        pid,
        user,
        has_unit,
    }
}

/// The service manager runs here, and has a unit of healthd.
pub fn has_unit() -> bool {
    Path::new("/run/systemd/system").is_dir() && UNITS.iter().any(|u| Path::new(u).is_file())
}

fn account(name: &str) -> Option<User> {
    let account = privileges::lookup_user(name).ok().flatten()?;
    let groups = privileges::groups_of(&account).unwrap_or_default();
    Some(User {
        uid: account.uid.as_raw(),
        gid: account.gid.as_raw(),
        name: account.name,
        groups,
    })
}
