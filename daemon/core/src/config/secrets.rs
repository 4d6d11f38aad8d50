//! Secrets: `{ env = .. }`, `{ file = .. }` and `{ credential = .. }` become text. What goes wrong is
//! told by name and place, never by content.

use std::collections::HashMap;
use std::path::{Component, Path};
use std::rc::Rc;

use super::raw::shortened;
use super::reading::{Reading, io_reason};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretKind {
    Env,
    File,
    Credential,
}

/// What a secret turned out to be, so that each is read once however many checks use it.
pub type SecretCache = HashMap<(SecretKind, String), Result<Rc<str>, Unread>>;

/// Why a secret is not there: what happened, and the way out. Never its content.
#[derive(Clone, Debug)]
pub struct Unread {
    pub message: String,
    pub help: String,
}

impl Reading<'_> {
    pub fn secret(&mut self, kind: SecretKind, name: &str) -> Result<Rc<str>, Unread> {
        let key = (kind, name.to_owned());
        if let Some(known) = self.secrets.get(&key) {
            return known.clone();
        }
        let read = self.read_secret(kind, name);
        self.secrets.insert(key, read.clone());
        read
    }

    /// Those of the environment that were read, in order.
    pub fn secret_variables(&self) -> Vec<String> {
        let read = self.secrets.iter().filter(|(_, read)| read.is_ok());
        let mut names: Vec<String> = read
            .filter(|((kind, _), _)| *kind == SecretKind::Env)
            .map(|((_, name), _)| name.clone())
            .collect();
        names.sort_unstable();
        names
    }

    fn read_secret(&mut self, kind: SecretKind, name: &str) -> Result<Rc<str>, Unread> {
        let shown = shortened(name);
        let unread = |message: String, help: String| Err(Unread { message, help });
        match kind {
            SecretKind::Env => match self.files.env(name) {
                Some(value) if !value.is_empty() => Ok(value.into()),
                Some(_) => unread(
                    format!("the environment variable `{shown}` is empty"),
                    "set it in the daemon's environment, or write `\"\"` here if none is needed".into(),
                ),
                None => unread(
                    format!("the environment variable `{shown}` is not set"),
                    "set it in the daemon's environment (systemd: `EnvironmentFile=`), or use `{ file = \"...\" }`"
                        .into(),
                ),
            },
            SecretKind::File => {
                let path = self.absolute(Path::new(name));
                self.secret_file(&path, &format!("secret file {}", path.display()), || {
                    "create it, or correct the path; a relative path starts at the folder of the main file".into()
                })
            }
            SecretKind::Credential => {
                let plain = Path::new(name).components().count() == 1
                    && matches!(Path::new(name).components().next(), Some(Component::Normal(_)))
                    && !name.contains('/');
                if !plain {
                    return unread(
                        format!("`{shown}` is no name of a credential"),
                        "a credential is named as in `LoadCredential=NAME:PATH`; for a path use `{ file = \"...\" }`"
                            .into(),
                    );
                }
                let Some(dir) = self.files.credentials_dir() else {
                    return unread(
                        format!("there is no credential `{shown}`: $CREDENTIALS_DIRECTORY is not set"),
                        format!("add `LoadCredential={shown}:PATH` to the unit; outside systemd use `{{ file = \"...\" }}`"),
                    );
                };
                self.secret_file(&dir.join(name), &format!("credential `{shown}`"), || {
                    format!("add `LoadCredential={shown}:PATH` to the unit and restart it")
                })
            }
        }
    }

    fn secret_file(
        &mut self,
        path: &Path,
        what: &str,
        way_out: impl Fn() -> String,
    ) -> Result<Rc<str>, Unread> {
        let unread = |why: String, help: String| {
            Err(Unread {
                message: format!("{what} {why}"),
                help,
            })
        };
        self.secret_files.push(path.to_owned());
        let bytes = match self.files.read_secret(path) {
            Ok(bytes) => bytes,
            Err(e) => {
                let help = match e.kind() {
                    std::io::ErrorKind::NotFound => way_out(),
                    std::io::ErrorKind::PermissionDenied => {
                        "let the daemon's user read it, and no other user".into()
                    }
                    _ => "a secret is a small plain file".into(),
                };
                return unread(format!("cannot be read: {}", io_reason(&e)), help);
            }
        };
        let Ok(text) = String::from_utf8(bytes) else {
            return unread("is no UTF-8 text".into(), "a secret has to be text".into());
        };
        // Editors on Windows begin with a mark and end lines in their way.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return unread("is empty".into(), "write the secret into it".into());
        }
        if text.contains('\0') {
            return unread(
                "has a NUL byte in it".into(),
                "a secret has to be text".into(),
            );
        }
        Ok(text.into())
    }
}
