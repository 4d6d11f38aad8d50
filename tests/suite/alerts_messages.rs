//! What a message carries: by a webhook, by mail, to a script; in our own words, and in those of a template.

use crate::alerts::{assert_paired, config, count, report, route, say, told, until_all_are_ok};
use crate::harness::ctl::wait_for;
use crate::harness::receiver::Receiver;
use healthd_testing::Exim;
use serde_json::json;
use std::fs;

#[test]
fn what_lies_behind_a_chain_is_one_line_of_its_root() {
    let receiver = Receiver::new();
    let config = config();
    let dir = config.dir().to_owned();
    let mut before = "uplink".to_owned();
    let mut config = config
        .check(told(&dir, "uplink"))
        .notify(&route("hook", &receiver));
    for n in 1..=8 {
        let name = format!("hop-{n}");
        config = config.check(told(&dir, &name).set("needs", &format!("{before:?}")));
        before = name;
    }
    let leaf = told(&dir, "leaf").set("needs", "\"team=web !leaf !uplink !hop-8\"");
    let daemon = config.check(leaf).spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    let shown = daemon.told_by_daemon(&["show", "leaf"]);
    assert!(shown.out.contains("hop-1, hop-2"), "{shown:?}");
    say(&dir, "uplink", "critical the line is cut");
    for n in 1..=8 {
        say(&dir, &format!("hop-{n}"), "critical no answer");
    }
    say(&dir, "leaf", "critical no answer");
    let problem = receiver.accepted("problem");
    assert_eq!(problem.body["count"], 1, "{problem:#?}");
    assert_eq!(problem.body["checks"][0]["name"], "uplink");
    wait_for("all lie behind it", || {
        let rows = daemon.ask("status", json!({}));
        let behind = rows.iter().filter(|r| r["fault"] == "dependency").count();
        behind == 9
    });
    let deep = daemon.row("hop-8");
    let message = deep["message"].as_str().unwrap_or_default().to_owned();
    assert!(
        message.contains("lies behind `uplink`, which is critical: the line is cut"),
        "{message}"
    );
    assert_eq!(deep["verdict"], "ok");
    assert_eq!(count(&receiver, "problem"), 1, "{:#?}", receiver.all());
    // The last one first: when what one needs is back, no run that has seen it bad is under way any more.
    let hops = (1..=8).rev().map(|n| format!("hop-{n}"));
    let back = ["leaf".to_owned()].into_iter().chain(hops);
    for name in back.chain(["uplink".to_owned()]) {
        say(&dir, &name, "ok fine");
        wait_for(&format!("{name} is well by its own word"), || {
            daemon.row(&name)["status"] == "ok"
        });
    }
    receiver.accepted("recovery");
    until_all_are_ok(&daemon);
    assert_paired(&receiver);
    assert_eq!(receiver.all().len(), 2, "{:#?}", receiver.all());
}

#[test]
fn a_notification_script_of_nagios_runs_as_it_is() {
    let config = config();
    let dir = config.dir().to_owned();
    let (script, told_to) = (dir.join("notify.sh"), dir.join("told"));
    let text = format!(
        "#!/bin/sh\nread json\necho \"$NOTIFICATIONTYPE|$NAGIOS_SERVICESTATE|$SERVICEDESC|$1|$json\" >> {}\necho sent to $CONTACTEMAIL\n",
        told_to.display()
    );
    fs::write(&script, text).expect("our own folder");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, mode).expect("our own file");
    let daemon = config
        .check(told(&dir, "web"))
        .notify(&format!(
            "plugin = \"script\"\nwait = \"0s\"\nconfig = {{ argv = [{script:?}, \"$SERVICEOUTPUT$\"], contact = \"ana\" }}\n"
        ))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    wait_for("the receipt", || {
        report(&daemon)["notices"][0]["receipt"] == "sent to ana"
    });
    say(&dir, "web", "ok fine");
    wait_for("nothing is open", || {
        report(&daemon)["notices"] == json!([])
    });
    let lines = fs::read_to_string(&told_to).expect("the script has written");
    let lines: Vec<&str> = lines.lines().collect();
    assert!(
        lines[0].starts_with("PROBLEM|CRITICAL|web|it is down|{") && lines[0].contains("\"bad\":1"),
        "{lines:#?}"
    );
    assert!(lines[1].starts_with("RECOVERY|OK|web|"), "{lines:#?}");
    assert_eq!(lines.len(), 2);
}

/// Who reads a message finds the page of the check: by `url` of `[web]`, which is not where healthd listens.
#[test]
fn a_webhook_and_a_mail_lead_to_the_page() {
    let receiver = Receiver::new();
    let mail = Exim::start();
    let web = "listen = \"127.0.0.1:0\"\nurl = \"https://status.example.org/healthd/\"";
    let config = config();
    let dir = config.dir().to_owned();
    let shop = told(&dir, "shop").set("title", "\"The shop\"");
    let mut config = config
        .section("web", web)
        .check(shop)
        .notify(&route("hook", &receiver));
    if let Some(mail) = &mail {
        let server = format!("127.0.0.1:{}", mail.port());
        config = config.notify(&format!(
            "plugin = \"mail\"\nwait = \"0s\"\nconfig = {{ to = \"ops@example.org\", server = {server:?} }}\n"
        ));
    }
    let daemon = config.spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "shop", "critical it is down");
    let problem = receiver.accepted("problem");
    let page = "https://status.example.org/healthd/check/shop";
    assert_eq!(problem.body["url"], page);
    let line = &problem.body["checks"][0];
    assert_eq!(
        (&line["url"], &line["title"]),
        (&json!(page), &json!("The shop"))
    );
    if let Some(mail) = &mail {
        wait_for("the mail", || mail.inbox().contains(page));
    }
    // What is about no check leads to the page of all alerts.
    let said = daemon.healthctl(&["alerts", "test", "hook"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let alerts = "https://status.example.org/healthd/alerts";
    assert_eq!(receiver.accepted("test").body["url"], alerts);
}

#[test]
fn templates_of_a_route_make_its_title_its_text_and_its_body() {
    let (chat, own) = (Receiver::new(), Receiver::new());
    let config = config();
    let dir = config.dir().to_owned();
    let in_chat = route("chat", &chat).replace("config = {", "config = { preset = \"mattermost\",")
        + "title = \"{{ checks[0].name }} of {{ checks[0].labels.team }} is {{ checks[0].verdict }}\"\n\
           text = \"{{ title }}: {{ checks[0].message }}, on {{ route }}\"\n";
    let in_own_form = route("own", &own)
        + "title = \"{{ kind | upper }}\"\n\
           body = '{\"kind\": {{ kind | tojson }}, \"what\": {{ title | tojson }}, \"names\": [{% for c in checks %}{{ c.name | tojson }}{% endfor %}]}'\n";
    let endless =
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
    let daemon = config
        .check(told(&dir, "web"))
        .notify(&in_chat)
        .notify(&in_own_form)
        .notify(&(route("loop", &own) + &format!("match = \"none\"\ntext = {endless:?}\n")))
        .spawn();
    daemon.expect_notify("READY=1");
    until_all_are_ok(&daemon);
    say(&dir, "web", "critical it is down");
    let said = chat.wait("in the chat", 1, |g| g.accepted).remove(0);
    assert!(
        said.text("text").contains("web of web is critical"),
        "{said:#?}"
    );
    let text = &said.body["attachments"][0]["text"];
    assert_eq!(
        text,
        "```\nweb of web is critical: it is down, on chat\n```"
    );
    let form = own.accepted("problem");
    assert_eq!(
        form.body,
        json!({ "kind": "problem", "what": "PROBLEM", "names": ["web"] })
    );
    // One that does not end is refused by its name, and nothing is sent.
    let said = daemon.healthctl(&["alerts", "test", "loop"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.out.starts_with("loop: refused: text") && said.out.contains("fuel"),
        "{said:?}"
    );
    assert_eq!(own.all().len(), 1, "{:#?}", own.all());
}
