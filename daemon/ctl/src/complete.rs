//! Completion of names: the shell calls healthctl while somebody types, and a running healthd is asked.
//!
//! Whoever types waits for this: an answer that does not come at once is none.

use crate::args::{Args, DEFAULT_SOCKET, SOCKET_HERE};
use crate::connection::{Connection, Patience};
use clap::CommandFactory;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use healthd_core::wire::control::{Filter, Op, Reply};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

const WITHIN: Duration = Duration::from_millis(500);
/// By which a shell asks us for what could come next.
const VARIABLE: &str = "HEALTHCTL_COMPLETE";
const NAME: &str = "healthctl";

/// True: it was a shell's question, and it is answered.
pub fn answered(line: &[OsString]) -> bool {
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(Args::command)
        .var(VARIABLE)
        .try_complete(line.iter().cloned(), here.as_deref());
    asked.unwrap_or(true)
}

/// What `healthctl completions SHELL` prints; None: a shell that cannot ask.
pub fn registration(shell: clap_complete::Shell) -> Option<Vec<u8>> {
    let shells = Shells::builtins();
    let mut script = Vec::new();
    shells
        .completer(&shell.to_string())?
        .write_registration(VARIABLE, NAME, NAME, NAME, &mut script)
        .ok()?;
    match shell {
        clap_complete::Shell::Bash => Some(with_quotes(script)),
        _ => Some(script),
    }
}

/// bash puts into the line what it is given; other shells quote it. Within quotes that were typed it is right as it is.
fn with_quotes(script: Vec<u8>) -> Vec<u8> {
    const END_OF_FUNCTION: &str = "\n}\n";
    const QUOTE: &str = r#"
    if [[ $2 != [\'\"]* ]]; then
        local n special=$'*[ \t\'"\\\\$&;<>|()`!#]*'
        for n in "${!COMPREPLY[@]}"; do
            if [[ ${COMPREPLY[n]} == $special ]]; then
                printf -v 'COMPREPLY[n]' %q "${COMPREPLY[n]}"
            fi
        done
    fi
}
"#;
    let script = String::from_utf8_lossy(&script);
    script.replacen(END_OF_FUNCTION, QUOTE, 1).into_bytes()
}

pub fn checks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask(Op::Status(Filter::default()), |reply| match reply {
            Reply::Check(row) => Some((row.name, row.plugin)),
            _ => None,
        })
    })
}

pub fn plugins() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask(Op::Plugins, |reply| match reply {
            Reply::Plugin(row) if !row.name.is_empty() => Some((row.name, row.summary)),
            _ => None,
        })
    })
}

fn ask(op: Op, pick: impl Fn(Reply) -> Option<(String, String)>) -> Vec<CompletionCandidate> {
    let mut found = Vec::new();
    let patience = Patience {
        first: Some(WITHIN),
        between: Some(WITHIN),
    };
    if let Ok(mut connection) = Connection::ask(&socket(), op, Some(WITHIN)) {
        let each = |reply| {
            found.extend(pick(reply));
            true
        };
        let _ = connection.all(patience, each, |_| {});
    }
    let shown = |(name, about): (String, String)| {
        // A shell's list is a terminal as well.
        let about = crate::render::text::escape(&about).into_owned();
        CompletionCandidate::new(name).help((!about.is_empty()).then(|| about.into()))
    };
    found.into_iter().map(shown).collect()
}

/// Of the command line as far as it is typed.
fn socket() -> PathBuf {
    let words: Vec<OsString> = std::env::args_os().collect();
    let given = words.iter().enumerate().find_map(|(n, word)| {
        match word.to_str()?.strip_prefix("--socket")? {
            "" => words.get(n + 1).map(PathBuf::from),
            rest => rest.strip_prefix('=').map(PathBuf::from),
        }
    });
    let here = words.iter().any(|word| word == "--here");
    let from_env = || std::env::var_os("HEALTHD_SOCKET").filter(|value| !value.is_empty());
    given
        .or(here.then(|| SOCKET_HERE.into()))
        .or_else(|| from_env().map(PathBuf::from))
        .unwrap_or_else(|| DEFAULT_SOCKET.into())
}
