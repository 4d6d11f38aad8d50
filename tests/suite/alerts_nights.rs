//! The nights in which clocks are set, of three zones, with a daemon that lives through them: what `when`, a maintenance, a
//! silence and an acknowledgement hold back, and when they let go.

use crate::alerts::{config, count, report, route, say, told, until_all_are_ok, until_verdict};
use crate::harness::ctl::{say as run, wait_for};
use crate::harness::receiver::{Receiver, unpaired};
use crate::harness::{Daemon, skipped};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Zone, and the window of a route and of a maintenance in it. At the same time the others are shut.
const ZONES: [(&str, &str); 3] = [
    ("Europe/Berlin", "sun 02:30-04:00"),
    ("America/St_Johns", "sun 01:15-02:30"),
    ("Australia/Lord_Howe", "sun 01:40-03:00"),
];

/// A night: the place of its zone, when its window opens and shuts, and a silence: when it is asked for, until which time of the
/// day, and when that is. Half of these times do not exist, the others come twice.
struct Night {
    zone: usize,
    changes: &'static [&'static str],
    silence: (&'static str, &'static str, &'static str),
}

const NIGHTS: [Night; 6] = [
    // Berlin: 02:00 is 03:00; 03:00 is 02:00.
    Night {
        zone: 0,
        changes: &["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"],
        silence: ("2026-03-29T00:30:00Z", "02:30", "2026-03-29T01:00:00Z"),
    },
    Night {
        zone: 0,
        changes: &[
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T03:00:00Z",
        ],
        silence: ("2026-10-25T00:45:00Z", "02:30", "2026-10-25T01:30:00Z"),
    },
    // St. John's: 02:00 is 03:00; 02:00 is 01:00.
    Night {
        zone: 1,
        changes: &["2026-03-08T04:45:00Z", "2026-03-08T05:30:00Z"],
        silence: ("2026-03-08T05:00:00Z", "02:30", "2026-03-08T05:30:00Z"),
    },
    Night {
        zone: 1,
        changes: &[
            "2026-11-01T03:45:00Z",
            "2026-11-01T04:30:00Z",
            "2026-11-01T04:45:00Z",
            "2026-11-01T06:00:00Z",
        ],
        silence: ("2026-11-01T04:15:00Z", "01:30", "2026-11-01T05:00:00Z"),
    },
    // Lord Howe, by half an hour: 02:00 is 01:30; 02:00 is 02:30.
    Night {
        zone: 2,
        changes: &[
            "2026-04-04T14:40:00Z",
            "2026-04-04T15:00:00Z",
            "2026-04-04T15:10:00Z",
            "2026-04-04T16:30:00Z",
        ],
        silence: ("2026-04-04T14:50:00Z", "01:40", "2026-04-04T15:10:00Z"),
    },
    Night {
        zone: 2,
        changes: &["2026-10-03T15:10:00Z", "2026-10-03T16:00:00Z"],
        silence: ("2026-10-03T15:00:00Z", "02:15", "2026-10-03T15:30:00Z"),
    },
];

/// A clock that the daemon and its client go by.
struct Clock {
    file: PathBuf,
}

impl Clock {
    /// From now on it is that time; it goes on from there.
    fn set(&self, to: Timestamp) {
        let ahead = to.as_second() - Timestamp::now().as_second();
        let temp = self.file.with_extension("new");
        fs::write(&temp, format!("{ahead:+}")).expect("our own folder");
        fs::rename(temp, &self.file).expect("our own folder");
    }

    fn variables(&self) -> [(&'static str, PathBuf); 4] {
        [
            ("LD_PRELOAD", LIBRARY.into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("FAKETIME_NO_CACHE", "1".into()),
        ]
    }
}

struct House {
    daemon: Daemon,
    clock: Clock,
    dir: PathBuf,
    /// Of all that is told, and of the route of each zone.
    always: Receiver,
    zones: Vec<Receiver>,
}

#[test]
fn both_nights_of_three_zones_with_a_daemon_that_lives_through_them() {
    if !Path::new(LIBRARY).exists() {
        return skipped("faketime is not installed");
    }
    let house = House::begin();
    let mut opened = [0; ZONES.len()];
    for night in &NIGHTS {
        opened[night.zone] += house.windows(night);
        house.silence(night);
    }
    unpaired(&house.always.all()).expect("each problem has its end");
    for (zone, receiver) in house.zones.iter().enumerate() {
        let told = unpaired(&receiver.all()).expect("each problem has its end");
        assert_eq!(
            told,
            2 * opened[zone],
            "{}: {:#?}",
            ZONES[zone].0,
            receiver.all()
        );
    }
}

impl House {
    /// `when` is told on the route of a zone when its window is open; `held` lies in a maintenance then; the others are for
    /// silences. None of them counts as one that flaps.
    fn begin() -> House {
        let config = config();
        let dir = config.dir().to_owned();
        let clock = Clock {
            file: dir.join("offset"),
        };
        clock.set(NIGHTS[0].silence.0.parse().expect("a time"));
        let (always, zones) = (Receiver::new(), ZONES.map(|_| Receiver::new()));
        let each = "by = \"check\"\n";
        // It reads its file in each process.
        let mut config = config.pool("io", "sandbox = \"off\"");
        for (name, value) in clock.variables() {
            config = config.env(name, value);
        }
        for check in ["when", "held", "silenced", "acked", "beside"] {
            config = config.check(told(&dir, check).set("flap", "\"never\""));
        }
        config = config.notify(&(route("always", &always) + each));
        for (n, (zone, window)) in ZONES.iter().enumerate() {
            let when = format!("when = \"{window} {zone}\"\n");
            let name = format!("zone-{n}");
            config = config
                .notify(&(route(&name, &zones[n]) + &when + "match = \"when\"\n"))
                .alerts(&format!("[[maintenance]]\nmatch = \"held\"\n{when}"));
        }
        let daemon = config.spawn();
        daemon.expect_notify("READY=1");
        until_all_are_ok(&daemon);
        House {
            daemon,
            clock,
            dir,
            always,
            zones: zones.into(),
        }
    }

    fn says(&self, check: &str, what: &str) {
        say(&self.dir, check, what);
        let verdict = what.split(' ').next().expect("a verdict");
        until_verdict(&self.daemon, check, verdict);
    }

    /// Of these checks, and of no others, somebody has been told, each on its route.
    fn until_told(&self, what: &str, wanted: &[(&str, &str)]) {
        let mut wanted: Vec<Value> = wanted
            .iter()
            .map(|(r, c)| json!([r, "told", [c]]))
            .collect();
        wanted.sort_by_key(Value::to_string);
        wait_for(what, || {
            let report = report(&self.daemon);
            let notices = report["notices"].as_array().into_iter().flatten();
            let row = |n: &Value| json!([n["route"], n["state"], n["checks"]]);
            let mut rows: Vec<Value> = notices.map(row).collect();
            rows.sort_by_key(Value::to_string);
            rows == wanted
        });
    }

    /// Whoever was to be told of what happened before has a notice by now: what comes after it has.
    fn until_settled(&self, what: &str, told: &[(&str, &str)]) {
        self.says("beside", "critical too");
        self.until_told(what, &[told, &[("always", "beside")]].concat());
        self.says("beside", "ok again");
        self.until_told(what, told);
    }

    /// A problem that begins while the window is shut is told on its route when it opens; one in a maintenance when that ends.
    /// How often it was open.
    fn windows(&self, night: &Night) -> usize {
        let changes: Vec<Timestamp> = night
            .changes
            .iter()
            .map(|c| c.parse().expect("a time"))
            .collect();
        let route = format!("zone-{}", night.zone);
        let minutes = |at: Timestamp, minutes: i64| {
            at.checked_add(jiff::SignedDuration::from_mins(minutes))
                .expect("a time")
        };
        let when = [("always", "when")];
        self.clock.set(minutes(changes[0], -5));
        for (n, change) in changes.iter().enumerate() {
            let what = format!("{} after {change}", ZONES[night.zone].0);
            let opens = n % 2 == 0;
            if opens {
                self.says("when", "critical at night");
                self.until_settled(&format!("{what}: not yet"), &when);
            }
            self.clock.set(minutes(*change, 5));
            match opens {
                true => {
                    self.until_told(&what, &[("always", "when"), (&route, "when")]);
                    self.says("when", "ok again");
                    self.until_told(&what, &[]);
                    self.says("held", "critical at night");
                    self.until_settled(&format!("{what}: in maintenance"), &[]);
                }
                false => {
                    self.until_told(&what, &[("always", "held")]);
                    self.says("held", "ok again");
                    self.until_told(&what, &[]);
                }
            }
        }
        changes.len() / 2
    }

    /// `--until` is a time of the day, as the clock on the wall shows it.
    fn silence(&self, night: &Night) {
        let (asked, text, ends) = night.silence;
        let zone = ZONES[night.zone].0;
        let what = format!("until {text} in {zone}, at {asked}");
        let ends: Timestamp = ends.parse().expect("a time");
        self.clock.set(asked.parse().expect("a time"));
        self.says("acked", "warning at night");
        self.until_told(&what, &[("always", "acked")]);
        for words in [
            ["silence", "silenced", "--reason", "night"],
            ["ack", "acked", "--note", "mine"],
        ] {
            let mut healthctl = Command::new(env!("CARGO_BIN_EXE_healthctl"));
            healthctl.arg("--socket").arg(self.daemon.socket());
            healthctl.args(words).args(["--until", text]);
            healthctl.envs(self.clock.variables()).env("TZ", zone);
            let said = run(&mut healthctl);
            assert_eq!(said.code, Some(0), "{what}: {said:?}");
        }
        let report = report(&self.daemon);
        let silences = report["silences"].as_array().into_iter().flatten();
        let given = silences.filter(|s| s["kind"] != "maintenance");
        let until: Vec<Timestamp> = given
            .filter_map(|s| s["until"].as_str()?.parse().ok())
            .collect();
        // Between the two programs some time passes.
        let near = |at: &Timestamp| (at.as_second() - ends.as_second()).abs() < 120;
        assert!(
            until.len() == 2 && until.iter().all(near),
            "{what}: {report:#}"
        );
        self.says("silenced", "critical at night");
        self.says("acked", "critical by now");
        let before = count(&self.always, "worse");
        self.until_settled(&format!("{what}: held back"), &[("always", "acked")]);
        assert_eq!(count(&self.always, "worse"), before, "{what}");
        self.clock.set(
            ends.checked_add(jiff::SignedDuration::from_mins(5))
                .expect("a time"),
        );
        let both = [("always", "acked"), ("always", "silenced")];
        self.until_told(&what, &both);
        wait_for(&what, || count(&self.always, "worse") == before + 1);
        self.says("silenced", "ok again");
        self.says("acked", "ok again");
        self.until_told(&what, &[]);
    }
}
