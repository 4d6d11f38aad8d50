//! Who listens on this machine, from /proc/net and the descriptors of processes. Of other users' processes only root
//! sees the name.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub udp: bool,
    pub port: u16,
    /// Where it can be asked from here: an address, or `localhost` if it listens on all.
    pub host: String,
    /// Its name; None: it may not be seen.
    pub process: Option<String>,
}

const LISTEN: &str = "0A";
/// A UDP socket that is bound and connected to nobody.
const UNCONNECTED: &str = "07";

/// By port, each once. `proc` is /proc.
pub fn find(proc: &Path) -> Vec<Listener> {
    let names = names_by_inode(proc);
    // What is on all addresses counts more than the same port on one of them, and IPv4 more than IPv6.
    let mut found: BTreeMap<(bool, u16), (u8, Listener)> = BTreeMap::new();
    for (file, udp, wanted) in [
        ("net/tcp", false, LISTEN),
        ("net/tcp6", false, LISTEN),
        ("net/udp", true, UNCONNECTED),
        ("net/udp6", true, UNCONNECTED),
    ] {
        let table = std::fs::read_to_string(proc.join(file)).unwrap_or_default();
        for (ip, port, inode) in table.lines().skip(1).filter_map(|line| row(line, wanted)) {
            let listener = Listener {
                udp,
                port,
                host: host(ip),
                process: names.get(&inode).cloned(),
            };
            let rank = u8::from(!ip.is_unspecified()) * 2 + u8::from(ip.is_ipv6());
            match found.get(&(udp, port)) {
                Some((known, _)) if *known <= rank => {}
                _ => drop(found.insert((udp, port), (rank, listener))),
            }
        }
    }
    found.into_values().map(|(_, listener)| listener).collect()
}

fn host(ip: IpAddr) -> String {
    match ip {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V6(ip) => ip
            .to_ipv4_mapped()
            .map_or(ip.to_string(), |ip| ip.to_string()),
        IpAddr::V4(ip) => ip.to_string(),
    }
}

/// `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode`
fn row(line: &str, wanted: &str) -> Option<(IpAddr, u16, u64)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if words.get(3) != Some(&wanted) {
        return None;
    }
    let (address, port) = words.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16)
        .ok()
        .filter(|port| *port > 0)?;
    Some((ip(address)?, port, words.get(9)?.parse().ok()?))
}

/// Words of 32 bits, each in the byte order of this machine.
fn ip(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(hex.get(8 * at..8 * at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[4 * at..4 * at + 4].copy_from_slice(&word(at)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

fn names_by_inode(proc: &Path) -> HashMap<u64, String> {
    let mut names = HashMap::new();
    let processes = std::fs::read_dir(proc).into_iter().flatten().flatten();
    for process in processes.map(|entry| entry.path()) {
        let Ok(fds) = std::fs::read_dir(process.join("fd")) else {
            continue;
        };
        let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default();
        let name = name.trim();
        if name.is_empty() {
            continue;
        }
        for fd in fds.flatten() {
            let to = std::fs::read_link(fd.path()).unwrap_or_default();
            let inode = to.to_str().and_then(|to| to.strip_prefix("socket:["));
            let inode = inode.and_then(|rest| rest.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                names.entry(inode).or_insert_with(|| name.to_owned());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn rows_of_proc_net() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1 0 100 0 0 10 0";
        let at = (IpAddr::from([127, 0, 0, 1]), 8080, 4711);
        assert_eq!(row(line, LISTEN), Some(at));
        assert_eq!(row(line, UNCONNECTED), None);
        assert_eq!(
            ip("00000000000000000000000001000000"),
            Some(Ipv6Addr::LOCALHOST.into())
        );
        for wrong in [
            "",
            "x",
            "   0: 1:2 3 0A",
            "   0: 0100007F:0000 0:0 0A 0 0 0 0 0 1",
        ] {
            assert_eq!(row(wrong, LISTEN), None, "{wrong}");
        }
    }

    #[test]
    fn one_of_our_own_is_found_with_its_name() {
        let ours = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = ours.local_addr().expect("bound").port();
        let all = find(Path::new("/proc"));
        let found = all
            .iter()
            .find(|l| l.port == port && !l.udp)
            .expect("it listens");
        assert_eq!(found.host, "127.0.0.1");
        // The thread of a test may have a name of its own; a process has that of its first one.
        assert!(found.process.is_some(), "{found:?}");
        assert!(find(Path::new("/nonexistent")).is_empty());
    }
}
