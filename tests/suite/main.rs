//! The real daemon, process by process: one file per promise. Each test is the daemon's service manager, has
//! a directory of its own, and waits for events, never for time to pass.

mod harness;

mod accounting;
mod attempts;
mod attribution;
mod authors;
mod bad_input;
mod commands;
mod control;
mod costs;
mod drop_in;
mod events;
mod exec;
mod fanout;
mod first_hour;
mod folders;
mod groups;
mod host;
mod jail;
mod limits;
mod manager_death;
mod manager_instants;
mod maps;
mod nagios;
mod needs;
mod net_kinds;
mod objects;
mod own_fault;
mod panics;
mod plugin_hang;
mod recycle;
mod reload;
mod reload_model;
mod servers;
mod sharing;
mod shutdown;
mod starts;
mod startup;
mod state;
mod stop;
mod stop_signals;
mod stuck;
mod supervision;
mod threads;
mod worker_crash;
