//! Whether this machine can look up names: each name server of resolv.conf is asked once.

use super::{Findings, Root};
use healthd_names::resolv_conf::{self, Environment};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(1);
/// Who has the root? Every resolver knows, and most have it at hand.
const QUESTION: [u8; 17] = [
    0x48, 0x44, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, /* the root */ 0, /* NS */ 0, 2,
    /* IN */ 0, 1,
];

pub fn look(root: &Root) -> Findings {
    let mut found = Findings::of("resolver");
    let Some(text) = root.read("/etc/resolv.conf") else {
        found.warning(
            "there is no /etc/resolv.conf: only names in /etc/hosts can be looked up",
            "echo 'nameserver 192.0.2.53' | sudo tee /etc/resolv.conf   # with the address of yours",
        );
        return found;
    };
    let index = |name: &str| -> Option<u32> {
        root.read(&format!("/sys/class/net/{name}/ifindex"))?
            .parse()
            .ok()
    };
    let servers = resolv_conf::parse(&text, &Environment::default(), index).servers;
    let asked: Vec<(SocketAddr, io::Result<Duration>)> = std::thread::scope(|scope| {
        let asked: Vec<_> = (servers.iter())
            .map(|server| (*server, scope.spawn(move || ask(*server))))
            .collect();
        let ends = asked.into_iter().map(|(server, end)| {
            let end = end
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("not asked")));
            (server, end)
        });
        ends.collect()
    });
    let is_any_there = asked.iter().any(|(_, end)| end.is_ok());
    for (server, end) in asked {
        let ip = server.ip();
        match end {
            Ok(took) => {
                let ms = took.as_secs_f64() * 1_000.0;
                found.ok(format!("name server {ip} answers in {ms:.1} ms"));
            }
            Err(e) => {
                let why = match e.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "is silent".to_owned(),
                    io::ErrorKind::ConnectionRefused => "refuses: nobody listens there".to_owned(),
                    _ => format!("cannot be asked: {e}"),
                };
                let mend = "resolvectl status 2>/dev/null || cat /etc/resolv.conf   # is it the right one? then look at it and the way to it";
                match is_any_there {
                    true => {
                        found.warning(format!("name server {ip} {why}; another one answers"), mend)
                    }
                    false => found.problem(
                        format!(
                            "name server {ip} {why}: checks by name are UNKNOWN (self:resolver)"
                        ),
                        mend,
                    ),
                }
            }
        }
    }
    found
}

fn ask(server: SocketAddr) -> io::Result<Duration> {
    let ours: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(ours)?;
    socket.connect(server)?;
    let begin = Instant::now();
    socket.send(&QUESTION)?;
    let mut answer = [0; 512];
    loop {
        let left = PATIENCE.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut answer)?;
        // Whatever it says of the root: it answers us.
        if length >= 12 && answer[..2] == QUESTION[..2] && answer[2] & 0x80 != 0 {
            return Ok(begin.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn one_that_answers_and_one_where_nobody_listens() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = server.local_addr().expect("bound");
        let answer = std::thread::spawn(move || {
            let mut question = [0; 64];
            let (length, from) = server.recv_from(&mut question).expect("a question");
            question[2] |= 0x80;
            server
                .send_to(&question[..length], from)
                .expect("it is there");
        });
        ask(address).expect("it answers");
        answer.join().expect("no panic");
        let nobody = ask(address).expect_err("nobody listens");
        assert_eq!(nobody.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_machine_without_a_resolver() {
        let found = look(&Root("/nonexistent".into())).list;
        assert_eq!(found[0].state, State::Warning);
        assert!(found[0].mend.is_some());
    }
}
