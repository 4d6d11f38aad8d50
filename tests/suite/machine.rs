//! What healthctl says of a machine and of a configuration without anybody's help: `doctor`, `init`, `schema`.

use crate::harness::ctl::{Said, say, wait_for};
use crate::harness::{Config, TempDir, plugins, skipped};
use healthd_testing::Nginx;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Of Debian, as a schema is held by somebody else than us.
const PYTHON: &str = "/usr/bin/python3";

fn healthctl(dir: &Path, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_healthctl"));
    command
        .args(args)
        .current_dir(dir)
        .env_remove("HEALTHD_SOCKET");
    say(&mut command)
}

/// A folder with each shipped plugin.
fn plugin_dir() -> TempDir {
    let dir = TempDir::new();
    for file in plugins::all_shipped() {
        let name = file.file_name().expect("it has one");
        symlink(&file, dir.path().join(name)).expect("our own folder");
    }
    dir
}

/// Configs in a file, one a line as JSON `[name, text]`; says of each what is wrong with it, nothing if it fits.
const HOLD: &str = r#"
import json, sys, tomllib
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
hold = Draft202012Validator(schema)
for line in open(sys.argv[2]):
    name, text = json.loads(line)
    wrong = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in hold.iter_errors(tomllib.loads(text))]
    print(json.dumps([name, wrong]))
"#;

/// None: this machine has no validator.
fn held(schema: &Path, configs: &[(String, String)]) -> Option<Vec<(String, Vec<String>)>> {
    let has = "import jsonschema, tomllib";
    if say(Command::new(PYTHON).args(["-c", has])).code != Some(0) {
        return None;
    }
    let dir = TempDir::new();
    let lines: Vec<String> = configs
        .iter()
        .map(|c| serde_json::json!(c).to_string())
        .collect();
    let input = dir.path().join("configs");
    fs::write(&input, lines.join("\n")).expect("our own folder");
    let mut python = Command::new(PYTHON);
    let said = say(python.args(["-c", HOLD]).arg(schema).arg(&input));
    assert_eq!(said.code, Some(0), "{said:?}");
    let line = |line: &str| serde_json::from_str(line).expect("our own lines");
    Some(said.out.lines().map(line).collect())
}

/// The keys that stand there as comments too.
fn with_all_keys(text: &str) -> String {
    let is_key = |line: &str| {
        let (key, value) = line.split_once(" = ").unwrap_or_default();
        let is_word = |c: char| c.is_ascii_lowercase() || c == '_';
        !value.is_empty() && key.chars().all(is_word) || line.starts_with('[')
    };
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(key) if is_key(key) => key,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_shipped_configs_fit_their_schema_and_wrong_ones_do_not() {
    let (dir, folder) = (TempDir::new(), plugin_dir());
    let plugins = folder.path().to_string_lossy().into_owned();
    let said = healthctl(dir.path(), &["schema", "--plugins", &plugins]);
    assert_eq!((said.code, &*said.err), (Some(0), ""));
    let schema = dir.path().join("schema.json");
    fs::write(&schema, &said.out).expect("our own folder");

    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let main = fs::read_to_string(tree.join("etc/healthd.toml")).expect("shipped");
    assert!(main.starts_with("#:schema file:///usr/share/healthd/"));
    let mut good = vec![(
        "healthd.toml, with all keys".to_owned(),
        with_all_keys(&main),
    )];
    for entry in fs::read_dir(tree.join("etc/examples"))
        .expect("shipped")
        .flatten()
    {
        let text = fs::read_to_string(entry.path()).expect("shipped");
        assert!(
            text.starts_with("#:schema file:///usr/share/healthd/"),
            "{:?}",
            entry.path()
        );
        good.push((entry.path().display().to_string(), text));
    }
    for page in [
        "README.md",
        "daemon/docs/alerts.md",
        "daemon/docs/operating.md",
    ] {
        let text = fs::read_to_string(tree.join(page)).expect("shipped");
        let blocks = text.split("\n```toml").skip(1);
        let blocks = blocks.filter_map(|b| b.split_once('\n')?.1.split("\n```").next());
        // A part of a block, as a key alone, is no config.
        let whole = blocks.filter(|b| b.trim_start().starts_with('['));
        good.extend(
            whole
                .enumerate()
                .map(|(n, b)| (format!("{page} {n}"), b.to_owned())),
        );
    }
    assert!(good.len() > 40, "{}", good.len());
    let check = |rest: &str| format!("[[check]]\nname = \"a\"\n{rest}\n");
    let good_by_hand = [
        check("use = \"web\"\nconfig = { whatever = 1 }"),
        check(
            "plugin = \"http\"\nattempts = \"{n}\"\nfor_each = [{ n = 1 }]\nconfig = { url = { credential = \"u\" } }",
        ),
        check(
            "plugin = \"tcp\"\nfor_each = { port = [1, 2] }\nconfig = { host = \"h\", port = \"{port}\" }",
        ),
    ];
    good.extend(good_by_hand.map(|text| (text.clone(), text)));
    let web = "plugin = \"http\"\nconfig = { url = \"http://a/\" }";
    let bad = [
        check(&format!("{web}\nintervall = \"5s\"")),
        check(&format!("{web}\ninterval = 5")),
        check(&format!("{web}\ninterval = \"5 minutes\"")),
        check(&format!("{web}\nattempts = 0")),
        check(&format!("{web}\ntimeout_status = \"bad\"")),
        check(&format!("{web}\nenabled = \"yes\"")),
        check("plugin = \"htp\""),
        check("config = { url = \"http://a/\" }"),
        check("plugin = \"http\"\nconfig = { urll = \"http://a/\" }"),
        check("plugin = \"http\"\nconfig = { url = 5 }"),
        check("plugin = \"tcp\"\nconfig = { host = \"a\", port = 99999 }"),
        check("plugin = \"http\"\nconfig = { url = { secret = \"a\" } }"),
        "[[check]]\nplugin = \"http\"\n".to_owned(),
        "[check]\nname = \"a\"\n".to_owned(),
        "[daemon]\nplugin_dirr = \"/x\"\n".to_owned(),
        "[daemon]\nplugin_watch = \"yes\"\n".to_owned(),
        "[pool.io]\nworker = 2\n".to_owned(),
        "[pool.io]\nworkers = 0\n".to_owned(),
        "[pools.io]\nworkers = 2\n".to_owned(),
        "[defaults.config.htp]\nurl = \"x\"\n".to_owned(),
        "[defaults.config.http]\nurll = \"x\"\n".to_owned(),
        "[[notify]]\nplugin = \"http\"\n".to_owned(),
        "[[notify]]\nplugin = \"mail\"\nconfig = { too = \"a@b\" }\n".to_owned(),
        "[[maintenance]]\nmatch = \"*\"\n".to_owned(),
        "[web]\nlistn = \"127.0.0.1:1\"\n".to_owned(),
        "[web]\ntoken = \"secret\"\n".to_owned(),
        "[history]\nkeep = \"used\"\n".to_owned(),
        "[[host]]\nname = \"h\"\nplugin = \"http\"\n".to_owned(),
        "[template.t]\nnaem = \"a\"\n".to_owned(),
        "nonsense = 1\n".to_owned(),
    ];
    let configs: Vec<_> = good
        .iter()
        .cloned()
        .chain(bad.iter().map(|t| (t.clone(), t.clone())))
        .collect();
    let Some(held) = held(&schema, &configs) else {
        return skipped("python3-jsonschema is not installed");
    };
    let (fits, fails) = held.split_at(good.len());
    let wrong: Vec<_> = fits.iter().filter(|(_, wrong)| !wrong.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let missed: Vec<_> = fails.iter().filter(|(_, wrong)| wrong.is_empty()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
    // Each key of it is explained.
    let schema: Value = serde_json::from_str(&said.out).expect("JSON");
    for block in ["notify", "maintenance", "check"] {
        let keys = schema["properties"][block]["items"]["properties"].as_object();
        for (key, rule) in keys.expect("a block has keys") {
            assert!(rule["description"].is_string(), "{block}.{key}: {rule}");
        }
    }
}

#[test]
fn each_key_of_the_config_stands_in_its_man_page() {
    let dir = TempDir::new();
    // One is enough for all keys but options.
    let to = dir.path().join("libhealthd_exec.so");
    symlink(plugins::shipped("exec"), to).expect("our own folder");
    let plugins = dir.path().to_string_lossy().into_owned();
    let said = healthctl(dir.path(), &["schema", "--plugins", &plugins]);
    let schema: Value = serde_json::from_str(&said.out).expect("a schema");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/man/healthd.toml.5");
    let page = fs::read_to_string(page).expect("shipped");
    let named = page.lines().filter_map(|line| {
        let line = line.strip_prefix('.')?;
        line.contains("Ic ").then(|| line.split([' ', ',']))
    });
    let named: BTreeSet<&str> = named.flatten().collect();
    let sections = schema["properties"].as_object().expect("sections");
    let mut keys = 0;
    for (section, rule) in sections {
        let rules = [
            rule,
            &rule["items"],
            &rule["additionalProperties"],
            &rule["properties"]["io"],
            &rule["properties"]["cpu"],
            &rule["properties"]["exec"],
        ];
        let of_section = rules.iter().filter_map(|r| r["properties"].as_object());
        for key in of_section.flat_map(|keys| keys.keys()) {
            let is_section = section == "pool" && ["io", "cpu", "exec"].contains(&key.as_str());
            assert!(
                is_section || named.contains(key.as_str()),
                "`{key}` of {section} stands in no `.It Ic` of healthd.toml(5)"
            );
            keys += 1;
        }
    }
    assert!(keys > 120, "only {keys} keys");
}

#[test]
fn a_folder_without_plugins_makes_no_schema() {
    let dir = TempDir::new();
    let said = healthctl(dir.path(), &["schema", "--plugins", "/proc/sys"]);
    assert_eq!((said.code, &*said.out), (Some(3), ""), "{said:?}");
    assert!(said.err.contains("no plugin in /proc/sys"), "{said:?}");
}

fn doctor(dir: &Path) -> (Option<i32>, Vec<Value>) {
    let said = healthctl(dir, &["--here", "--timeout", "60s", "--json", "doctor"]);
    let rows = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
    (said.code, rows)
}

fn of_area<'a>(rows: &'a [Value], area: &str, state: &str) -> Vec<&'a Value> {
    let is = |row: &&Value| row["area"] == area && row["state"] == state;
    rows.iter().filter(is).collect()
}

#[test]
fn doctor_names_the_command_that_mends() {
    plugins::shipped("tcp");
    let mut daemon = Config::new().spawn_here();
    daemon.expect_notify("READY=1");
    let dir = daemon.dir().to_owned();
    let (_, rows) = doctor(&dir);
    for area in [
        "program",
        "socket",
        "config",
        "plugins",
        "permissions",
        "limits",
        "disk",
        "kernel",
    ] {
        assert!(
            rows.iter().any(|row| row["area"] == area),
            "{area}: {rows:#?}"
        );
    }
    for row in &rows {
        let is_well = row["state"] == "ok";
        assert_eq!(row["mend"].is_null(), is_well, "{row}");
    }
    assert_eq!(of_area(&rows, "socket", "ok").len(), 1, "{rows:#?}");
    assert_eq!(of_area(&rows, "program", "ok").len(), 1, "{rows:#?}");
    assert!(
        of_area(&rows, "permissions", "problem").is_empty(),
        "{rows:#?}"
    );

    // A plugin that others may write, and a config with a mistake.
    let tcp = plugins::shipped("tcp");
    let own = dir.join(".healthd/plugins/own.so");
    fs::copy(&tcp, &own).expect("our own folder");
    fs::set_permissions(&own, fs::Permissions::from_mode(0o666)).expect("our own file");
    let checks = dir.join(".healthd/checks.d/x.toml");
    fs::write(&checks, "[[check]]\nnaem = \"x\"\n").expect("our own folder");
    let (code, rows) = doctor(&dir);
    assert_eq!(code, Some(2), "{rows:#?}");
    assert_eq!(of_area(&rows, "config", "problem").len(), 1, "{rows:#?}");
    let refused = of_area(&rows, "plugins", "warning");
    assert_eq!(refused.len(), 1, "{rows:#?}");
    assert!(
        refused[0]["what"]
            .as_str()
            .is_some_and(|w| w.contains("own.so")),
        "{refused:?}"
    );
    // Its command mends it; that there are two of one name then is another matter.
    let mend = refused[0]["mend"].as_str().expect("a command");
    assert_eq!(
        say(Command::new("sh").args(["-c", mend])).code,
        Some(0),
        "{mend}"
    );
    let mode = fs::metadata(&own)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o022, 0, "{mend}");
    fs::remove_file(&own).expect("our own file");
    fs::remove_file(&checks).expect("our own file");

    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.wait_exit();
    let (code, rows) = doctor(&dir);
    assert_eq!(code, Some(2), "{rows:#?}");
    let socket = of_area(&rows, "socket", "problem");
    assert_eq!(socket[0]["mend"], "healthd --here &", "{rows:#?}");
}

#[test]
fn doctor_tells_that_the_page_could_not_be_served() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = other.local_addr().expect("bound");
    let mut daemon = Config::new().spawn_here();
    daemon.expect_notify("READY=1");
    let dir = daemon.dir().to_owned();
    let (_, rows) = doctor(&dir);
    assert!(rows.iter().all(|row| row["area"] != "web"), "{rows:#?}");
    let config = dir.join(".healthd/healthd.toml");
    let before = fs::read_to_string(&config).expect("it was made");
    let listen = |at: &str| {
        let text = format!("{before}\n[web]\nlisten = \"{at}\"\nread = \"open\"\n");
        fs::write(&config, text).expect("our own file");
        let said = healthctl(&dir, &["--here", "--timeout", "60s", "reload"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    };
    let told = |state: &str, part: &str| {
        let (_, rows) = doctor(&dir);
        let found = of_area(&rows, "web", state);
        let says = |row: &&Value| row["what"].as_str().is_some_and(|w| w.contains(part));
        found.iter().any(says)
    };
    // Somebody else has the port: he takes connections and says nothing.
    listen(&address.to_string());
    daemon.expect_log("web cannot go on: cannot listen on");
    let taken = std::thread::spawn(move || {
        // Until the test's last doctor has been: who is asked for nothing hangs up.
        while let Ok((stream, _)) = other.accept() {
            let mut first = [0; 1];
            let n = std::io::Read::read(&mut &stream, &mut first);
            if n.is_ok_and(|n| n == 1 && first[0] == b'Q') {
                break;
            }
        }
    });
    // It is started again and again: in the moment of a life it does not look dead.
    wait_for("it is told", || told("problem", "another program does"));
    std::io::Write::write_all(
        &mut std::net::TcpStream::connect(address).expect("it listens"),
        b"Q",
    )
    .expect("room");
    taken.join().expect("it ends");
    wait_for("it listens", || told("ok", "[web] answers on http://"));
    // An address of documentation, which no machine has.
    listen("192.0.2.1:8420");
    wait_for("it is told", || {
        told("problem", "does not have that address")
    });
    listen("unix:web.sock");
    wait_for("it listens", || told("ok", "[web] answers on unix:"));
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    daemon.wait_exit();
}

#[test]
fn init_finds_a_server_writes_its_check_and_overwrites_nothing() {
    if !Nginx::installed() {
        return skipped("nginx is not installed");
    }
    for name in ["host", "http", "tcp", "net"] {
        plugins::shipped(name);
    }
    let nginx = Nginx::start("");
    let dir = TempDir::new();
    let port = nginx
        .url("/")
        .rsplit(':')
        .next()
        .map(|p| p.trim_end_matches('/').to_owned());
    let name = format!("nginx/{}", port.expect("it has one"));
    let file = dir.path().join(".healthd/checks.d/this-machine.toml");
    let asked = format!("name = \"{name}\"\nplugin = \"http\"\n");
    let init = || {
        let _ = fs::remove_file(&file);
        let args = ["--here", "init", "--yes", "--mail", "ops@example.org"];
        let said = healthctl(dir.path(), &args);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.out.contains("this-machine.toml: "), "{said:?}");
        assert!(said.out.ends_with("next: healthd --here &\n"), "{said:?}");
        fs::read_to_string(&file).expect("it says so")
    };
    // It gives a server three seconds, which one on a busy machine may miss.
    wait_for("nginx has answered", || init().contains(&asked));
    let written = fs::read_to_string(&file).expect("it is there");
    for part in [
        &asked,
        "name = \"machine/disks\"",
        "config = { to = \"ops@example.org\" }",
        "# nginx listens on port ",
    ] {
        assert!(written.contains(part), "{part}: {written}");
    }
    // A second time, whatever is in it by then.
    fs::write(&file, "# mine\n").expect("our own folder");
    let again = healthctl(dir.path(), &["--here", "init", "--yes"]);
    assert_eq!(again.code, Some(3), "{again:?}");
    assert!(again.err.contains("stays as it is"), "{again:?}");
    assert_eq!(fs::read_to_string(&file).ok().as_deref(), Some("# mine\n"));
    wait_for("it is printed", || {
        let printed = healthctl(dir.path(), &["--here", "init", "--print"]);
        printed.out.contains(&name)
    });
    assert_eq!(fs::read_to_string(&file).ok().as_deref(), Some("# mine\n"));

    // Elsewhere a configuration is made as well, with every key in it.
    let config = dir.path().join("etc/healthd.toml");
    fs::create_dir(dir.path().join("etc")).expect("our own folder");
    let config = config.to_string_lossy().into_owned();
    let said = healthctl(dir.path(), &["init", "--yes", "--config", &config]);
    let main = fs::read_to_string(&config).unwrap_or_default();
    match said.code {
        Some(0) => assert!(main.contains("#plugin_dir = "), "{said:?}"),
        // Plugins are installed nowhere: that is said before anything is asked or written.
        code => {
            assert_eq!((code, main.is_empty()), (Some(3), true), "{said:?}");
            let why =
                "no plugin in /usr/lib/healthd/plugins, where a new configuration looks for them";
            assert!(said.err.contains(why), "{said:?}");
            assert!(said.err.contains("`healthctl --here init`"), "{said:?}");
        }
    }
    // What is named and is not there is named, with a way out; and the way out is for what was named.
    let none = dir.path().join("none.toml");
    let config = none.to_string_lossy().into_owned();
    let line = ["--timeout", "60s", "--json", "doctor", "--config", &config];
    let said = healthctl(dir.path(), &line);
    let rows: Vec<Value> = serde_json::from_str(&said.out).expect("rows");
    let mend = format!("sudo healthctl init --config {config}");
    assert_eq!(
        of_area(&rows, "config", "problem")[0]["mend"],
        mend,
        "{rows:#?}"
    );
    for (args, why) in [
        (
            &["init", "--yes", "--config", "none/of/these.toml"][..],
            "there is no folder none",
        ),
        (
            &["schema", "--config", "none.toml"],
            "there is no configuration none.toml",
        ),
    ] {
        let said = healthctl(dir.path(), args);
        assert_eq!(said.code, Some(3), "{said:?}");
        assert!(
            said.err.contains(why) && said.err.contains("--config"),
            "{said:?}"
        );
    }
}
