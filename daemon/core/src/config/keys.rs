//! Each key that a config may have: one row, from which all is made that is said of keys.
//!
//! From the rows come which keys a section may have and what the help lists of them (`raw`), which name a slip is like
//! (`elsewhere`), bounds and defaults of what is read (`reading::Keys`), what a reload tells and what waits for a restart
//! (`changes`), and the JSON Schema for editors (`json_schema`). `tests/keys.rs` holds the man page and the model against
//! them. A new key is a row here, a field where it acts, and its lines in `etc/man/healthd.toml.5`.

use std::sync::LazyLock;

/// Where keys stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Daemon,
    Users,
    Pool,
    IoPool,
    CpuPool,
    ExecPool,
    PoolGroup,
    Web,
    Push,
    History,
    Defaults,
    Template,
    Host,
    Check,
    Notify,
    Maintenance,
    /// One of a host's `checks`, where it is written as a table.
    HostCheck,
}

/// What may be written behind a key. An editor is told this much; what else is wrong with a value, its reader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    Text,
    /// A file or folder; a relative one starts at the folder of the main file.
    Path,
    Texts,
    TextOrTexts,
    /// A table of texts.
    TextByName,
    Boolean,
    /// From, to.
    Integer(i64, i64),
    /// The same, or `auto`.
    IntegerOrAuto(i64, i64),
    /// 0, which is no limit, or at least that many.
    Count(i64),
    /// From, to.
    Duration(&'static str, &'static str),
    AnyDuration,
    DurationOrNever,
    /// 0, which is no limit, or at least that much.
    Size(&'static str),
    /// `20/10m`
    Rate,
    RateOrNever,
    /// Of a whole: above 0, and at most 1.
    Share,
    Word(&'static [&'static str]),
    WordOrWords(&'static [&'static str]),
    /// By where it is: `{ file = "PATH" }`.
    Secret,
    /// The options of a plugin.
    Options,
    /// Those of several, by plugin.
    OptionsByPlugin,
    Section(Section),
    HostChecks,
    ForEach,
    Action,
}

/// When another value takes force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Reload,
    /// In part with a reload: which part.
    Partly(&'static str),
    Restart,
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub of: &'static [Section],
    pub grammar: Grammar,
    /// As it is written; empty: there is none, or it depends.
    pub default: &'static str,
    pub takes: Takes,
    /// What it means, in a sentence or two.
    pub about: &'static str,
}

impl Key {
    /// What it means and what it is when it is not written.
    pub fn described(&self) -> String {
        match self.default {
            "" => self.about.to_owned(),
            default => format!("{} Default {default}.", self.about),
        }
    }
}

impl Section {
    /// Those that may stand in the main file, in the order in which they are listed.
    pub const ON_TOP: [Section; 12] = [
        Section::Daemon,
        Section::Users,
        Section::Pool,
        Section::Web,
        Section::Push,
        Section::History,
        Section::Defaults,
        Section::Template,
        Section::Host,
        Section::Check,
        Section::Notify,
        Section::Maintenance,
    ];

    /// As it is written above its keys.
    pub fn header(self) -> &'static str {
        match self {
            Section::Daemon => "[daemon]",
            Section::Users => "[users]",
            Section::Pool => "[pool]",
            Section::IoPool => "[pool.io]",
            Section::CpuPool => "[pool.cpu]",
            Section::ExecPool => "[pool.exec]",
            Section::PoolGroup => "[pool.NAME]",
            Section::Web => "[web]",
            Section::Push => "[push]",
            Section::History => "[history]",
            Section::Defaults => "[defaults]",
            Section::Template => "[template.NAME]",
            Section::Host => "[[host]]",
            Section::Check => "[[check]]",
            Section::HostCheck => "checks",
            Section::Notify => "[[notify]]",
            Section::Maintenance => "[[maintenance]]",
        }
    }

    /// What it is called without its brackets.
    pub fn word(self) -> &'static str {
        let word = self.header().trim_matches(['[', ']']);
        word.strip_suffix(".NAME").unwrap_or(word)
    }

    pub fn called(word: &str) -> Option<Section> {
        Section::ON_TOP.into_iter().find(|s| s.word() == word)
    }

    /// Each block of it is one of a list.
    pub fn is_list(self) -> bool {
        self.header().starts_with("[[")
    }

    /// It may stand in the files of checks.d too, as may what follows `Defaults`.
    pub fn is_of_checks(self) -> bool {
        self >= Section::Defaults
    }

    /// In the order in which they are listed.
    pub fn rows(self) -> impl Iterator<Item = &'static Key> {
        static ROWS: LazyLock<Vec<Vec<&'static Key>>> = LazyLock::new(|| {
            let of = |n| {
                let rows = KEYS.iter();
                rows.filter(move |key| key.of.iter().any(|s| *s as usize == n))
            };
            let all = (0..=Section::HostCheck as usize).map(|n| of(n).collect());
            all.collect()
        });
        ROWS[self as usize].iter().copied()
    }

    /// The names of its rows.
    pub fn keys(self) -> Vec<&'static str> {
        self.rows().map(|key| key.name).collect()
    }

    pub fn row(self, name: &str) -> Option<&'static Key> {
        self.rows().find(|key| key.name == name)
    }

    pub fn has(self, name: &str) -> bool {
        self.row(name).is_some()
    }
}

/// `NAME: GRAMMAR = DEFAULT, WHEN IT TAKES FORCE; MEANING`, below the sections that have it. Without a word of it, a
/// reload is enough.
macro_rules! keys {
    (@takes) => { Takes::Reload };
    (@takes $takes:expr) => { $takes };
    (@default) => { "" };
    (@default $default:literal) => { $default };
    ($($of:expr => {
        $($name:literal: $grammar:ident $(($($args:tt)*))? $(= $default:literal)? $(, $takes:expr)?; $about:literal)+
    })+) => {
        &[$($(Key {
            name: $name,
            of: &$of,
            grammar: Grammar::$grammar $(($($args)*))?,
            default: keys!(@default $($default)?),
            takes: keys!(@takes $($takes)?),
            about: $about,
        },)+)+]
    };
}

use Section::*;

const TIMEOUT_STATUS: &[&str] = &["critical", "warning", "unknown"];
const VERDICTS: &[&str] = &["warning", "critical", "unknown"];
const SHORTEST: &str = "100ms";
const YEAR: &str = "366d";

static KEYS: &[Key] = keys! {
    [Daemon] => {
        "plugin_dir": Path = "/usr/lib/healthd/plugins"; "Where the plugins (*.so) are."
        "runtime_dir": Path = "/run/healthd", Takes::Restart; "Where the control socket and the status maps are."
        "state_dir": Path = "/var/lib/healthd", Takes::Restart; "What outlives a restart."
        "user": Text, Takes::Restart; "Whom to become when started as root."
        "control_group": Text, Takes::Partly(
            " (who may change things has changed, the group of the socket and of the maps has not)"
        ); "Members of this group may change things through the control socket."
        "stop_grace": Duration("0s", "1h") = "10s"; "How long running checks may go on after a stop was asked for."
        "start_spread": Duration("0s", "1h") = "60s";
            "First runs are spread over this time, or over a check's interval if that is shorter."
        "plugin_watch": Boolean = "true"; "Take plugins that are copied, replaced or deleted as it happens."
        "plugin_trial": Duration("0s", "1h") = "30s";
            "For how long a new build of a plugin has to prove itself; 0s: no trial."
        "require_sandbox": Boolean = "false";
            "Plugins of others that do not say that they can do with a sandbox are not used."
        "log": Text = "info", Takes::Partly(" (processes that start from now on have it)");
            "off, error, warn, info, debug or trace; also by part: info,healthd_manager=debug."
    }
    [Users] => {
        "worker": Text, Takes::Restart; "The user of workers, instead of the daemon's own; it takes root."
        "exec": Text, Takes::Restart; "The user of programs that checks run, instead of the daemon's own; it takes root."
    }
    [Pool] => {
        "isolate": Boolean = "true"; "Each plugin file that did not come with healthd has workers of its own."
        "io": Section(Section::IoPool); "Workers for checks that wait."
        "cpu": Section(Section::CpuPool); "Workers for checks that compute."
        "exec": Section(Section::ExecPool); "Workers for checks that run programs."
    }
    [PoolGroup] => {
        "plugins": Texts; "These plugins share workers, which run no others."
    }
    [IoPool] => {
        "workers": IntegerOrAuto(1, 64) = "2";
            "Processes for checks that wait. auto: one for each processor, 2 to 16."
        "threads": IntegerOrAuto(1, 1024) = "64";
            "The most threads of one such process, for plugins whose library blocks. auto: four for each processor, 64 at least."
    }
    [CpuPool] => {
        "workers": IntegerOrAuto(1, 256) = "auto"; "Processes for checks that compute. auto: one for each processor."
    }
    [ExecPool] => {
        "max_parallel": IntegerOrAuto(1, 4096) = "auto"; "The most programs that run at one time."
    }
    [IoPool, CpuPool, ExecPool] => {
        "sandbox": Word(&["auto", "on", "off"]) = "auto";
            "Workers give up what their checks do not need, as far as the kernel can."
        // A worker with its plugins needs some 10 MB and 20 descriptors by itself.
        "max_rss": Size("32MiB") = "512MiB"; "Resident memory at which a worker is replaced; 0 is no limit."
        "max_fds": Count(64) = "0";
            "Open descriptors at which a worker is replaced; 0: what the system lets a process have."
        "max_runs": Count(10) = "0"; "Runs after which a worker is replaced; 0 is no limit."
    }
    [Web] => {
        "listen": Text = "127.0.0.1:8420"; "An address with its port, unix:PATH, systemd or none."
        "token": Secret; "Who brings it as a bearer token may do more."
        "read": Word(&["open", "token"]) = "open"; "token: nobody reads without it."
        "labels": Texts; "Labels of checks that become labels of their metrics."
        "max_series": Integer(0, 10_000_000) = "100000"; "The most series of plugins' own metrics."
        "targets": Texts; "Globs over what /probe may be asked to look at."
        "url": Text; "Under which address people reach the page: messages of alerts lead there. Default: by `listen`."
    }
    [Push] => {
        "url": Text;
            "Where metrics are sent: an http:// or https:// URL. What ends in /v1/metrics takes OTLP, any other remote write."
        "format": Word(&["remote-write", "otlp"]); "What the receiver takes, where its path does not say so."
        "interval": Duration("1s", "1h") = "15s"; "Between two pictures."
        "token": Secret; "Sent as a bearer token, or as the password of `user`."
        "user": Text; "Sent with the token as its password."
        "ca": Path; "A file with the certificates that are trusted. Default: the machine's."
        "labels": TextByName; "Of each series, beside its own. Default job = healthd, instance = the host's name."
        "traces": Text;
            "Where some of the runs are sent as traces, as OTLP: an http:// or https:// URL. Without it none is traced."
        "sample": Share = "0.1"; "Share of the runs that are traced."
    }
    [History] => {
        // Some days of some checks; and the log alone may have a megabyte.
        "max_size": Size("8MiB") = "1GiB"; "What the file and its log may have together; 0 is no limit."
        "keep": Texts; "Globs over the metrics of plugins whose values are kept."
        "slo": TextByName; "Objectives of several checks together, by match: { \"team=web\" = \"99.9% 30d\" }."
    }
    [Check, HostCheck] => {
        "name": Text; "1 to 255 bytes; no two checks have the same name. As in shop/front page."
    }
    [Host] => {
        "name": Text; "The host's name."
        "address": Text; "Where it is; the default is its name."
    }
    [Check, Host, HostCheck, Template] => {
        "use": TextOrTexts; "The name of a template, or a list of them, the strongest last."
    }
    [Check, HostCheck, Template] => {
        "title": Text; "What people call it, shown beside its name."
        "plugin": Text; "What runs it; `healthctl plugins` lists them."
    }
    [Check, Host, HostCheck, Template, Defaults] => {
        "interval": Duration(SHORTEST, YEAR) = "60s"; "From the start of one run to the start of the next."
        "timeout": Duration("1ms", "1d"); "How long one run may take. The default is the plugin's own."
        "attempts": Integer(1, 1000) = "3"; "So many results in a row that are not ok turn the verdict."
        "retry_interval": Duration(SHORTEST, YEAR);
            "The time to the next run while results speak against the verdict. Default: the interval, at most 10s."
        "enabled": Boolean = "true"; "One that is not enabled is known and shown, but not run."
        "timeout_status": Word(TIMEOUT_STATUS) = "critical";
            "What it means that the target did not answer in time."
        "exclusive": TextOrTexts;
            "A group, or a list of at most 8: no two checks of a group run at the same time."
    }
    [Check, HostCheck, Template, Defaults] => {
        "max_parallel": Integer(1, 100_000);
            "At most so many of the checks that this block makes with for_each run at the same time."
    }
    [Check, Host, HostCheck, Template, Defaults] => {
        "needs": Text;
            "A check that must be ok for problems of this one to count: the one that watches the uplink."
        "labels": TextByName; "For people and for what reads the results, and to choose checks by."
    }
    [Check, HostCheck, Template] => {
        "config": Options; "The plugin's options; `healthctl plugins show NAME` explains them."
    }
    [Defaults] => {
        "config": OptionsByPlugin; "Options that all checks of one plugin share, by plugin."
    }
    [Host, Template] => {
        "checks": HostChecks; "Templates by name, and tables with the keys of a check."
    }
    [Check, Host] => {
        "for_each": ForEach;
            "Makes many of this block: a list, a range as \"1..10\", a table of lists, or { file = \"hosts.txt\" }."
    }
    [Check, Host, HostCheck, Template] => {
        "recover": Integer(1, 1000) = "1"; "So many oks in a row until a problem is over."
        "flap": RateOrNever = "5/30m"; "After so many flips a recovery is believed later in alerts."
        "invert": Boolean = "false"; "It is well while its target is not."
        "public": Text; "A group of the page /public, which is for everybody."
        "runbook": Text; "Where it is written what to do; sent with each alert."
    }
    [Check] => {
        "probe": Boolean = "false"; "It runs once for each request of /probe, with {target} in its options."
    }
    [Check, Host, HostCheck, Template] => {
        "on_change": Action;
            "A program that is run when the verdict changes: a list of words, or a table with argv, on, soft, limit, timeout."
        "restart": Text; "A unit of systemd that is restarted when it becomes critical."
        "slo": Text; "How much of which time it should be up, as 99.9% 30d."
    }
    [Notify] => {
        "name": Text; "What the route is called; by default as its plugin."
        "plugin": Text; "By what it is told."
        "config": Options; "The plugin's options."
        "enabled": Boolean = "true"; "A route that is not enabled tells of no new problem."
    }
    [Notify, Maintenance] => {
        "match": Text;
            "Which checks: globs over names, KEY=GLOB over labels; a blank is and, a comma or, ! not."
    }
    [Notify] => {
        "on": WordOrWords(VERDICTS); "Which verdicts are a problem here."
        "wait": AnyDuration = "10s"; "Problems are collected for so long, and are one message."
        "after": AnyDuration = "0s"; "Only what is still bad, and not acknowledged, after so long."
        "repeat": DurationOrNever = "never"; "Told again so often."
        "when": Text; "Times at which it speaks, as in mon-fri 08:00-18:00 Europe/Berlin."
        "by": Text = "none"; "check: each has a message of its own; or the name of a label."
        "limit": Rate; "As 20/10m: what is beyond that joins the next message."
        "backup": Text; "Another route, told as well if this one has failed for 5 minutes."
        "budget": Integer(1, 10_000);
            "So many messages a week are enough: beyond that an event names the noisiest checks."
        "alive": DurationOrNever; "A sign of life, sent so often while no message is overdue."
        "title": Text; "Template of the title."
        "text": Text; "Template of the text."
        "body": Text; "Template of the whole body that a webhook sends."
    }
    [Maintenance] => {
        "when": Text; "Planned times, as in sun 02:00-04:00 Europe/Berlin."
        "reason": Text; "Why: shown by `alerts`."
    }
};
