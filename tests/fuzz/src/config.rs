//! TOML to a model, and option tables against schemas.

use healthd_core::config::schema::{Masks, Schema};
use healthd_core::config::{Catalog, Class, Files, PluginInfo, daemon_paths, load};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let schema = json!({
        "type": "object",
        "properties": {
            "url": { "type": "string", "pattern": "^[a-z]+:" },
            "status": { "type": "array", "items": { "type": "integer", "minimum": 100, "maximum": 599 } },
            "headers": { "type": "object", "additionalProperties": { "type": "string" } },
            "password": { "type": "string", "x-healthd-secret": true },
            "crit": { "type": "number", "minimum": 0 },
            "mode": { "type": "string", "enum": ["one", "two"] },
            "insecure": { "type": "boolean" },
        },
        "required": ["url"],
        "additionalProperties": false,
    });
    let plugin = PluginInfo {
        name: "http".into(),
        version: "1.0.0".into(),
        summary: String::new(),
        file: "http.so".into(),
        class: Class::Io,
        default_timeout: Duration::from_secs(10),
        schema: schema.into(),
    };
    Catalog {
        plugins: vec![plugin],
        refused: Vec::new(),
    }
});

pub fn config(data: &[u8]) {
    let files = Main(data);
    let main = Path::new("x.toml");
    let _ = daemon_paths(main, &files);
    match load(main, &files, Some(&CATALOG)) {
        Ok(model) => {
            let names: BTreeSet<&str> = model.checks.iter().map(|c| c.name.as_str()).collect();
            assert_eq!(names.len(), model.checks.len(), "two checks of one name");
            for check in &model.checks {
                assert!((1..=64).contains(&check.name.len()));
                assert!(check.interval >= Duration::from_millis(100) && check.attempts > 0);
                assert!(!check.shown_config.contains("s3cret"));
                let config = serde_json::from_str::<Value>(&check.config);
                assert!(config.is_ok_and(|v| v.is_object()));
            }
        }
        Err(all) => {
            assert!(all.errors() > 0);
            let text = all.render(false);
            assert!(!text.contains("s3cret"));
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'));
        }
    }
}

struct Main<'a>(&'a [u8]);

impl Files for Main<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path == Path::new("x.toml") {
            true => Ok(self.0.to_vec()),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
    fn read_secret(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(b"s3cret-from-a-file".to_vec())
    }
    fn list_toml(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn env(&self, name: &str) -> Option<String> {
        (name == "TOKEN").then(|| "s3cret-from-env".into())
    }
    fn credentials_dir(&self) -> Option<PathBuf> {
        Some("creds".into())
    }
    fn cores(&self) -> u16 {
        2
    }
}

/// What a plugin calls its schema, a zero, and options: a schema that is taken judges anything.
pub fn schema(data: &[u8]) {
    let mut parts = data.splitn(2, |b| *b == 0);
    let mut part = || serde_json::from_slice::<Value>(parts.next()?).ok();
    let Some(schema) = part() else { return };
    let Ok(schema) = Schema::compile(&schema) else {
        return;
    };
    let _ = schema.options();
    let options = part().unwrap_or(Value::Null);
    for violation in schema.validate(&options, &Masks::default()) {
        let _ = schema.described(&violation.path);
    }
}
