//! What a notification program of Nagios or Icinga goes by: the same words, in its environment and as `$NAME$` in its
//! arguments.

use crate::message::{Kind, Message};
use crate::templates::Words;
use crate::words::first_line;

pub struct Macros(Vec<(&'static str, String)>);

impl Macros {
    /// Of the first check, which is the worst; the others stand in the text.
    pub fn of(m: &Message, words: &Words, contact: Option<&str>) -> Macros {
        let first = m.checks.first();
        let label = |name: &str| first.and_then(|c| c.labels.get(name).cloned());
        let host = label("host").unwrap_or_else(|| m.host.clone());
        let state = |verdict: &str| match verdict {
            "removed" | "pending" => "OK".to_owned(),
            verdict => verdict.to_uppercase(),
        };
        let now = first.map_or("OK".to_owned(), |c| state(&c.verdict));
        let was = first.map_or("OK".to_owned(), |c| state(&c.was));
        let kind = match m.kind {
            Kind::Problem | Kind::Worse | Kind::Update | Kind::Repeat => "PROBLEM",
            Kind::Recovery => "RECOVERY",
            Kind::Test | Kind::Alive => "CUSTOM",
            Kind::Change if now == "OK" => "RECOVERY",
            Kind::Change => "PROBLEM",
        };
        let name = first.map_or_else(|| m.route.clone(), |c| c.name.clone());
        let output = match first {
            Some(check) => first_line(&check.message).to_owned(),
            None => words.title.clone(),
        };
        let contact = contact.unwrap_or_default().to_owned();
        let id = match now.as_str() {
            "OK" => "0",
            "WARNING" => "1",
            "CRITICAL" => "2",
            _ => "3",
        };
        Macros(vec![
            ("NOTIFICATIONTYPE", kind.to_owned()),
            ("NOTIFICATIONISESCALATED", "0".to_owned()),
            ("NOTIFICATIONCOMMENT", words.title.clone()),
            ("NOTIFICATIONAUTHOR", "healthd".to_owned()),
            ("NOTIFICATIONAUTHORNAME", "healthd".to_owned()),
            ("HOSTNAME", host.clone()),
            ("HOSTALIAS", host.clone()),
            ("HOSTDISPLAYNAME", host.clone()),
            ("HOSTADDRESS", label("address").unwrap_or(host)),
            ("HOSTSTATE", "UP".to_owned()),
            ("SERVICEDESC", name.clone()),
            ("SERVICENAME", name.clone()),
            ("SERVICEDISPLAYNAME", name),
            ("SERVICESTATE", now),
            ("SERVICESTATEID", id.to_owned()),
            (
                "SERVICESTATETYPE",
                match first.is_some_and(|c| c.soft) {
                    true => "SOFT".to_owned(),
                    false => "HARD".to_owned(),
                },
            ),
            ("SERVICEATTEMPT", number(first.and_then(|c| c.attempt))),
            ("MAXSERVICEATTEMPTS", number(first.and_then(|c| c.attempts))),
            ("LASTSERVICESTATE", was),
            ("SERVICEOUTPUT", output),
            ("LONGSERVICEOUTPUT", words.text.clone()),
            (
                "SERVICENOTESURL",
                first.and_then(|c| c.runbook.clone()).unwrap_or_default(),
            ),
            ("SERVICEACTIONURL", m.url.clone().unwrap_or_default()),
            ("SERVICEPROBLEMID", m.notice.clone()),
            ("LONGDATETIME", m.time.clone()),
            ("SHORTDATETIME", m.time.clone()),
            ("CONTACTNAME", contact.clone()),
            ("CONTACTEMAIL", contact.clone()),
            ("USEREMAIL", contact),
            ("HEALTHD_ID", m.id.clone()),
            ("HEALTHD_NOTICE", m.notice.clone()),
            ("HEALTHD_ROUTE", m.route.clone()),
            ("HEALTHD_COUNT", m.count.to_string()),
        ])
    }

    /// As Icinga names them, and as Nagios does.
    pub fn environment(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().flat_map(|(name, value)| {
            let value: String = value.chars().filter(|c| *c != '\0').collect();
            let nagios = (!name.starts_with("HEALTHD_")).then(|| format!("NAGIOS_{name}={value}"));
            [format!("{name}={value}")].into_iter().chain(nagios)
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn number(n: Option<u32>) -> String {
    n.unwrap_or(1).to_string()
}

/// `$NAME$` is its value, `$$` a dollar; what is not known stays as it is.
pub fn expand(text: &str, macros: &Macros) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        match after.split_once('$') {
            Some(("", more)) => {
                out.push('$');
                rest = more;
            }
            Some((name, more)) if macros.get(name).is_some() => {
                out += macros.get(name).unwrap_or_default();
                rest = more;
            }
            _ => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.retain(|c| c != '\0');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Check;
    use crate::words;

    fn macros() -> Macros {
        let message = Message {
            id: "8".into(),
            notice: "7".into(),
            host: "web1".into(),
            route: "pager".into(),
            time: "2026-11-29T02:00:12Z".into(),
            url: Some("https://health.example.org/check/shop/db".into()),
            count: 1,
            bad: 1,
            checks: vec![Check {
                name: "shop/db".into(),
                verdict: "critical".into(),
                was: "ok".into(),
                message: "no $disk$ left\nmore".into(),
                labels: [("host".into(), "db7".into())].into(),
                runbook: Some("https://wiki/db".into()),
                ..Check::default()
            }],
            ..Message::default()
        };
        let words = Words {
            title: words::title(&message),
            text: words::text(&message),
            body: None,
        };
        Macros::of(&message, &words, Some("ops@example.org"))
    }

    #[test]
    fn the_words_of_nagios_and_of_icinga() {
        let env: Vec<String> = macros().environment().collect();
        for expected in [
            "NOTIFICATIONTYPE=PROBLEM",
            "NAGIOS_NOTIFICATIONTYPE=PROBLEM",
            "HOSTNAME=db7",
            "HOSTALIAS=db7",
            "SERVICEDESC=shop/db",
            "SERVICESTATE=CRITICAL",
            "NAGIOS_SERVICESTATEID=2",
            "LASTSERVICESTATE=OK",
            "SERVICEOUTPUT=no $disk$ left",
            "SERVICENOTESURL=https://wiki/db",
            "SERVICEACTIONURL=https://health.example.org/check/shop/db",
            "LONGDATETIME=2026-11-29T02:00:12Z",
            "USEREMAIL=ops@example.org",
            "HEALTHD_ID=8",
        ] {
            assert!(env.iter().any(|e| e == expected), "{expected}: {env:#?}");
        }
    }

    #[test]
    fn macros_in_arguments_are_filled_in_once() {
        let macros = macros();
        for (text, filled) in [
            ("-s=$SERVICESTATE$", "-s=CRITICAL"),
            ("$HOSTNAME$/$SERVICEDESC$", "db7/shop/db"),
            ("costs 5$$", "costs 5$"),
            ("$HOME and $NOTHING$ $", "$HOME and $NOTHING$ $"),
            ("$SERVICEOUTPUT$", "no $disk$ left"),
        ] {
            assert_eq!(expand(text, &macros), filled, "{text}");
        }
    }
}
