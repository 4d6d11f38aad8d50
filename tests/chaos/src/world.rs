//! The daemon under test with everything around it: folders, plugins, config, targets.

use crate::client;
use crate::hostile::Hostile;
use crate::people::People;
use crate::plan::BAD_PLUGINS;
use crate::seen::Eyes;
use crate::service::Service;
use crate::targets::Targets;
use healthd_test_support::{Small, compile};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const PATIENCE: Duration = Duration::from_secs(30);
pub const IO_WORKERS: u64 = 3;

pub struct World {
    // First, so that it ends first.
    pub service: Service,
    pub eyes: Eyes,
    pub targets: Targets,
    pub people: People,
    pub hostile: Hostile,
    pub dir: PathBuf,
    pub plugins: PathBuf,
    /// Small file systems for runtime and state; None: this machine does not let us mount.
    pub disks: Option<Disks>,
    /// Files of the broken variants, by name.
    variants: HashMap<&'static str, PathBuf>,
    echo: PathBuf,
    pub extras: u64,
    pub io_workers: u64,
    /// A check that is left out of the config.
    pub omitted: Option<String>,
    intervals: HashMap<String, u64>,
    _folder: Folder,
}

pub struct Disks {
    pub run: Small,
    pub state: Small,
}

/// Short, as a socket's path must fit in 107 bytes; removed at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The tree that this program was built from.
pub fn tree() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Where cargo put the programs and plugins.
pub fn target_dir() -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.parent().map(Path::to_owned).unwrap_or_default()
}

/// The daemon's programs and plugins, as they are now in this tree.
pub fn build() -> Result<(), String> {
    let target = target_dir();
    for extra in [&[][..], &["-p", "healthd-fixture-panics"]] {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .args(["build", "--quiet"])
            .args(extra)
            .current_dir(tree());
        if target.file_name().is_some_and(|n| n == "release") {
            cargo.arg("--release");
        }
        if let Some(target) = target.parent() {
            cargo.env("CARGO_TARGET_DIR", target);
        }
        match cargo.status() {
            Ok(s) if s.success() => {}
            Ok(s) => return Err(format!("cargo build: {s}")),
            Err(e) => return Err(format!("cargo: {e}")),
        }
    }
    Ok(())
}

impl World {
    pub fn new() -> Result<World, String> {
        let dir = std::env::temp_dir().join(format!("hc-{}", std::process::id()));
        let told = |e: std::io::Error| format!("{}: {e}", dir.display());
        let _ = fs::remove_dir_all(&dir);
        for sub in ["bin", "plugins", "run", "state", "switch"] {
            fs::create_dir_all(dir.join(sub)).map_err(told)?;
            fs::set_permissions(dir.join(sub), PermissionsExt::from_mode(0o755)).map_err(told)?;
        }
        let folder = Folder(dir.clone());
        let fixtures = target_dir().join("chaos");
        let fixture = |source: &str| {
            let name = format!("libfixture_{source}.so");
            compile::plugin(tree(), source, &fixtures, &name, &[])
        };
        let echo = fixture("echo")?;
        let plugins = dir.join("plugins");
        for entry in fs::read_dir(target_dir()).map_err(told)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("libhealthd_") && name.ends_with(".so") && !name.contains("example")
            {
                install(&entry.path(), &plugins.join(name))?;
            }
        }
        let panics = target_dir().join("libfixture_panics.so");
        for file in [
            &echo,
            &fixture("crash")?,
            &fixture("leak")?,
            &fixture("forbidden")?,
            &panics,
        ] {
            install(file, &plugins.join(file.file_name().unwrap_or_default()))?;
        }
        let mut variants = HashMap::new();
        for variant in BAD_PLUGINS.into_iter().chain(["FINE"]) {
            let made = match variant {
                "garbage" => written(&fixtures, "garbage.so", &[0x42; 9000])?,
                "empty" => written(&fixtures, "empty.so", b"")?,
                "removed" => continue,
                _ => compile::plugin(
                    tree(),
                    "wrong_abi",
                    &fixtures,
                    &format!("dropped_{variant}.so"),
                    &[
                        format!("-DVARIANT={variant}"),
                        format!("-DVARIANT_IS_{variant}=1"),
                        "-DNAME=\"dropped\"".into(),
                    ],
                )?,
            };
            variants.insert(variant, made);
        }
        install(&variants["FINE"], &plugins.join("libdropped.so"))?;
        let shim = compile::shim(tree(), "tests/chaos/src/clock.c", &fixtures, "clock.so")?;
        let disks = Small::mount(&dir.join("run"), "6m").and_then(|run| {
            let state = Small::mount(&dir.join("state"), "2m")?;
            Some(Disks { run, state })
        });
        // A copy: who builds meanwhile does not change what runs here.
        let programs = dir.join("bin");
        for program in ["healthd", "healthctl"] {
            let copy = programs.join(program);
            install(&target_dir().join(program), &copy)?;
            fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).map_err(told)?;
        }
        let service = Service::new(&dir, &programs, Some(shim))?;
        let mut world = World {
            eyes: Eyes::open(&dir.join("run")),
            service,
            targets: Targets::start()?,
            people: People::new(&dir)?,
            hostile: Hostile::new(),
            plugins,
            disks,
            variants,
            echo,
            extras: 0,
            io_workers: IO_WORKERS,
            omitted: None,
            intervals: HashMap::new(),
            _folder: folder,
            dir,
        };
        world.write_config()?;
        Ok(world)
    }

    /// What runs now by our own will, as an editor would leave it: a new file renamed over the old one.
    pub fn write_config(&mut self) -> Result<(), String> {
        let text = self.config();
        self.write_text(&text)
    }

    pub fn write_text(&self, text: &str) -> Result<(), String> {
        let temp = self.dir.join("healthd.toml.new");
        let told = |e: std::io::Error| format!("{}: {e}", temp.display());
        fs::write(&temp, text).map_err(told)?;
        fs::rename(&temp, self.dir.join("healthd.toml")).map_err(told)
    }

    pub fn config(&mut self) -> String {
        let dir = self.dir.display().to_string();
        let mut text = format!(
            "[daemon]\nplugin_dir = \"{dir}/plugins\"\nruntime_dir = \"{dir}/run\"\nstate_dir = \"{dir}/state\"\n\
             log = \"info\"\nstop_grace = \"2s\"\n\n[pool]\nisolate = false\n\n[pool.io]\nworkers = {}\nmax_rss = \"256MiB\"\nmax_fds = 2000\n\n[pool.exec]\nmax_parallel = 16\n\n[pool.attack]\nplugins = [\"forbidden\", \"forbidden_cpu\"]\n",
            self.io_workers
        );
        self.intervals.clear();
        let mut add = |name: &str,
                       plugin: &str,
                       interval: u64,
                       timeout: u64,
                       attempts: u32,
                       options: &str| {
            if self.omitted.as_deref() == Some(name) {
                return;
            }
            self.intervals.insert(name.to_owned(), interval);
            let _ = write!(
                text,
                "\n[[check]]\nname = {name:?}\nplugin = {plugin:?}\ninterval = \"{interval}ms\"\nretry_interval = \"{interval}ms\"\n\
                 timeout = \"{timeout}ms\"\nattempts = {attempts}\nconfig = {{ {options} }}\n"
            );
        };
        for t in self.targets.checks() {
            add(
                &t.name,
                t.plugin,
                t.interval_ms,
                t.timeout_ms,
                t.attempts,
                &t.options,
            );
        }
        for t in self.hostile.checks(&self.dir) {
            let (interval, timeout) = (t.interval_ms, t.timeout_ms);
            add(&t.name, t.plugin, interval, timeout, t.attempts, &t.options);
        }
        for n in 0..10 {
            add(&format!("good/echo-{n}"), "echo", 500, 10_000, 2, "");
        }
        for n in 0..20 {
            let options = format!("wait_ms = {}", n * 7);
            add(
                &format!("good/step-{n}"),
                "echo_step",
                500,
                10_000,
                2,
                &options,
            );
        }
        for n in 0..self.extras {
            add(
                &format!("extra/{n}"),
                "echo_step",
                1000,
                10_000,
                1,
                "wait_ms = 5",
            );
        }
        for n in 0..crate::people::CHECKS {
            let options = People::options(&self.dir, n);
            add(&format!("told/{n}"), "echo_step", 500, 10_000, 1, &options);
        }
        for n in 0..4 {
            add(&format!("drop/{n}"), "dropped", 1000, 5000, 1, "");
        }
        for how in crate::plan::MISBEHAVIOURS {
            let file = format!("if_file = \"{dir}/switch/{how}\"");
            let (plugin, options) = match how {
                "stall" => ("crash_step", "how = \"stall\", ms = 2500".to_owned()),
                "hang" => ("crash", "how = \"stall\", ms = 6000".to_owned()),
                "create" | "destroy" => ("crash", format!("how = \"segv\", when = \"{how}\"")),
                "step" => ("crash_step", "how = \"segv\", when = \"step\"".to_owned()),
                "leak" => ("leak", "kb = 65536".to_owned()),
                "fd-leak" => ("leak", "fds = 400".to_owned()),
                "panic" => ("panics", "at = \"run\"".to_owned()),
                "panic-step" => ("panics_step", "at = \"step\"".to_owned()),
                _ => ("crash", format!("how = {how:?}")),
            };
            let timeout = if how == "hang" { 500 } else { 5000 };
            add(
                &format!("bad/{how}"),
                plugin,
                500,
                timeout,
                1,
                &format!("{options}, {file}"),
            );
        }
        text + &self.people.config()
    }

    /// The interval of a check, as it stands in the config.
    pub fn interval(&self, name: &str) -> Duration {
        Duration::from_millis(self.intervals.get(name).copied().unwrap_or(2000))
    }

    pub fn ask(&self, op: &str, fields: Value) -> Result<Vec<Value>, String> {
        client::ask(&self.service.socket(), op, &fields, PATIENCE)
    }

    pub fn reload(&self) -> Result<(), String> {
        self.ask("reload", json!({})).map(drop)
    }

    /// The misbehaviour is on while this file is there.
    pub fn switch(&self, how: &str, on: bool) -> Result<(), String> {
        let file = self.dir.join("switch").join(how);
        let done = match on {
            true => fs::write(&file, ""),
            false => fs::remove_file(&file),
        };
        done.map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Puts a variant of the plugin `dropped` in its place.
    pub fn drop_in(&self, variant: &str) -> Result<(), String> {
        let to = self.plugins.join("libdropped.so");
        match self.variants.get(variant) {
            Some(file) => install(file, &to),
            None => fs::remove_file(&to).map_err(|e| format!("{}: {e}", to.display())),
        }
    }

    /// The same code in other bytes: a linker's padding would do as much.
    pub fn upgrade_echo(&self, nth: u64) -> Result<(), String> {
        let told = |e: std::io::Error| e.to_string();
        let mut bytes = fs::read(&self.echo).map_err(told)?;
        bytes.extend(nth.to_ne_bytes());
        let from = written(&self.dir, "echo.bytes", &bytes)?;
        let to = self.plugins.join(self.echo.file_name().unwrap_or_default());
        install(&from, &to)
    }
}

fn written(dir: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
    let path = dir.join(name);
    let told = |e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(dir).map_err(told)?;
    fs::write(&path, bytes).map_err(told)?;
    Ok(path)
}

/// Replaces a file in one step, as a package manager would.
fn install(from: &Path, to: &Path) -> Result<(), String> {
    let temp = to.with_extension("new");
    let told = |e: std::io::Error| format!("{}: {e}", from.display());
    fs::copy(from, &temp).map_err(told)?;
    fs::set_permissions(&temp, PermissionsExt::from_mode(0o644)).map_err(told)?;
    fs::rename(&temp, to).map_err(told)
}
