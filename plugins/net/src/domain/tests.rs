//! No RDAP server is to be had in Debian, and no registry can be asked here: a real nginx serves documents as RFC 9083 and RFC
//! 9224 have them.

use super::*;
use crate::tests::{LONG, check, plugin, refused, told, with};
use healthd_plugin::mock::Outcome;
use healthd_testing::Nginx;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// After the example of RFC 9083, section 5.3.
fn document(name: &str, days: f64, statuses: &[&str]) -> Value {
    let at = seconds_now() + (days * DAY) as i64;
    json!({
        "rdapConformance": ["rdap_level_0"],
        "objectClassName": "domain",
        "handle": "XXXX",
        "ldhName": name.to_uppercase(),
        "nameservers": [
            {"objectClassName": "nameserver", "ldhName": "NS2.example.net."},
            {"objectClassName": "nameserver", "ldhName": "ns1.example.com"},
        ],
        "status": statuses,
        "events": [
            {"eventAction": "registration", "eventDate": "1990-12-31T23:59:59Z"},
            {"eventAction": "last changed", "eventDate": "1991-12-31T23:59:59Z", "eventActor": "joe@example.com"},
            {"eventAction": "expiration", "eventDate": date(at)},
        ],
        "entities": [
            {"objectClassName": "entity", "roles": ["registrant"], "vcardArray": ["vcard", [["fn", {}, "text", "Joe User"]]]},
            {"objectClassName": "entity", "roles": ["registrar"], "vcardArray": ["vcard", [
                ["version", {}, "text", "4.0"], ["fn", {}, "text", "Example Registrar, Inc."],
            ]]},
        ],
    })
}

/// As `date -u` writes it: the other way than the code under test.
fn date(at: i64) -> String {
    let done = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{at}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .expect("coreutils");
    String::from_utf8(done.stdout).expect("ASCII").trim().into()
}

const LOCATIONS: &str = "
    location /rdap/ { root www; default_type application/rdap+json; }
    location /busy/ { add_header Retry-After 120 always; return 429; }
    location /moved/ { rewrite ^/moved/(.*) $scheme://$host:$server_port/rdap/$1 redirect; }
    location /plain/ { return 302 http://127.0.0.1:1/; }
    location /loop/ { rewrite ^ $scheme://$host:$server_port$uri redirect; }
";

struct Registry {
    nginx: Nginx,
    /// `MockHost` keeps one state for all checks of a plugin: one test at a time has it.
    _alone: MutexGuard<'static, ()>,
}

impl Registry {
    fn start() -> Option<Registry> {
        static ALONE: Mutex<()> = Mutex::new(());
        Nginx::installed().then(|| Registry {
            _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner),
            nginx: Nginx::start(LOCATIONS),
        })
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.nginx.port_tls)
    }

    fn write(&self, path: &str, document: &Value) {
        let file = self.nginx.root().join("www/rdap").join(path);
        std::fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("our own");
        std::fs::write(file, document.to_string()).expect("our own");
    }

    fn options(&self, name: &str, more: &Value) -> Value {
        let options = json!({
            "name": name, "ca_file": self.nginx.certs.ca(), "server": self.url("/rdap/"), "refresh": "0s",
        });
        with(options, more)
    }

    fn look(&self, name: &str, more: &Value) -> Outcome {
        check("domain", &self.options(name, more))
    }
}

#[test]
fn the_page_has_all_options() {
    plugin("domain").assert_documented(include_str!("../../DOMAIN.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (
            json!({"name": "org"}),
            "name: \"org\" is no registered domain",
        ),
        (
            json!({"name": "192.0.2.1"}),
            "name: \"192.0.2.1\" is no registered domain",
        ),
        (
            json!({"name": "a.org", "server": "http://"}),
            "server: http://: no host in it",
        ),
        (
            json!({"name": "a.org", "expires": "2027-13-01"}),
            "expires: \"2027-13-01\" is no date",
        ),
    ] {
        assert_eq!(refused("domain", &options), text);
    }
}

#[test]
fn what_a_registry_says() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let name = "b\u{fc}cher.example";
    let ascii = "xn--bcher-kva.example";
    let held = ["client transfer prohibited", "server hold"];
    for (days, statuses, more, status, said) in [
        (
            400.0,
            &["active"][..],
            json!({}),
            Status::Ok,
            "xn--bcher-kva.example valid for 400.0 days; registrar Example Registrar, Inc.",
        ),
        (
            20.0,
            &["active"],
            json!({}),
            Status::Warn,
            "xn--bcher-kva.example valid for 20.0 days, below 30 days; registrar Example Registrar, Inc.",
        ),
        (
            -2.0,
            &["active"],
            json!({}),
            Status::Critical,
            "xn--bcher-kva.example expired 2.0 days ago, below 7 days; ",
        ),
        (
            400.0,
            &held,
            json!({}),
            Status::Critical,
            "its status is \"server hold\"; ",
        ),
        (
            400.0,
            &["clientHold"],
            json!({}),
            Status::Critical,
            "its status is \"client hold\"; ",
        ),
        (
            400.0,
            &held,
            json!({"locked": true, "statuses_crit": []}),
            Status::Ok,
            "xn--",
        ),
        (
            400.0,
            &["active"],
            json!({"locked": true}),
            Status::Warn,
            "its transfer is not forbidden; ",
        ),
        (
            400.0,
            &[],
            json!({"registrar": "Other"}),
            Status::Critical,
            "its registrar is Example Registrar, Inc., not Other; ",
        ),
        (
            400.0,
            &[],
            json!({"registrar": "Example", "nameservers": ["ns1.example.com", "NS2.example.net."]}),
            Status::Ok,
            "xn--",
        ),
        (
            400.0,
            &[],
            json!({"nameservers": ["ns.evil.example"]}),
            Status::Critical,
            "its name servers are ns1.example.com, ns2.example.net, not ns.evil.example; ",
        ),
    ] {
        registry.write(&format!("domain/{ascii}"), &document(ascii, days, statuses));
        let o = registry.look(name, &more);
        assert_eq!(o.status, status, "{o:?}");
        assert!(o.message.starts_with(said), "{said}: {}", o.message);
        assert!((o.metric("days").value - days).abs() < 0.1, "{o:?}");
    }
    let o = registry.look("nobody.example", &json!({}));
    let gone = (Status::Critical, "nobody.example is not registered");
    assert_eq!(told(&o), gone);
    // Where it has moved to, inside of TLS.
    let moved = json!({"server": registry.url("/moved/")});
    assert_eq!(registry.look(name, &moved).status, Status::Ok);
}

#[test]
fn what_says_nothing_of_a_domain() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let mut endless = document("endless.example", 1.0, &[]);
    endless["events"] = json!([]);
    registry.write("domain/endless.example", &endless);
    registry.write(
        "domain/other.example",
        &document("another.example", 90.0, &[]),
    );
    registry.write("domain/help.example", &json!({"notices": []}));
    let mut undated = document("undated.example", 1.0, &[]);
    undated["events"][2]["eventDate"] = "soon".into();
    registry.write("domain/undated.example", &undated);
    for (name, more, said) in [
        (
            "endless.example",
            json!({}),
            "the registry does not say when it ends; write `expires` by hand",
        ),
        (
            "other.example",
            json!({}),
            "127.0.0.1: its answer is about \"ANOTHER.EXAMPLE\"",
        ),
        (
            "help.example",
            json!({}),
            "127.0.0.1: its answer is about no domain",
        ),
        (
            "undated.example",
            json!({}),
            "127.0.0.1: \"soon\" is no date",
        ),
        (
            "x.example",
            json!({"server": registry.url("/busy/")}),
            "127.0.0.1: HTTP 429",
        ),
        (
            "x.example",
            json!({"server": registry.url("/plain/")}),
            "redirect: to http://127.0.0.1:1/, which is not secure",
        ),
        (
            "x.example",
            json!({"server": registry.url("/loop/")}),
            "more than 5 redirects",
        ),
        (
            "x.example",
            json!({"server": "http://127.0.0.1:1/"}),
            "127.0.0.1: connect: connection refused",
        ),
        // A certificate of somebody else.
        ("x.example", json!({"ca_file": null}), "127.0.0.1: tls: "),
    ] {
        let mut options = registry.options(name, &more);
        if options["ca_file"].is_null() {
            options.as_object_mut().expect("a table").remove("ca_file");
        }
        let o = check("domain", &options);
        assert_eq!(o.status, Status::Unknown, "{o:?}");
        assert!(o.message.starts_with(said), "{said}: {}", o.message);
    }
    let by_hand = registry.look("endless.example", &json!({"expires": "2001-01-01"}));
    assert_eq!(by_hand.status, Status::Critical, "{by_hand:?}");
}

#[test]
fn by_the_list_of_iana() {
    let Some(registry) = Registry::start() else {
        return;
    };
    registry.write(
        "dns.json",
        &json!({"version": "1.0", "services": [
            [["example"], [registry.url("/busy/")]],
            [["net", "co.example"], ["http://127.0.0.1:1/", registry.url("/rdap/")]],
        ]}),
    );
    registry.write(
        "domain/shop.co.example",
        &document("shop.co.example", 60.0, &[]),
    );
    let look = |name: &str, more: &Value| {
        let mut options = registry.options(name, more);
        options["bootstrap"] = registry.url("/rdap/dns.json").into();
        options.as_object_mut().expect("a table").remove("server");
        check("domain", &options)
    };
    assert_eq!(look("shop.co.example", &json!({})).status, Status::Ok);
    assert_eq!(
        told(&look("shop.example", &json!({}))).1,
        "127.0.0.1: HTTP 429"
    );
    let o = look("shop.de", &json!({}));
    let nobody = "the registry of .de has no RDAP server; write `expires` by hand, or `server`";
    assert_eq!(told(&o), (Status::Unknown, nobody));
    let day = date(seconds_now() + 100 * 86_400);
    let o = look("shop.de", &json!({"expires": day[..10]}));
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(o.message.ends_with(", as the config says"), "{}", o.message);
}

#[test]
fn one_question_a_day() {
    let Some(registry) = Registry::start() else {
        return;
    };
    let path = "domain/kept.example";
    registry.write(path, &document("kept.example", 60.0, &[]));
    let options = registry.options("kept.example", &json!({"refresh": "1d"}));
    let made = plugin("domain").create(options.to_string());
    let kept = made.expect("good options");
    assert_eq!(kept.run(LONG).status, Status::Ok);
    // It has changed; nobody asks.
    registry.write(path, &document("kept.example", 1.0, &[]));
    let o = kept.run(LONG);
    assert_eq!(o.status, Status::Ok, "{o:?}");
    assert!(o.metric("answer_age").value < 3600.0);
}

#[test]
fn what_is_kept() {
    let answer = Answer {
        is_registered: true,
        expires: Some(1_800_000_000),
        statuses: vec!["active".into()],
        registrar: Some("R".into()),
        nameservers: vec!["a".into()],
    };
    let known = Known {
        trouble: Some("HTTP 429".into()),
        ..Known::new(answer, 5, 100)
    };
    assert_eq!(known.next, 105);
    let json = known.to_json("x");
    assert_eq!(Known::from_json(&json, "x"), known);
    assert_eq!(Known::from_json(&json, "y"), Known::default());
    assert_eq!(Known::from_json(&json!(3), "x"), Known::default());
    let list =
        json!({"services": [[["org"], ["https://o/"]], [["b.org"], ["https://b/"]], ["odd"], 7]});
    assert_eq!(answer::servers(&list, "a.b.org"), ["https://b/"]);
    assert_eq!(answer::servers(&list, "ab.org"), ["https://o/"]);
    assert!(answer::servers(&list, "a.com").is_empty());
}
