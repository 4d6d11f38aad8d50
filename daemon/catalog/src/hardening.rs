//! Programs that say something wrong under the unit's hardening: seen by the unit's own settings, as systemd reads them.
//!
//! What is told stands in the table of `daemon/docs/hardening.md`.

use healthd_core::config::{CheckSpec, Complaint, Severity, What};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where systemd looks for units, the strongest last; this variable says other ones, the strongest first, as for systemd's
/// own programs.
const UNIT_PATH: &str = "SYSTEMD_UNIT_PATH";
const UNIT_DIRS: [&str; 4] = [
    "/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/system",
    "/etc/systemd/system",
];
const UNIT: &str = "healthd.service";

/// What is in force of `[Service]`.
#[derive(Debug, Default)]
pub struct Hardening {
    settings: BTreeMap<String, String>,
}

impl Hardening {
    /// Of the unit on this machine; nothing where there is none.
    pub fn of_unit() -> Hardening {
        let mut dirs: Vec<PathBuf> = match std::env::var_os(UNIT_PATH) {
            None => UNIT_DIRS.iter().rev().map(PathBuf::from).collect(),
            Some(path) => std::env::split_paths(&path).collect(),
        };
        dirs.reverse();
        Hardening::read(&dirs)
    }

    fn read(dirs: &[PathBuf]) -> Hardening {
        let mut hardening = Hardening::default();
        // The strongest file is the unit; of each folder's drop-ins the name decides, and then the folder.
        let unit = dirs.iter().rev().map(|dir| dir.join(UNIT));
        if let Some(text) = unit.filter_map(|file| fs::read_to_string(file).ok()).next() {
            hardening.add(&text);
        }
        let mut drop_ins: BTreeMap<std::ffi::OsString, PathBuf> = BTreeMap::new();
        for dir in dirs {
            let entries = fs::read_dir(dir.join(format!("{UNIT}.d")))
                .into_iter()
                .flatten();
            for path in entries.flatten().map(|e| e.path()) {
                if let (Some(name), true) = (path.file_name(), is_drop_in(&path)) {
                    drop_ins.insert(name.to_owned(), path.clone());
                }
            }
        }
        for text in drop_ins
            .values()
            .filter_map(|file| fs::read_to_string(file).ok())
        {
            hardening.add(&text);
        }
        hardening
    }

    fn add(&mut self, text: &str) {
        let mut is_service = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                is_service = line == "[Service]";
            } else if let Some((key, value)) = line.split_once('=').filter(|_| is_service)
                && !key.starts_with(['#', ';'])
            {
                self.settings
                    .insert(key.trim().into(), value.trim().to_lowercase());
            }
        }
    }

    fn is(&self, key: &str, values: &[&str]) -> bool {
        self.settings
            .get(key)
            .is_some_and(|v| values.contains(&v.as_str()))
    }

    /// What of these checks would be wrong without a word.
    pub fn complaints(&self, checks: &[CheckSpec]) -> Vec<Complaint> {
        let mut found = Vec::new();
        for (check, spec) in checks.iter().enumerate() {
            if !spec.enabled || !spec.config.contains("\"argv\"") {
                continue;
            }
            let config = serde_json::from_str(&spec.config).unwrap_or_default();
            if let Some(said) = self.complaint(&config) {
                found.push(Complaint {
                    check,
                    severity: Severity::Warning,
                    what: What::Options(said),
                });
            }
        }
        found
    }

    /// The same of the options of one check.
    pub fn complaint(&self, config: &serde_json::Value) -> Option<String> {
        if self.settings.is_empty() {
            return None;
        }
        // Whatever plugin starts programs calls their words so.
        let argv = config["argv"].as_array()?;
        let argv: Vec<&str> = argv.iter().filter_map(|w| w.as_str()).collect();
        let (what, setting) = self.lie(&argv)?;
        Some(format!(
            "argv: under {UNIT} {what}: it needs {setting} (daemon/docs/hardening.md)"
        ))
    }

    /// What this program would say, and the setting that mends it.
    fn lie(&self, argv: &[&str]) -> Option<(String, &'static str)> {
        let (program, words) = argv.split_first()?;
        let name = Path::new(program).file_name()?.to_str()?;
        let hidden = |path: &str| {
            let below = |dirs: &[&str]| dirs.iter().any(|dir| Path::new(path).starts_with(dir));
            let homes = below(&["/home", "/root", "/run/user"]);
            let temporary = below(&["/tmp", "/var/tmp"]);
            if homes && self.is("ProtectHome", &["yes", "true", "on", "1", "tmpfs"]) {
                Some("ProtectHome=read-only")
            } else if temporary
                && self.is("PrivateTmp", &["yes", "true", "on", "1", "disconnected"])
            {
                Some("PrivateTmp=no")
            } else {
                None
            }
        };
        let paths = || {
            words
                .iter()
                .map(|w| w.split_once('=').map_or(*w, |(_, path)| path))
        };
        let path = paths().find_map(|path| Some((path, hidden(path)?)));
        match (name, path) {
            ("check_procs" | "check_nagios", _)
                if self.is("ProtectProc", &["invisible", "noaccess", "ptraceable"]) =>
            {
                Some((
                    format!("`{name}` sees only healthd's own processes"),
                    "ProtectProc=default",
                ))
            }
            ("check_disk", Some((path, setting))) => Some((
                format!("`{name}` sees an empty stand-in for {path}"),
                setting,
            )),
            (_, Some((path, setting))) if name.starts_with("check_") => {
                Some((format!("`{name}` does not see {path}"), setting))
            }
            ("check_icmp" | "check_ping" | "check_fping" | "check_dhcp", _)
                if self.is("NoNewPrivileges", &["yes", "true", "on", "1"])
                    && self.is("CapabilityBoundingSet", &[""]) =>
            {
                Some((
                    format!("`{name}` may not send what it has to"),
                    "CAP_NET_RAW",
                ))
            }
            ("check_ide_smart" | "check_sensors", _)
                if self.is("PrivateDevices", &["yes", "true", "on", "1"]) =>
            {
                Some((format!("`{name}` sees no device"), "PrivateDevices=no"))
            }
            ("sudo", _) if self.is("NoNewPrivileges", &["yes", "true", "on", "1"]) => Some((
                "`sudo` may not become another user".into(),
                "NoNewPrivileges=no",
            )),
            _ => None,
        }
    }
}

fn is_drop_in(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "conf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_systemd_does_and_lies_are_seen() {
        let dir = std::env::temp_dir().join(format!("healthd-unit-{}", std::process::id()));
        let (usr, etc) = (dir.join("usr"), dir.join("etc"));
        fs::create_dir_all(usr.join("healthd.service.d")).expect("mkdir");
        fs::create_dir_all(etc.join("healthd.service.d")).expect("mkdir");
        let shipped = "[Unit]\nProtectProc=default\n[Service]\nNoNewPrivileges=yes\nCapabilityBoundingSet=\n\
                       ProtectHome=yes\nPrivateTmp=yes\nProtectProc=invisible\n";
        fs::write(usr.join("healthd.service"), shipped).expect("write");
        let dirs = [usr.clone(), etc.clone()];
        let lie = |argv: &[&str]| Hardening::read(&dirs).lie(argv).map(|(_, setting)| setting);
        let (procs, home) = (
            ["/usr/lib/nagios/plugins/check_procs"],
            ["check_disk", "-p", "/home"],
        );
        assert_eq!(lie(&procs), Some("ProtectProc=default"));
        assert_eq!(lie(&home), Some("ProtectHome=read-only"));
        assert_eq!(lie(&["check_disk", "--path=/tmp/x"]), Some("PrivateTmp=no"));
        assert_eq!(
            lie(&["check_file_age", "-f", "/root/x"]),
            Some("ProtectHome=read-only")
        );
        assert_eq!(lie(&["check_ping", "-H", "a"]), Some("CAP_NET_RAW"));
        assert_eq!(lie(&["sudo", "-n", "check_x"]), Some("NoNewPrivileges=no"));
        for fine in [
            &["check_disk", "-p", "/"][..],
            &["check_http", "-H", "/homepage"],
            &["cat", "/home"],
        ] {
            assert_eq!(lie(fine), None, "{fine:?}");
        }
        let drop_in =
            "[Service]\n# ProtectHome=yes\nProtectProc=default\nProtectHome = read-only\n";
        fs::write(etc.join("healthd.service.d/exec.conf"), drop_in).expect("write");
        assert_eq!((lie(&procs), lie(&home)), (None, None));
        // The whole unit may be another's.
        fs::write(etc.join("healthd.service"), "[Service]\nUser=x\n").expect("write");
        assert_eq!(lie(&["check_ping"]), None);
        fs::remove_dir_all(dir).expect("clean up");
    }
}
