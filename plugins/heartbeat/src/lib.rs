//! Checks that look at nothing themselves: `heartbeat` judges whether a job says in time that it is well, `passive` says
//! what somebody else has found. Both are fed over the control socket; the daemon keeps what was said, as what a check
//! keeps, and has it judged at once and then at each interval. `HEARTBEAT.md` and `PASSIVE.md` beside this crate have
//! options and verdicts.
//!
//! Runs in: the step lane.

#![forbid(unsafe_code)]

mod cron;
mod heartbeat;
mod kept;
#[path = "../../exec/src/output.rs"]
#[allow(dead_code, reason = "the exec plugin uses more of it")]
mod output;
mod passive;
#[path = "../../exec/src/perfdata.rs"]
#[allow(dead_code, reason = "the exec plugin uses more of it")]
mod perfdata;
#[cfg(test)]
mod tests;

healthd_plugin::plugins! {
    step heartbeat::Heartbeat {
        name: "heartbeat",
        summary: "a job that says in time that it is well: backups, cron jobs, agents",
    }
    step passive::Passive {
        name: "passive",
        summary: "results that somebody else finds and submits, as NSCA does",
    }
}
