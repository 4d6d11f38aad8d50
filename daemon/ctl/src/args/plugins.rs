//! `plugins`, `try` and `bench`: what is said about plugins, and to them.

use super::values::parse_option;
use crate::{columns, complete};
use clap::{Args as Group, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Group, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PluginsArgs {
    /// What each plugin costs: CPU, time, waits, hangs, crashes, and who makes workers grow; the most expensive first
    #[arg(long)]
    pub cost: bool,
    #[command(subcommand)]
    pub action: Option<PluginsAction>,
}

#[derive(Subcommand, Debug)]
pub enum PluginsAction {
    /// List the files in the plugin directory and what became of them (the default)
    List,
    /// Read the plugin directory again, and try again what was refused or rolled back
    #[command(
        long_about = "Read the plugin directory again, and try again what was refused or rolled back.\n\n\
        Returns when the new build has taken over; it is then on trial (plugin_trial). Needed only \
        where plugin_watch is off, or to try the same file once more."
    )]
    Reload {
        /// Only the file of this plugin
        #[arg(value_name = "NAME", add = complete::plugins())]
        name: Option<String>,
    },
    /// Go back to the build of this plugin that was in use before
    #[command(
        long_about = "Go back to the build of this plugin that was in use before.\n\n\
        The file that lies in the plugin directory is not taken again until it changes, or until \
        `plugins reload`. One build before is kept for each plugin, until a restart."
    )]
    Rollback {
        /// The plugin
        #[arg(value_name = "NAME", add = complete::plugins())]
        name: String,
    },
    /// Show the options of a plugin: type, default, meaning; does not need the daemon
    #[command(after_long_help = columns::help("plugins show"))]
    Show {
        /// The plugin, or its file
        #[arg(value_name = "NAME", add = complete::plugins())]
        name: String,
        /// Which plugin, when a file was named that holds several
        #[arg(long, value_name = "NAME")]
        plugin: Option<String>,
        /// As a man page: `healthctl plugins show http --man | man -l -`
        #[arg(long)]
        man: bool,
    },
    /// Say whether healthd would load this file, and what is in it; does not need the daemon
    Verify {
        /// The plugin file
        #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
    },
    /// End the quarantine, or the hold, of checks that have killed workers, without waiting until they survive
    /// three runs alone
    Release {
        /// Checks by name or glob; or plugins, whose checks are meant then
        #[arg(value_name = "NAME", required = true, add = complete::checks())]
        names: Vec<String>,
    },
}

#[derive(Group, Debug)]
pub struct TryArgs {
    /// The plugin: its name, or its file, as ./x.so
    #[arg(value_name = "PLUGIN", add = complete::plugins())]
    pub plugin_or_file: String,
    /// Options of the check; the value is TOML if it parses (5, true, ["a", "b"]), else text; dots nest
    #[arg(value_name = "KEY=VALUE", value_parser = parse_option)]
    pub options: Vec<String>,
    /// Which plugin, when the file holds several
    #[arg(long, value_name = "NAME")]
    pub plugin: Option<String>,
    /// Options from a file, TOML or JSON; -: from standard input. What stands on the command line can be seen by
    /// everybody on this machine
    #[arg(long = "options", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub options_from: Option<PathBuf>,
}

#[derive(Group, Debug)]
pub struct BenchArgs {
    /// What to measure
    pub bench: Bench,
    /// About how long it may take [default: 20 to 70, by bench]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub seconds: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// Checks that wait: one after the other, by threads, by event loops
    Io,
    /// Checks that compute: in one process, by threads, by processes
    Cpu,
    /// Tiny checks, so many handed over at once
    Chunks,
    /// The best number of workers and threads, as lines for the configuration
    Tune,
    /// Statistics of ten million numbers
    Data,
    /// Checks a second of each kind until it is full
    Limit,
}
