//! What alerts keep on disk, and what people write for `match` and `when`.

use healthd_alerts::{By, Config, Engine, Match, Now, Outcome, Record, Route, Standing, When};
use healthd_core::check::outcome::Verdict;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

static ROUTES: LazyLock<Vec<Arc<Route>>> = LazyLock::new(|| {
    let mail = Route {
        repeat: Some(Duration::from_secs(600)),
        backup: Some("slack".into()),
        ..Route::new("mail", "mail")
    };
    let slack = Route {
        by: By::Check,
        ..Route::new("slack", "webhook")
    };
    [mail, slack].map(Arc::new).into()
});

/// A record a line. An engine goes on from whatever they say, comes to rest, and ends what it finds.
pub fn records(data: &[u8]) {
    let records = data.split(|b| *b == b'\n').filter_map(|line| {
        let record = Record::decode(line).ok()?;
        assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record));
        Some(record)
    });
    let mut now = Now {
        mono: 1 << 40,
        wall: 1 << 60,
    };
    let mut engine = Engine::restore(now.wall, records);
    let config = Config {
        routes: ROUTES.clone(),
        maintenance: Vec::new(),
    };
    let well = Standing {
        verdict: Verdict::Ok,
        was: Verdict::Pending,
        message: String::new(),
        since: now.wall,
        labels: Arc::default(),
        behind: None,
        flap: None,
    };
    engine.configure(config, now, &|name| {
        (name.len() % 2 == 0).then(|| well.clone())
    });
    for turn in 0.. {
        assert!(turn < 100_000, "it does not come to rest");
        let output = engine.step(now);
        if output.deliver.is_empty() {
            match output.next {
                Some(next) => now.mono = next.max(now.mono + 1),
                None => break,
            }
        }
        for delivery in output.deliver {
            let receipt = String::new();
            engine.outcome(delivery.id, Outcome::Accepted { receipt }, now);
        }
    }
    assert!(engine.report(now).notices.is_empty());
    // No problem is left; silences and what routes have sent are kept.
    let mut left = engine.snapshot().into_iter();
    assert!(left.all(|record| !matches!(record, Record::Notice(_))));
}

/// `match` and `when`: read or refused with a place and a way out, and used.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
    match Match::parse(text) {
        Ok(matches) => {
            let _ = matches.fits("web/front-1", &labels);
        }
        Err(e) => assert!(e.at <= text.len() && !e.help.is_empty()),
    }
    let zones = |name: Option<&str>| match name {
        None => Some(TimeZone::UTC),
        Some(name) => TimeZone::get(name).ok(),
    };
    match When::parse(&[text], &zones) {
        Ok(when) => {
            let mut now = 1_795_917_600_000_000_000;
            let mut open = when.is_open(now);
            for _ in 0..4 {
                let Some(next) = when.next_change(now) else {
                    break;
                };
                assert!(next > now);
                assert_ne!(when.is_open(next), open, "{text} at {next}");
                open = !open;
                now = next;
            }
        }
        Err((place, e)) => assert!(place == 0 && e.at <= text.len() && !e.help.is_empty()),
    }
}
