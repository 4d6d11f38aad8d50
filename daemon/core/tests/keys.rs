//! The table of keys against what it speaks of: the model, what a check is by itself, and the man page.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use healthd_core::config::{Files, Grammar, Model, Section, load};
use healthd_units::duration;
use serde_json::Value;

/// The sections that are one table.
const TABLES: [Section; 9] = [
    Section::Daemon,
    Section::Users,
    Section::Pool,
    Section::IoPool,
    Section::CpuPool,
    Section::ExecPool,
    Section::Web,
    Section::Push,
    Section::History,
];

/// One file, and nothing else.
struct Only(&'static str);

impl Files for Only {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
    fn read_secret(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn list_toml(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn credentials_dir(&self) -> Option<PathBuf> {
        None
    }
    fn cores(&self) -> u16 {
        4
    }
}

fn model() -> Model {
    model_of(
        "[web]\n[history]\n[push]\nurl = \"https://a.example/\"\n[[check]]\nname = \"a\"\nplugin = \"tcp\"\n",
    )
}

fn model_of(text: &'static str) -> Model {
    match load(Path::new("healthd.toml"), &Only(text), None) {
        Ok(model) => model,
        Err(all) => panic!("{}", all.render(false)),
    }
}

/// A reload tells of a key by its field: one of another name would never be told.
#[test]
fn each_key_of_a_section_is_a_field_and_each_field_a_key() {
    let model = serde_json::to_value(model()).expect("plain data");
    for section in TABLES {
        let mut at = &model;
        for part in match section {
            Section::Users => "daemon.users",
            _ => section.header().trim_matches(['[', ']']),
        }
        .split('.')
        {
            at = &at[part];
        }
        let mut fields: BTreeSet<&str> = BTreeSet::new();
        for (name, value) in at.as_object().expect("a section") {
            match (name.as_str(), value) {
                ("limits", Value::Object(limits)) => fields.extend(limits.keys().map(|k| &**k)),
                // Sections within, and groups, whose names are anybody's.
                ("users" | "io" | "cpu" | "exec", Value::Object(_)) | ("groups", _) => {}
                (name, _) => drop(fields.insert(name)),
            }
        }
        let rows = section.rows();
        let rows = rows.filter(|key| !matches!(key.grammar, Grammar::Section(_)));
        let keys: BTreeSet<&str> = rows.map(|key| key.name).collect();
        assert_eq!(fields, keys, "{}", section.header());
    }
}

#[test]
fn what_nobody_writes_is_what_the_table_says() {
    let model = model();
    let check = &model.checks[0];
    let default = |key| Section::Check.default_of(key);
    assert_eq!(
        duration::show(check.interval),
        duration_of(default("interval"))
    );
    assert_eq!(check.attempts.to_string(), default("attempts"));
    assert_eq!(check.enabled.to_string(), default("enabled"));
    assert_eq!(check.timeout_status.name(), default("timeout_status"));
    assert_eq!(check.alerts.recover.to_string(), default("recover"));
    assert_eq!(check.alerts.invert.to_string(), default("invert"));
    let flap = check.alerts.flap.expect("a default");
    let flap = format!("{}/{}", flap.count, duration::show(flap.per));
    assert_eq!(flap, default("flap"));
    assert_eq!(check.probe.is_some().to_string(), default("probe"));
}

/// On a machine of four processors.
#[test]
fn a_pool_by_itself_and_by_auto() {
    let sizes = |text| {
        let pool = model_of(text).pool;
        (pool.io.workers, pool.io.threads, pool.cpu.workers)
    };
    let default = |section: Section, key| section.default_of(key).parse::<u16>().ok();
    let (workers, threads, computing) = sizes("");
    assert_eq!(default(Section::IoPool, "workers"), Some(workers));
    assert_eq!(default(Section::IoPool, "threads"), Some(threads));
    assert_eq!(computing, 4);
    let auto =
        "[pool.io]\nworkers = \"auto\"\nthreads = \"auto\"\n[pool.cpu]\nworkers = \"auto\"\n";
    assert_eq!(sizes(auto), (4, 64, 4));
    let by_hand = "[pool.io]\nworkers = 3\nthreads = 5\n[pool.cpu]\nworkers = 7\n";
    assert_eq!(sizes(by_hand), (3, 5, 7));
}

/// As it is shown: 60s is 1m.
fn duration_of(text: &str) -> String {
    duration::show(duration::parse(text).expect("a duration"))
}

/// A subsection of the man page for each section, but those that take the keys of others.
const SHOWN: [Section; 15] = [
    Section::Daemon,
    Section::Users,
    Section::Pool,
    Section::PoolGroup,
    Section::IoPool,
    Section::CpuPool,
    Section::ExecPool,
    Section::Web,
    Section::Push,
    Section::History,
    Section::Check,
    Section::Host,
    Section::Defaults,
    Section::Notify,
    Section::Maintenance,
];

#[test]
fn the_man_page_has_each_key_and_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc/man/healthd.toml.5");
    let page = std::fs::read_to_string(path).expect("shipped");
    let mut parts: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in page.lines() {
        let head = line.strip_prefix(".Ss ").or(line.strip_prefix(".Sh "));
        match (head, parts.last_mut()) {
            (Some(head), _) => parts.push((head, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    let mut missing = Vec::new();
    for section in SHOWN {
        let heads = [section.header(), "[pool.io], [pool.cpu], [pool.exec]"];
        let heads = match section {
            Section::IoPool | Section::CpuPool | Section::ExecPool => &heads[..],
            _ => &heads[..1],
        };
        let parts = parts.iter().filter(|(head, _)| heads.contains(head));
        let lines: Vec<&str> = parts.flat_map(|(_, lines)| lines.clone()).collect();
        for key in section.rows() {
            if matches!(key.grammar, Grammar::Section(_)) {
                continue;
            }
            assert!(!key.about.is_empty(), "{}", key.name);
            let at = lines.iter().find_map(|line| {
                let named = line.strip_prefix(".It Ic ").or(line.strip_prefix(".Ic "))?;
                let (names, default) = named.split_once(" No = ").unwrap_or((named, ""));
                let is_it = names.split([' ', ',']).any(|name| name == key.name);
                is_it.then_some(default)
            });
            let place = format!("`{}` of {}", key.name, section.header());
            let Some(shown) = at else {
                missing.push(place);
                continue;
            };
            // A section that has it from another one does not say it again.
            let shown = shown.trim_start_matches("Qq ").trim_start_matches("Pa ");
            if !key.default.is_empty() && section == key.of[0] && shown != key.default {
                missing.push(format!("{place} = {}: the page has `{shown}`", key.default));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
