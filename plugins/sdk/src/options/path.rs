//! A path that a check reads, or at which it writes too. The schema says so, for whoever gives the check its rights.

use super::value::{Limits, OptionValue};
use serde_json::Value;
use std::ops::Deref;
use std::path::{Path, PathBuf};

macro_rules! path {
    ($(#[$doc:meta])* $name:ident, $rights:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name(PathBuf);

        impl Deref for $name {
            type Target = Path;

            fn deref(&self) -> &Path {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(path: &str) -> Self {
                $name(path.into())
            }
        }

        impl OptionValue for $name {
            fn schema(_: &Limits) -> String {
                concat!(r#""type":"string","format":"path","pattern":"^/","x-path":""#, $rights, r#"""#).into()
            }

            fn from_json(value: Value, _: &Limits) -> Result<Self, String> {
                match value.as_str() {
                    Some(path) if path.starts_with('/') && !path.contains('\0') => {
                        Ok($name(path.into()))
                    }
                    _ => Err(format!("{value} is no absolute path")),
                }
            }

            fn to_json(&self) -> Value {
                self.0.to_string_lossy().into()
            }
        }
    };
}

path! {
    /// An absolute path that the check reads, or a pattern of such paths. In the schema it has `"x-path": "read"`: by that a host
    /// knows what of the file system a check needs, and people know what to open.
    ReadPath, "read"
}

path! {
    /// One whose folder it also writes in: a lock, a journal. In the schema it has `"x-path": "write"`.
    WritePath, "write"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths() {
        let read = |v: Value| ReadPath::from_json(v, &Limits::NONE);
        assert_eq!(*read("/a b".into()).unwrap(), *Path::new("/a b"));
        for bad in [Value::from("a"), "".into(), "/a\0b".into(), 3.into()] {
            assert!(
                read(bad.clone())
                    .unwrap_err()
                    .ends_with("is no absolute path"),
                "{bad}"
            );
        }
    }
}
