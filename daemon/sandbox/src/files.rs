//! What a worker may open: what the C library needs, and the paths that its checks name. Nothing is executed, and
//! nothing is written but where an option says so. And what lies outside of it gets no signals.

use crate::reach;
use healthd_core::wire::sandbox::{Layers, OpenPath, Profile};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};
use std::path::{Path, PathBuf};

/// All of it for reading: names and how to look them up, certificates, libraries, zones, what the kernel and systemd tell.
/// Folders, as such files are replaced by others of the same name.
const READ: [&str; 19] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/proc",
    "/sys",
    "/run/systemd",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
    "/run/udev",
    "/run/utmp",
    "/run/log/journal",
    "/var/log/journal",
    "/var/lib/ca-certificates",
    "/var/lib/sss",
];
/// And what of it stands elsewhere, in lists with colons.
const NAMED: [&str; 4] = ["SSL_CERT_FILE", "SSL_CERT_DIR", "TZDIR", "LD_LIBRARY_PATH"];
/// For both: nothing comes of it.
const BOTH: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];

/// The newest that this knows.
const NEWEST: ABI = ABI::V6;

pub fn restrict(profile: Profile, paths: &[OpenPath]) -> Result<Layers, RulesetError> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if profile == Profile::Programs {
        // They may do anything else: what they do to files is their operator's business.
        ruleset = ruleset.scope(Scope::Signal)?;
    } else {
        ruleset = ruleset
            .handle_access(AccessFs::from_all(NEWEST))?
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::from_all(NEWEST))?;
    }
    let mut created = ruleset.create()?;
    if profile != Profile::Programs {
        created = with_paths(created, paths)?;
        // A port that the kernel chooses, from an address that a check wants to speak from.
        created = created.add_rule(NetPort::new(0, AccessNet::BindTcp))?;
    }
    let status = created.restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Ok(Layers::default());
    }
    let kernel = ABI::from(status.landlock);
    let of_checks = profile != Profile::Programs;
    Ok(Layers {
        calls: false,
        files: of_checks && kernel >= ABI::V1,
        bind: of_checks && kernel >= ABI::V4,
        scope: kernel >= ABI::V6,
    })
}

fn with_paths(
    mut created: RulesetCreated,
    paths: &[OpenPath],
) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_write(NEWEST) | read;
    let fixed = READ.iter().map(|path| (Path::new(*path), read));
    let devices = read | AccessFs::WriteFile | AccessFs::IoctlDev;
    let fixed = fixed.chain(BOTH.iter().map(|path| (Path::new(*path), devices)));
    let mut paths = paths.to_vec();
    let named = NAMED.iter().filter_map(|name| std::env::var(name).ok());
    for path in named.flat_map(|list| list.split(':').map(str::to_owned).collect::<Vec<_>>()) {
        if path.starts_with('/') {
            paths.push(OpenPath { path, write: false });
        }
    }
    let of_checks: Vec<(PathBuf, bool)> = reach::all(&paths);
    let of_checks = of_checks.iter().map(|(path, writes)| {
        let access = if *writes { write } else { read };
        (path.as_path(), access)
    });
    for (path, access) in fixed.chain(of_checks) {
        if let Some(rule) = rule(path, access) {
            created = created.add_rule(rule)?;
        }
    }
    Ok(created)
}

/// None: there is nothing. A file gets no rights that only folders have.
fn rule(path: &Path, access: BitFlags<AccessFs>) -> Option<PathBeneath<PathFd>> {
    let folder = std::fs::metadata(path).ok()?.is_dir();
    let access = match folder {
        true => access,
        false => access & AccessFs::from_file(NEWEST),
    };
    Some(PathBeneath::new(PathFd::new(path).ok()?, access))
}
