//! The shipped plugins, built if they are not, so that `cargo test` alone is enough.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The shipped libraries, and the plugins in each.
const SHIPPED: [(&str, &[&str]); 11] = [
    ("cpu", &["cpu"]),
    ("digest", &["digest"]),
    ("exec", &["exec"]),
    (
        "host",
        &[
            "disk",
            "file",
            "interface",
            "journal",
            "load",
            "log",
            "memory",
            "process",
            "systemd",
        ],
    ),
    ("http", &["http"]),
    ("notify", &["mail", "script", "webhook"]),
    ("postgres", &["postgres"]),
    ("sqlite", &["sqlite"]),
    ("heartbeat", &["heartbeat", "passive"]),
    ("stats", &["stats"]),
    ("tcp", &["tcp"]),
];

/// The library that has this plugin; None: none of the shipped.
pub fn library_of(plugin: &str) -> Option<&'static str> {
    let has = |entry: &&(&str, &[&str])| entry.1.contains(&plugin);
    SHIPPED.iter().find(has).map(|(library, _)| *library)
}

/// Each library that a plain `cargo build` leaves.
pub fn all_shipped() -> Vec<PathBuf> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = std::fs::read_to_string(tree.join("Cargo.toml")).expect("shipped");
    let members = workspace.split("\ndefault-members").nth(1);
    let members = members.and_then(|list| list.split(']').next());
    let names = members.unwrap_or_default().split('"');
    let libraries: Vec<&str> = names.filter_map(|m| m.strip_prefix("plugins/")).collect();
    assert!(libraries.len() > 8, "{libraries:?}");
    libraries.into_iter().map(shipped).collect()
}

/// `http` -> the path of `libhealthd_http.so` of this build.
pub fn shipped(name: &str) -> PathBuf {
    built(&format!("healthd-{name}"), &format!("libhealthd_{name}.so"))
}

/// A file that a package of the workspace leaves in the target folder.
pub fn built(package: &str, file: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let dir = Path::new(env!("CARGO_BIN_EXE_healthd"))
        .parent()
        .expect("a program lies in a folder");
    let file = dir.join(file);
    let mut known = BUILT.lock().expect("no builder panics");
    if known.insert(package.to_owned()) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", package]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if dir.file_name().is_some_and(|d| d == "release") {
            build.arg("--release");
        }
        // Its target folder is where this program lies, or the plugin would land elsewhere. Built for a named target,
        // as `tests/sanitize` does, it lies one folder deeper, and cargo takes the name from the environment.
        let named = std::env::var_os("CARGO_BUILD_TARGET");
        let deeper = named.filter(|name| dir.parent().and_then(Path::file_name) == Some(name));
        if let Some(target) = dir.ancestors().nth(if deeper.is_some() { 2 } else { 1 }) {
            build.env("CARGO_TARGET_DIR", target);
        }
        let done = build.status().expect("cargo runs");
        assert!(done.success(), "`{package}` does not build");
    }
    file
}
