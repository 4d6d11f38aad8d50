//! The `script` notifier: runs a program a message, as Nagios and Icinga run theirs. Its options, and what the program
//! finds in its environment, are in `SCRIPT.md`.

mod macros;

use crate::end::{NotTaken, end};
use crate::templates::Templates;
use crate::words::one_line;
use healthd_plugin::secrets::Secrets;
use healthd_plugin::serde_json::{self, Value};
use healthd_plugin::{Check, ChildEnd, Cx, ExecOutput, ExecSpec, Status, cut, options};
use macros::{Macros, expand};
use std::collections::BTreeMap;
use std::time::Duration;

options! {
    /// Runs a program that tells somebody, as Nagios and Icinga do.
    pub struct Options {
        /// The program and its arguments. No shell is involved. `$SERVICESTATE$` and the like are filled in.
        argv: Vec<String> { min_items: 1, max_items: 1024 },
        /// Environment variables beside those of the message.
        env: BTreeMap<String, String> = BTreeMap::new(),
        /// Working directory, an absolute path.
        cwd: String { pattern: "^/" } = "/".into(),
        /// Whom to tell: CONTACTNAME, CONTACTEMAIL and USEREMAIL of the program.
        contact: Option<String> { min_length: 1 },
        /// Template of the title.
        title: Option<String> { min_length: 1 },
        /// Template of the text.
        text: Option<String> { min_length: 1 },
    }
}

const INHERITED: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ"];
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What the host hands on as standard input.
const INPUT_MAX: usize = 60 << 10;

pub struct Script {
    options: Options,
    env: Vec<String>,
    templates: Templates,
    secrets: Secrets,
}

impl Check for Script {
    type Options = Options;

    fn create(o: Options, _: Cx<'_>) -> Result<Self, String> {
        if let Some(bad) = o.argv.iter().find(|a| a.contains('\0')) {
            return Err(format!("argv: {bad:?} holds a NUL"));
        }
        for name in o.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(format!("env: {name:?} is no name of a variable"));
            }
        }
        let given = |name: &&str| std::env::var(name).ok().map(|v| format!("{name}={v}"));
        let mut env: Vec<String> = INHERITED.iter().filter_map(given).collect();
        if !env.iter().any(|e| e.starts_with("PATH=")) {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let mut secrets = Secrets::new();
        for value in o.env.values().filter(|value| value.len() > 8) {
            secrets.add(value);
        }
        Ok(Script {
            env,
            templates: Templates::new(o.title.as_deref(), o.text.as_deref())?,
            options: o,
            secrets,
        })
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        end(cx, &self.secrets, self.deliver(cx).await)
    }
}

impl Script {
    async fn deliver(&self, cx: Cx<'_>) -> Result<String, NotTaken> {
        let (notice, message, words) = self.templates.message_of(cx)?;
        let macros = Macros::of(&message, &words, self.options.contact.as_deref());
        let argv: Vec<String> = (self.options.argv.iter())
            .map(|arg| expand(arg, &macros))
            .collect();
        let mut env = self.env.clone();
        env.extend(macros.environment());
        let own = self.options.env.iter();
        env.extend(own.map(|(name, value)| format!("{name}={value}")));
        let input = shortened(notice.json).map_err(NotTaken::surely)?;
        let spec = ExecSpec {
            argv: &argv,
            env: &env,
            cwd: &self.options.cwd,
            input: input.as_bytes(),
            kill_grace: Duration::from_millis(500),
            tell_deadline: true,
            ..ExecSpec::default()
        };
        cx.phase("exec");
        let done = cx.exec(&spec).await;
        let done = done.map_err(|e| NotTaken::surely(format!("{}: {e}", self.options.argv[0])))?;
        judge(&done)
    }
}

/// Exit code 0 has told it. Else nobody knows: a program may fail after it has sent.
fn judge(done: &ExecOutput) -> Result<String, NotTaken> {
    let line = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.map(|line| one_line(cut(line, 300)))
    };
    let said = line(&done.err).or_else(|| line(&done.out));
    let why = |how: String| {
        NotTaken::perhaps(match &said {
            Some(said) => format!("{how}: {said}"),
            None => how,
        })
    };
    match (done.end, done.exit_code, done.signal) {
        (ChildEnd::Itself, Some(0), _) => {
            Ok(line(&done.out).unwrap_or_else(|| "exit code 0".to_owned()))
        }
        (ChildEnd::Itself, Some(code), _) => Err(why(format!("exit code {code}"))),
        (ChildEnd::Itself, None, signal) => {
            Err(why(format!("ended by signal {}", signal.unwrap_or(0))))
        }
        (ChildEnd::Deadline | ChildEnd::LivesOn, ..) => {
            Err(why("it did not end in time".to_owned()))
        }
    }
}

/// With as many checks as there is room for; `count` says how many there are.
fn shortened(json: &str) -> Result<String, String> {
    if json.len() <= INPUT_MAX {
        return Ok(json.to_owned());
    }
    let mut fields: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
    let mut text = fields.to_string();
    while text.len() > INPUT_MAX {
        let Some(checks) = fields["checks"].as_array_mut().filter(|c| !c.is_empty()) else {
            break;
        };
        checks.truncate(checks.len() / 2);
        text = fields.to_string();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: Option<i32>, out: &str, err: &str) -> ExecOutput {
        ExecOutput {
            exit_code: code,
            out: out.into(),
            err: err.into(),
            ..ExecOutput::default()
        }
    }

    #[test]
    fn what_a_program_says_is_the_receipt_or_the_reason() {
        let told = judge(&ended(Some(0), "\nsent to ops\nmore", "x"));
        assert_eq!(told, Ok("sent to ops".to_owned()));
        assert_eq!(judge(&ended(Some(0), "", "")), Ok("exit code 0".to_owned()));
        let not = judge(&ended(Some(75), "", "no route\n")).expect_err("it failed");
        assert_eq!(
            (not.surely, not.why.as_str()),
            (false, "exit code 75: no route")
        );
    }

    #[test]
    fn a_long_message_is_handed_on_with_fewer_checks() {
        let check = serde_json::json!({ "name": "x".repeat(200), "message": "y".repeat(800) });
        let json = serde_json::json!({ "count": 500, "checks": vec![check; 500] }).to_string();
        let short = shortened(&json).expect("it is JSON");
        assert!(short.len() <= INPUT_MAX && short.contains("\"count\":500"));
        assert_eq!(shortened("{}").as_deref(), Ok("{}"));
    }
}
