//! Every config in `tests/configs` against what it must become.
//!
//! `good/X.toml` makes the checks in `X.checks` and, if it earns warnings, prints `X.stderr`.
//! `bad/X.toml` prints exactly `X.stderr`. A case of several files is a folder `X` with a
//! `healthd.toml` and a `checks.d`. `UPDATE_EXPECT=1 cargo test -p healthd-core` writes what is
//! printed now: read the diff as if you were woken by it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use healthd_core::config::{
    Catalog, CheckSpec, Class, Diagnostics, Files, PluginInfo, Refused, daemon_paths, load,
};
use healthd_units::duration;

#[test]
fn good_configs_make_these_checks() {
    let mut wrong = Vec::new();
    for case in cases("good") {
        match load(&case.main, &case.files(), Some(&catalog())) {
            Ok(model) => {
                let mut text = String::new();
                for check in &model.checks {
                    describe(check, &mut text);
                }
                compare(&case.expected("checks"), &text, &mut wrong);
                compare(
                    &case.expected("stderr"),
                    &printed(&model.warnings),
                    &mut wrong,
                );
                let json = serde_json::to_string(&model).expect("plain data");
                let mut back: healthd_core::config::Model =
                    serde_json::from_str(&json).expect("what we wrote");
                back.warnings = model.warnings.clone();
                assert_eq!(back, model, "{} changes on its way to a manager", case.name);
            }
            Err(all) => wrong.push(format!("{} is refused:\n{}", case.name, all.render(false))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_configs_print_this() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in cases("bad") {
        count += 1;
        match load(&case.main, &case.files(), Some(&catalog())) {
            Ok(_) => wrong.push(format!("{} is taken", case.name)),
            Err(all) => {
                assert!(all.errors() > 0, "{}: refused without an error", case.name);
                let text = printed(&all);
                for secret in SECRETS {
                    assert!(
                        !text.contains(secret),
                        "{} shows a secret:\n{text}",
                        case.name
                    );
                    let json = serde_json::to_string(&all).expect("plain data");
                    assert!(
                        !json.contains(secret),
                        "{} shows a secret:\n{json}",
                        case.name
                    );
                }
                compare(&case.expected("stderr"), &text, &mut wrong);
            }
        }
        // Whatever is wrong: the folders are found, and nothing panics without plugins.
        let _ = daemon_paths(&case.main, &case.files());
        let _ = load(&case.main, &case.files(), None);
        let _ = load(&case.main, &case.files(), Some(&Catalog::default()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 25, "only {count} bad configs");
}

#[test]
fn no_expectation_is_left_over() {
    for kind in ["good", "bad"] {
        let names: BTreeSet<String> = cases(kind).into_iter().map(|c| c.name).collect();
        for entry in fs::read_dir(root().join(kind)).expect("shipped") {
            let path = entry.expect("shipped").path();
            let is_expectation = path
                .extension()
                .is_some_and(|e| e == "stderr" || e == "checks");
            let stem = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            assert!(
                !is_expectation || names.contains(&stem),
                "{} belongs to no case",
                path.display()
            );
        }
    }
}

#[test]
fn a_main_file_that_cannot_be_read_is_named() {
    let said = |path: &str| {
        load(Path::new(path), &Fixture { credentials: true }, None)
            .expect_err("not there")
            .render(false)
    };
    assert_eq!(
        said("gone/healthd.toml"),
        "error: cannot read gone/healthd.toml: there is no such file\n  = help: give the path with --config FILE\n"
    );
    assert_eq!(
        said("unreadable"),
        "error: cannot read unreadable: permission denied\n  = help: the daemon's user has to be able to read it\n"
    );
    assert!(said("good").starts_with("error: cannot read good: it is a folder\n"));
}

#[test]
fn the_folders_are_found_in_a_broken_file_too() {
    let with = Env {
        text: "[daemon]\nplugin_dir = \"p\"\nlogg = 5\nuser = oops\n[[check]\n",
        systemd: true,
    };
    let paths = daemon_paths(Path::new("/etc/healthd/healthd.toml"), &with);
    assert_eq!(paths.plugin_dir, Path::new("/etc/healthd/p"));
    assert_eq!(paths.runtime_dir, Path::new("/run/from-systemd"));
    assert_eq!(paths.state_dir, Path::new("/var/lib/from-systemd"));
    // Its quotes are missing, its meaning is not.
    assert_eq!(paths.user.as_deref(), Some("oops"));

    // What the file says wins over the environment; both win over the defaults.
    let with = Env {
        text: "[daemon]\nruntime_dir = \"/r\"\nuser = \"me\"",
        systemd: true,
    };
    let paths = daemon_paths(Path::new("healthd.toml"), &with);
    assert_eq!(
        (paths.runtime_dir.as_path(), paths.user.as_deref()),
        (Path::new("/r"), Some("me"))
    );
    let paths = daemon_paths(
        Path::new("healthd.toml"),
        &Env {
            text: "",
            systemd: false,
        },
    );
    assert_eq!(paths.plugin_dir, Path::new("/usr/lib/healthd/plugins"));
    assert_eq!(paths.runtime_dir, Path::new("/run/healthd"));
    assert_eq!(paths.state_dir, Path::new("/var/lib/healthd"));
}

#[test]
fn without_a_catalog_only_what_needs_a_plugin_is_left_unjudged() {
    let text = "[[check]]\nname = \"a\"\nplugin = \"nobody-knows\"\nconfig = { x = 1, y = { env = \"NOT_SET\" } }\n";
    let model = load(
        Path::new("healthd.toml"),
        &Env {
            text,
            systemd: false,
        },
        None,
    )
    .expect("nothing to say");
    assert_eq!(model.checks[0].config, r#"{"x":1,"y":"***"}"#);
    let text = "[[check]]\nname = \"a*b\"\nplugin = \"nobody-knows\"\ninterval = \"1\"\n";
    let all = load(
        Path::new("healthd.toml"),
        &Env {
            text,
            systemd: false,
        },
        None,
    )
    .expect_err("two mistakes");
    assert_eq!(all.errors(), 2, "{all}");
}

/// One file out of the air, and systemd's variables or none.
/// Before anything is made of them.
#[test]
fn too_many_checks_of_hosts_are_refused() {
    let with = Env {
        text: "[template.a]\nplugin = \"cpu\"\n[[host]]\nfor_each = { a = \"0..1000\", b = \"0..60\" }\n\
            name = \"{a}-{b}\"\nchecks = [\"a\", { use = \"a\", name = \"again\" }]\n",
        systemd: false,
    };
    let told = load(Path::new("healthd.toml"), &with, Some(&catalog())).expect_err("too many");
    let text = told.render(false);
    assert!(
        text.starts_with(
            "error: too many checks: with host `{a}-{b}` the hosts have 120,000, a config may hold 100,000\n"
        ),
        "{text}"
    );
}

struct Env {
    text: &'static str,
    systemd: bool,
}

impl Files for Env {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.text.into())
    }
    fn list_toml(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn env(&self, name: &str) -> Option<String> {
        let value = match name {
            "RUNTIME_DIRECTORY" => "/run/from-systemd:/run/second",
            "STATE_DIRECTORY" => "/var/lib/from-systemd",
            _ => return None,
        };
        self.systemd.then(|| value.into())
    }
    fn credentials_dir(&self) -> Option<PathBuf> {
        None
    }
    fn cores(&self) -> u16 {
        2
    }
}

struct Case {
    kind: &'static str,
    name: String,
    /// As it is printed: relative to `tests/configs`.
    main: PathBuf,
}

impl Case {
    fn expected(&self, extension: &str) -> PathBuf {
        root()
            .join(self.kind)
            .join(format!("{}.{extension}", self.name))
    }

    fn files(&self) -> Fixture {
        Fixture {
            credentials: !self.name.contains("no_credentials"),
        }
    }
}

fn cases(kind: &'static str) -> Vec<Case> {
    let mut list: Vec<Case> = Vec::new();
    for entry in fs::read_dir(root().join(kind)).expect("shipped") {
        let path = entry.expect("shipped").path();
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let main = if path.is_dir() && path.join("healthd.toml").exists() {
            Path::new(kind).join(&name).join("healthd.toml")
        } else if path.extension().is_some_and(|e| e == "toml") {
            Path::new(kind).join(format!("{name}.toml"))
        } else {
            continue;
        };
        list.push(Case { kind, name, main });
    }
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/configs")
}

fn printed(all: &Diagnostics) -> String {
    if all.is_empty() {
        String::new()
    } else {
        format!("{}\n{}\n", all.render(false), all.summary())
    }
}

/// An empty text and no file are the same.
fn compare(expected: &Path, text: &str, wrong: &mut Vec<String>) {
    let there = fs::read_to_string(expected).unwrap_or_default();
    if there == text {
        return;
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        if text.is_empty() {
            fs::remove_file(expected).expect("our own file");
        } else {
            fs::write(expected, text).expect("our own folder");
        }
        return;
    }
    wrong.push(format!(
        "--- {}\n{there}\n--- printed now\n{text}",
        expected.display()
    ));
}

fn describe(c: &CheckSpec, out: &mut String) {
    let _ = writeln!(
        out,
        "{} {} every {} timeout {} -> {} retry {} x{}{} ({})",
        c.name,
        c.plugin,
        duration::show(c.interval),
        duration::show(c.timeout),
        c.timeout_status.name(),
        duration::show(c.retry_interval),
        c.attempts,
        if c.enabled { "" } else { " disabled" },
        c.source,
    );
    if !c.needs.is_empty() {
        let _ = writeln!(out, "    needs {}", c.needs.join(", "));
    }
    if !c.labels.is_empty() {
        let _ = writeln!(out, "    labels {:?}", c.labels);
    }
    if !c.groups.is_empty() {
        let groups: Vec<String> = c
            .groups
            .iter()
            .map(|g| format!("{} at most {}", g.key(), g.most))
            .collect();
        let _ = writeln!(out, "    in {}", groups.join(", "));
    }
    let _ = writeln!(out, "    {}", c.config);
    if c.shown_config != c.config {
        let _ = writeln!(out, "    shown {}", c.shown_config);
    }
    if let Some(reason) = &c.unusable {
        let _ = writeln!(out, "    unusable: {reason}");
    }
    if c.from.iter().any(|layer| layer.what != "[defaults]") {
        for layer in c.from.iter() {
            let keys = layer.keys.join(", ");
            let _ = writeln!(out, "    {} ({}): {keys}", layer.what, layer.source);
        }
    }
}

/// Contents that no message may show.
const SECRETS: [&str; 3] = ["s3cret-from-env", "s3cret-from-file", "s3cret-from-systemd"];

/// The real files below `tests/configs`, and an environment of our own.
struct Fixture {
    credentials: bool,
}

impl Files for Fixture {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path.ends_with("unreadable") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        fs::read(root().join(path))
    }

    fn list_toml(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let Ok(entries) = fs::read_dir(root().join(dir)) else {
            return Ok(Vec::new());
        };
        let mut list: Vec<PathBuf> = entries
            .map(|e| dir.join(e.expect("shipped").file_name()))
            .collect();
        list.sort();
        Ok(list)
    }

    fn env(&self, name: &str) -> Option<String> {
        match name {
            "TOKEN" => Some("s3cret-from-env".into()),
            "SHORT" => Some("abc".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    fn credentials_dir(&self) -> Option<PathBuf> {
        self.credentials.then(|| "creds".into())
    }

    fn cores(&self) -> u16 {
        2
    }
}

fn catalog() -> Catalog {
    let plugins = [
        ("http", Class::Io, 10),
        ("tcp", Class::Io, 5),
        ("postgres", Class::Io, 10),
        ("sqlite", Class::Block, 10),
        ("cpu", Class::Cpu, 30),
        ("exec", Class::Exec, 60),
        ("badschema", Class::Io, 10),
    ];
    let plugins = plugins.map(|(name, class, timeout)| PluginInfo {
        name: name.into(),
        version: "1.0.0".into(),
        summary: String::new(),
        file: format!("/usr/lib/healthd/plugins/{name}.so").into(),
        class,
        default_timeout: Duration::from_secs(timeout),
        schema: std::sync::Arc::new(match name {
            "badschema" => serde_json::json!({ "properties": { "x": { "type": "int" } } }),
            _ => {
                let text = fs::read(root().join(format!("plugins/{name}.json"))).expect("shipped");
                serde_json::from_slice(&text).expect("shipped")
            }
        }),
    });
    Catalog {
        plugins: plugins.into(),
        refused: vec![Refused {
            file: "/usr/lib/healthd/plugins/libhealthd_redis.so".into(),
            name: None,
            reason: "plugin ABI 2, this healthd speaks 1".into(),
        }],
    }
}
