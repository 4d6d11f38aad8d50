//! From root to the configured user, for good.

use nix::unistd::{Gid, Group, Uid, User, getgrouplist, setgid, setgroups, setuid};
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Account {
    pub name: String,
    pub uid: Uid,
    pub gid: Gid,
    pub home: PathBuf,
}

/// By its name, or by its number, which need not be in the user database (containers).
pub fn lookup_user(name: &str) -> io::Result<Option<Account>> {
    let user = match (User::from_name(name)?, name.parse::<u32>()) {
        (Some(user), _) => user,
        (None, Err(_)) => return Ok(None),
        (None, Ok(number)) => match User::from_uid(Uid::from_raw(number))? {
            Some(user) => user,
            None => {
                return Ok(Some(Account {
                    name: name.to_owned(),
                    uid: Uid::from_raw(number),
                    gid: Gid::from_raw(number),
                    home: "/".into(),
                }));
            }
        },
    };
    Ok(Some(user).map(|u| Account {
        name: u.name,
        uid: u.uid,
        gid: u.gid,
        home: u.dir,
    }))
}

pub fn lookup_group(name: &str) -> io::Result<Option<Gid>> {
    Ok(Group::from_name(name)?.map(|g| g.gid))
}

/// Groups first, then gid, then uid: after setuid the rest would be refused. Checks that there is no way
/// back. `keep` is one more group to be a member of (the control socket's).
pub fn drop_to(account: &Account, keep: Option<Gid>) -> io::Result<()> {
    let name = CString::new(account.name.as_str()).map_err(io::Error::other)?;
    let mut groups = getgrouplist(&name, account.gid)?;
    groups.extend(keep.filter(|g| !groups.contains(g)));
    setgroups(&groups)?;
    setgid(account.gid)?;
    setuid(account.uid)?;
    if !account.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("root could be taken back after setuid"));
    }
    Ok(())
}

/// Root becomes nobody, for good; whoever else we are stays. For code that was not judged yet.
pub fn become_nobody() -> io::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    let nobody = nobody()?;
    setgroups(&[nobody.gid])?;
    setgid(nobody.gid)?;
    setuid(nobody.uid)?;
    Ok(())
}

fn nobody() -> io::Result<Account> {
    Ok(lookup_user("nobody")?.unwrap_or_else(|| Account {
        name: "nobody".into(),
        uid: Uid::from_raw(65534),
        gid: Gid::from_raw(65534),
        home: "/".into(),
    }))
}

/// For a process of ours that becomes nobody; whoever else we are keeps it.
pub fn give_to_nobody(path: &Path) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        let nobody = nobody()?;
        nix::unistd::chown(path, Some(nobody.uid), Some(nobody.gid))?;
    }
    Ok(())
}

/// May this process give a file to the group? Its owner may, if it is in the group itself (chown(2)).
pub fn in_group(group: Gid) -> bool {
    nix::unistd::getegid() == group
        || nix::unistd::getgroups().is_ok_and(|groups| groups.contains(&group))
}
