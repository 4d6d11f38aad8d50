//! `[users]`: under whom workers run. Whoever takes a worker over then is not the daemon: it may not end the others, open the
//! control socket, or read what the daemon's user may read.
//!
//! It takes rights that only root has, or whom a unit gives CAP_SETUID, CAP_SETGID and CAP_KILL. Without them everything
//! works as it does without the section, and `healthctl version` says so.

use crate::refusal::{Refusal, exit};
use healthd_core::config::Users;
use healthd_core::wire::class::WorkerClass;
use healthd_sys::privileges::{self, Account, Identity};
use nix::unistd::{User, geteuid};

#[derive(Debug, Default)]
pub struct Placing {
    worker: Option<Identity>,
    exec: Option<Identity>,
}

impl Placing {
    pub fn read(users: &Users) -> Result<Placing, Refusal> {
        let identity = |name: &Option<String>, key: &str| {
            let Some(name) = name else { return Ok(None) };
            let account = named(name, &format!("`{key}` in [users]"))?;
            if account.uid.is_root() {
                let message = format!("`{key}` in [users] is root, who may do everything");
                let help = "name a user that owns nothing".to_owned();
                return Err(Refusal::new(exit::BAD_CONFIG, message).help(help));
            }
            Identity::of(account).map(Some).map_err(|e| {
                let message = format!("cannot look up the groups of user `{name}`: {e}");
                Refusal::new(exit::SYSTEM, message)
            })
        };
        Ok(Placing {
            worker: identity(&users.worker, "worker")?,
            exec: identity(&users.exec, "exec")?,
        })
    }

    /// Only as far as we may.
    pub fn take_force(&mut self) {
        if self.is_wanted() && !privileges::may_place() {
            log::warn!(
                "[users] is without effect, and everything runs under one user: it takes root, or CAP_SETUID, CAP_SETGID and CAP_KILL (healthd.service.d/users.conf)"
            );
            *self = Placing::default();
        }
    }

    pub fn is_wanted(&self) -> bool {
        self.worker.is_some() || self.exec.is_some()
    }

    /// None: under ours.
    pub fn of(&self, class: WorkerClass) -> Option<&Identity> {
        match class.row().starts_programs {
            true => self.exec.as_ref(),
            false => self.worker.as_ref(),
        }
    }

    /// For people.
    pub fn words(&self) -> String {
        let own = User::from_uid(geteuid()).ok().flatten();
        let own = own.map_or_else(|| format!("uid {}", geteuid()), |user| user.name);
        if !self.is_wanted() {
            return format!("everything runs under `{own}`");
        }
        let name =
            |who: &Option<Identity>| who.as_ref().map_or(own.clone(), |i| i.account.name.clone());
        format!(
            "workers run under `{}`, programs of checks under `{}`, the rest under `{own}`",
            name(&self.worker),
            name(&self.exec)
        )
    }
}

/// The account that a key of the config names.
pub fn named(user: &str, key: &str) -> Result<Account, Refusal> {
    let account = privileges::lookup_user(user).map_err(|e| {
        let message = format!("cannot look up user `{user}`: {e}");
        Refusal::new(exit::SYSTEM, message)
    })?;
    account.ok_or_else(|| {
        let message = format!("there is no user `{user}`, which {key} names");
        let help = format!(
            "make it with `useradd --system {user}` or systemd-sysusers, or correct the name"
        );
        Refusal::new(exit::BAD_CONFIG, message).help(help)
    })
}
