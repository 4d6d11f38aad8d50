//! A help never leads into the next mistake: from each of these wrong configs, following what is printed leads to a good
//! one. Most helps are followed by rule; where a help is for a person, the row says what a person does, and its words.

use crate::harness::{TempDir, plugins};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a person does who reads the help.
enum Step {
    /// The rules of [`by_rule`] are enough.
    Rule,
    /// The help has these words; this text is put in the place of that.
    Person(&'static str, &'static str, &'static str),
    /// The same, with a file: its path in the folder, and what is in it.
    File(&'static str, &'static str, &'static str),
    /// The same, with a file that goes.
    Remove(&'static str, &'static str),
}
use Step::{File, Person, Remove, Rule};

const EXEC: &str =
    "[[check]]\nname = \"a\"\nplugin = \"exec\"\nconfig = { argv = [\"/bin/true\"] }\n";

fn exec(options: &str) -> String {
    of("exec", options)
}

fn of(plugin: &str, options: &str) -> String {
    format!("[[check]]\nname = \"a\"\nplugin = \"{plugin}\"\nconfig = {{ {options} }}\n")
}

/// A key more in the check.
fn key(line: &str) -> String {
    format!("{EXEC}{line}\n")
}

/// A key of `[daemon]`, or whole sections, before the check.
fn before(lines: &str) -> String {
    format!("{lines}\n{EXEC}")
}

fn walks() -> Vec<(String, Vec<Step>)> {
    let web = "url = \"http://127.0.0.1/\"";
    vec![
        // Keys, sections, syntax.
        (key("intervall = \"5s\""), vec![Rule]),
        (before("stop_grce = \"5s\""), vec![Rule]),
        (before("[pool.io]\nworker = 2"), vec![Rule]),
        (before("[defaults]\nintervall = \"5s\""), vec![Rule]),
        (
            before("[pools.io]\nworkers = 2"),
            vec![Person(
                "a section with a similar name exists: `[pool]`",
                "[pools.io]",
                "[pool.io]",
            )],
        ),
        (
            before("[check]\nname = \"b\"\nplugin = \"exec\"\nconfig = { argv = [\"/bin/true\"] }")
                .replace(EXEC, ""),
            vec![Person("use two brackets", "[check]", "[[check]]")],
        ),
        (
            key("interval = \"5s"),
            vec![Person(
                "write the quote at the string's end",
                "\"5s",
                "\"5s\"",
            )],
        ),
        (
            key("interval = \"5s\"\ninterval = \"6s\""),
            vec![Person("remove one of the two", "interval = \"6s\"\n", "")],
        ),
        (key("interval : \"5s\""), vec![Rule]),
        (key("interval 5s"), vec![Rule]),
        (key("interval = 5s"), vec![Rule]),
        // Text without quotes, whatever the parser takes it for.
        (EXEC.replace("\"exec\"", "exec"), vec![Rule]),
        (of("tcp", "host = localhost, port = 22"), vec![Rule]),
        (EXEC.replace("\"a\"", "true-friend"), vec![Rule]),
        (EXEC.replace("\"a\"", "10.0.0.1"), vec![Rule]),
        (EXEC.replace("\"a\"", "info"), vec![Rule]),
        (EXEC.replace("\"a\"", "nginx"), vec![Rule]),
        (key("enabled = True"), vec![Rule]),
        (key("enabled = yes"), vec![Rule]),
        (
            key("labels = { a = \"b\""),
            vec![Person("write the `}` that closes it", "\"b\"", "\"b\" }")],
        ),
        (
            key("exclusive = [\"a\", \"b\""),
            vec![Person("write the `]` that closes it", "\"b\"", "\"b\"]")],
        ),
        (
            key("; interval = \"5s\""),
            vec![Person("a comment starts with `#`", "; ", "# ")],
        ),
        // Names and plugins.
        (EXEC.replace("name = \"a\"\n", ""), vec![Rule]),
        (EXEC.replace("plugin = \"exec\"\n", ""), vec![Rule]),
        (
            format!("{EXEC}{}", EXEC.replace("/bin/true", "/bin/false")),
            vec![Person(
                "give one of them another name",
                "name = \"a\"",
                "name = \"b\"",
            )],
        ),
        (
            EXEC.replace("\"a\"", "\"a*b\""),
            vec![Person("stands for other characters", "a*b", "a-b")],
        ),
        (
            EXEC.replace("\"a\"", "\"\""),
            vec![Person(
                "give the check a name",
                "name = \"\"",
                "name = \"b\"",
            )],
        ),
        (
            EXEC.replace("\"a\"", "\"a-{item}\""),
            vec![Person(
                "placeholders need a `for_each` in the same check",
                "[[check]]",
                "[[check]]\nfor_each = [\"x\"]",
            )],
        ),
        (EXEC.replace("\"exec\"", "\"exce\""), vec![Rule]),
        (
            EXEC.replace("\"exec\"", "\"frobnicate\""),
            vec![Person("plugins in ", "frobnicate", "exec")],
        ),
        // Values of keys.
        (key("interval = 5"), vec![Rule]),
        (key("interval = \"5\""), vec![Rule]),
        (key("interval = \"5 s\""), vec![Rule]),
        (key("interval = \"10ms\""), vec![Rule]),
        (key("timeout = \"2d\"\ninterval = \"7d\""), vec![Rule]),
        (key("attempts = 0"), vec![Rule]),
        (key("attempts = \"3\""), vec![Rule]),
        (key("enabled = \"true\""), vec![Rule]),
        (key("timeout_status = \"criticl\""), vec![Rule]),
        (key("timeout_status = \"bad\""), vec![Rule]),
        (key("labels = \"x\""), vec![Rule]),
        (key("labels = { a = 1 }"), vec![Rule]),
        (
            key("labels = { \"1a\" = \"b\" }"),
            vec![Person("a letter first", "\"1a\"", "a1")],
        ),
        (key("exclusive = 3"), vec![Rule]),
        (
            key("needs = \"b\""),
            vec![Person(
                "write the name of another check",
                "needs = \"b\"\n",
                NEEDED,
            )],
        ),
        (
            key("needs = \"a\""),
            vec![Person(
                "name the check that watches the way",
                "needs = \"a\"\n",
                NEEDED,
            )],
        ),
        (
            EXEC.replace("\"a\"", "\"a-{item}\"") + "for_each = \"0-5\"\n",
            vec![Rule],
        ),
        (
            EXEC.replace("\"a\"", "\"a-{item}\"") + "for_each = \"10..0\"\n",
            vec![Rule],
        ),
        (
            key("for_each = [\"x\", \"y\"]"),
            vec![Person(
                "as in `web-{item}`",
                "name = \"a\"",
                "name = \"a-{item}\"",
            )],
        ),
        (
            EXEC.replace("\"a\"", "\"a-{itm}\"") + "for_each = [\"x\"]\n",
            vec![Person(
                "a placeholder with a similar name exists: `{item}`",
                "{itm}",
                "{item}",
            )],
        ),
        (
            key("for_each = []"),
            vec![Person("add a value", "[]", "[\"x\"]")],
        ),
        (before("log = \"inf\""), vec![Rule]),
        (before("log = \"verbose\""), vec![Rule]),
        (before("plugin_watch = \"yes\""), vec![Rule]),
        (before("[pool.io]\nworkers = 0"), vec![Rule]),
        (before("[pool.io]\nmax_rss = 100"), vec![Rule]),
        (before("[pool.io]\nmax_rss = \"1MiB\""), vec![Rule]),
        (before("[pool.exec]\nmax_parallel = \"many\""), vec![Rule]),
        (
            before("user = \"hd-nobody-x\""),
            vec![Person(
                "or correct the name",
                "user = \"hd-nobody-x\"\n",
                "",
            )],
        ),
        // Options.
        (exec("argvv = [\"/bin/true\"]"), vec![Rule]),
        (
            exec(""),
            vec![Person("add `argv`", "{  }", "{ argv = [\"/bin/true\"] }")],
        ),
        (
            EXEC.replace("config = { argv = [\"/bin/true\"] }\n", ""),
            vec![
                Rule,
                Person("argv[0]: ...: no such command", "\"...\"", "\"/bin/true\""),
            ],
        ),
        (
            EXEC.replace("{ argv = [\"/bin/true\"] }", "\"x\""),
            vec![
                Rule,
                Person("argv[0]: ...: no such command", "\"...\"", "\"/bin/true\""),
            ],
        ),
        (exec("argv = \"/bin/true\""), vec![Rule]),
        (
            EXEC.replace(
                "config = { argv = [\"/bin/true\"] }",
                "argv = [\"/bin/true\"]",
            ),
            vec![Person(
                "go inside `config`: `config.argv`",
                "argv = ",
                "config.argv = ",
            )],
        ),
        (
            key("cwd = \"/\""),
            vec![Person(
                "go inside `config`: move `cwd` into it",
                " }\ncwd = \"/\"",
                ", cwd = \"/\" }",
            )],
        ),
        (
            exec("argv = [\"bin/true\"]"),
            vec![Person("write a full path", "bin/true", "/bin/true")],
        ),
        (
            exec("argv = [\"/bin/echo hello\"]"),
            vec![Person(
                "write each argument as an entry of its own",
                "/bin/echo hello",
                "/bin/echo\", \"hello",
            )],
        ),
        (
            exec("argv = [\"/bin/true\"], cwd = \"tmp\""),
            vec![Person("an absolute path", "\"tmp\"", "\"/tmp\"")],
        ),
        (
            exec("argv = [\"/bin/true\"], stdin = { env = \"HD_NO_SUCH\" }"),
            vec![Person(
                "or use `{ file = \"...\" }`",
                "{ env = \"HD_NO_SUCH\" }",
                "{ file = \"healthd.toml\" }",
            )],
        ),
        (
            exec("argv = [\"/bin/true\"], stdin = { file = \"word\" }"),
            vec![File("create it", "word", "s3cret\n")],
        ),
        (
            exec("argv = [\"/bin/true\"], stdin = { credential = \"word\" }"),
            vec![Person(
                "outside systemd use `{ file = \"...\" }`",
                "{ credential = \"word\" }",
                "{ file = \"healthd.toml\" }",
            )],
        ),
        (before("[defaults.config.exec]\ncwdd = \"/\""), vec![Rule]),
        (before("[defaults.config.exce]\ncwd = \"/\""), vec![Rule]),
        (
            before("[defaults]\nconfig = { cwd = \"/\" }"),
            vec![Person(
                "write `[defaults.config.NAME]` with the plugin's name, and `cwd` below it",
                "[defaults]\nconfig = { cwd = \"/\" }",
                "[defaults.config.exec]\ncwd = \"/\"",
            )],
        ),
        (
            of("http", &format!("{web}, body_regex = \"(\"")),
            vec![Person("without closing ')'", "\"(\"", "\"()\"")],
        ),
        (
            of("http", "url = \"127.0.0.1\""),
            vec![Person("http:// or https://", "\"127", "\"http://127")],
        ),
        (of("http", &format!("{web}, status = 200")), vec![Rule]),
        (
            of("http", &format!("{web}, status = [\"ok\"]")),
            vec![Person(
                "a code, a class like \"2xx\" or a range",
                "\"ok\"",
                "\"2xx\"",
            )],
        ),
        (
            of("http", &format!("{web}, header = {{ A = \"b\" }}")),
            vec![Rule],
        ),
        (
            of("http", &format!("{web}, certificate_warn_days = 14")),
            vec![Person("needs an https url", "http://", "https://")],
        ),
        (
            of("http", &format!("{web}, redirects = 21")),
            vec![Person("has to be from 0 to 20", "21", "20")],
        ),
        (of("tcp", "host = \"127.0.0.1\", port = \"22\""), vec![Rule]),
        // In quotes alone it would still lack its unit.
        (
            of("http", &format!("{web}, latency_warn = 500")),
            vec![Rule],
        ),
        (
            of("http", &format!("{web}, json_path = \"a.b\"")),
            vec![Person("begins with $: write `$.a.b`", "a.b", "$.a.b")],
        ),
        (
            of(
                "http",
                &format!("{web}, json = [{{ path = \"$.n\", warn = \"5-10\" }}]"),
            ),
            vec![Person("`10:20`", "5-10", "5:10")],
        ),
        (
            of("http", &format!("{web}, unix_socket = \"run/x.sock\"")),
            vec![Person("write a full path", "run/x", "/run/x")],
        ),
        (
            of(
                "http",
                "url = \"https://127.0.0.1/\", cert_file = \"c.pem\"",
            ),
            vec![
                Person("write a full path", "c.pem", "/nonexistent/c.pem"),
                Person(
                    "/nonexistent/c.pem: ",
                    ", cert_file = \"/nonexistent/c.pem\"",
                    "",
                ),
            ],
        ),
        (
            of(
                "http",
                &format!("{web}, proxy = \"http://p:1\", no_proxy = [\"example.org:8080\"]"),
            ),
            vec![Person("without a port", ":8080", "")],
        ),
        (
            of("http", &format!("{web}, method = \"get\"")),
            vec![Person("in capitals", "\"get\"", "\"GET\"")],
        ),
        (
            of("tcp", "host = \"127.0.0.1\""),
            vec![Person(
                "add `port`",
                "\"127.0.0.1\"",
                "\"127.0.0.1\", port = 22",
            )],
        ),
        (
            of("tcp", "host = \"tcp://127.0.0.1\", port = 22"),
            vec![Person("write the name alone", "tcp://", "")],
        ),
        (
            of("tcp", "host = \"127.0.0.1\", port = 22, expect = \"(\""),
            vec![Person("without closing ')'", "\"(\"", "\"()\"")],
        ),
        // Warnings.
        (
            key("interval = \"5s\"\ntimeout = \"10s\""),
            vec![Person(
                "give it a shorter timeout or a longer interval",
                "\"10s\"",
                "\"4s\"",
            )],
        ),
        (
            exec("argv = [\"/nonexistent/program\"]"),
            vec![Person(
                "install it or correct argv",
                "/nonexistent/program",
                "/bin/true",
            )],
        ),
        (
            of("http", "url = \"http://${HOST}/\""),
            vec![Person(
                "`{ env = \"HOST\" }`",
                "\"http://${HOST}/\"",
                "{ env = \"HD_URL\" }",
            )],
        ),
        (
            of("http", "url = \"http://u:p@127.0.0.1/\""),
            vec![
                File(
                    "`url = { file = \"PATH\" }`",
                    "url",
                    "http://u:p@127.0.0.1/\n",
                ),
                Rule,
            ],
        ),
        (
            EXEC.into(),
            vec![Remove("move it out of", "checks.d/web.toml.bak")],
        ),
        // Words of Nagios, Prometheus, Gatus and others.
        (key("check_interval = \"5s\""), vec![Rule]),
        (key("scrape_interval = \"5s\""), vec![Rule]),
        (key("max_check_attempts = 3"), vec![Rule]),
        (key("retryInterval = \"5s\""), vec![Rule]),
        (key("notes_url = \"https://wiki.example.org/\""), vec![Rule]),
        (key("tags = { team = \"web\" }"), vec![Rule]),
        (key("group = \"core\""), vec![Rule, Rule]),
        (key("labels = [\"team=web\"]"), vec![Rule]),
        (key("depends_on = [\"b\"]"), {
            let other = "write the name of another check";
            vec![Rule, Rule, Person(other, "needs = \"b\"\n", NEEDED)]
        }),
        (
            key("needs = [\"b\", \"c\"]"),
            vec![Person(
                "give those that are needed a label",
                "needs = [\"b\", \"c\"]\n",
                NEEDED_BY_LABEL,
            )],
        ),
        (
            key("disabled = true"),
            vec![Person(
                "`enabled = false` stands for",
                "disabled = true",
                "enabled = false",
            )],
        ),
        (
            key("warning = 80"),
            vec![Person("are options of the plugin", "warning = 80\n", "")],
        ),
        (
            key("contact_groups = \"ops\""),
            vec![Person("`[[notify]]`", "contact_groups = \"ops\"\n", "")],
        ),
        (EXEC.replace("name =", "service_description ="), vec![Rule]),
        (EXEC.replace("name =", "Name ="), vec![Rule]),
        (EXEC.replace("plugin =", "type ="), vec![Rule]),
        (EXEC.replace("plugin =", "prober ="), vec![Rule]),
        (EXEC.replace("\"exec\"", "\"shell\""), vec![Rule]),
        (
            EXEC.replace("\"exec\"", "\"libhealthd_exec.so\""),
            vec![Rule],
        ),
        (
            EXEC.replace("[[check]]", "[[service]]"),
            vec![Person("checks are written `[[check]]`", "service", "check")],
        ),
        (
            EXEC.replace("[[check]]", "[check.web]"),
            vec![Person("use two brackets", "[check.web]", "[[check]]")],
        ),
        (
            format!(
                "{EXEC}[check]\nname = \"b\"\nplugin = \"exec\"\nconfig.argv = [\"/bin/true\"]\n"
            ),
            vec![Person("write `[[check]]`", "\n[check]\n", "\n[[check]]\n")],
        ),
        (
            before("[global]\nlog = \"info\""),
            vec![Person("are below `[daemon]`", "[global]\n", "")],
        ),
        (
            before("[[downtime]]\nmatch = \"a\"\nwhen = \"sun 02:00-04:00\""),
            vec![Person("`[[maintenance]]`", "downtime", "maintenance")],
        ),
        (
            before("[maintenance]\nmatch = \"a\"\nwhen = \"sun 02:00-04:00\""),
            vec![Person(
                "use two brackets",
                "[maintenance]",
                "[[maintenance]]",
            )],
        ),
        (
            before("include = [\"checks.d/*.toml\"]"),
            vec![Person(
                "are read by themselves",
                "include = [\"checks.d/*.toml\"]\n",
                "",
            )],
        ),
        (before("log_level = \"info\""), vec![Rule]),
        (before("log = \"warning\""), vec![Rule]),
        (
            before("log = \"/var/log/healthd.log\""),
            vec![Person("no file", "\"/var/log/healthd.log\"", "\"info\"")],
        ),
        (
            before("pid_file = \"/run/healthd.pid\""),
            vec![Person(
                "there is none",
                "pid_file = \"/run/healthd.pid\"\n",
                "",
            )],
        ),
        (
            before("workers = 4"),
            vec![Person("`[pool.io]`", "workers", "[pool.io]\nworkers")],
        ),
        (before("[web]\nport = 8420"), vec![Rule, Rule]),
        (before("[web]\nlisten = \"*:8420\""), vec![Rule]),
        (before("[web]\nlisten = \"localhost:8420\""), vec![Rule]),
        (
            before("[web]\nlisten = \"http://127.0.0.1:8420/\""),
            vec![Rule],
        ),
        (before("[web]\nlisten = \"127.0.0.1\""), vec![Rule]),
        (
            before("[history]\nretention = \"30d\""),
            vec![Person(
                "is bounded by its size",
                "retention = \"30d\"",
                "max_size = \"1GiB\"",
            )],
        ),
        // Options by the names that they have elsewhere.
        (exec("command = \"/bin/true\""), vec![Rule, Rule]),
        (of("tcp", "address = \"127.0.0.1\", port = 22"), vec![Rule]),
        (
            of("http", "host = \"127.0.0.1\""),
            vec![Rule, Person("http:// or https://", "\"127", "\"http://127")],
        ),
        (
            of("http", &format!("{web}, keyword = \"up\"")),
            vec![Person("`body_contains`", "keyword", "body_contains")],
        ),
        (
            of("http", &format!("{web}, valid_status_codes = 200")),
            vec![Rule, Rule],
        ),
        (
            of("http", "url = \"https://127.0.0.1/\", verify = false"),
            vec![Person(
                "`insecure = true` stands for",
                "verify = false",
                "insecure = true",
            )],
        ),
        (
            of("http", &format!("{web}, timeout = \"5s\"")),
            vec![Person(
                "write it beside `config`",
                ", timeout = \"5s\" }",
                " }\ntimeout = \"5s\"",
            )],
        ),
        (
            of("http", &format!("{web}, warning = \"500ms\"")),
            vec![Person("`latency_warn`", "warning", "latency_warn")],
        ),
        // Signs.
        (key("intervall = \"5s\"").replace('\n', "\r\n"), vec![Rule]),
        (
            EXEC.replace("name =", "name\u{a0}="),
            vec![Person("write a plain blank", "\u{a0}", " ")],
        ),
        (
            EXEC.replace("\"a\"", "\u{201c}a\u{201d}"),
            vec![Person("write plain quotes", "\u{201c}a\u{201d}", "\"a\"")],
        ),
        (
            exec("argv = [\"/bin/true\"]; cwd = \"/\""),
            vec![Person("write a comma", ";", ",")],
        ),
        (
            exec("argv: [\"/bin/true\"]"),
            vec![Person("write `=`", "argv:", "argv =")],
        ),
        (
            key("interval = \"5s\","),
            vec![Person("remove the comma", "\"5s\",", "\"5s\"")],
        ),
        (
            key("-- every day"),
            vec![Person("a comment starts with `#`", "--", "#")],
        ),
        (
            format!("<<<<<<< HEAD\n{EXEC}=======\n{EXEC}>>>>>>> x\n"),
            vec![
                Person("take one side", "<<<<<<< HEAD\n", ""),
                Person("take one side", MERGED, ""),
            ],
        ),
        (
            before("[pool.io]\nworkers = 2\n[pool.io]\nthreads = 3"),
            vec![Person(
                "put its keys below the first one",
                "[pool.io]\nthreads",
                "threads",
            )],
        ),
        (
            of("http", &format!("{web}, body_regex = \"\\d+\"")),
            vec![Person("between single quotes", "\"\\d+\"", "'\\d+'")],
        ),
        (key("interval = \"5 minutes\""), vec![Rule]),
        (
            key("interval = \"*/5 * * * *\""),
            vec![Person("as in", "\"*/5 * * * *\"", "\"5m\"")],
        ),
        (
            key("timeout = none"),
            vec![Person("remove the line", "timeout = none\n", "")],
        ),
        (
            EXEC.replace("\"a\"", "\"a-{item.host}\"") + "for_each = [{ host = \"x\" }]\n",
            vec![Person("write `{host}`", "{item.host}", "{host}")],
        ),
        (String::new(), vec![Person("write one into ", "", EXEC)]),
    ]
}

const NEEDED: &str = "needs = \"b\"\n[[check]]\nname = \"b\"\nplugin = \"exec\"\nconfig = { argv = [\"/bin/true\"] }\n";

const NEEDED_BY_LABEL: &str = "needs = \"role=way\"\n[[check]]\nname = \"b\"\nplugin = \"exec\"\nlabels = { role = \"way\" }\nconfig = { argv = [\"/bin/true\"] }\n";
/// The other side of a merge.
const MERGED: &str = "=======\n[[check]]\nname = \"a\"\nplugin = \"exec\"\nconfig = { argv = [\"/bin/true\"] }\n>>>>>>> x\n";

#[test]
fn a_help_never_leads_into_the_next_mistake() {
    let dir = TempDir::new();
    for name in ["exec", "http", "tcp"] {
        let file = plugins::shipped(name);
        let plugin_dir = dir.path().join(name);
        fs::create_dir(&plugin_dir).expect("our own folder");
        fs::copy(&file, plugin_dir.join(file.file_name().expect("a name")))
            .expect("our own folder");
    }
    let walks = walks();
    assert!(walks.len() >= 150, "only {}", walks.len());
    let begin = std::time::Instant::now();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let lost: std::sync::Mutex<Vec<String>> = std::sync::Mutex::default();
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((text, steps)) = walks.get(n) else {
                        break;
                    };
                    let own = dir.path().join(format!("w{n}"));
                    // Only what is needed is loaded: a hundred times that is a minute.
                    let others = ["http", "tcp"];
                    let plugin = others
                        .iter()
                        .find(|n| text.contains(&format!("plugin = \"{n}\"")));
                    let plugin_dir = dir.path().join(plugin.unwrap_or(&"exec"));
                    if let Err(why) = walk(&own, &plugin_dir, text, steps) {
                        lost.lock()
                            .expect("no thread panics")
                            .push(format!("from\n{text}\n{why}"));
                    }
                }
            });
        }
    });
    let lost = lost.into_inner().expect("no thread panics");
    let (count, took) = (walks.len(), begin.elapsed().as_secs_f64());
    println!("{count} wrong configs, followed to good ones in {took:.1} s");
    assert!(lost.is_empty(), "{}", lost.join("\n----\n"));
}

fn walk(dir: &Path, plugin_dir: &Path, text: &str, steps: &[Step]) -> Result<(), String> {
    fs::create_dir_all(dir.join("checks.d")).expect("our own folder");
    let mut text = text.to_owned();
    for step in steps {
        if let Remove(_, file) = step {
            fs::write(dir.join(file), "").expect("our own folder");
        }
    }
    for (n, step) in steps.iter().enumerate() {
        let told = judge(dir, plugin_dir, &text);
        let Some(first) = told.first() else {
            return Err(format!("step {n}: nothing is wrong with\n{text}"));
        };
        let said = first["text"].as_str().unwrap_or_default();
        let has = |words: &str| match said.contains(words) {
            true => Ok(()),
            false => Err(format!("step {n}: `{words}` is not in\n{said}")),
        };
        match step {
            Rule => text = by_rule(&text, first).ok_or(format!("step {n}: no rule for\n{said}"))?,
            Person(words, "", new) => {
                has(words)?;
                text += new;
            }
            Person(words, old, new) => {
                has(words)?;
                text = text.replacen(old, new, 1);
            }
            File(words, file, content) => {
                has(words)?;
                fs::write(dir.join(file), content).expect("our own folder");
                // What is in the file now is said by its name.
                text = text.replace(
                    &format!("\"{}\"", content.trim()),
                    &format!("{{ file = \"{file}\" }}"),
                );
            }
            Remove(words, file) => {
                has(words)?;
                fs::remove_file(dir.join(file)).expect("our own folder");
            }
        }
        let left: Vec<String> = judge(dir, plugin_dir, &text)
            .iter()
            .map(|d| d["text"].as_str().unwrap_or_default().to_owned())
            .collect();
        match (left.is_empty(), n + 1 == steps.len()) {
            (true, _) => return Ok(()),
            (false, true) => {
                return Err(format!(
                    "led to\n{text}\nwhich is wrong:\n{}",
                    left.join("\n")
                ));
            }
            (false, false) => {}
        }
    }
    Ok(())
}

fn judge(dir: &Path, plugin_dir: &Path, text: &str) -> Vec<Value> {
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let head = format!(
        "[daemon]\nplugin_dir = {}\nruntime_dir = {}\nstate_dir = {}\n",
        quoted(plugin_dir),
        quoted(&dir.join("run")),
        quoted(&dir.join("state"))
    );
    let file = dir.join("healthd.toml");
    fs::write(&file, format!("{head}{text}")).expect("our own folder");
    let output = Command::new(env!("CARGO_BIN_EXE_healthd"))
        .arg("--config")
        .arg(&file)
        .args(["-t", "--json"])
        .env("HD_URL", "http://127.0.0.1/")
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .expect("healthd runs");
    let mut told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    // Places in the text without its head.
    let lines = head.lines().count() as u64;
    let mut found = Vec::new();
    for mut one in told["diagnostics"]
        .as_array_mut()
        .expect("a list")
        .drain(..)
    {
        if let Some(line) = one["line"].as_u64() {
            one["line"] = line.saturating_sub(lines).into();
        }
        found.push(one);
    }
    found
}

/// What anybody would do without thinking. None: this help is for a person.
fn by_rule(text: &str, told: &Value) -> Option<String> {
    let help = told["help"].as_str()?;
    let said = told["text"].as_str()?;
    let line = told["line"].as_u64()? as usize;
    let column = told["column"].as_u64()? as usize;
    // The marks of the first place say how much is meant.
    let width = said
        .chars()
        .skip_while(|c| *c != '^')
        .take_while(|c| *c == '^')
        .count();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let whole = lines.get(line - 1)?.clone();
    let marked: String = whole.chars().skip(column - 1).take(width).collect();
    let quotes = |new: &str| match marked.starts_with('"') && !new.starts_with(['"', '[', '{']) {
        true => format!("\"{new}\""),
        false => new.to_owned(),
    };
    let word = |lead: &str| {
        let rest = help.split_once(lead)?.1;
        let (word, _) = rest.strip_prefix('`')?.split_once('`')?;
        Some(word.to_owned())
    };
    let plain = |lead: &str| {
        Some(
            help.split_once(lead)?
                .1
                .split([' ', ',', ';'])
                .next()?
                .to_owned(),
        )
    };
    if let Some(new) = word("add ").filter(|new| new.contains(" = ")) {
        lines.insert(line, new);
        return Some(lines.join("\n") + "\n");
    }
    let new = if let Some(new) = word("exists: ")
        .or_else(|| word("did you mean "))
        .or_else(|| word("it is called "))
    {
        quotes(&new)
    } else if let Some(new) = word("the levels are ") {
        quotes(&new)
    } else if let Some(new) =
        word("write it without quotes: ").or_else(|| word("put it into brackets: "))
    {
        new
    } else if let Some(new) = word("write ") {
        match new.split_once(" = ") {
            // The whole line, where it is no assignment yet.
            Some(_) if !whole.contains('=') => {
                lines[line - 1] = new;
                return Some(lines.join("\n") + "\n");
            }
            Some((_, value)) => value.to_owned(),
            None => quotes(&new),
        }
    } else if let Some(new) = plain("write a number from ") {
        if new == "0" { "1".into() } else { new }
    } else if let Some(new) = ["the shortest is ", "the longest is ", "the smallest is "]
        .iter()
        .find_map(|lead| plain(lead))
    {
        quotes(&new)
    } else {
        return None;
    };
    let from: String = whole.chars().take(column - 1).collect();
    let to: String = whole.chars().skip(column - 1 + width).collect();
    lines[line - 1] = format!("{from}{new}{to}");
    Some(lines.join("\n") + "\n")
}
