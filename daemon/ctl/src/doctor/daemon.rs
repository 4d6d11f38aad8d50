//! The programs, the socket, the configuration and the plugins: what healthd itself says of them.

use super::{Findings, Patient, quoted};
use crate::error::CtlError;
use crate::healthd::Helper;
use crate::render::text::count;
use crate::session::Session;
use healthd_core::wire::control::{Op, Reply, VersionInfo};
use serde_json::Value;
use std::ffi::OsStr;
use std::process::Command;

const OURS: &str = env!("CARGO_PKG_VERSION");
const UNIT: &str = "healthd.service";

/// Is it there, and of our version?
pub fn program() -> Findings {
    let mut found = Findings::of("program");
    let install = "sudo etc/install   # in a clone of healthd, after `cargo build --release`";
    let asked = Helper::default().run(&[OsStr::new("--version")]);
    match asked {
        Err(error) => found.problem(error.to_string(), install),
        Ok(ended) => {
            let said = String::from_utf8_lossy(&ended.output.stdout).into_owned();
            let theirs = said.trim().trim_start_matches("healthd ").to_owned();
            let program = ended.program.display();
            match theirs == OURS {
                true => found.ok(format!("{program} {theirs}")),
                false => found.problem(
                    format!("{program} is `{theirs}`, and healthctl {OURS}"),
                    install,
                ),
            }
        }
    }
    found
}

/// The running daemon, if there is one that we may ask.
pub fn running(session: &mut Session) -> Result<VersionInfo, CtlError> {
    let mut found = None;
    let patience = session.map_patience();
    session.ask_within(Op::Version, patience, |reply| match reply {
        Reply::Version(info) => {
            found = Some(info);
            true
        }
        _ => false,
    })?;
    found.ok_or(CtlError::Missing { what: "version" })
}

pub fn socket(
    session: &Session,
    asked: &Result<VersionInfo, CtlError>,
    patient: &Patient,
) -> Findings {
    let mut found = Findings::of("socket");
    let socket = session.socket().display();
    let (start, restart) = (patient.start(), patient.restart());
    match asked {
        Ok(info) if info.version == OURS => {
            found.ok(format!("healthd {OURS} answers on {socket}"));
        }
        Ok(info) => found.warning(
            format!(
                "the running healthd is {}, and healthctl {OURS}",
                info.version
            ),
            restart,
        ),
        Err(error @ (CtlError::NoSocket { .. } | CtlError::Refused { .. })) => {
            found.problem(format!("healthd does not run ({error})"), start);
        }
        Err(error @ CtlError::Denied { group, .. }) => {
            let mend = match group {
                Some(group) => format!("sudo usermod -aG {group} $USER   # then log in again"),
                None => "sudo healthctl doctor".to_owned(),
            };
            found.problem(error.to_string(), mend);
        }
        Err(error @ (CtlError::Silent { .. } | CtlError::Unanswered { .. })) => {
            found.problem(error.to_string(), restart);
        }
        Err(error) => found.problem(error.to_string(), restart),
    }
    if patient.has_unit && !patient.here {
        let systemctl = |verb: &str| {
            Command::new("systemctl")
                .args([verb, "--quiet", UNIT])
                .status()
        };
        match systemctl("is-enabled") {
            Ok(status) if !status.success() => found.warning(
                "healthd is not started when this machine is",
                "sudo systemctl enable healthd",
            ),
            _ => {}
        }
    }
    found
}

/// What healthd makes of the configuration.
pub fn judged(patient: &Patient) -> Result<Value, CtlError> {
    let line = [
        "--config".as_ref(),
        patient.config.as_os_str(),
        "-t".as_ref(),
        "--json".as_ref(),
    ];
    let helper = Helper {
        capture_stderr: true,
        ..Helper::default()
    };
    helper.run(&line).and_then(|ended| ended.answer())
}

/// What `validate` says, in one line.
pub fn config(patient: &Patient, judged: &Result<Value, CtlError>) -> Findings {
    let mut found = Findings::of("config");
    let (config, shown) = (&patient.config, patient.config.display());
    if !config.exists() {
        found.problem(format!("{shown} is not there"), init(patient));
        return found;
    }
    let said = match judged {
        Ok(said) => said,
        Err(error) => {
            found.problem(error.to_string(), validate(patient));
            return found;
        }
    };
    let of = |severity: &str| {
        let all = said["diagnostics"].as_array().into_iter().flatten();
        all.filter(|d| d["severity"] == severity).count() as u64
    };
    let (errors, warnings) = (of("error"), of("warning"));
    let validate = format!("{}   # shows each with a way out", validate(patient));
    match (errors, warnings, said["checks"].as_u64()) {
        (0, 0, Some(0)) => found.warning(
            format!("{shown} has no check"),
            format!("{}   # finds the servers of this machine", init(patient)),
        ),
        (0, 0, checks) => found.ok(format!(
            "{shown} is good, {}",
            count(checks.unwrap_or(0), "check")
        )),
        (0, n, _) => found.warning(format!("{} in {shown}", count(n, "warning")), validate),
        (n, _, _) => found.problem(format!("{} in {shown}", count(n, "mistake")), validate),
    }
    found
}

/// The commands for the configuration that is looked at, which need not be the one that they take by themselves.
fn init(patient: &Patient) -> String {
    match patient.here {
        true => "healthctl --here init".to_owned(),
        false => format!("sudo healthctl init --config {}", quoted(&patient.config)),
    }
}

fn validate(patient: &Patient) -> String {
    match patient.here {
        true => "healthctl --here validate".to_owned(),
        false => format!("sudo healthctl validate {}", quoted(&patient.config)),
    }
}

/// What a start would make of the plugin folder.
pub fn plugins(patient: &Patient) -> Findings {
    let mut found = Findings::of("plugins");
    let folder = &patient.plugin_dir;
    let shown = folder.display();
    let install = "sudo etc/install   # in a clone of healthd, after `cargo build --release`";
    let made = match crate::commands::schema::make(folder) {
        Ok(made) => made,
        Err(error) => {
            found.problem(error.to_string(), install);
            return found;
        }
    };
    for refused in &made.refused {
        let file = &refused.file;
        if !file.exists() {
            found.problem(format!("{} is not there", file.display()), install);
            continue;
        }
        let mend = command_in(&refused.reason, patient.sudo())
            .unwrap_or_else(|| format!("healthctl plugins verify {}", quoted(file)));
        found.warning(format!("not used: {}", refused.reason), mend);
    }
    match made.plugins {
        0 if made.refused.is_empty() => found.problem(format!("no plugin in {shown}"), install),
        0 => {}
        n => found.ok(format!("{} in {shown}", count(n, "plugin"))),
    }
    found
}

/// The commands that a reason names between backticks.
fn command_in(reason: &str, sudo: &str) -> Option<String> {
    let is_command = |text: &&str| text.starts_with("chmod ") || text.starts_with("chown ");
    let commands = reason.split('`').skip(1).step_by(2).find(is_command)?;
    let each: Vec<String> = commands.split("; ").map(|c| format!("{sudo}{c}")).collect();
    Some(each.join(" && "))
}

pub fn here(patient: &Patient) -> &'static str {
    match patient.here {
        true => "--here ",
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_may_name_the_command() {
        let reason = "others may write it (`chown root /x.so; chmod go-w /x.so`)";
        let command = "sudo chown root /x.so && sudo chmod go-w /x.so";
        assert_eq!(command_in(reason, "sudo ").as_deref(), Some(command));
        assert_eq!(command_in("no symbol `hd_plugin_v1`", ""), None);
    }
}
