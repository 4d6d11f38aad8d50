//! One file a command: ask, then render. Each returns the exit code.

mod add;
mod alerts;
mod bench;
#[cfg(feature = "history")]
mod calibrate;
mod completions;
mod doctor;
mod events;
mod feed;
#[cfg(feature = "history")]
mod history;
mod incident;
mod init;
mod list;
mod man;
mod nagios;
mod objects;
mod pause;
mod plugins;
mod reload;
mod replay;
mod run;
pub mod schema;
mod show;
mod silence;
mod status;
mod stop;
mod top;
mod try_plugin;
mod validate;
mod version;
mod watch;
mod why;
mod workers;

use crate::args::Command;
use crate::error::CtlError;
use crate::session::Session;

pub fn run(session: &mut Session, command: &Command) -> Result<u8, CtlError> {
    match command {
        Command::Status(args) => status::run(session, args),
        Command::List(args) => list::run(session, args),
        Command::Show(args) => show::run(session, args),
        Command::Run(args) => run::run(session, args),
        Command::Watch(args) => watch::run(session, args),
        Command::Top(args) => top::run(session, args),
        Command::Events(args) => events::run(session, args),
        #[cfg(feature = "history")]
        Command::History(args) => history::history(session, args),
        #[cfg(feature = "history")]
        Command::Report(args) => history::report(session, args),
        #[cfg(feature = "history")]
        Command::Calibrate(args) => calibrate::run(session, args),
        Command::Why(args) => why::run(session, args),
        Command::Workers => workers::run(session),
        Command::Objects => objects::run(session),
        Command::Alerts(args) => alerts::run(session, args),
        Command::Silence(args) => silence::silence(session, args, false),
        Command::Maintenance(args) => silence::silence(session, args, true),
        Command::Unsilence { id } => silence::unsilence(session, id),
        Command::Ack(args) => silence::ack(session, args),
        Command::Incident(args) => incident::run(session, args),
        Command::Heartbeat(args) => feed::heartbeat(session, args),
        Command::Submit(args) => feed::submit(session, args),
        Command::Plugins(args) => plugins::run(session, args),
        Command::Try(args) => try_plugin::run(session, args),
        Command::Pause(args) => pause::pause(session, args),
        Command::Resume(args) => pause::resume(session, args),
        Command::Reload => reload::run(session),
        Command::Validate(args) => validate::run(session, args),
        Command::Init(args) => init::run(session, args),
        Command::Doctor(args) => doctor::run(session, args),
        Command::Schema(args) => schema::run(session, args),
        Command::Stop(args) => stop::run(session, args),
        Command::Bench(args) => bench::run(session, args),
        Command::Version => version::run(session),
        Command::Add(args) => add::run(session, args),
        Command::Completions(args) => completions::run(session, args),
        Command::Man => man::run(session),
    }
}
