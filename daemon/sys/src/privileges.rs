//! From root to the configured user, for good; and what of root's rights the supervisor keeps to start others under other
//! users, and to end them.

use nix::unistd::{
    Gid, Group, Uid, User, getgrouplist, setgid, setgroups, setresgid, setresuid, setuid,
};
use std::ffi::{CString, OsString};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Account {
    pub name: String,
    pub uid: Uid,
    pub gid: Gid,
    pub home: PathBuf,
}

impl Account {
    /// What a login would set; systemd does the same for `User=`.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        vec![
            ("HOME".into(), self.home.clone().into()),
            ("USER".into(), self.name.clone().into()),
            ("LOGNAME".into(), self.name.clone().into()),
        ]
    }
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

/// All groups of an account, as the user database has them.
pub fn groups_of(account: &Account) -> io::Result<Vec<u32>> {
    let name = CString::new(account.name.as_str()).map_err(io::Error::other)?;
    let groups = getgrouplist(&name, account.gid)?;
    Ok(groups.into_iter().map(Gid::as_raw).collect())
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

/// Who a process that is started is to be: all that takes memory or a look into files has been done.
#[derive(Clone, Debug)]
pub struct Identity {
    pub account: Account,
    groups: Vec<Gid>,
}

impl Identity {
    pub fn of(account: Account) -> io::Result<Identity> {
        let name = CString::new(account.name.as_str()).map_err(io::Error::other)?;
        let groups = getgrouplist(&name, account.gid)?;
        Ok(Identity { account, groups })
    }

    /// Of a forked child before its exec: system calls only.
    pub fn take_on(&self) -> nix::Result<()> {
        setgroups(&self.groups)?;
        setresgid(self.account.gid, self.account.gid, self.account.gid)?;
        setresuid(self.account.uid, self.account.uid, self.account.uid)
    }
}

/// As `drop_to`, but this process may still start others under other users, and end them. What it starts may not: these
/// rights end with exec(2).
pub fn drop_to_and_place(account: &Account, keep: Option<Gid>) -> io::Result<()> {
    nix::sys::prctl::set_keepcaps(true)?;
    let name = CString::new(account.name.as_str()).map_err(io::Error::other)?;
    let mut groups = getgrouplist(&name, account.gid)?;
    groups.extend(keep.filter(|g| !groups.contains(g)));
    setgroups(&groups)?;
    setresgid(account.gid, account.gid, account.gid)?;
    setresuid(account.uid, account.uid, account.uid)?;
    nix::sys::prctl::set_keepcaps(false)?;
    keep_placing()
}

/// May this process start others under other users, and end them?
pub fn may_place() -> bool {
    capabilities().is_ok_and(|held| held.effective & PLACING == PLACING)
}

/// Of all capabilities those, and none that what is started would inherit.
pub fn keep_placing() -> io::Result<()> {
    // SAFETY: the call takes numbers only; a kernel without ambient capabilities has none to clear.
    unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )
    };
    set_capabilities(Capabilities {
        effective: PLACING,
        permitted: PLACING,
        inheritable: 0,
    })
}

/// capabilities(7): CAP_KILL, CAP_SETGID, CAP_SETUID.
const PLACING: u32 = 1 << 5 | 1 << 6 | 1 << 7;

/// The first 32, as capset(2) has them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Capabilities {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

/// _LINUX_CAPABILITY_VERSION_3: two sets of 32.
const CAPS_HEADER: CapHeader = CapHeader {
    version: 0x2008_0522,
    pid: 0,
};

fn capabilities() -> io::Result<Capabilities> {
    let mut header = CAPS_HEADER;
    let mut data = [Capabilities::default(); 2];
    // SAFETY: both are writable and as long as this version has them.
    let r = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    match r {
        0 => Ok(data[0]),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_capabilities(of_first: Capabilities) -> io::Result<()> {
    let mut header = CAPS_HEADER;
    let data = [of_first, Capabilities::default()];
    // SAFETY: both are readable and as long as this version has them.
    let r = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    match r {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_place_others_is_known_by_its_capabilities() {
        let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
        let held = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
        let held = u64::from_str_radix(held.expect("proc(5)").trim(), 16).expect("a number");
        assert_eq!(may_place(), held as u32 & PLACING == PLACING);
    }
}
