//! What comes of what was said, and of silence. The way there is in the suite, `alerts::`.

use crate::hd_plugin_v1;
use crate::heartbeat::{Heartbeat, Options};
use crate::kept::{Kept, Last};
use healthd_plugin::Status;
use healthd_plugin::mock::MockHost;
use healthd_plugin::serde_json::{self, Value, json};
use std::time::Duration;

const S: u64 = 1_000_000_000;
const LONG: Duration = Duration::from_secs(30);

fn created(plugin: &str, options: &Value) -> Result<(), String> {
    let check = MockHost::new(hd_plugin_v1)
        .plugin(plugin)
        .create(options.to_string());
    check.map(drop)
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for (plugin, options, what) in [
        ("heartbeat", json!({}), "period, cron: give one of the two"),
        (
            "heartbeat",
            json!({"period": "1h", "cron": "0 0 * * *"}),
            "give one of the two",
        ),
        ("heartbeat", json!({"period": "0s"}), "above 0s"),
        ("heartbeat", json!({"cron": "0 25 * * *"}), "no hour"),
        ("heartbeat", json!({"period": "1h", "zone": "UTC"}), "zone:"),
        ("passive", json!({"freshness": "0s"}), "above 0s"),
    ] {
        let e = created(plugin, &options).expect_err(what);
        assert!(e.contains(what), "{options}: {e}");
    }
    let good = json!({"cron": "30 2 * * mon-fri", "zone": "Europe/Berlin", "max_run": "2h"});
    created("heartbeat", &good).expect("good ones");
}

fn judged(options: &Value, kept: &Kept, now: u64) -> (Status, String) {
    heartbeat(options).judge(kept, now)
}

fn heartbeat(options: &Value) -> Heartbeat {
    use healthd_plugin::options::{Limits, OptionValue};
    let options = Options::from_json(options.clone(), &Limits::NONE).expect("options");
    Heartbeat::of(options).expect("they make sense")
}

fn last(at: u64, status: u8) -> Option<Last> {
    Some(Last {
        at,
        status,
        ..Last::default()
    })
}

#[test]
fn a_word_in_time_is_well_and_silence_is_not() {
    let hourly = json!({"period": "1h", "grace": "5m"});
    let first = Kept {
        first: Some(1_000 * S),
        ..Kept::default()
    };
    let (status, text) = judged(&hourly, &first, 4_900 * S);
    assert_eq!(status, Status::Ok);
    assert!(
        text.starts_with("no word yet; the first is due by 1970-01-01T01:16:40Z"),
        "{text}"
    );
    let (status, text) = judged(&hourly, &first, 4_901 * S);
    assert_eq!(
        (status, text.as_str()),
        (
            Status::Critical,
            "no word ever; the first was due at 1970-01-01T01:16:40Z"
        )
    );
    let mut kept = Kept {
        last_ok: Some(10_000 * S),
        last: last(10_000 * S, 0),
        ..first
    };
    if let Some(last) = &mut kept.last {
        last.took = Some(90 * S);
        last.text = "12 files".into();
    }
    let (status, text) = judged(&hourly, &kept, 10_060 * S);
    assert_eq!(
        (status, text.as_str()),
        (
            Status::Ok,
            "well 1m ago, it took 1m30s; next due at 1970-01-01T03:46:40Z: 12 files"
        )
    );
    let (status, text) = judged(&hourly, &kept, 13_901 * S);
    assert_eq!(status, Status::Critical);
    assert!(
        text.starts_with("no word for 1h5m1s; one was due at 1970-01-01T03:46:40Z, 5m1s ago"),
        "{text}"
    );
    let warns = json!({"period": "1h", "late": "warning"});
    assert_eq!(judged(&warns, &kept, 99_999 * S).0, Status::Warn);
    // A clock that was set back.
    assert_eq!(judged(&hourly, &kept, 9_000 * S).0, Status::Ok);
}

#[test]
fn a_job_that_begins_has_to_end() {
    let options = json!({"cron": "0 2 * * *", "zone": "UTC", "grace": "10m", "max_run": "3h"});
    let day = 86_400 * S;
    let kept = Kept {
        last_ok: Some(day + 4 * 3_600 * S),
        last: last(day + 4 * 3_600 * S, 0),
        ..Kept::default()
    };
    let two = 2 * day + 2 * 3_600 * S;
    assert_eq!(judged(&options, &kept, two + 600 * S).0, Status::Ok);
    assert_eq!(judged(&options, &kept, two + 601 * S).0, Status::Critical);
    let running = Kept {
        started: Some(two),
        ..kept
    };
    let (status, text) = judged(&options, &running, two + 3 * 3_600 * S);
    assert_eq!((status, text.as_str()), (Status::Ok, "it began 3h ago"));
    let (status, text) = judged(&options, &running, two + 3 * 3_600 * S + S);
    assert_eq!(
        (status, text.as_str()),
        (
            Status::Critical,
            "it began 3h1s ago and has not ended; 3h is what it may take"
        )
    );
}

#[test]
fn a_failure_stays_until_it_is_well() {
    let options = json!({"period": "1h"});
    let mut kept = Kept {
        last_ok: Some(50 * S),
        last: Some(Last {
            at: 100 * S,
            status: 2,
            code: Some(3),
            text: "no space".into(),
            ..Last::default()
        }),
        ..Kept::default()
    };
    let failed = (
        Status::Critical,
        "it failed 20s ago with exit code 3: no space".to_owned(),
    );
    assert_eq!(judged(&options, &kept, 120 * S), failed);
    // It tries again: that is no success.
    kept.started = Some(119 * S);
    assert_eq!(judged(&options, &kept, 120 * S), failed);
}

#[test]
fn without_a_word_a_passive_check_says_so() {
    let passive = MockHost::new(hd_plugin_v1).plugin("passive");
    let check = passive.create("{}").expect("no options");
    let o = check.run(LONG);
    assert_eq!(
        (o.status, o.message.as_str()),
        (Status::Unknown, "no result was submitted yet")
    );
    // A check of that plugin keeps when it was seen first, and that is no word.
    assert_eq!(check.run(LONG).message, "no result was submitted yet");
}

#[test]
fn what_the_daemon_keeps_is_read() {
    let kept: Kept = serde_json::from_str(
        r#"{"first":5,"started":null,"last":{"at":30,"status":0,"code":0,"took":20,"text":"all"},"last_ok":30,"count":2,"later":"x"}"#,
    )
    .expect("as the daemon writes it");
    assert_eq!(
        (kept.first, kept.last_ok, kept.count),
        (Some(5), Some(30), 2)
    );
    assert_eq!(kept.last.map(|l| (l.at, l.took)), Some((30, Some(20))));
}
