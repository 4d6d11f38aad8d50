//! healthd, healthctl and the shipped plugins: built, or found.

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub struct Programs {
    pub healthd: PathBuf,
    pub healthctl: PathBuf,
    /// Name of the plugin and its file.
    pub plugins: Vec<(String, PathBuf)>,
}

impl Programs {
    /// What a plain `cargo build` makes. Cargo itself says where it put the files.
    pub fn build(release: bool) -> Result<Programs, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
        let mut command = Command::new(cargo);
        // What `cargo run` says of this program is not said of what it builds: crates that look at it
        // would be built again each time.
        let of_the_demo = |name: &str| {
            [
                "CARGO_PKG_",
                "CARGO_MANIFEST_",
                "CARGO_CRATE_",
                "CARGO_BIN_",
            ]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(of_the_demo) {
                command.env_remove(name);
            }
        }
        let mut build = command
            .args(["build", "--manifest-path"])
            .arg(&manifest)
            .args(release.then_some("--release"))
            .arg("--message-format=json-render-diagnostics")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cargo: {e}"))?;
        let mut artifacts = Vec::new();
        let output = build.stdout.take().ok_or("cargo has no output")?;
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|e| format!("cargo: {e}"))?;
            if let Ok(message) = serde_json::from_str::<Value>(&line)
                && message["reason"] == "compiler-artifact"
            {
                artifacts.push(message);
            }
        }
        let ended = build.wait().map_err(|e| format!("cargo: {e}"))?;
        if !ended.success() {
            return Err(format!("cargo build: {ended}"));
        }
        let program = |name: &str| {
            artifacts
                .iter()
                .filter(|a| a["target"]["name"] == name)
                .find_map(|a| a["executable"].as_str().map(PathBuf::from))
                .ok_or_else(|| format!("cargo built no {name}"))
        };
        let libraries = artifacts
            .iter()
            .filter(|a| a["target"]["kind"][0] == "cdylib")
            .flat_map(|a| a["filenames"].as_array().into_iter().flatten())
            .filter_map(Value::as_str)
            .map(PathBuf::from);
        Ok(Programs {
            healthd: program("healthd")?,
            healthctl: program("healthctl")?,
            plugins: named(libraries),
        })
    }

    pub fn in_folder(dir: &Path) -> Result<Programs, String> {
        let program = |name: &str| {
            let path = dir.join(name);
            // The daemon does not start where we stand.
            path.canonicalize()
                .map_err(|e| format!("{}: {e}", path.display()))
        };
        let files = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Programs {
            healthd: program("healthd")?,
            healthctl: program("healthctl")?,
            plugins: named(files.flatten().map(|f| f.path())),
        })
    }

    pub fn has(&self, plugin: &str) -> bool {
        self.plugins.iter().any(|(name, _)| name == plugin)
    }
}

/// The shipped ones of these files.
fn named(files: impl Iterator<Item = PathBuf>) -> Vec<(String, PathBuf)> {
    const SHIPPED: [&str; 6] = ["cpu", "exec", "http", "postgres", "sqlite", "tcp"];
    files
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?;
            let name = name.strip_prefix("libhealthd_")?.strip_suffix(".so")?;
            SHIPPED
                .contains(&name)
                .then(|| (name.to_owned(), path.clone()))
        })
        .collect()
}
