//! No input makes the config panic, hang or show a secret: every shipped test config, bent in
//! many ways, with a seed that is printed when something breaks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use healthd_core::config::{Catalog, Class, Files, PluginInfo, daemon_paths, load};

#[test]
fn bent_configs_are_judged_and_nothing_else() {
    let seeds = seeds();
    assert!(seeds.len() > 40);
    let catalog = catalog();
    let rounds: u64 = std::env::var("FUZZ_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(2_000);
    for round in 0..rounds {
        let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let text = bend(&seeds, &mut random);
        try_one(text, &catalog, round);
    }
}

/// Of this thread: a busy machine adds nothing to it.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let on_cpu = text.split(' ').next().expect("three numbers");
    Duration::from_nanos(on_cpu.parse().expect("a number"))
}

#[test]
fn hostile_texts_are_judged_and_nothing_else() {
    let catalog = catalog();
    let check = |config: &str| format!("[[check]]\nname = \"x\"\nplugin = \"http\"\n{config}\n");
    let texts = [
        String::new(),
        "\u{feff}".into(),
        "\u{feff}[daemon]\nlog = \"info\"\n".into(),
        "\0".repeat(1000),
        "=".repeat(100_000),
        "[".repeat(100_000),
        "a.".repeat(50_000),
        format!("{}a = 1", "a.".repeat(50_000)),
        format!("[{}a]", "a.".repeat(50_000)),
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(50_000)),
        format!("a = {}", "9".repeat(100_000)),
        format!("a = 1e{}", "9".repeat(1_000)),
        format!("a = \"{}\"", "\\u0000".repeat(10_000)),
        format!("{} = 1", "k".repeat(1_000_000)),
        "x = 1\n".repeat(50_000),
        "[[check]]\n".repeat(50_000),
        "[[check]]\nname = \"x\"\nplugin = \"http\"\nconfig.url = \"http://\"\n".repeat(5_000),
        check(&format!("config.url = \"{}\"", "http://".repeat(100_000))),
        check(&format!("config.{} = 1", "k".repeat(100_000))),
        check("for_each = \"0..100000\""),
        check(
            "for_each = { a = \"0..99999999999\", b = \"0..99999999999\", c = \"0..99999999999\" }",
        ),
        check("for_each = { a = \"0..99999999999\", b = [] }"),
        check("for_each = [{}, {}, {}]\nconfig.url = \"{x}\""),
        check("for_each = [[[[]]]]\nconfig.url = \"{item}\""),
        check("for_each = [{ a = { env = \"HOME\" } }]\nconfig.url = \"{a}\""),
        check(
            "config.url = { env = \"\" }\nconfig.body = { env = \"a=b\" }\nconfig.method = { file = \"\" }",
        ),
        check("config.url = { file = \"\\u0000\" }\nconfig.body = { credential = \"..\" }"),
        check("config.url = { credential = \"\" }\nconfig.body = { credential = \".\" }"),
        check("config.auth = { env = { env = { env = \"x\" } } }"),
        check("config = { env = \"HOME\" }"),
        // One line as long as a file may be, a mistake in every corner of it.
        format!("check = [{}]", "1,".repeat(300_000)),
        check(&format!(
            "config = {{ {} }}",
            (0..20_000)
                .map(|i| format!("k{i} = 1,"))
                .collect::<String>()
        )),
        check(&format!(
            "config.expect_status = [{}]",
            "1,".repeat(200_000)
        )),
        check(&format!(
            "for_each = [{}]",
            (0..20_000)
                .map(|i| format!("{{ k{i} = 1 }},"))
                .collect::<String>()
        )),
        check(&format!(
            "for_each = \"0..100000\"\nconfig = {{ url = \"http://\", body = \"{{item}}{}\" }}",
            "x".repeat(100_000)
        )),
        check(&format!(
            "for_each = \"0..100000\"\nconfig = {{ url = \"http://\", body = \"{{item}}{}\" }}",
            "x".repeat(1_000_000)
        )),
        "[[host]]\nname = \"a\"\nchecks = [\"b\"]\n".repeat(20_000),
        (0..20_000)
            .map(|i| format!("[template.t{i}]\nuse = \"t{}\"\n", i + 1))
            .collect(),
        (0..3_000)
            .map(|i| {
                format!(
                    "[template.t{i}]\nuse = [\"t{}\", \"t{}\"]\nlabels.l{i} = \"\"\n",
                    i / 2,
                    i / 3
                )
            })
            .collect(),
        // A large template that many take.
        format!(
            "[template.t]\nplugin = \"http\"\nconfig = {{ url = \"http://{}\" }}\n{}",
            "x".repeat(1_000_000),
            (0..10_000)
                .map(|i| format!("[[check]]\nname = \"{i}\"\nuse = \"t\"\n"))
                .collect::<String>()
        ),
        format!(
            "[template.t]\nchecks = [{}]\n[[host]]\nuse = \"t\"\nname = \"{{item}}\"\nfor_each = \"0..90000\"\n",
            "\"t\",".repeat(30_000)
        ),
        check("use = [[[\"\"]]]"),
        check("labels = { \"\" = \"\", a = \"\\u0000\" }\ntimeout = \"9223372036854775807d\""),
    ];
    for (i, text) in texts.into_iter().enumerate() {
        let before = cpu_time();
        try_one(text.into_bytes(), &catalog, i as u64);
        // Each takes well under a second in a release build; a step too many for each byte of a
        // line takes minutes.
        let took = cpu_time() - before;
        assert!(took < Duration::from_secs(60), "text {i} took {took:?}");
    }
    for bytes in [
        &b"\xff"[..],
        b"\xf0\x9f",
        b"a = \"\xc3\x28\"",
        b"\xed\xa0\x80",
        b"a = 1\n\xff\n",
    ] {
        try_one(bytes.to_vec(), &catalog, 0);
    }
}

fn try_one(text: Vec<u8>, catalog: &Catalog, round: u64) {
    let files = Bent { main: text.clone() };
    let main = Path::new("good/x.toml");
    let outcome = std::panic::catch_unwind(|| {
        let _ = daemon_paths(main, &files);
        let _ = load(main, &files, None);
        match load(main, &files, Some(catalog)) {
            Ok(model) => {
                let names: BTreeSet<&str> = model.checks.iter().map(|c| c.name.as_str()).collect();
                assert_eq!(names.len(), model.checks.len(), "two checks of one name");
                for check in &model.checks {
                    assert!((1..=64).contains(&check.name.len()));
                    assert!(check.interval >= Duration::from_millis(100) && check.attempts > 0);
                    assert!(!check.shown_config.contains("s3cret"));
                    let json = serde_json::from_str::<serde_json::Value>(&check.config);
                    assert!(json.is_ok_and(|v| v.is_object()));
                    let _ = check.fingerprint();
                }
            }
            Err(all) => {
                assert!(all.errors() > 0);
                let text = all.render(true) + &all.render(false);
                assert!(!text.contains("s3cret"), "{text}");
                let bad = |c: char| c.is_control() && c != '\n' && c != '\x1b';
                assert!(
                    !all.render(false).contains(|c| bad(c) || c == '\x1b'),
                    "{text}"
                );
                assert!(serde_json::to_string(&all).is_ok());
            }
        }
    });
    if outcome.is_err() {
        panic!(
            "round {round}: this text broke it:\n{}",
            String::from_utf8_lossy(&text)
        );
    }
}

/// One config, or two cut together, with bytes changed, doubled, dropped, or words put in.
fn bend(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "[[check]]\n",
        "[daemon]\n",
        "[defaults.config.http]\n",
        "name = ",
        "plugin = \"http\"\n",
        "for_each = ",
        "\"0..9\"",
        "{ env = \"TOKEN\" }",
        "{ file = \"../creds/db\" }",
        "{ credential = \"pg\" }",
        "config = {",
        "}",
        "]",
        "[",
        "\"",
        "'''",
        "\"\"\"",
        "{item}",
        "{{",
        "\\u0000",
        "-9223372036854775808",
        "1e999",
        "\u{202e}",
        "\n",
    ];
    let mut text = seeds[random.below(seeds.len())].clone();
    if random.below(4) == 0 {
        let other = &seeds[random.below(seeds.len())];
        text.truncate(random.below(text.len() + 1));
        text.extend_from_slice(&other[random.below(other.len() + 1)..]);
    }
    for _ in 0..=random.below(8) {
        let at = random.below(text.len() + 1);
        match random.below(6) {
            0 if at < text.len() => text[at] = random.below(256) as u8,
            1 if at < text.len() => drop(text.remove(at)),
            2 => {
                let end = (at + random.below(40)).min(text.len());
                let piece = text[at..end].to_vec();
                text.splice(at..at, piece);
            }
            3 => {
                let end = (at + random.below(40)).min(text.len());
                text.drain(at..end);
            }
            _ => {
                let word = WORDS[random.below(WORDS.len())];
                text.splice(at..at, word.bytes());
            }
        }
    }
    text
}

fn seeds() -> Vec<Vec<u8>> {
    let mut list = Vec::new();
    for kind in ["good", "bad"] {
        for entry in fs::read_dir(root().join(kind)).expect("shipped") {
            let path = entry.expect("shipped").path();
            let large = fs::metadata(&path).expect("shipped").len() > 20_000;
            if path.extension().is_some_and(|e| e == "toml") && !large {
                list.push((path.clone(), fs::read(path).expect("shipped")));
            }
        }
    }
    list.sort();
    list.into_iter().map(|(_, text)| text).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/configs")
}

/// xorshift64*: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % n.max(1)
    }
}

/// A main file out of the air; everything else is real.
struct Bent {
    main: Vec<u8>,
}

impl Files for Bent {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new("good/x.toml") {
            return Ok(self.main.clone());
        }
        // A list may be shown, a secret may not; here they are told apart by their folder.
        match path.components().any(|c| c.as_os_str() == "creds") {
            true => Err(io::ErrorKind::NotFound.into()),
            false => fs::read(root().join(path)),
        }
    }
    fn read_secret(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(root().join(path))
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

fn catalog() -> Catalog {
    let plugins = ["http", "tcp", "postgres", "sqlite", "cpu", "exec"].map(|name| PluginInfo {
        name: name.into(),
        version: "1.0.0".into(),
        summary: String::new(),
        file: format!("{name}.so").into(),
        class: Class::Io,
        default_timeout: Duration::from_secs(10),
        schema: std::sync::Arc::new({
            let text = fs::read(root().join(format!("plugins/{name}.json"))).expect("shipped");
            serde_json::from_slice(&text).expect("shipped")
        }),
    });
    Catalog {
        plugins: plugins.into(),
        refused: Vec::new(),
    }
}
