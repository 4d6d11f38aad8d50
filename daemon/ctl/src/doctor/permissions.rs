//! Who may read and write what healthd needs: its own user all of it, and others no plugin and no configuration.

use super::{Findings, Patient, quoted};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const READ: u32 = 4;
const WRITE: u32 = 2;
const SEARCH: u32 = 1;

pub fn look(patient: &Patient) -> Findings {
    let mut found = Findings::of("permissions");
    let Some(user) = &patient.user else {
        found.problem(
            "there is no user `healthd`, as whom the unit starts it",
            "sudo useradd --system --no-create-home --shell /usr/sbin/nologin healthd",
        );
        return found;
    };
    let who = Who {
        uid: user.uid,
        groups: &user.groups,
        name: &user.name,
        gid: user.gid,
        sudo: patient.sudo(),
    };
    let checks = patient.config.with_file_name("checks.d");
    // That it is not there is told of the configuration.
    if patient.config.exists() && who.can(&mut found, &patient.config, READ, "read") {
        only_ours(&mut found, &patient.config, who);
        found.ok(format!(
            "{} is read by {}",
            patient.config.display(),
            who.name
        ));
    }
    if checks.is_dir() && who.can(&mut found, &checks, READ | SEARCH, "read") {
        only_ours(&mut found, &checks, who);
        let files = std::fs::read_dir(&checks).into_iter().flatten().flatten();
        for file in files.map(|entry| entry.path()) {
            if file.extension().is_some_and(|e| e == "toml") {
                who.can(&mut found, &file, READ, "read");
            }
        }
    }
    // Made at the start, with the right owner, by the unit or by root.
    for folder in [&patient.state_dir, &patient.runtime_dir] {
        if folder.exists() && who.can(&mut found, folder, WRITE | SEARCH, "write") {
            found.ok(format!("{} is written by {}", folder.display(), who.name));
        }
    }
    if patient.plugin_dir.exists() {
        who.can(&mut found, &patient.plugin_dir, READ | SEARCH, "read");
    }
    found
}

#[derive(Clone, Copy)]
struct Who<'a> {
    uid: u32,
    gid: u32,
    groups: &'a [u32],
    name: &'a str,
    sudo: &'static str,
}

impl Who<'_> {
    /// Whether it has these rights, on the way there too; tells if not.
    fn can(self, found: &mut Findings, path: &Path, rights: u32, verb: &str) -> bool {
        let way: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .filter(|p| *p != Path::new(""))
            .collect();
        let wanted = (way.into_iter().rev().map(|folder| (folder, SEARCH))).chain([(path, rights)]);
        for (place, rights) in wanted {
            let about = match std::fs::metadata(place) {
                Ok(about) => about,
                Err(e) => {
                    let shown = place.display();
                    match e.kind() {
                        std::io::ErrorKind::PermissionDenied => found.warning(
                            format!("{shown} cannot be looked at by you"),
                            "sudo healthctl doctor",
                        ),
                        _ => found.problem(
                            format!("{shown} is not there"),
                            format!("{}healthctl init", self.sudo),
                        ),
                    }
                    return false;
                }
            };
            if !self.has(&about, rights) {
                self.tell(found, path, place, &about, rights, verb);
                return false;
            }
        }
        true
    }

    fn has(self, about: &Metadata, rights: u32) -> bool {
        if self.uid == 0 {
            return true;
        }
        let mode = about.mode();
        let his = if about.uid() == self.uid {
            mode >> 6
        } else if self.gid == about.gid() || self.groups.contains(&about.gid()) {
            mode >> 3
        } else {
            mode
        };
        his & rights == rights
    }

    fn tell(
        self,
        found: &mut Findings,
        path: &Path,
        place: &Path,
        about: &Metadata,
        rights: u32,
        verb: &str,
    ) {
        let (name, sudo, group, at) = (self.name, self.sudo, self.gid, quoted(place));
        let on_the_way = match path == place {
            true => String::new(),
            false => format!(", as it may not pass {}", place.display()),
        };
        let what = format!("{name} cannot {verb} {}{on_the_way}", path.display());
        let letters: String = [(READ, 'r'), (WRITE, 'w'), (SEARCH, 'x')]
            .iter()
            .filter(|(right, _)| rights & right != 0)
            .map(|(_, letter)| letter)
            .collect();
        let mend = if path != place {
            format!("{sudo}chmod o+x {at}")
        } else if rights & WRITE != 0 {
            format!("{sudo}chown {name} {at} && {sudo}chmod u+{letters} {at}")
        } else if about.uid() == self.uid {
            format!("{sudo}chmod u+{letters} {at}")
        } else {
            format!("{sudo}chgrp {group} {at} && {sudo}chmod g+{letters} {at}")
        };
        found.problem(what, mend);
    }
}

/// Whoever may write the configuration decides what healthd runs.
fn only_ours(found: &mut Findings, path: &Path, who: Who<'_>) {
    let Ok(about) = std::fs::metadata(path) else {
        return;
    };
    if about.mode() & 0o002 != 0 {
        found.warning(
            format!(
                "everybody may write {}: who does decides what healthd runs",
                path.display()
            ),
            format!("{}chmod o-w {}", who.sudo, quoted(path)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_its_user_may_not_read_and_what_everybody_may_write() {
        let dir = std::env::temp_dir().join(format!("healthctl-rights-{}", std::process::id()));
        fs::create_dir_all(dir.join("checks.d")).expect("our own folder");
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own");
        };
        mode(&dir, 0o755);
        let config = dir.join("healthd.toml");
        fs::write(&config, "").expect("our own folder");
        mode(&config, 0o600);
        mode(&dir.join("checks.d"), 0o757);
        let patient = Patient {
            config: config.clone(),
            plugin_dir: dir.clone(),
            runtime_dir: dir.clone(),
            state_dir: dir.join("state"),
            here: false,
            pid: None,
            // Nobody has this number, so it is neither the owner nor in the group.
            user: Some(super::super::User {
                name: "watcher".into(),
                uid: 61_234,
                gid: 61_234,
                groups: Vec::new(),
            }),
            has_unit: false,
        };
        let said: Vec<_> = (look(&patient).list.into_iter())
            .filter(|f| f.state != State::Ok)
            .map(|f| (f.what, f.mend.unwrap_or_default()))
            .collect();
        let at = dir.display();
        assert_eq!(
            said,
            [
                (
                    format!("watcher cannot read {at}/healthd.toml"),
                    format!(
                        "sudo chgrp 61234 {at}/healthd.toml && sudo chmod g+r {at}/healthd.toml"
                    )
                ),
                (
                    format!(
                        "everybody may write {at}/checks.d: who does decides what healthd runs"
                    ),
                    format!("sudo chmod o-w {at}/checks.d")
                ),
                (
                    format!("watcher cannot write {at}"),
                    format!("sudo chown watcher {at} && sudo chmod u+wx {at}")
                ),
            ]
        );
        mode(&dir, 0o700);
        let said = look(&patient).list;
        assert!(
            said[0].what.ends_with(&format!("as it may not pass {at}")),
            "{said:?}"
        );
        fs::remove_dir_all(&dir).expect("our own folder");
    }
}
