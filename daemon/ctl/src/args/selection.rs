//! Which checks a command is about: names, labels, plugins, states.

use crate::complete;
use clap::{Args as Group, ValueEnum};
use healthd_core::check::outcome::Verdict;
use healthd_core::wire::control::Filter;

/// Which checks; nothing given: all.
#[derive(Group, Debug, Default)]
pub struct Selection {
    /// Names, globs, or labels: web-*, team=web, "team=web !api"; none: all checks
    #[arg(value_name = "NAME", add = complete::checks())]
    pub names: Vec<String>,
    #[command(flatten)]
    pub state: StateFilter,
}

#[derive(Group, Debug, Default)]
#[group(skip)]
pub struct StateFilter {
    /// Only checks of these plugins (names or globs)
    #[arg(long, value_name = "PLUGIN", value_delimiter = ',', add = complete::plugins())]
    pub plugin: Vec<String>,
    /// Only checks with these verdicts: ok, warning, critical, unknown, pending
    #[arg(
        long,
        value_name = "VERDICT",
        hide_possible_values = true,
        value_delimiter = ',',
        ignore_case = true
    )]
    pub verdict: Vec<VerdictArg>,
    /// Short for --verdict warning,critical,unknown
    #[arg(long, short)]
    pub problems: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerdictArg {
    Ok,
    Warning,
    Critical,
    Unknown,
    Pending,
}

impl VerdictArg {
    pub fn verdict(self) -> Verdict {
        match self {
            VerdictArg::Ok => Verdict::Ok,
            VerdictArg::Warning => Verdict::Warning,
            VerdictArg::Critical => Verdict::Critical,
            VerdictArg::Unknown => Verdict::Unknown,
            VerdictArg::Pending => Verdict::Pending,
        }
    }
}

impl StateFilter {
    fn filter_with(&self, names: &[String]) -> Filter {
        let mut verdicts = Vec::new();
        let problems = [
            VerdictArg::Warning,
            VerdictArg::Critical,
            VerdictArg::Unknown,
        ];
        for verdict in (self.problems.then_some(problems).into_iter().flatten())
            .chain(self.verdict.iter().copied())
        {
            let verdict = verdict.verdict();
            if !verdicts.contains(&verdict) {
                verdicts.push(verdict);
            }
        }
        Filter {
            names: names.to_vec(),
            plugins: self.plugin.clone(),
            verdicts,
        }
    }
}

impl Selection {
    pub fn filter(&self) -> Filter {
        self.state.filter_with(&self.names)
    }
}

/// Which checks, for commands that act: "all" must be said.
#[derive(Group, Debug)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("targets").required(true).multiple(true)
    .args(["names", "all", "plugin", "verdict", "problems"]))]
pub struct Targets {
    /// Names, globs, or labels, as team=web
    #[arg(value_name = "NAME", add = complete::checks())]
    pub names: Vec<String>,
    /// All checks
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    #[command(flatten)]
    pub state: StateFilter,
}

impl Targets {
    pub fn filter(&self) -> Filter {
        self.state.filter_with(&self.names)
    }
}

#[cfg(test)]
mod tests {
    use crate::args::{Args, Command};
    use clap::Parser;
    use healthd_core::check::outcome::Verdict;

    #[test]
    fn verdicts_in_any_case_and_in_lists() {
        let args = Args::try_parse_from(["healthctl", "status", "--verdict", "CRITICAL,ok", "-p"]);
        let Command::Status(status) = args.expect("parses").command else {
            panic!()
        };
        assert_eq!(
            status.selection.filter().verdicts,
            [
                Verdict::Warning,
                Verdict::Critical,
                Verdict::Unknown,
                Verdict::Ok
            ]
        );
    }

    #[test]
    fn acting_on_all_checks_must_be_said() {
        for line in ["run", "pause", "resume"] {
            assert!(Args::try_parse_from(["healthctl", line]).is_err(), "{line}");
            assert!(Args::try_parse_from(["healthctl", line, "--all"]).is_ok());
            assert!(Args::try_parse_from(["healthctl", line, "web-*"]).is_ok());
            assert!(Args::try_parse_from(["healthctl", line, "--plugin", "http"]).is_ok());
            assert!(Args::try_parse_from(["healthctl", line, "--problems"]).is_ok());
            assert!(Args::try_parse_from(["healthctl", line, "--all", "web"]).is_err());
        }
    }
}
