//! What the workers of a plugin give up before they load it: by its class, by what it says of itself, and with the
//! paths that its checks name. So what a worker may open comes from the config, and no code of a plugin has a say.

use healthd_catalog::{PluginEntry, PluginFile};
use healthd_core::config::{CheckSpec, UseSandbox};
use healthd_core::wire::sandbox::{Layers, OpenPath, Profile, Sandbox};
use healthd_core::wire::supervisor::WorkerClass;
use serde_json::Value;
use std::collections::BTreeSet;

/// More paths, or longer ones together, and all may be read.
const PATHS_MOST: usize = 512;
const BYTES_MOST: usize = 64 << 10;

/// Of a plugin, or of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// By the config.
    Off,
    /// A plugin does not say that it can do with a sandbox.
    Legacy,
    In(Sandbox),
}

impl Fit {
    pub fn of(
        wanted: UseSandbox,
        class: WorkerClass,
        (file, entry): (&PluginFile, &PluginEntry),
        paths: BTreeSet<OpenPath>,
    ) -> Fit {
        if wanted == UseSandbox::Off {
            return Fit::Off;
        }
        if !file.shipped && !entry.takes_sandbox() {
            return Fit::Legacy;
        }
        let profile = match entry.starts_programs() {
            true => Profile::Programs,
            false => Profile::of(class),
        };
        let paths = paths.into_iter().collect();
        Fit::In(Sandbox {
            profile,
            forced: wanted == UseSandbox::On,
            looks_around: entry.looks_around(),
            paths,
        })
    }

    /// Of a worker that loads the plugins of both.
    pub fn with(self, other: &Fit) -> Fit {
        match (self, other) {
            (Fit::Off, _) | (_, Fit::Off) => Fit::Off,
            (Fit::Legacy, _) | (_, Fit::Legacy) => Fit::Legacy,
            (Fit::In(mut a), Fit::In(b)) => {
                if b.profile == Profile::Programs {
                    a.profile = b.profile;
                }
                a.looks_around |= b.looks_around;
                let paths: BTreeSet<_> = a.paths.into_iter().chain(b.paths.clone()).collect();
                a.paths = paths.into_iter().collect();
                Fit::In(a)
            }
        }
    }

    /// A worker that has this may go on where that is wanted: nothing can be given back to it.
    pub fn covers(&self, wanted: &Fit) -> bool {
        match (self, wanted) {
            (Fit::In(has), Fit::In(wants)) => {
                (has.profile, has.forced, has.looks_around)
                    == (wants.profile, wants.forced, wants.looks_around)
                    && wants.paths.iter().all(|p| has.paths.contains(p))
            }
            _ => self == wanted,
        }
    }

    /// As it is sent: a list that would be too long is everything.
    pub fn to_send(&self) -> Option<Sandbox> {
        let Fit::In(sandbox) = self else { return None };
        let mut sandbox = sandbox.clone();
        let bytes: usize = sandbox.paths.iter().map(|p| p.path.len() + 16).sum();
        if sandbox.paths.len() > PATHS_MOST || bytes > BYTES_MOST {
            sandbox.paths.retain(|p| p.write);
            sandbox.paths.truncate(PATHS_MOST / 8);
            let path = "/".into();
            sandbox.paths.push(OpenPath { path, write: false });
        }
        Some(sandbox)
    }

    pub fn words(&self, layers: Layers) -> String {
        match self {
            Fit::Off => "off".into(),
            Fit::Legacy => "legacy".into(),
            Fit::In(sandbox) => layers.words(sandbox.profile),
        }
    }
}

/// The absolute paths among a check's options, with their keys' rights: `"x-path": "write"` in the schema is one to write.
pub fn paths_of(spec: &CheckSpec, schema: Option<&Value>, found: &mut BTreeSet<OpenPath>) {
    // Most checks have none.
    if !spec.config.contains("\"/") && !spec.config.contains("://") {
        return;
    }
    let Ok(Value::Object(options)) = serde_json::from_str(&spec.config) else {
        return;
    };
    for (key, value) in &options {
        let of_key = schema.and_then(|s| s.get("properties")?.get(key)?.get("x-path"));
        let write = of_key.and_then(Value::as_str) == Some("write");
        texts(value, &mut |text| {
            let fits = |path: &String| path.starts_with('/') && (2..=4096).contains(&path.len());
            let named = std::iter::once(text.to_owned()).chain(in_url(text));
            found.extend(named.filter(fits).map(|path| OpenPath { path, write }));
        });
    }
}

/// What the parameters of a URL name: `postgres://db/app?sslrootcert=/srv/pki/ca.pem`.
fn in_url(text: &str) -> impl Iterator<Item = String> {
    let query = text
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('?'));
    let parameters = query.map_or("", |(_, query)| query).split('&');
    let values = parameters.filter_map(|pair| pair.split_once('='));
    values.map(|(_, value)| value.replace("%2F", "/").replace("%2f", "/"))
}

fn texts(value: &Value, each: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(list) => list.iter().for_each(|v| texts(v, each)),
        Value::Object(map) => map.values().for_each(|v| texts(v, each)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(profile: Profile, paths: &[(&str, bool)]) -> Fit {
        let path = |(path, write): &(&str, bool)| OpenPath {
            path: (*path).into(),
            write: *write,
        };
        Fit::In(Sandbox {
            profile,
            forced: false,
            looks_around: false,
            paths: paths.iter().map(path).collect(),
        })
    }

    #[test]
    fn who_shares_a_worker_has_what_both_need() {
        let one = sandbox(Profile::Network, &[("/a", false)]);
        let two = sandbox(Profile::Network, &[("/b", true)]);
        let both = one.clone().with(&two);
        assert_eq!(
            both,
            sandbox(Profile::Network, &[("/a", false), ("/b", true)])
        );
        assert!(both.covers(&one) && !one.covers(&both));
        let programs = sandbox(Profile::Programs, &[]);
        assert!(matches!(
            one.clone().with(&programs),
            Fit::In(s) if s.profile == Profile::Programs
        ));
        assert_eq!(one.clone().with(&Fit::Legacy), Fit::Legacy);
        assert_eq!(Fit::Legacy.with(&Fit::Off), Fit::Off);
        assert!(!Fit::Legacy.covers(&one) && Fit::Legacy.covers(&Fit::Legacy));
    }

    #[test]
    fn a_list_that_is_too_long_is_everything() {
        let names: Vec<String> = (0..=PATHS_MOST).map(|n| format!("/{n}")).collect();
        let paths: Vec<(&str, bool)> = names.iter().map(|n| (n.as_str(), false)).collect();
        let sent = sandbox(Profile::Network, &paths).to_send().expect("one");
        assert_eq!(sent.paths.len(), 1);
        assert_eq!(sent.paths[0].path, "/");
        let few = sandbox(Profile::Network, &paths[..2])
            .to_send()
            .expect("one");
        assert_eq!(few.paths.len(), 2);
        assert_eq!(Fit::Legacy.to_send(), None);
    }

    #[test]
    fn parameters_of_a_url_name_paths_too() {
        let named = |text: &str| in_url(text).collect::<Vec<_>>().join(" ");
        assert_eq!(
            named("postgres://u@h/x?sslmode=require&sslrootcert=/srv/ca.pem&sslkey=%2Fsrv%2fk"),
            "require /srv/ca.pem /srv/k"
        );
        assert_eq!(named("/a?b=/c") + &named("http://h/x"), "");
    }

    #[test]
    fn options_name_the_paths() {
        let mut seen = Vec::new();
        let value = serde_json::json!({ "a": "/x", "b": ["/y", "no", 3], "c": { "d": "/z" } });
        texts(&value, &mut |t| seen.push(t.to_owned()));
        assert_eq!(seen, ["/x", "/y", "no", "/z"]);
    }
}
