//! Who sent a signal, and whether it is somebody who may stop the daemon: nobody whom it has started itself.
//!
//! A plugin's `kill(0, SIGTERM)` stays in the worker's own process group. A `kill -1` or `pkill -u` of a program does
//! not, and reaches us with the sender's number, which the kernel vouches for.

use healthd_sys::process::{self, Place};
use healthd_sys::signals::Sender;

/// The sender in words, or why its signal means nothing. `programs`: a check's program may be the sender; `who` names
/// a child of ours.
pub fn judge(
    sender: Sender,
    programs: bool,
    who: impl Fn(u32) -> String,
) -> Result<String, String> {
    let (pid, uid) = match sender {
        Sender::Kernel => return Ok("the terminal".into()),
        Sender::Process { pid: 0, .. } => return Ok("outside of this pid namespace".into()),
        Sender::Process { pid, uid } => (pid, uid),
        Sender::Claimed { pid } => {
            return Err(format!(
                "it was sent with sigqueue(3), by which its sender could claim to be pid {pid}: use kill(1) or `healthctl stop`"
            ));
        }
    };
    let name = process::name_of(pid);
    let own_uid = nix::unistd::geteuid().as_raw();
    verdict(process::place_of(pid), uid == own_uid, programs)
        .map(|()| format!("{name}, pid {pid}, uid {uid}"))
        .map_err(|refused| match refused {
            Refused::Below { by } if by == pid => format!("it came from {}, pid {pid}", who(by)),
            Refused::Below { by } => {
                format!("it came from {name}, pid {pid}, which runs below {} (pid {by})", who(by))
            }
            Refused::Gone => format!(
                "its sender, pid {pid}, has ended already and may have been a program of a check: send it again, or use `healthctl stop`"
            ),
        })
}

#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Below { by: u32 },
    Gone,
}

/// A program that has ended cannot be placed. Ours run under our uid; where no check starts programs, none was ours.
fn verdict(place: Place, own_uid: bool, programs: bool) -> Result<(), Refused> {
    match place {
        Place::Below { by } => Err(Refused::Below { by }),
        Place::Unseen if own_uid && programs => Err(Refused::Gone),
        Place::Elsewhere | Place::Unseen => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(sender: Sender, programs: bool) -> Result<String, String> {
        judge(sender, programs, |pid| format!("child {pid}"))
    }

    #[test]
    fn who_started_us_may_stop_us_and_whom_we_started_may_not() {
        let uid = nix::unistd::geteuid().as_raw();
        let ours = std::os::unix::process::parent_id();
        assert!(judged(Sender::Process { pid: ours, uid }, true).is_ok());
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep(1)");
        let pid = child.id();
        let refused = judged(Sender::Process { pid, uid }, true);
        let told = format!("it came from child {pid}, pid {pid}");
        assert_eq!(refused, Err(told));
        child.kill().expect("our own child");
        // Not collected yet, it still shows whose it was.
        assert!(judged(Sender::Process { pid, uid }, true).is_err());
        child.wait().expect("our own child");
    }

    #[test]
    fn a_sender_that_has_ended_is_believed_only_if_it_cannot_have_been_ours() {
        assert_eq!(verdict(Place::Unseen, true, true), Err(Refused::Gone));
        assert_eq!(verdict(Place::Unseen, true, false), Ok(()));
        assert_eq!(verdict(Place::Unseen, false, true), Ok(()));
    }

    #[test]
    fn a_terminal_and_a_container_s_host_may_and_a_claim_counts_for_nothing() {
        assert!(judged(Sender::Kernel, true).is_ok());
        assert!(judged(Sender::Process { pid: 0, uid: 0 }, true).is_ok());
        assert!(judged(Sender::Claimed { pid: 1 }, false).is_err());
    }
}
