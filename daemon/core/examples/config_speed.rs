//! How long 10,000 checks take from text to model. Numbers, no verdict: the machine is shared.
//!
//! cargo run --release -p healthd-core --example config_speed

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use healthd_core::config::{Catalog, Class, Files, PluginInfo, load};

fn main() {
    let list = r#"
        [[check]]
        name = "web-{a}-{b}"
        plugin = "http"
        interval = "2s"
        for_each = { a = "0..40", b = "1..251" }
        config = { url = "http://127.1.{a}.{b}:8080/", method = "GET", expect_status = [200] }
    "#;
    let mut blocks = String::new();
    for i in 0..10_000 {
        let _ = write!(
            blocks,
            "[[check]]\nname = \"web-{i}\"\nplugin = \"http\"\ninterval = \"2s\"\n\
             config = {{ url = \"http://127.1.{}.{}:8080/\", method = \"GET\", expect_status = [200] }}\n",
            i / 250,
            1 + i % 250
        );
    }
    let wrong = list.replace("GET", "PUSH{a}");
    for (what, text, good) in [
        ("for_each", list, true),
        ("10,000 blocks", blocks.as_str(), true),
        ("for_each, each one wrong", &wrong, false),
    ] {
        let files = OneFile(text.to_owned());
        let catalog = catalog();
        let mut best = Duration::MAX;
        for _ in 0..10 {
            let start = Instant::now();
            let model = load(Path::new("healthd.toml"), &files, Some(&catalog));
            best = best.min(start.elapsed());
            match model {
                Ok(model) => assert!(good && model.checks.len() == 10_000),
                Err(all) => assert!(!good && all.errors() == 1, "{}", all.render(false)),
            }
        }
        println!("{what}: {:.1} ms", best.as_secs_f64() * 1e3);
    }
}

struct OneFile(String);

impl Files for OneFile {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
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
        2
    }
}

fn catalog() -> Catalog {
    let schema = include_str!("../../../tests/configs/plugins/http.json");
    let info = PluginInfo {
        name: "http".into(),
        version: "1.0.0".into(),
        summary: String::new(),
        file: "http.so".into(),
        class: Class::Io,
        default_timeout: Duration::from_secs(10),
        schema: std::sync::Arc::new(serde_json::from_str(schema).expect("shipped")),
    };
    Catalog {
        plugins: vec![info],
        refused: Vec::new(),
    }
}
