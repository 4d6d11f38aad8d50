//! The keys of a check that have to do with alerts.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::raw::{Node, Value};
use super::reading::Reading;
use super::report::error;
use crate::check::rate::Rate;

pub const KEYS: [&str; 4] = ["recover", "flap", "invert", "runbook"];

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
        if let Some(n) = recover.and_then(|n| cx.integer("recover", &n, owner, 1, 1_000)) {
            keys.recover = u32::try_from(n).unwrap_or(1);
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
