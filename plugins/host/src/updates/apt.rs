//! What apt would do now: `apt-get -s dist-upgrade`, which needs no right and no network.

use super::{Waiting, newest, run};
use crate::kernel::Kernel;
use healthd_plugin::Cx;
use std::time::SystemTime;

/// Its caches are those of root: in memory they are made anew, and nothing is written.
const QUESTION: [&str; 8] = [
    "apt-get",
    "-s",
    "-oDebug::NoLocking=true",
    "-oDir::Cache::pkgcache=",
    "-oDir::Cache::srcpkgcache=",
    "-oAPT::Get::Show-User-Simulation-Note=false",
    "-qq",
    "dist-upgrade",
];

pub async fn ask(cx: Cx<'_>) -> Result<Waiting, String> {
    let output = run(cx, &QUESTION, &[0]).await?;
    Ok(read(&String::from_utf8_lossy(&output.out)))
}

/// `Inst bash [5.2.15-2+b7] (5.2.15-2+b8 Debian:12.5/stable, Debian-Security:12/stable-security [amd64])`
pub fn read(text: &str) -> Waiting {
    let mut waiting = Waiting::default();
    for line in text.lines() {
        let Some((name, rest)) = line.strip_prefix("Inst ").and_then(|l| l.split_once(' ')) else {
            continue;
        };
        // What has no version in brackets is not there yet: an update brings it along.
        if !rest.starts_with('[') {
            continue;
        }
        waiting.all.push(name.to_owned());
        let from = rest.split_once('(').map_or("", |(_, from)| from);
        let is_security = from
            .split([' ', ','])
            .any(|origin| origin.starts_with("Debian-Security:") || origin.ends_with("-security"));
        if is_security {
            waiting.security.push(name.to_owned());
        }
    }
    waiting
}

/// Each `apt-get update` makes files here, though all that it fetched were as before.
pub fn lists_changed(kernel: &Kernel) -> Option<SystemTime> {
    newest(
        kernel,
        [
            "var/lib/apt/periodic/update-success-stamp",
            "var/lib/apt/lists",
            "var/lib/apt/lists/partial",
        ],
    )
}
