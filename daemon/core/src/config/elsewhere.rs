//! What other tools call it: whoever comes from Nagios, monit, Prometheus, Gatus or Uptime Kuma writes their words first.
//! Each has its word here, so that the help is the way out and not a list to search.

use super::keys::Section;
use super::words::{did_you_mean, one_of};

type Row = (&'static [&'static str], &'static str);

/// Keys of a check by their name here.
const CHECK: &[Row] = &[
    (
        &["service_description", "id", "hostname", "host_name"],
        "name",
    ),
    (&["description", "display_name", "alias"], "title"),
    (
        &["type", "kind", "prober", "check", "check_command", "module"],
        "plugin",
    ),
    (
        &[
            "check_interval",
            "normal_check_interval",
            "scrape_interval",
            "poll_interval",
            "period",
            "every",
            "frequency",
            "schedule",
            "cron",
        ],
        "interval",
    ),
    (
        &["scrape_timeout", "check_timeout", "deadline", "timeout_s"],
        "timeout",
    ),
    (
        &[
            "max_check_attempts",
            "max_attempts",
            "retries",
            "retry",
            "max_retries",
            "failure_threshold",
        ],
        "attempts",
    ),
    (
        &["retry_check_interval", "retry_delay", "resend_interval"],
        "retry_interval",
    ),
    (&["active", "enable"], "enabled"),
    (&["tags", "tag", "group", "groups", "category"], "labels"),
    (
        &[
            "depends_on",
            "depends",
            "dependencies",
            "dependency",
            "parents",
            "parent",
            "requires",
        ],
        "needs",
    ),
    (
        &["extends", "inherit", "inherits", "template", "templates"],
        "use",
    ),
    (&["notes_url", "playbook", "runbook_url", "docs"], "runbook"),
    (&["success_threshold", "recovery_attempts"], "recover"),
    (&["event_handler", "on_failure", "action"], "on_change"),
    (&["restart_unit", "restart_service"], "restart"),
    (&["foreach", "matrix", "with_items", "loop"], "for_each"),
    (
        &["options", "args", "settings", "params", "parameters"],
        "config",
    ),
    (&["upside_down", "negate", "inverted"], "invert"),
    (&["objective", "sla"], "slo"),
    (&["mutex", "lock"], "exclusive"),
];

/// What no key of a check stands for, and what does.
const CHECK_OTHERWISE: &[Row] = &[
    (
        &["disabled", "disable", "skip"],
        "its opposite is a key: `enabled = false` stands for `disabled = true`",
    ),
    (
        &[
            "notify",
            "contacts",
            "contact_groups",
            "notifications",
            "alert",
            "alerts",
            "receivers",
        ],
        "who is told stands in a block `[[notify]]`, whose `match` chooses checks",
    ),
    (
        &["warning", "critical", "warn", "crit"],
        "limits are options of the plugin, inside `config`: `healthctl plugins show NAME` tells their names",
    ),
    (
        &["command", "cmd", "program", "script"],
        "a program is run by `plugin = \"exec\"`, with `config = { argv = [\"/path/of/it\", \"-x\"] }`",
    ),
];

const DAEMON: &[Row] = &[
    (&["log_level", "loglevel", "verbosity", "level"], "log"),
    (&["group", "socket_group"], "control_group"),
    (&["data_dir", "statedir", "lib_dir"], "state_dir"),
    (&["run_dir", "rundir"], "runtime_dir"),
    (&["plugins", "plugins_dir", "plugin_path"], "plugin_dir"),
    (&["username", "run_as", "uid"], "user"),
    (
        &["grace", "shutdown_timeout", "drain_timeout"],
        "stop_grace",
    ),
];

const DAEMON_OTHERWISE: &[Row] = &[
    (
        &["log_file", "logfile", "log_path", "syslog"],
        "the log goes to standard error, which the journal keeps; without systemd: `healthd 2>>FILE`",
    ),
    (
        &["pid_file", "pidfile"],
        "there is none: the supervisor holds `runtime_dir`, and `healthctl version` tells its pid",
    ),
    (
        &["socket", "control_socket", "socket_path"],
        "it is called control.sock and lies in `runtime_dir`",
    ),
    (
        &["workers", "threads", "processes", "concurrency"],
        "workers are below `[pool.io]` and `[pool.cpu]`",
    ),
    (
        &["interval", "timeout", "attempts"],
        "what all checks share is below `[defaults]`",
    ),
    (
        &["listen", "port", "address", "bind", "http"],
        "HTTP is switched on by a section `[web]`, with `listen = \"127.0.0.1:8420\"`",
    ),
    (
        &["include", "checks_dir", "confdir", "conf_dir"],
        "the files in checks.d beside this one are read by themselves",
    ),
];

const WEB: &[Row] = &[
    (&["port", "address", "addr", "bind", "host"], "listen"),
    (&["password", "auth", "api_key", "key"], "token"),
];

const WEB_OTHERWISE: &[Row] = &[
    (
        &["username", "user", "basic_auth"],
        "there are no users: who brings the `token` may change something, and `read = \"token\"` asks it of all",
    ),
    (
        &["tls", "cert", "cert_file", "certificate", "https"],
        "TLS is the affair of a proxy before it, which reaches it by `listen = \"unix:PATH\"`",
    ),
    (
        &["enabled", "enable"],
        "the section itself switches it on: without it there is no process",
    ),
];

const HISTORY: &[Row] = &[
    (&["size", "max_bytes", "limit"], "max_size"),
    (&["metrics", "keep_metrics"], "keep"),
];

const HISTORY_OTHERWISE: &[Row] = &[
    (
        &["retention", "max_age", "days", "keep_days", "ttl"],
        "what is kept is bounded by its size: `max_size = \"1GiB\"`; `healthctl validate` tells what all checks take",
    ),
    (
        &["path", "file", "database", "db", "dir"],
        "it is called history.db and lies in `state_dir`",
    ),
    (
        &["enabled", "enable"],
        "the section itself switches it on: without it there is no process",
    ),
];

const SECTIONS: &[Row] = &[
    (
        &[
            "service",
            "services",
            "endpoint",
            "endpoints",
            "monitor",
            "monitors",
            "probe",
            "probes",
            "target",
            "targets",
            "job",
            "jobs",
            "healthcheck",
            "healthchecks",
            "scrape_configs",
        ],
        "checks are written `[[check]]`",
    ),
    (
        &[
            "global", "settings", "main", "server", "general", "core", "healthd", "log", "logging",
            "options", "common",
        ],
        "settings of the daemon are below `[daemon]`, and what all checks share below `[defaults]`",
    ),
    (
        &[
            "alert",
            "alerts",
            "alerting",
            "notification",
            "notifications",
            "contact",
            "contacts",
            "receiver",
            "receivers",
            "route",
            "routes",
            "email",
            "smtp",
            "mail",
            "slack",
            "webhook",
        ],
        "who is told of problems is written `[[notify]]`",
    ),
    (
        &[
            "silence",
            "silences",
            "downtime",
            "downtimes",
            "mute",
            "window",
            "windows",
        ],
        "planned times without alerts are written `[[maintenance]]`",
    ),
    (
        &[
            "http",
            "api",
            "prometheus",
            "metrics",
            "dashboard",
            "ui",
            "page",
            "status_page",
            "www",
            "listen",
        ],
        "pages, API and metrics are switched on by a section `[web]`",
    ),
    (
        &["storage", "database", "db", "retention", "sqlite"],
        "what is recorded is switched on by a section `[history]`",
    ),
    (
        &["include", "includes", "import", "imports"],
        "the files in checks.d beside the main file are read by themselves",
    ),
    (
        &["hostgroup", "hostgroups", "servicegroup", "group", "groups"],
        "checks are grouped by `labels`, and commands choose by them: `healthctl status team=web`",
    ),
    (
        &["vars", "variables", "macros", "constants"],
        "what many checks share is a `[template.NAME]`, and lists are `for_each`",
    ),
    (
        &["command", "commands"],
        "a program is run by a `[[check]]` with `plugin = \"exec\"`",
    ),
];

const PLUGINS: &[Row] = &[
    (&["url", "web", "website", "https", "rest", "curl"], "http"),
    (
        &["icmp", "fping", "host", "hostalive", "host_alive"],
        "ping",
    ),
    (&["port", "socket", "connect", "telnet"], "tcp"),
    (&["ssl", "x509", "starttls"], "tls"),
    (&["cert", "certs", "pem", "certificates"], "certificate"),
    (&["mariadb", "galera", "percona"], "mysql"),
    (&["pg", "pgsql", "postgresql", "psql"], "postgres"),
    (&["valkey", "keydb"], "redis"),
    (&["rabbitmq"], "amqp"),
    (&["mosquitto"], "mqtt"),
    (&["docker", "podman", "lxc"], "container"),
    (
        &[
            "shell", "script", "command", "cmd", "nagios", "program", "run", "bash", "sh",
        ],
        "exec",
    ),
    (&["whois", "rdap", "domain_expiration"], "domain"),
    (&["unit", "service", "systemctl"], "systemd"),
    (&["swap", "ram", "mem", "oom"], "memory"),
    (
        &["df", "filesystem", "fs", "partition", "disk_space"],
        "disk",
    ),
    (&["procs", "proc", "pid"], "process"),
    (&["mdadm", "mdraid", "md"], "raid"),
    (&["temperature", "temp", "fan", "lm_sensors"], "sensors"),
    (&["apt", "dnf", "yum", "packages"], "updates"),
    (&["syslog", "logfile", "logfiles"], "log"),
    (&["journald", "journalctl"], "journal"),
    (
        &["nic", "network", "ethernet", "ifconfig", "if"],
        "interface",
    ),
    (&["time", "chrony", "ntp_time"], "clock"),
    (
        &["push", "dead_man", "deadman", "cron", "healthchecks"],
        "heartbeat",
    ),
    (&["email", "smtp_mail", "sendmail"], "mail"),
];

/// Services that the plugin `webhook` speaks to.
const PRESETS: &[&str] = &[
    "slack",
    "discord",
    "teams",
    "mattermost",
    "telegram",
    "ntfy",
    "gotify",
    "pushover",
    "pagerduty",
    "opsgenie",
    "alertmanager",
];

/// Options, by parts of what plugins call them here.
const OPTIONS: &[(&[&str], &[&str])] = &[
    (
        &[
            "address", "hostname", "ip", "server", "target", "addr", "host",
        ],
        &["host", "url", "server", "servers"],
    ),
    (
        &[
            "dsn",
            "uri",
            "connection",
            "conninfo",
            "connection_string",
            "endpoint",
        ],
        &["url"],
    ),
    (
        &[
            "insecure_skip_verify",
            "skip_verify",
            "ignore_tls",
            "ssl_ignore",
        ],
        &["insecure"],
    ),
    (
        &[
            "contains",
            "keyword",
            "string",
            "body_match",
            "search",
            "conditions",
            "match",
        ],
        &["body_contains", "body_regex", "expect", "match"],
    ),
    (&["fail_if_body_matches_regexp"], &["body_not_regex"]),
    (
        &[
            "fail_if_body_not_matches_regexp",
            "regex",
            "pattern",
            "regexp",
        ],
        &["body_regex", "expect", "match", "pattern"],
    ),
    (
        &[
            "expected_status",
            "valid_status_codes",
            "status_code",
            "status_codes",
            "expect_status",
            "code",
        ],
        &["status"],
    ),
    (&["username", "login"], &["user"]),
    (&["pass", "passwd", "pw"], &["password"]),
    (&["command", "cmd", "program", "script", "exec"], &["argv"]),
    (
        &[
            "path",
            "file",
            "filename",
            "mountpoint",
            "partition",
            "device",
        ],
        &["path", "paths", "file", "files"],
    ),
    (&["follow_redirects", "max_redirects"], &["redirects"]),
    (&["http_method", "verb"], &["method"]),
    (
        &["ca", "cacert", "ca_cert", "cafile", "root_ca"],
        &["ca_file"],
    ),
    (&["cert", "certificate", "client_cert"], &["cert_file"]),
    (&["key", "client_key"], &["key_file"]),
    (
        &["cert_days", "certificate_days", "days"],
        &["certificate_warn_days", "warn_days"],
    ),
    (
        &["response_time", "latency", "slow"],
        &["latency_warn", "rtt_warn"],
    ),
    (&["count", "pings"], &["packets"]),
    (&["service", "service_name"], &["unit", "units"]),
    (&["sql", "statement"], &["query"]),
];

/// Options that mean the opposite.
const TURNED: &[(&[&str], &str)] = &[(
    &[
        "verify",
        "verify_ssl",
        "ssl_verify",
        "tls_verify",
        "verify_tls",
        "check_certificate",
    ],
    "insecure",
)];

fn find(rows: &[Row], word: &str) -> Option<&'static str> {
    rows.iter()
        .find(|(words, _)| words.contains(&word))
        .map(|(_, ours)| *ours)
}

fn plain(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    let mut before = ' ';
    for c in word.chars() {
        // `checkInterval`
        if c.is_ascii_uppercase() && before.is_ascii_lowercase() {
            plain.push('_');
        }
        before = c;
        plain.push(if c == '-' {
            '_'
        } else {
            c.to_ascii_lowercase()
        });
    }
    plain
}

fn called(ours: &str) -> String {
    format!("here it is called `{ours}`")
}

/// A key that the section does not have.
pub fn key(word: &str, section: Section) -> Option<String> {
    let word = plain(word);
    let (names, texts): (&[Row], &[Row]) = match section {
        Section::Daemon => (DAEMON, DAEMON_OTHERWISE),
        Section::Web => (WEB, WEB_OTHERWISE),
        Section::History => (HISTORY, HISTORY_OTHERWISE),
        _ if section.has("attempts") => (CHECK, CHECK_OTHERWISE),
        _ => return None,
    };
    let name = find(names, &word).filter(|ours| section.has(ours));
    name.map(called)
        .or_else(|| find(texts, &word).map(str::to_owned))
}

/// Whether a key that no check has stands for this one.
pub fn means(word: &str, key: &str) -> bool {
    let near = || did_you_mean(word, Section::Check.keys());
    find(CHECK, &plain(word)).or_else(near) == Some(key)
}

pub fn section(word: &str) -> Option<&'static str> {
    find(SECTIONS, &plain(word))
}

/// A plugin that is not there, by those that are: called otherwise elsewhere, or misspelt, or both.
pub fn plugin(word: &str, known: &[&str]) -> Option<String> {
    let near = || did_you_mean(word, known.iter().copied());
    let near_elsewhere = || {
        let words = PLUGINS.iter().flat_map(|(words, _)| words.iter().copied());
        let mut all: Vec<String> = words.map(str::to_owned).collect();
        let ours = known.iter().map(|name| (*name).to_owned());
        let of_nagios = all.iter().cloned().chain(ours);
        let of_nagios: Vec<String> = of_nagios.map(|name| format!("check_{name}")).collect();
        all.extend(of_nagios);
        let near = did_you_mean(word, all.iter().map(String::as_str))?;
        let help = called_elsewhere(near, known)?;
        Some(format!("if `{near}` is meant: {help}"))
    };
    called_elsewhere(word, known)
        .or_else(|| near().map(|near| format!("a plugin with a similar name exists: `{near}`")))
        .or_else(near_elsewhere)
}

fn called_elsewhere(word: &str, known: &[&str]) -> Option<String> {
    let has = |name: &str| known.contains(&name);
    // As a file, or as one of Nagios' plugins.
    let file = word.rsplit('/').next().unwrap_or(word);
    let bare = file.trim_end_matches(".so");
    let bare = bare.strip_prefix("lib").unwrap_or(bare);
    let bare = plain(bare.strip_prefix("healthd_").unwrap_or(bare));
    let of_nagios = bare.strip_prefix("check_");
    let name = of_nagios.unwrap_or(&bare);
    if PRESETS.contains(&name) && has("webhook") {
        return Some(format!(
            "it is told by `plugin = \"webhook\"`, with `config = {{ preset = \"{name}\", ... }}`"
        ));
    }
    let ours = match has(name) {
        true if name != word => name,
        _ => find(PLUGINS, name).filter(|ours| has(ours))?,
    };
    Some(match of_nagios {
        Some(_) => format!(
            "{}; the plugin of Nagios is run by `plugin = \"exec\"`, with `config = {{ argv = [\"/usr/lib/nagios/plugins/{file}\"] }}`",
            called(ours)
        ),
        None => called(ours),
    })
}

/// What is known of an option that a plugin does not have: the help, and the option that was meant, if it is one.
pub fn option<'n>(
    word: &str,
    names: &[&'n str],
    on_top: bool,
) -> Option<(String, Option<&'n str>)> {
    let word = plain(word);
    if let Some((_, ours)) = TURNED.iter().find(|(words, _)| words.contains(&&*word))
        && names.contains(ours)
    {
        let help =
            format!("its opposite is an option: `{ours} = true` stands for `{word} = false`");
        return Some((help, None));
    }
    let limits = match &*word {
        "warn" | "warning" | "warn_threshold" => Some("warn"),
        "crit" | "critical" | "crit_threshold" => Some("crit"),
        _ => None,
    };
    if let Some(part) = limits {
        let ours: Vec<&str> = names.iter().copied().filter(|n| n.contains(part)).collect();
        return (!ours.is_empty())
            .then(|| (format!("limits are {} here", one_of(&ours, "and")), None));
    }
    let rows = OPTIONS.iter().filter(|(words, _)| words.contains(&&*word));
    let meant = rows.flat_map(|(_, ours)| ours.iter());
    let meant: Vec<&'n str> = meant
        .filter_map(|ours| names.iter().copied().find(|n| n == ours))
        .collect();
    match meant.as_slice() {
        [only] => return Some((called(only), Some(only))),
        [] => {}
        some => return Some((format!("here it is {}", one_of(some, "or")), None)),
    }
    (on_top && Section::Check.has(&word)).then(|| {
        let help = format!("`{word}` is a key of the check: write it beside `config`");
        (help, None)
    })
}

/// A level of the log.
pub fn level(word: &str) -> Option<String> {
    let ours = match word.to_ascii_lowercase().as_str() {
        "warning" => "warn",
        "err" | "critical" | "crit" | "fatal" | "alert" | "emerg" => "error",
        "notice" | "information" | "informational" => "info",
        "verbose" => "debug",
        "none" | "quiet" => "off",
        _ => return None,
    };
    Some(called(ours))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// It, words that are keys here, words that are none.
    type Words<'a> = (Section, &'a [Row], &'a [Row]);

    #[test]
    fn each_word_stands_once_and_leads_to_something_that_is_there() {
        let tables: [Words<'_>; 4] = [
            (Section::Check, CHECK, CHECK_OTHERWISE),
            (Section::Daemon, DAEMON, DAEMON_OTHERWISE),
            (Section::Web, WEB, WEB_OTHERWISE),
            (Section::History, HISTORY, HISTORY_OTHERWISE),
        ];
        for (section, names, texts) in tables {
            let mut seen = HashSet::new();
            for (words, ours) in names {
                assert!(section.has(ours), "{section:?}: {ours}");
                for word in *words {
                    assert!(seen.insert(*word), "{section:?}: {word} stands twice");
                    assert!(!section.has(word), "{section:?}: {word} is a key");
                    assert_eq!(key(word, section), Some(called(ours)));
                }
            }
            for word in texts.iter().flat_map(|(words, _)| words.iter()) {
                assert!(seen.insert(*word), "{section:?}: {word} stands twice");
                assert!(!section.has(word), "{section:?}: {word} is a key");
            }
        }
        let mut seen = HashSet::new();
        for word in SECTIONS.iter().flat_map(|(words, _)| words.iter()) {
            assert!(seen.insert(*word), "{word} stands twice");
            assert!(Section::called(word).is_none(), "{word} is a section");
        }
        let mut seen = HashSet::new();
        for word in PLUGINS.iter().flat_map(|(words, _)| words.iter()) {
            assert!(seen.insert(*word), "{word} stands twice");
        }
    }

    #[test]
    fn plugins_by_their_file_and_by_other_names() {
        let known = ["http", "disk", "exec", "webhook", "mysql"];
        let help = |word| plugin(word, &known).unwrap_or_default();
        assert_eq!(help("libhealthd_http.so"), "here it is called `http`");
        assert_eq!(
            help("/usr/lib/healthd/plugins/libhealthd_http.so"),
            "here it is called `http`"
        );
        assert_eq!(help("HTTPS"), "here it is called `http`");
        assert_eq!(help("mariadb"), "here it is called `mysql`");
        assert!(help("check_disk").starts_with("here it is called `disk`; the plugin of Nagios"));
        assert!(help("slack").contains("preset = \"slack\""));
        assert_eq!(help("htpt"), "a plugin with a similar name exists: `http`");
        let disk = help("chek_disk");
        assert!(disk.starts_with(
            "if `check_disk` is meant: here it is called `disk`; the plugin of Nagios"
        ));
        assert!(disk.contains("/usr/lib/nagios/plugins/check_disk\""));
        assert_eq!(
            help("maridb"),
            "if `mariadb` is meant: here it is called `mysql`"
        );
        // Those that are not there are named to nobody.
        assert_eq!(help("icmp"), "");
        assert_eq!(help("frobnicate"), "");
    }

    #[test]
    fn options_by_what_the_plugin_has() {
        let names = [
            "url",
            "insecure",
            "latency_warn",
            "latency_crit",
            "body_contains",
            "body_regex",
            "user",
        ];
        let help = |word| {
            option(word, &names, true)
                .map(|(help, _)| help)
                .unwrap_or_default()
        };
        assert_eq!(help("dsn"), "here it is called `url`");
        assert_eq!(
            option("host", &names, true).and_then(|(_, meant)| meant),
            Some("url")
        );
        assert_eq!(help("username"), "here it is called `user`");
        assert_eq!(help("warning"), "limits are `latency_warn` here");
        assert_eq!(
            help("keyword"),
            "here it is `body_contains` or `body_regex`"
        );
        assert!(help("verify").contains("`insecure = true` stands for `verify = false`"));
        assert_eq!(
            help("timeout"),
            "`timeout` is a key of the check: write it beside `config`"
        );
        assert_eq!(option("timeout", &names, false), None);
        assert_eq!(help("argv"), "");
    }
}
