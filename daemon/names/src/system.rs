//! What this machine says about names: resolv.conf, hosts and nsswitch.conf, read anew when they change and never half.

use crate::hosts::Hosts;
use crate::nsswitch::{self, Machine, Service};
use crate::resolv_conf::{self, Environment, Settings};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Debug, PartialEq, Eq)]
pub struct System {
    pub settings: Settings,
    pub hosts: Hosts,
    pub services: Vec<Service>,
    pub machine: Machine,
}

/// Where it is read from; another place is for tests.
#[derive(Clone, Debug)]
pub struct Paths {
    pub resolv_conf: PathBuf,
    pub hosts: PathBuf,
    pub nsswitch: PathBuf,
    pub resolved: PathBuf,
    pub machines: PathBuf,
    pub mdns_allow: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Paths {
            resolv_conf: "/etc/resolv.conf".into(),
            hosts: "/etc/hosts".into(),
            nsswitch: "/etc/nsswitch.conf".into(),
            resolved: "/run/systemd/resolve/io.systemd.Resolve".into(),
            machines: "/run/systemd/machines".into(),
            mdns_allow: "/etc/mdns.allow".into(),
        }
    }
}

/// Whoever writes a file in pieces is done when it has not changed for so long.
const QUIET: Duration = Duration::from_millis(50);
/// No such file is larger.
const LARGEST: u64 = 64 << 20;

/// The files, and what was read of them.
pub struct Files {
    paths: Paths,
    environment: Environment,
    known: Option<(Stamps, Arc<System>)>,
}

/// What tells one state of the files from another.
type Stamps = (Vec<Option<Stamp>>, [bool; 3]);
type Stamp = (u64, u64, u64, [i64; 4]);

impl Files {
    pub fn new(paths: Paths) -> Files {
        let text = |name| std::env::var(name).ok();
        let hostname = nix::unistd::gethostname().unwrap_or_default();
        Files {
            paths,
            environment: Environment {
                localdomain: text("LOCALDOMAIN"),
                res_options: text("RES_OPTIONS"),
                hostname: hostname.to_string_lossy().into_owned(),
            },
            known: None,
        }
    }

    /// What they say now; while somebody writes, what they said before.
    pub fn look(&mut self) -> Result<Arc<System>, String> {
        let stamps = self.stamps();
        if let Some((known, system)) = &self.known
            && (*known == stamps || is_written(&stamps.0))
        {
            return Ok(system.clone());
        }
        let read = self.read(stamps.1);
        if self.known.is_some() && self.stamps() != stamps {
            // What was read may be half of it.
            return Ok(self
                .known
                .as_ref()
                .map(|k| k.1.clone())
                .expect("it is some"));
        }
        match (read, &self.known) {
            (Ok(system), _) => {
                let system = Arc::new(system);
                self.known = Some((stamps, system.clone()));
                Ok(system)
            }
            // No descriptor, say: what was known is better than nothing.
            (Err(_), Some((_, system))) => Ok(system.clone()),
            (Err(why), None) => Err(why),
        }
    }

    fn read(&self, [resolved, machines, mdns_allow]: [bool; 3]) -> Result<System, String> {
        let settings =
            resolv_conf::parse(&text(&self.paths.resolv_conf)?, &self.environment, |name| {
                nix::net::if_::if_nametoindex(name).ok()
            });
        let stub = [53, 54].map(|last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last)));
        let machine = Machine {
            hostname: self.environment.hostname.to_ascii_lowercase(),
            stub: settings.servers.iter().all(|s| stub.contains(&s.ip())),
            resolved,
            machines,
            mdns_allow,
        };
        Ok(System {
            hosts: Hosts::parse(&text(&self.paths.hosts)?),
            services: nsswitch::parse(&text(&self.paths.nsswitch)?),
            settings,
            machine,
        })
    }

    fn stamps(&self) -> Stamps {
        let paths = &self.paths;
        let stamp = |m: std::fs::Metadata| {
            let times = [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()];
            (m.dev(), m.ino(), m.size(), times)
        };
        let one = |path: &PathBuf| std::fs::metadata(path).ok().map(stamp);
        let files = [&paths.resolv_conf, &paths.hosts, &paths.nsswitch];
        let asked = |word: &str| {
            let services = self.known.as_ref().map(|k| &k.1.services);
            services.is_none_or(|s| s.iter().any(|s| s.is(word)))
        };
        let there = [
            asked("resolve") && paths.resolved.exists(),
            asked("mymachines")
                && paths
                    .machines
                    .read_dir()
                    .is_ok_and(|mut d| d.next().is_some()),
            asked("mdns") && paths.mdns_allow.exists(),
        ];
        (files.map(one).into(), there)
    }
}

/// Was one of them written a moment ago?
fn is_written(stamps: &[Option<Stamp>]) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    stamps.iter().flatten().any(|(.., [s, ns, ..])| {
        let at = Duration::new((*s).max(0) as u64, (*ns).clamp(0, 999_999_999) as u32);
        now.checked_sub(at).is_some_and(|age| age < QUIET)
    })
}

/// A file that is not there is empty.
fn text(path: &PathBuf) -> Result<String, String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => {
            let text = e.to_string();
            let text = text.split(" (os error ").next().unwrap_or(&text);
            Err(format!("{}: {}", path.display(), text.to_lowercase()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use healthd_testing::{Folder, until};
    use std::io::Write;

    fn files(folder: &Folder) -> Files {
        let file = |name| folder.file(name);
        Files {
            environment: Environment::default(),
            ..Files::new(Paths {
                resolv_conf: file("resolv.conf"),
                hosts: file("hosts"),
                nsswitch: file("nsswitch.conf"),
                resolved: file("resolved"),
                machines: file("machines"),
                mdns_allow: file("mdns.allow"),
            })
        }
    }

    fn server(files: &mut Files) -> String {
        files.look().expect("readable").settings.servers[0]
            .ip()
            .to_string()
    }

    #[test]
    fn a_change_is_seen_and_half_of_one_is_not() {
        let folder = Folder::new();
        let mut files = files(&folder);
        // Nothing is there: as glibc does without any file.
        assert_eq!(server(&mut files), "127.0.0.1");
        folder.write("resolv.conf", "nameserver 192.0.2.1\n");
        let seen = |files: &mut Files, wanted: &str| {
            let wanted = wanted.to_owned();
            until(
                || server(files) == wanted,
                || "the files are not read anew".into(),
            );
        };
        seen(&mut files, "192.0.2.1");
        // One who truncates and goes on writing: nobody sees the empty file.
        let mut slow = File::create(folder.file("resolv.conf")).expect("our own folder");
        assert_eq!(server(&mut files), "192.0.2.1");
        slow.write_all(b"nameserver 192.0.2").expect("our own file");
        assert_eq!(server(&mut files), "192.0.2.1");
        slow.write_all(b".77\n").expect("our own file");
        drop(slow);
        seen(&mut files, "192.0.2.77");
        folder.write("hosts", "192.0.2.5 a.test\n");
        let has = |files: &mut Files| {
            files
                .look()
                .expect("readable")
                .hosts
                .get("a.test")
                .is_some()
        };
        until(|| has(&mut files), || "the hosts file is not read".into());
        // One that cannot be read leaves in force what was.
        std::fs::remove_file(folder.file("resolv.conf")).expect("our own file");
        std::fs::create_dir(folder.file("resolv.conf")).expect("our own folder");
        assert_eq!(server(&mut files), "192.0.2.77");
        let e = files_of(&folder).look().expect_err("a folder is no file");
        assert!(e.contains("resolv.conf: is a directory"), "{e}");
    }

    fn files_of(folder: &Folder) -> Files {
        files(folder)
    }
}
