//! The web process: whether it answers where `[web]` says. One that cannot listen is started again and again, and checks
//! go on: nobody would notice.

use super::daemon::here;
use super::{Findings, Patient, quoted};
use healthd_core::config::Listen;
use serde::Deserialize;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// It answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// `judged`: what healthd makes of the configuration.
pub fn look(patient: &Patient, judged: Option<&Value>) -> Findings {
    let mut found = Findings::of("web");
    let listen = judged.and_then(|said| Listen::deserialize(&said["web"]).ok());
    // Nobody is to listen while healthd does not run, and that is said already.
    let (Some(listen), Some(pid)) = (listen, patient.pid) else {
        return found;
    };
    match listen {
        Listen::Tcp(address) => tcp(&mut found, patient, address, lives(pid)),
        Listen::Unix(path) => unix(&mut found, patient, &path),
        Listen::Systemd if !lives(pid) => found.problem(
            "[web] has no socket of the service manager",
            "sudo systemctl enable --now healthd-web.socket && sudo systemctl restart healthd",
        ),
        Listen::Systemd => found.ok("[web] has the socket of the service manager"),
        Listen::Nowhere => {}
    }
    found
}

fn tcp(found: &mut Findings, patient: &Patient, address: SocketAddr, lives: bool) {
    let port = address.port();
    let whose = format!(
        "{}ss -ltnp 'sport = :{port}'   # shows whose it is: end that, or choose another `listen`",
        patient.sudo()
    );
    match TcpStream::connect_timeout(&reached(address), PATIENCE) {
        Ok(stream) => match (lives, is_ours(stream)) {
            (true, Ok(true)) => found.ok(format!("[web] answers on http://{address}/")),
            (true, Err(e)) if e.kind() == io::ErrorKind::WouldBlock => found.problem(
                format!("[web] on {address} takes connections and does not answer"),
                patient.restart(),
            ),
            _ => found.problem(
                format!("[web] cannot listen on {address}: another program does"),
                whose,
            ),
        },
        Err(_) if !is_own(address.ip()) => found.problem(
            format!("[web] cannot listen on {address}: this machine does not have that address"),
            "ip -brief address   # shows those that it has",
        ),
        Err(e) => silent(found, patient, &address.to_string(), &e),
    }
}

fn unix(found: &mut Findings, patient: &Patient, path: &Path) {
    let shown = format!("unix:{}", path.display());
    match UnixStream::connect(path) {
        Ok(stream) => match is_ours(stream) {
            Ok(true) => found.ok(format!("[web] answers on {shown}")),
            _ => found.problem(
                format!("[web] on {shown} takes connections and does not answer"),
                patient.restart(),
            ),
        },
        // Who may reach it is the owner's affair.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
        Err(_) if path.exists() && !is_socket(path) => found.problem(
            format!("[web] cannot listen on {shown}: there is a file of that name"),
            format!("{}rm {}", patient.sudo(), quoted(path)),
        ),
        Err(e) => silent(found, patient, &shown, &e),
    }
}

fn silent(found: &mut Findings, patient: &Patient, shown: &str, e: &io::Error) {
    let log = match patient.has_unit && !patient.here {
        true => "; `journalctl -u healthd` says why",
        false => "; the log says why",
    };
    found.problem(
        format!("[web] does not answer on {shown}: {e}{log}"),
        format!(
            "{}healthctl {}reload   # if the config has changed since",
            patient.sudo(),
            here(patient)
        ),
    );
}

/// Where a client on this machine reaches what listens at this address.
fn reached(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// An address of this machine: only such a one can be bound.
fn is_own(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
}

/// A process of that name below the supervisor: one that cannot listen lives for a moment only.
fn lives(supervisor: u32) -> bool {
    let path = format!("/proc/{supervisor}/task/{supervisor}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let name = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/comm"));
    let mut children = children.split_whitespace();
    children.any(|pid| name(pid).is_ok_and(|name| name.trim() == "healthd-web"))
}

trait Stream: Read + Write {
    fn patience(&self, time: Duration) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn patience(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

impl Stream for UnixStream {
    fn patience(&self, time: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(time))?;
        self.set_write_timeout(Some(time))
    }
}

fn is_ours(mut stream: impl Stream) -> io::Result<bool> {
    stream.patience(PATIENCE)?;
    stream.write_all(b"GET /livez HTTP/1.0\r\nHost: healthd\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.0 200") && answer.ends_with(b"\r\n\r\nok\n"))
}
