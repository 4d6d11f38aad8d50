//! The daemon's program: arguments in, one call, exit code out. Every process of the daemon is this program;
//! `--role` says which one it is to be.

use healthd_core::wire::roles::{Reader, ReaderArgs, Role};
use healthd_supervisor::refusal;
use healthd_sys::{limits, logging, process, spawn};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::exit;

fn main() {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    exit(match parse(&args) {
        Ok(Invocation::Run(config)) => healthd_supervisor::main(&config),
        Ok(Invocation::Here) => healthd_supervisor::main_here(),
        Ok(Invocation::Test { config, json }) => healthd_supervisor::test(&config, json),
        Ok(Invocation::TestHere { json }) => healthd_supervisor::test_here(json),
        Ok(Invocation::Role(Role::Manager(args))) => {
            logging::init_filtered("manager", &args.log);
            healthd_manager::main(&args)
        }
        Ok(Invocation::Role(Role::Worker(args))) => {
            // Memory that a plugin eats is the worker's to answer for, not the daemon's. It may be refused
            // only to a process that was given a higher score already.
            let _ = limits::set_oom_score(None, WORKER_OOM_SCORE);
            match spawn::adopt_fd(args.log_to) {
                Ok(fd) => logging::write_to(fd),
                Err(e) => eprintln!("worker.{}: --log-to: {e}", args.slot),
            }
            logging::init_filtered(&format!("worker.{}", args.slot), &args.log);
            healthd_worker::main(&args)
        }
        Ok(Invocation::Role(Role::Reader(args))) => {
            // Without it checks run as before: it goes before anything else does.
            let _ = limits::set_oom_score(None, READER_OOM_SCORE);
            process::keep_memory_private();
            logging::init_filtered(args.role.as_str(), &args.log);
            read(&args)
        }
        Ok(Invocation::Probe { file, copy, nobody }) => {
            healthd_worker::probe_main(&file, copy, nobody)
        }
        Ok(Invocation::TryOut { parent, user }) => {
            healthd_worker::tryout_main(parent, user.as_deref())
        }
        Ok(Invocation::Replay(config)) => healthd_supervisor::replay(&config),
        Ok(Invocation::Verify(file)) => healthd_supervisor::verify(&file),
        Ok(Invocation::Schema(plugins)) => healthd_supervisor::schema(&plugins),
        Ok(Invocation::Try(args)) => healthd_worker::try_main(&args),
        Ok(Invocation::Help) => {
            refusal::say(HELP);
            0
        }
        Ok(Invocation::Version) => {
            refusal::say(concat!("healthd ", env!("CARGO_PKG_VERSION"), "\n"));
            0
        }
        Err(wrong) => {
            eprintln!("healthd: {wrong}\nTry `healthd --help`.");
            EX_USAGE
        }
    });
}

/// The mains of the readers. A config that wants one that was left out of this build is refused.
fn read(args: &ReaderArgs) -> i32 {
    match args.role {
        #[cfg(feature = "history")]
        Reader::Recorder => healthd_recorder::main(args),
        #[cfg(feature = "web")]
        Reader::Web => healthd_web::main(args),
        #[allow(unreachable_patterns, reason = "with all features there is no other")]
        Reader::Recorder | Reader::Web => {
            log::error!("this healthd was built without it");
            EX_USAGE
        }
    }
}

#[derive(Debug, PartialEq)]
enum Invocation {
    Run(PathBuf),
    Here,
    Test {
        config: PathBuf,
        json: bool,
    },
    TestHere {
        json: bool,
    },
    Role(Role),
    /// `copy`: standard input is a copy of the file, and that is what is judged.
    Probe {
        file: PathBuf,
        copy: bool,
        nobody: bool,
    },
    /// Between processes of the daemon only: standard input is the link.
    TryOut {
        parent: u32,
        user: Option<String>,
    },
    Verify(PathBuf),
    /// For healthctl only.
    Schema(PathBuf),
    /// For healthctl only: standard input says what has happened.
    Replay(PathBuf),
    Try(Vec<String>),
    Help,
    Version,
}

fn parse(args: &[OsString]) -> Result<Invocation, String> {
    // These take the whole rest of the line.
    match args.split_first() {
        Some((first, rest)) if first == "--role" => {
            return Role::from_args(rest).map(Invocation::Role);
        }
        Some((first, rest)) if first == "--tryout" => {
            let text = |i: usize| rest.get(i).and_then(|a| a.to_str());
            return Ok(Invocation::TryOut {
                parent: text(0)
                    .and_then(|pid| pid.parse().ok())
                    .ok_or("--tryout needs the pid of its parent")?,
                user: text(1).map(str::to_owned),
            });
        }
        Some((first, rest)) if first == "--schema" => {
            let plugins = rest.first().ok_or("--schema needs the folder of plugins")?;
            return Ok(Invocation::Schema(plugins.into()));
        }
        Some((first, rest)) if first == "--replay" => {
            let config = rest.first().ok_or("--replay needs the path of a config")?;
            return Ok(Invocation::Replay(config.into()));
        }
        Some((first, rest)) if first == "--try" => {
            let text = |a: &OsString| {
                a.clone()
                    .into_string()
                    .map_err(|a| format!("`{}` is not UTF-8", a.display()))
            };
            return rest
                .iter()
                .map(text)
                .collect::<Result<_, _>>()
                .map(Invocation::Try);
        }
        _ => {}
    }
    let (mut config, mut test, mut probe, mut copy) = (None, false, None, false);
    let (mut here, mut nobody, mut verify, mut json) = (false, false, None, false);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, inline) = match arg.to_str().and_then(|a| a.split_once('=')) {
            Some((name, value)) if name.starts_with("--") => (name, Some(OsString::from(value))),
            _ => (arg.to_str().unwrap_or_default(), None),
        };
        let mut value = || {
            let value = inline.clone().or_else(|| args.next().cloned());
            value
                .filter(|v| !v.is_empty())
                .ok_or_else(|| format!("{name} needs the path of a file"))
        };
        match name {
            "-c" | "--config" => config = Some(PathBuf::from(value()?)),
            "--verify" => verify = Some(PathBuf::from(value()?)),
            "--nobody" if inline.is_none() => nobody = true,
            "--probe" => probe = Some(PathBuf::from(value()?)),
            // Between processes of the daemon only.
            "--copy" if inline.is_none() => copy = true,
            "--here" if inline.is_none() => here = true,
            "-t" | "--test" if inline.is_none() => test = true,
            "--json" if inline.is_none() => json = true,
            "-h" | "--help" if inline.is_none() => return Ok(Invocation::Help),
            "-V" | "--version" if inline.is_none() => return Ok(Invocation::Version),
            _ => return Err(format!("unknown argument `{}`", arg.display())),
        }
    }
    if json && !test {
        return Err("--json goes with -t only".into());
    }
    if let Some(file) = verify {
        return match (config, test, probe, copy || here || nobody) {
            (None, false, None, false) => Ok(Invocation::Verify(file)),
            _ => Err("--verify goes with no other option".into()),
        };
    }
    match (config, test, probe) {
        (None, false, None) if here && !copy => Ok(Invocation::Here),
        (None, true, None) if here && !copy => Ok(Invocation::TestHere { json }),
        _ if here => Err("--here goes with -t and no other option".into()),
        (None, false, Some(file)) => Ok(Invocation::Probe { file, copy, nobody }),
        _ if copy || nobody => Err("--copy and --nobody go with --probe only".into()),
        (_, _, Some(_)) => Err("--probe goes with no other option".into()),
        (Some(config), true, None) => Ok(Invocation::Test { config, json }),
        (Some(config), false, None) => Ok(Invocation::Run(config)),
        (None, _, None) => Err("--config FILE or --here is missing".into()),
    }
}

const HELP: &str = "\
healthd runs health checks. It stays in the foreground and is asked and steered with healthctl.

Usage:
  healthd --config FILE        run
  healthd --here               run without root, with everything below ./.healthd; its plugins are those
                               beside this program, else the installed ones
  healthd --config FILE -t [--json]
                               check the config, say what is wrong with it, and end; also --here -t
  healthd --probe FILE.so      print what a plugin says of itself, as JSON
  healthd --verify FILE.so     check a plugin file as a start would, and print what it says of itself
  healthd --try FILE.so [--plugin NAME] [--options FILE] [KEY=VALUE...]
                               run one check of a plugin, without a daemon

Options:
  -c, --config FILE   the config, TOML; checks.d/*.toml beside it belong to it
  -t, --test          only check the config
  -h, --help          this text
  -V, --version       the version

Signals:
  TERM, INT           stop: let the checks that run end, for at most stop_grace
  TERM or INT twice, QUIT
                      stop now
  HUP                 read the config again
                      All four are refused if a process that healthd started sends them.

Environment:
  HEALTHD_LOG         log level or filter, in place of `log` in [daemon]
  NOTIFY_SOCKET, WATCHDOG_USEC
                      set by systemd, see sd_notify(3)

Exit codes:
  0   stopped as asked, or the config is good
  1   stopped, but something had to be killed
  64  wrong arguments
  71  the system refused something basic
  73  a folder or the socket cannot be made
  75  another healthd runs in this runtime_dir
  78  the config is wrong: a restart would not help
";

/// sysexits.h
const EX_USAGE: i32 = 64;
const WORKER_OOM_SCORE: i32 = 500;
const READER_OOM_SCORE: i32 = 700;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, String> {
        let args: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        parse(&args)
    }

    #[test]
    fn every_form_of_the_help_is_understood() {
        let run = Ok(Invocation::Run("a.toml".into()));
        for line in ["--config a.toml", "--config=a.toml", "-c a.toml"] {
            assert_eq!(parsed(line), run, "{line}");
        }
        for (line, json) in [
            ("-t --config a.toml", false),
            ("--config=a.toml --test", false),
            ("--config a.toml -t --json", true),
        ] {
            let config = "a.toml".into();
            assert_eq!(
                parsed(line),
                Ok(Invocation::Test { config, json }),
                "{line}"
            );
        }
        for (line, copy, nobody) in [
            ("--probe x.so", false, false),
            ("--probe x.so --copy", true, false),
            ("--probe x.so --copy --nobody", true, true),
        ] {
            let file = "x.so".into();
            assert_eq!(parsed(line), Ok(Invocation::Probe { file, copy, nobody }));
        }
        assert_eq!(
            parsed("--verify x.so"),
            Ok(Invocation::Verify("x.so".into()))
        );
        let words = ["x.so", "--plugin", "http", "url=http://a/?b=c"];
        let tried = Invocation::Try(words.map(str::to_owned).to_vec());
        assert_eq!(parsed(&format!("--try {}", words.join(" "))), Ok(tried));
        let user = Some("healthd".to_owned());
        assert_eq!(
            parsed("--tryout 7 healthd"),
            Ok(Invocation::TryOut { parent: 7, user })
        );
        assert_eq!(
            parsed("--schema /plugins"),
            Ok(Invocation::Schema("/plugins".into()))
        );
        assert_eq!(parsed("--here"), Ok(Invocation::Here));
        assert_eq!(
            parsed("--here -t"),
            Ok(Invocation::TestHere { json: false })
        );
        assert_eq!(parsed("--help"), Ok(Invocation::Help));
        assert_eq!(parsed("-V"), Ok(Invocation::Version));
    }

    #[test]
    fn anything_else_is_named() {
        for (line, wrong) in [
            ("", "--config FILE or --here is missing"),
            ("-t", "--config FILE or --here is missing"),
            ("--here -c a", "--here goes with -t and no other option"),
            ("--config", "--config needs the path of a file"),
            ("--config=", "--config needs the path of a file"),
            ("--conf a", "unknown argument `--conf`"),
            ("--test=yes -c a", "unknown argument `--test=yes`"),
            ("-c a --copy", "--copy and --nobody go with --probe only"),
            ("-c a --json", "--json goes with -t only"),
            ("-c a --probe x", "--probe goes with no other option"),
            ("--role cook", "unknown role `cook`"),
        ] {
            assert_eq!(parsed(line), Err(wrong.to_owned()), "{line}");
        }
    }
}
