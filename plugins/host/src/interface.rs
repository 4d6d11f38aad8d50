//! `interface`: is the link up, as fast as it should be, and free of errors?

use crate::glob;
use crate::kernel::Kernel;
use crate::report::{Report, Unit};
use healthd_plugin::options::Bad::{Above, Below};
use healthd_plugin::options::size_text;
use healthd_plugin::thresholds::{Lower, Upper};
use healthd_plugin::{BlockingCheck, Cx, Delta, Kept, Metric, Status, Width, options};
use std::collections::BTreeMap;

options! {
    /// Network interfaces: carrier, speed, traffic, errors and drops.
    pub struct Options {
        /// The interface, or a pattern (`eth*`). Without it: all but `lo` that are set up.
        name: String { min_length: 1 } = "*".into(),
        /// Not these, as patterns.
        exclude: Vec<String> = Vec::new(),
        /// Critical without a carrier: no cable, or nobody at its other end.
        carrier: bool = true,
        /// Warning if it is slower, in megabits a second.
        speed_warn: Option<u64> { bad: Below },
        /// Critical, likewise.
        speed_crit: Option<u64>,
        /// Warning if it is not full duplex.
        duplex: Option<Duplex>,
        /// Warning above so many errors a second, in and out, since the last run.
        errors_warn: Option<f64> { min: 0, bad: Above } = Some(0.0),
        /// Critical, likewise.
        errors_crit: Option<f64> { min: 0 },
        /// Warning if errors are more percent of the packets since the last run.
        errors_share_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        errors_share_crit: Option<f64> { min: 0, max: 100 },
        /// Warning above so many dropped packets a second, in and out, since the last run.
        drops_warn: Option<f64> { min: 0, bad: Above },
        /// Critical, likewise.
        drops_crit: Option<f64> { min: 0 },
        /// Warning if the busier direction used more percent of the speed since the last run.
        utilisation_warn: Option<f64> { min: 0, max: 100, bad: Above },
        /// Critical, likewise.
        utilisation_crit: Option<f64> { min: 0, max: 100 },
    }
}

options! {
    #[derive(Clone, Copy, PartialEq, Debug)]
    pub enum Duplex { Full = "full", Half = "half" }
}

pub struct Interface {
    options: Options,
    kernel: Kernel,
    /// By name and index: one of the same name that was plugged in again is another one.
    before: Kept<BTreeMap<(String, u64), [Delta; COUNTERS.len()]>>,
}

const COUNTERS: [&str; 8] = [
    "rx_bytes",
    "tx_bytes",
    "rx_packets",
    "tx_packets",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
];

/// So many interfaces have metrics of their own.
const MEASURED: usize = 40;

impl BlockingCheck for Interface {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Interface {
            options,
            kernel: Kernel::default(),
            before: Kept::default(),
        })
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        let all = match self.kernel.names("sys/class/net") {
            Ok(all) => all,
            Err(e) => return cx.unknown(format_args!("/sys/class/net: {e}")),
        };
        let names = self.chosen(&all);
        let wanted = &self.options.name;
        let mut report = Report::new(cx);
        if names.is_empty() {
            match glob::is_pattern(wanted) {
                true => report.add(Status::Unknown, format!("no interface {wanted} is set up")),
                false => report.add(
                    Status::Critical,
                    format!("{wanted}: there is no such interface"),
                ),
            }
        }
        let mut looks = Vec::new();
        for (i, name) in names.iter().enumerate() {
            // One that was unplugged meanwhile has no index any more.
            let Some(index) = self.number(name, "ifindex") else {
                continue;
            };
            looks.push((name.to_string(), index));
            let metrics = Metrics {
                cx,
                suffix: match names.len() {
                    1 => String::new(),
                    _ => format!(":{name}"),
                },
                is_measured: i < MEASURED,
            };
            self.judge(&metrics, name, index, &mut report);
        }
        self.before
            .with(|before| before.retain(|id, _| looks.contains(id)));
        report.end()
    }
}

/// Hands out metrics, with the interface's name if there are several.
struct Metrics<'a> {
    cx: Cx<'a>,
    suffix: String,
    is_measured: bool,
}

impl Metrics<'_> {
    fn put(&self, name: &str, value: f64, unit: &str, limits: Upper) {
        if self.is_measured {
            let name = format!("{name}{}", self.suffix);
            self.cx
                .metric(limits.on(Metric::new(&name, value).unit(unit)));
        }
    }
}

impl Interface {
    fn chosen<'n>(&self, all: &'n [String]) -> Vec<&'n String> {
        let o = &self.options;
        let is_one = |name: &&String| match glob::is_pattern(&o.name) {
            false => **name == o.name,
            true => {
                let excluded = o.exclude.iter().any(|p| glob::matches(p, name));
                let flags = self.flags(name);
                let (is_up, is_loopback) = (flags & 1 != 0, flags & 8 != 0);
                glob::matches(&o.name, name) && !excluded && is_up && !is_loopback
            }
        };
        all.iter().filter(is_one).collect()
    }

    /// IFF_UP, IFF_LOOPBACK, ...
    fn flags(&self, name: &str) -> u32 {
        let text = self.kernel.line(format!("sys/class/net/{name}/flags"));
        let text = text.unwrap_or_default();
        u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0)
    }

    fn text(&self, name: &str, file: &str) -> Option<String> {
        self.kernel
            .line(format!("sys/class/net/{name}/{file}"))
            .ok()
    }

    fn number(&self, name: &str, file: &str) -> Option<u64> {
        self.text(name, file)?.parse().ok()
    }

    fn judge(&self, metrics: &Metrics<'_>, name: &str, index: u64, report: &mut Report<'_>) {
        let o = &self.options;
        let state = self.text(name, "operstate").unwrap_or_default();
        // Reading it fails while the interface is set down.
        let carrier = self.number(name, "carrier") == Some(1);
        metrics.put(
            "carrier",
            f64::from(u8::from(carrier)),
            "1",
            Upper::default(),
        );
        if o.carrier && !carrier {
            let text = match state.as_str() {
                "down" if self.flags(name) & 1 == 0 => "is set down".to_owned(),
                _ => format!("has no carrier ({state})"),
            };
            report.add(Status::Critical, format!("{name} {text}"));
        }
        // Virtual ones have none, or say -1: that is no speed.
        let speed = self
            .number(name, "speed")
            .filter(|s| *s > 0 && *s < u64::from(u32::MAX));
        if carrier {
            self.judge_speed(metrics, name, speed, report);
            self.judge_duplex(name, report);
        }
        self.judge_bond(name, report);
        let traffic = self.judge_counters(metrics, name, index, speed, report);
        let speed = speed.map(|s| format!(", {s} Mbit/s")).unwrap_or_default();
        report.say(format!("{name} {state}{speed}{traffic}"));
    }

    fn judge_speed(
        &self,
        metrics: &Metrics<'_>,
        name: &str,
        speed: Option<u64>,
        report: &mut Report<'_>,
    ) {
        let bits = |mbit: u64| mbit as f64 * 1e6;
        let o = &self.options;
        let limits = Lower {
            warn: o.speed_warn.map(bits),
            crit: o.speed_crit.map(bits),
        };
        match speed {
            Some(speed) => {
                metrics.put("speed", bits(speed), "bit/s", Upper::default());
                let status = limits.judge(bits(speed));
                if status != Status::Ok {
                    report.add(status, format!("{name} has only {speed} Mbit/s"));
                }
            }
            None if limits != Lower::default() => {
                report.add(Status::Unknown, format!("{name} does not tell its speed"));
            }
            None => {}
        }
    }

    fn judge_duplex(&self, name: &str, report: &mut Report<'_>) {
        let Some(wanted) = self.options.duplex else {
            return;
        };
        let word = match wanted {
            Duplex::Full => "full",
            Duplex::Half => "half",
        };
        match self.text(name, "duplex").as_deref() {
            Some(is) if is == word => {}
            Some(is @ ("full" | "half")) => {
                report.add(Status::Warn, format!("{name} has {is} duplex, not {word}"));
            }
            _ => report.add(Status::Unknown, format!("{name} does not tell its duplex")),
        }
    }

    /// A bond: each member must be up.
    fn judge_bond(&self, name: &str, report: &mut Report<'_>) {
        let Some(members) = self.text(name, "bonding/slaves") else {
            return;
        };
        if members.is_empty() {
            report.add(
                Status::Critical,
                format!("{name} is a bond without members"),
            );
        }
        for member in members.split_whitespace() {
            let state = self.text(member, "bonding_slave/mii_status");
            if state.as_deref() != Some("up") {
                let state = state.unwrap_or("gone".into());
                report.add(Status::Warn, format!("{member} of {name} is {state}"));
            }
        }
    }

    /// Traffic in words, if it is known.
    fn judge_counters(
        &self,
        metrics: &Metrics<'_>,
        name: &str,
        index: u64,
        speed: Option<u64>,
        report: &mut Report<'_>,
    ) -> String {
        let values = COUNTERS.map(|c| self.number(name, &format!("statistics/{c}")));
        let now = metrics.cx.now_ns();
        let rates = self.before.with(|before| {
            let deltas = before.entry((name.to_owned(), index)).or_default();
            let mut rates = [None; COUNTERS.len()];
            for ((rate, delta), value) in rates.iter_mut().zip(deltas).zip(values) {
                let Some(value) = value else { continue };
                // Some drivers count in 32 bits.
                let width = match value <= u64::from(u32::MAX) {
                    true => Width::Bits32,
                    false => Width::Bits64,
                };
                *rate = delta.next(width, value, now).rate();
            }
            rates
        });
        let [
            Some(rx),
            Some(tx),
            Some(rx_packets),
            Some(tx_packets),
            Some(rx_errors),
            Some(tx_errors),
            Some(rx_drops),
            Some(tx_drops),
        ] = rates
        else {
            return ", first run: no rates yet".into();
        };
        let o = &self.options;
        let none = Upper::default();
        metrics.put("rx", rx, "By/s", none);
        metrics.put("tx", tx, "By/s", none);
        let errors = Upper {
            warn: o.errors_warn,
            crit: o.errors_crit,
        };
        let share = Upper {
            warn: o.errors_share_warn,
            crit: o.errors_share_crit,
        };
        let drops = Upper {
            warn: o.drops_warn,
            crit: o.drops_crit,
        };
        let busy = Upper {
            warn: o.utilisation_warn,
            crit: o.utilisation_crit,
        };
        let both = rx_errors + tx_errors;
        // Packets that came or went well, and those that did not.
        let all = rx_packets + tx_packets + both;
        let mut rows = vec![
            ("errors", both, "1/s", errors, Unit::PerSecond, "errors"),
            (
                "drops",
                rx_drops + tx_drops,
                "1/s",
                drops,
                Unit::PerSecond,
                "dropped packets",
            ),
            (
                "errors_share",
                if all > 0.0 { both / all * 100.0 } else { 0.0 },
                "%",
                share,
                Unit::Percent,
                "errors",
            ),
        ];
        match speed {
            Some(speed) => {
                let used = rx.max(tx) * 8.0 / (speed as f64 * 1e6) * 100.0;
                rows.push((
                    "utilisation",
                    used,
                    "%",
                    busy,
                    Unit::Percent,
                    "of its speed used",
                ));
            }
            None if busy != none => {
                report.add(
                    Status::Unknown,
                    format!("{name} does not tell its speed, so nobody knows its share"),
                );
            }
            None => {}
        }
        for (metric, value, unit, limits, shown, what) in rows {
            metrics.put(metric, value, unit, limits);
            let status = limits.judge(value);
            if status != Status::Ok {
                report.add(status, format!("{name}: {} {what}", shown.text(value)));
            }
        }
        format!(", in {}/s, out {}/s", size_text(rx), size_text(tx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{LONG, check, create, sample};
    use healthd_plugin::Options as _;
    use healthd_plugin::serde_json::json;
    use std::process::Command;

    fn interface(files: &[(&str, &str)], options: &str) -> (healthd_testing::Folder, Interface) {
        let (folder, kernel) = sample(files);
        let it = Interface {
            options: Options::parse(options.as_bytes()).unwrap(),
            kernel,
            before: Kept::default(),
        };
        (folder, it)
    }

    #[test]
    fn which_ones() {
        let files = [
            ("sys/class/net/lo/flags", "0x9\n"),
            ("sys/class/net/eth0/flags", "0x1003\n"),
            ("sys/class/net/eth1/flags", "0x1002\n"),
            ("sys/class/net/docker0/flags", "0x1003\n"),
        ];
        let all: Vec<String> = ["docker0", "eth0", "eth1", "lo"].map(str::to_owned).into();
        let names = |options: &str| -> Vec<String> {
            let (_folder, it) = interface(&files, options);
            it.chosen(&all).into_iter().cloned().collect()
        };
        assert_eq!(
            names("{}"),
            ["docker0", "eth0"],
            "lo and what is set down is left out"
        );
        assert_eq!(names(r#"{"exclude": ["docker*"]}"#), ["eth0"]);
        assert_eq!(
            names(r#"{"name": "eth1"}"#),
            ["eth1"],
            "what is named counts in any state"
        );
        assert_eq!(names(r#"{"name": "lo"}"#), ["lo"]);
    }

    #[test]
    fn loopback_of_this_machine() {
        let it = create("interface", &json!({"name": "lo"})).unwrap();
        let first = it.run(LONG);
        assert_eq!(first.status, Status::Ok, "{first:?}");
        assert!(
            first.message.ends_with("first run: no rates yet"),
            "{first:?}"
        );
        let next = it.run(LONG);
        assert_eq!(next.metric("rx").unit, "By/s");
        assert_eq!(next.metric("errors").value, 0.0);
        let o = check("interface", json!({"name": "nosuch0"}));
        assert_eq!(
            (o.status, &*o.message),
            (Status::Critical, "nosuch0: there is no such interface")
        );
        let o = check("interface", json!({"name": "nosuch*"}));
        assert_eq!(o.status, Status::Unknown);
        let o = check(
            "interface",
            json!({"name": "lo", "speed_crit": 100, "utilisation_warn": 50, "duplex": "full"}),
        );
        assert_eq!(o.status, Status::Unknown, "{o:?}");
        assert!(o.message.contains("lo does not tell its speed"), "{o:?}");
    }

    /// A pair of interfaces in a network namespace of its own, with the rest of this test inside of it.
    #[test]
    fn a_cable_that_is_pulled() {
        if std::env::var_os("HEALTHD_TEST_NETNS").is_none() {
            let script = "ip link add a0 type veth peer name b0 && ip link set a0 up && ip link set b0 up && \
                mount -t sysfs none /sys && exec \"$0\" --exact interface::tests::a_cable_that_is_pulled --nocapture";
            let done = Command::new("unshare")
                .args(["--net", "--mount", "--", "sh", "-c", script])
                .arg(std::env::current_exe().unwrap())
                .env("HEALTHD_TEST_NETNS", "1")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            if !said.contains("running 1 test") {
                eprintln!(
                    "skipped: no network namespace here: {}",
                    String::from_utf8_lossy(&done.stderr)
                );
                return;
            }
            assert!(
                done.status.success(),
                "{said}{}",
                String::from_utf8_lossy(&done.stderr)
            );
            return;
        }
        let set = |args: &[&str]| {
            healthd_testing::run(Command::new("ip").args(["link", "set"]).args(args))
        };
        let it = create("interface", &json!({"name": "a0"})).unwrap();
        let o = it.run(LONG);
        assert_eq!(o.status, Status::Ok, "{o:?}");
        let speed = check(
            "interface",
            json!({"name": "a0", "speed_crit": 100_000, "duplex": "full"}),
        );
        assert_eq!(speed.status, Status::Critical, "{speed:?}");
        assert!(
            speed.message.contains("a0 has only 10000 Mbit/s"),
            "{speed:?}"
        );
        set(&["b0", "down"]);
        let o = it.run(LONG);
        assert_eq!(o.status, Status::Critical, "{o:?}");
        assert!(o.message.contains("a0 has no carrier"), "{o:?}");
        set(&["a0", "down"]);
        assert!(it.run(LONG).message.contains("a0 is set down"));
        set(&["a0", "name", "c0"]);
        assert_eq!(it.run(LONG).message, "a0: there is no such interface");
        let o = check("interface", json!({"carrier": false}));
        assert_eq!(
            (o.status, &*o.message),
            (Status::Unknown, "no interface * is set up")
        );
    }

    #[test]
    fn wraps_resets_and_another_of_the_same_name() {
        let (folder, it) = interface(&[], "{}");
        let write = |index: u64, bytes: u64, errors: u64| {
            let at = folder.file("sys/class/net/eth0");
            std::fs::create_dir_all(at.join("statistics")).unwrap();
            for counter in COUNTERS {
                let value = match counter {
                    "rx_bytes" => bytes,
                    "rx_errors" => errors,
                    _ => 0,
                };
                std::fs::write(at.join("statistics").join(counter), value.to_string()).unwrap();
            }
            std::fs::write(at.join("ifindex"), index.to_string()).unwrap();
            // What one look says of the bytes.
            let deltas = it
                .before
                .with(|b| b.remove(&("eth0".into(), index)).unwrap_or_default());
            let mut deltas = deltas;
            let value = it.number("eth0", "statistics/rx_bytes").unwrap();
            let grown = deltas[0].next(Width::Bits32, value, 1);
            it.before.with(|b| b.insert(("eth0".into(), index), deltas));
            grown.count()
        };
        assert_eq!(
            write(2, u64::from(u32::MAX) - 99, 0),
            None,
            "the first look"
        );
        assert_eq!(write(2, 100, 0), Some(200), "it has wrapped");
        assert_eq!(write(2, 1_000_000, 0), Some(999_900));
        assert_eq!(write(2, 5, 0), None, "it began anew");
        assert_eq!(write(3, 7, 0), None, "plugged in again");
    }

    #[test]
    fn members_of_a_bond() {
        let files = [
            ("sys/class/net/bond0/flags", "0x1003\n"),
            ("sys/class/net/bond0/bonding/slaves", "eth0 eth1 eth2\n"),
            ("sys/class/net/eth0/bonding_slave/mii_status", "up\n"),
            ("sys/class/net/eth1/bonding_slave/mii_status", "down\n"),
        ];
        let (_folder, it) = interface(&files, "{}");
        assert_eq!(
            it.text("bond0", "bonding/slaves").as_deref(),
            Some("eth0 eth1 eth2")
        );
        assert_eq!(
            it.text("eth1", "bonding_slave/mii_status").as_deref(),
            Some("down")
        );
        assert_eq!(it.text("eth2", "bonding_slave/mii_status"), None);
    }
}
