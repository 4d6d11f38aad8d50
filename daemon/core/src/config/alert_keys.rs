//! The keys of a check that have to do with alerts.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::defaults::whole;
use super::on_change::{self, Action};
use super::raw::{Node, Value};
use super::reading::Reading;
use super::report::error;
use crate::check::rate::Rate;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckAlerts {
    /// Oks in a row until a problem is over.
    pub recover: u32,
    /// None: it is never said to flap.
    pub flap: Option<Rate>,
    /// Well while its target is not.
    pub invert: bool,
    /// Where it is written what to do; sent with each message.
    pub runbook: Option<String>,
    /// What is run when it changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
}

impl Default for CheckAlerts {
    fn default() -> CheckAlerts {
        CheckAlerts {
            recover: 1,
            flap: Some(Rate {
                count: 5,
                per: Duration::from_secs(30 * 60),
            }),
            invert: false,
            runbook: None,
            actions: Vec::new(),
        }
    }
}

impl CheckAlerts {
    /// What is wrong is reported, and the default stands in for it. `key`: the value of one, if it is written.
    pub fn read<'n>(
        key: &dyn Fn(&str, &mut Reading<'_>) -> Option<Cow<'n, Node>>,
        owner: &dyn Display,
        cx: &mut Reading<'_>,
    ) -> CheckAlerts {
        let mut keys = CheckAlerts::default();
        let recover = key("recover", cx);
        if let Some(n) = recover.and_then(|n| whole("recover", &n, owner, cx)) {
            keys.recover = n;
        }
        if let Some(node) = key("flap", cx) {
            keys.flap = flap(&node, owner, cx).unwrap_or(keys.flap);
        }
        let invert = key("invert", cx);
        if let Some(invert) = invert.and_then(|n| cx.boolean("invert", &n, owner)) {
            keys.invert = invert;
        }
        let runbook = key("runbook", cx);
        keys.runbook = runbook.and_then(|n| cx.text("runbook", &n, owner));
        let action = key("on_change", cx);
        let action = action.and_then(|n| on_change::on_change(&n, owner, cx));
        let restart = key("restart", cx);
        let restart = restart.and_then(|n| on_change::restart(&n, owner, cx));
        keys.actions = action.into_iter().chain(restart).collect();
        keys
    }
}

fn flap(node: &Node, owner: &dyn Display, cx: &mut Reading<'_>) -> Option<Option<Rate>> {
    if matches!(&node.value, Value::Str(text) if text == "never") {
        return Some(None);
    }
    let rate = rate("flap", node, owner, cx)?;
    if rate.count < 2 {
        let e = error(format!(
            "`flap` of {owner} is one flip: that is every problem"
        ));
        cx.push(e.at(node.span).help("write `5/30m`, or `never`"));
        return None;
    }
    Some(Some(rate))
}

pub fn rate(key: &str, node: &Node, owner: impl Display, cx: &mut Reading<'_>) -> Option<Rate> {
    let Value::Str(text) = &node.value else {
        return cx.wrong_type(key, node, owner, "a string", "\"20/10m\"");
    };
    match Rate::parse(text) {
        Ok(rate) => Some(rate),
        Err((what, help)) => {
            let e = error(format!("`{key}` of {owner} {what}"));
            cx.push(e.at(node.span).help(help));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Files;
    use crate::config::raw;
    use std::io;
    use std::path::{Path, PathBuf};

    use crate::check::outcome::Verdict;

    const VERDICTS: [Verdict; 3] = [Verdict::Ok, Verdict::Warning, Verdict::Critical];

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

    #[test]
    fn the_keys_of_a_check() {
        let keys = |text: &str| {
            let mut cx = Reading::new(Path::new("x.toml"), &Nowhere);
            let source = cx.sources.add(Path::new("x.toml"), text.to_owned());
            let table = raw::table(&cx.sources, source, &mut cx.report);
            let node =
                |key: &str, _: &mut Reading<'_>| table.get(key).map(|e| Cow::Borrowed(&e.node));
            let keys = CheckAlerts::read(&node, &"check `web`", &mut cx);
            (keys, cx.report.finish().render(false))
        };
        assert_eq!(keys(""), (CheckAlerts::default(), String::new()));
        let (all, said) =
            keys("recover = 3\nflap = \"never\"\ninvert = true\nrunbook = \"https://wiki/x\"");
        assert_eq!(said, "");
        assert_eq!((all.recover, all.flap, all.invert), (3, None, true));
        assert_eq!(all.runbook.as_deref(), Some("https://wiki/x"));
        let (all, said) =
            keys("on_change = [\"/bin/led\", \"$SERVICESTATE$\"]\nrestart = \"nginx.service\"");
        assert_eq!(said, "");
        assert_eq!(all.actions[0].argv, ["/bin/led", "$SERVICESTATE$"]);
        assert_eq!(all.actions[1].argv[2..], ["restart", "nginx.service"]);
        let is_for = |n: usize| VERDICTS.map(|v| all.actions[n].is_for(v));
        assert_eq!((is_for(0), is_for(1)), ([true; 3], [false, false, true]));
        let (all, said) = keys(
            "on_change = { argv = [\"led\"], soft = true, on = [\"ok\"], limit = \"2/1m\", timeout = \"5s\" }",
        );
        assert_eq!(said, "");
        assert_eq!((all.actions[0].soft, all.actions[0].limit.count), (true, 2));
        for (text, what) in [
            ("on_change = \"led\"", "has to be a list or a table"),
            ("on_change = []", "names no program"),
            ("on_change = { soft = true }", "has no `argv`"),
            ("on_change = { argv = [\"a\"], sof = true }", "`soft`"),
            (
                "on_change = { argv = [\"a\"], on = \"critcal\" }",
                "`critical`",
            ),
            ("restart = \"-x\"", "cannot be a unit of systemd"),
            ("restart = \"a b\"", "there is `on_change`"),
        ] {
            let (all, said) = keys(text);
            assert!(
                all.actions.is_empty() && said.contains(what),
                "{text}: {said}"
            );
        }
        let (_, said) = keys("recover = 0\nflap = \"1/m\"\ninvert = \"yes\"\nrunbook = \"\"");
        for what in [
            "from 1 to 1000",
            "`5/30m`, or `never`",
            "write `invert = true`",
            "`runbook` of check `web` is empty",
        ] {
            assert!(said.contains(what), "{what}\n{said}");
        }
    }
}
