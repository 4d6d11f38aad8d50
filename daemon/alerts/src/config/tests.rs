//! What people write, and what they are told of it.

use super::{Around, Resolved, resolve};
use crate::rate::Rate;
use crate::route::By;
use healthd_core::config::Files;
use healthd_core::config::raw::{self, Entry, Value};
use healthd_core::config::reading::Reading;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Nowhere;

impl Files for Nowhere {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
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
        1
    }
}

fn read(text: &str) -> (Resolved, String) {
    let mut cx = Reading::new(Path::new("healthd.toml"), &Nowhere);
    let source = cx.sources.add(Path::new("healthd.toml"), text.to_owned());
    let root = raw::table(&cx.sources, source, &mut cx.report);
    let entries: Vec<&Entry> = root.entries.iter().collect();
    let none = BTreeMap::new();
    let web = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
    let around = Around {
        checks: &[("shop/db", &none), ("shop/api", &web), ("rack7/a", &none)],
        zones: &|name| match name {
            None => Some(TimeZone::UTC),
            Some(name) => TimeZone::get(name).ok(),
        },
        wall: 1_795_917_600_000_000_000,
    };
    let resolved = resolve(&entries, &around, &mut cx);
    (resolved, cx.report.finish().render(false))
}

#[test]
fn mail_me_in_three_lines_and_every_key_at_once() {
    let (resolved, said) =
        read("[[notify]]\nplugin = \"mail\"\nconfig = { to = \"ops@example.org\" }\n");
    assert_eq!(said, "");
    let route = &resolved.config.routes[0];
    assert_eq!(
        (&*route.name, route.wait, route.repeat),
        ("mail", Duration::from_secs(10), None)
    );
    assert!(
        matches!(&resolved.notifiers[0].config.as_ref().expect("options").node.value, Value::Table(t) if t.entries.len() == 1)
    );
    let (resolved, said) = read(
        r#"
[[notify]]
plugin = "mail"

[[notify]]
name = "oncall"
plugin = "webhook"
config = { preset = "pagerduty" }
enabled = true
match = "team=web !shop/db, rack7/*"
on = ["critical", "unknown"]
wait = "0s"
after = "15m"
repeat = "4h"
when = ["mon-fri 08:00-18:00 Europe/Berlin", "sat"]
by = "team"
limit = "20/10m"
backup = "mail"
alive = "5m"
title = "{{ count }} down"
text = "{{ title }}"

[[maintenance]]
match = "rack7/*"
when = "sun 02:00-04:00 Europe/Berlin"
reason = "patch night"
"#,
    );
    assert_eq!(said, "");
    let route = &resolved.config.routes[1];
    assert_eq!(route.by, By::Label("team".into()));
    assert_eq!(route.limit, Rate::parse("20/10m").ok());
    assert_eq!(route.backup.as_deref(), Some("mail"));
    assert!(!route.on.warning && route.on.critical && route.on.unknown);
    assert_eq!(
        (route.after, route.repeat),
        (Duration::from_secs(900), Some(Duration::from_secs(14_400)))
    );
    assert_eq!(resolved.notifiers[1].templates.len(), 2);
    assert_eq!(resolved.config.maintenance[0].reason, "patch night");
}

#[test]
fn every_mistake_at_once_with_its_place_and_a_way_out() {
    let (_, said) = read(
        r#"
[[notify]]
plugin = "mail"
mtach = "web"
on = ["ok", "critical"]
wait = "2h"
repeat = "5s"
limit = "20"

[[notify]]
plugin = "mail"
match = "team=web,, db"
when = "mon-fry 08:00-18:00"
backup = "mial"
url = "http://x"

[[notify]]
name = "a b"
on = []
plugin = 5

[[maintenance]]
when = ["sun 02:00-04:00", "mon 2:00-04:00"]
"#,
    );
    for (what, help) in [
        ("unknown key `mtach` in route `mail`", "`match`"),
        (
            "`on` of route `mail` has an unknown verdict `ok`",
            "write the problems only",
        ),
        (
            "`wait` of route `mail` is too long: 2h",
            "the longest is 1h",
        ),
        (
            "`repeat` of route `mail` is too short: 5s",
            "the shortest is 1m",
        ),
        ("`limit` of route `mail` has no `/` in it", "`20/10m`"),
        ("two routes are called `mail`", "give each a `name`"),
        (
            "`match` of route `mail` has nothing on one side of a comma",
            "`web-*, team=db`",
        ),
        ("`when` of route `mail` has an unknown day `fry`", "`mon`"),
        ("a backup `mial` that is no route", "`mail`"),
        (
            "unknown key `url` in route `mail`",
            "config = { url = ... }",
        ),
        ("`a b` cannot be the name of a route", "letters a-z"),
        ("`on` of route `a b` is an empty list", "enabled = false"),
        ("`plugin` of route `a b` has to be a string", "plugin ="),
        ("maintenance number 1 has no `match`", "match = "),
        (
            "`when` of maintenance number 1 has `2:00` for a time",
            "`23:59`",
        ),
    ] {
        assert!(said.contains(what), "{what}\n{said}");
        assert!(said.contains(help), "{help}\n{said}");
    }
    // The place is that of the word.
    assert!(said.contains("healthd.toml:12:19"), "{said}");
    assert!(said.contains("healthd.toml:13:9"), "{said}");
    let (_, said) = read("notify = 5\n[maintenance]\nwhen = \"sun\"\n");
    assert!(
        said.contains("`[[notify]]`") && said.contains("`[[maintenance]]`"),
        "{said}"
    );
}

#[test]
fn what_would_be_found_out_in_the_night_is_a_warning() {
    let (resolved, said) = read(
        r#"
[[notify]]
plugin = "mail"
match = "shop/dbb"

[[notify]]
name = "oncall"
plugin = "webhook"
match = "team=web"
after = "15m"

[[maintenance]]
match = "*"
when = "2026-11-01 .. 2026-11-02"
"#,
    );
    assert_eq!(resolved.config.routes.len(), 2);
    assert!(!said.contains("error"), "{said}");
    for what in [
        "`match` of route `mail` fits no check",
        "a check with a similar name exists: `shop/db`",
        "2 checks alert nobody: `shop/db`, `rack7/a`",
        "nobody backs up route `oncall`",
        "is over, and never comes again",
    ] {
        assert!(said.contains(what), "{what}\n{said}");
    }
    let (_, said) = read("");
    assert_eq!(said, "", "who has no route at all wants none");
}
