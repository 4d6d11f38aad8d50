//! The network's less common doors on MockHost: STARTTLS, foreign descriptors, ping sockets, source addresses.

#![forbid(unsafe_code)]

use healthd_plugin::mock::{MockHost, Outcome};
use healthd_plugin::net::{
    AsyncFd, AsyncRead, AsyncWrite, Bind, Heard, PingSocket, TcpStream, UdpSocket, read, write_all,
};
use healthd_plugin::tls::rustls::crypto::ring;
use healthd_plugin::tls::rustls::pki_types::pem::PemObject;
use healthd_plugin::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use healthd_plugin::tls::rustls::{ServerConfig, ServerConnection, StreamOwned};
use healthd_plugin::tls::{Connector, Dialect, Roots, starttls};
use healthd_plugin::{Check, Cx, Status, options, plugins};
use healthd_testing::{Certs, Peer, in_own_network, ip, net_sysctl};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);

options! {
    struct Options {
        case: String = String::new(),
        dialect: Option<Dialect>,
        to: Option<String>,
        size: usize = 56,
        dont_fragment: bool = false,
        source: Option<String>,
    }
}

struct Net(Options);

impl Check for Net {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Net(options))
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        let to = self.0.to.as_deref().unwrap_or_default();
        let bind = Bind {
            source: self.0.source.as_ref().map(|s| s.parse().unwrap()),
            dscp: Some(46),
            ttl: Some(7),
            interface: None,
        };
        if let Some(dialect) = self.0.dialect {
            let stream = TcpStream::connect(cx, to.parse().unwrap()).await.unwrap();
            return match starttls(stream, dialect, "x.example'/>").await {
                Ok(_) => cx.ok("ready"),
                Err(e) => cx.critical(e),
            };
        }
        match self.0.case.as_str() {
            "fd" => fd(cx).await,
            "dribs" => {
                let stream = TcpStream::connect(cx, to.parse().unwrap()).await.unwrap();
                dribs(cx, stream).await
            }
            "dribs in TLS" => {
                let stream = TcpStream::connect(cx, to.parse().unwrap()).await.unwrap();
                let anybody = Connector::new(&Roots::Insecure, "localhost").unwrap();
                dribs(cx, anybody.connect(stream).await.unwrap()).await
            }
            "source" => {
                let to = to.parse().unwrap();
                let found = match UdpSocket::connect_with(cx, to, &bind) {
                    Ok(_) => TcpStream::connect_any_with(cx, &[to], &bind).await,
                    Err(e) => Err(e),
                };
                match found {
                    Ok(_) => Status::Ok,
                    Err(e) => cx.fail("connect", &e),
                }
            }
            _ => self.ping(cx, to.parse().unwrap()).await,
        }
    }
}

impl Net {
    async fn ping(&self, cx: Cx<'_>, to: IpAddr) -> Status {
        let (size, df) = (self.0.size, self.0.dont_fragment);
        let mut socket = match PingSocket::open(cx, to, size, df, &Bind::default()) {
            Ok(socket) => socket,
            Err(e) => return cx.unknown(e),
        };
        let sent = match socket.send(7).await {
            Ok(sent) => sent,
            Err(e) => return cx.fail("send", &e),
        };
        match socket.hear().await {
            Ok(Heard::Echo { seq: 7, at_ns, ttl }) => {
                assert!((sent..=cx.now_ns()).contains(&at_ns));
                cx.ok(format_args!("ttl {ttl:?}"))
            }
            Ok(Heard::Error { from, seq, why }) => {
                cx.critical(format_args!("{from:?} {seq:?} {why:?}"))
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn fd(cx: Cx<'_>) -> Status {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let blocking = AsyncFd::new(cx, ours.try_clone().unwrap()).err().unwrap();
    assert_eq!(blocking.kind(), ErrorKind::InvalidInput);
    ours.set_nonblocking(true).unwrap();
    let fd = AsyncFd::new(cx, ours).unwrap();
    let writer = std::thread::spawn(move || {
        for byte in b"abc" {
            theirs.write_all(&[*byte]).unwrap();
            std::thread::yield_now();
        }
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).unwrap();
        all.len()
    });
    let mut got = Vec::new();
    while got.len() < 3 {
        let mut buffer = [0; 8];
        let n = fd.read_with(|mut s| s.read(&mut buffer)).await.unwrap();
        got.extend_from_slice(&buffer[..n]);
    }
    assert_eq!(got, b"abc");
    // More than a socket holds: it has to wait for room.
    let (chunk, mut sent) = (vec![0; 1 << 16], 0);
    while sent < 1 << 22 {
        sent += fd.write_with(|mut s| s.write(&chunk)).await.unwrap();
    }
    drop(fd);
    assert_eq!(writer.join().unwrap(), sent);
    cx.ok("done")
}

/// The moments at which one may go on that reads dribs.
const PAUSE_NS: u64 = 5_000_000;
/// Reads without a pause, and with one.
const FREE: u64 = 64;
const PAUSED: u64 = 20;
/// Bytes that the peer sends for each that it gets, one by one.
const BURST: usize = 20;

/// Says for how many moments it has waited.
async fn dribs(cx: Cx<'_>, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Status {
    let (mut got, mut begun) = (0, 0);
    for n in 0..FREE + PAUSED {
        if got % BURST == 0 {
            write_all(&mut stream, b".").await.unwrap();
        }
        if n == FREE {
            begun = cx.now_ns();
        }
        got += read(&mut stream, &mut [0; 4096]).await.unwrap();
    }
    cx.ok(cx.now_ns() / PAUSE_NS - begun / PAUSE_NS)
}

/// Answers each byte with a burst of bytes, each in a write of its own.
fn in_bursts(stream: &mut (impl Read + Write)) {
    while stream.read(&mut [0]).unwrap_or(0) == 1 {
        for _ in 0..BURST {
            if stream
                .write_all(b"a")
                .and_then(|()| stream.flush())
                .is_err()
            {
                return;
            }
        }
    }
}

plugins! {
    step Net { name: "net", summary: "tests of the network" }
}

fn check(options: &str) -> Outcome {
    let plugin = MockHost::new(hd_plugin_v1).plugin("net");
    plugin.create(options).unwrap().run(LONG)
}

/// What is waited for, and what is said then.
type Script = &'static [(&'static [u8], &'static [u8])];

/// A server that says the second of each pair once it has heard something that ends with the first.
fn dialogue(dialect: &str, script: Script) -> (Status, String) {
    let peer = Peer::new(move |mut stream| {
        for (wait, say) in script {
            let mut heard = Vec::new();
            while !heard.ends_with(wait) {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                heard.push(byte[0]);
            }
            if stream.write_all(say).is_err() {
                return;
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let to = peer.addr;
    let o = check(&format!(r#"{{"dialect": "{dialect}", "to": "{to}"}}"#));
    (o.status, o.message)
}

#[test]
fn each_dialect_up_to_the_handshake() {
    const LDAP: &[u8] = b"1.3.6.1.4.1.1466.20037";
    const LDAP_OK: &[u8] = b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00";
    const MYSQL: &[u8] = b"\x1d\0\0\0\x0a5.5.5-10\0\x01\0\0\0saltsalt\0\xff\xff\x08\x02\0\xff";
    const MYSQL_ASKED: &[u8] = &[0; 23];
    const WHOLE: &[(&str, Script)] = &[
        ("smtp", &[(b"", b"220-a\r\n220 b\r\n"), (b"EHLO healthd\r\n", b"250-x\r\n250-STARTTLS\r\n250 HELP\r\n"), (b"STARTTLS\r\n", b"220 go\r\n")]),
        ("imap", &[(b"", b"* OK [CAPABILITY IMAP4rev1] hi\r\n"), (b"a STARTTLS\r\n", b"* OK wait\r\na ok go\r\n")]),
        ("pop3", &[(b"", b"+OK hi\r\n"), (b"STLS\r\n", b"+OK go\r\n")]),
        ("ftp", &[(b"", b"220-a\r\nfree text\r\n220 b\r\n"), (b"AUTH TLS\r\n", b"234 go\r\n")]),
        ("nntp", &[(b"", b"201 hi\r\n"), (b"STARTTLS\r\n", b"382 go\r\n")]),
        ("sieve", &[(b"", b"\"IMPLEMENTATION\" \"x\"\r\n\"STARTTLS\"\r\nOK \"hi\"\r\n"), (b"STARTTLS\r\n", b"OK \"go\"\r\n")]),
        ("xmpp", &[(b"to='x.example' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>",
            b"<stream:stream id='1'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"),
            (b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")]),
        ("ldap", &[(LDAP, LDAP_OK)]),
        ("postgres", &[(b"\0\0\0\x08\x04\xd2\x16\x2f", b"S")]),
        ("mysql", &[(b"", MYSQL), (MYSQL_ASKED, b"")]),
    ];
    for (dialect, script) in WHOLE {
        let (status, message) = dialogue(dialect, script);
        assert_eq!((status, &*message), (Status::Ok, "ready"), "{dialect}");
    }
}

#[test]
fn what_comes_before_the_handshake_is_an_injection() {
    const REFUSED: &str = "the server sent 6 bytes between its answer and the TLS handshake";
    const INJECTED: &[(&str, Script)] = &[
        (
            "smtp",
            &[
                (b"", b"220 b\r\n"),
                (b"EHLO healthd\r\n", b"250-x\r\n250 STARTTLS\r\n"),
                (b"STARTTLS\r\n", b"220 go\r\n250 x\n"),
            ],
        ),
        (
            "imap",
            &[
                (b"", b"* OK hi\r\n"),
                (b"a STARTTLS\r\n", b"a OK\r\n* OK\r\n"),
            ],
        ),
        (
            "pop3",
            &[(b"", b"+OK hi\r\n"), (b"STLS\r\n", b"+OK go\r\n+OK x\n")],
        ),
        (
            "ldap",
            &[(
                b"20037",
                b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00xxxxxx",
            )],
        ),
        ("postgres", &[(b"\x16\x2f", b"SEEEEEE")]),
    ];
    for (dialect, script) in INJECTED {
        assert_eq!(
            dialogue(dialect, script),
            (Status::Critical, REFUSED.into()),
            "{dialect}"
        );
    }
}

#[test]
fn servers_that_refuse_and_servers_of_something_else() {
    const REFUSING: &[(&str, Script, &str)] = &[
        (
            "smtp",
            &[
                (b"", b"220 b\r\n"),
                (b"EHLO healthd\r\n", b"250-x\r\n250 HELP\r\n"),
            ],
            "the server offers no STARTTLS",
        ),
        (
            "smtp",
            &[(b"", b"421 busy\r\n")],
            "the server said 421 busy where 220 is needed",
        ),
        (
            "smtp",
            &[(b"", b"220-a\r\n221 b\r\n")],
            "the server said \"221 b\" where one code in all lines of an answer (220) is needed",
        ),
        (
            "smtp",
            &[(b"", b"SSH-2.0-x\r\n")],
            "the server said \"SSH-2.0-x\" where a code of three digits is needed",
        ),
        (
            "smtp",
            &[(b"", b"22\xe2\x82\xac0\r\n")],
            "the server said \"22\u{20ac}0\" where a code of three digits is needed",
        ),
        ("smtp", &[], "connection closed"),
        (
            "imap",
            &[(b"", b"* PREAUTH hi\r\n")],
            "the server says PREAUTH, after which IMAP has no STARTTLS",
        ),
        (
            "imap",
            &[(b"", b"* OK hi\r\n"), (b"STARTTLS\r\n", b"a NO no\r\n")],
            "the server said \"a NO no\" where a OK is needed",
        ),
        (
            "imap",
            &[(b"", b"* OK hi\r\n"), (b"STARTTLS\r\n", b"* BYE\r\n")],
            "the server said \"* BYE\" where a OK is needed",
        ),
        (
            "pop3",
            &[(b"", b"-ERR no\r\n")],
            "the server said \"-ERR no\" where +OK is needed",
        ),
        (
            "sieve",
            &[(b"", b"OK\r\n")],
            "the server offers no STARTTLS",
        ),
        (
            "xmpp",
            &[(b"'1.0'>", b"<stream:stream><stream:features/>")],
            "connection closed",
        ),
        (
            "ldap",
            &[(
                b"20037",
                b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00",
            )],
            "the server refuses StartTLS: LDAP result 52",
        ),
        (
            "ldap",
            &[(b"20037", b"\x30\x84\xff\xff\xff\xff")],
            "an LDAP message of more than 8192 bytes",
        ),
        (
            "ldap",
            &[(b"20037", b"HTTP/1.1 400\r\n\r\n")],
            "the server does not speak LDAP",
        ),
        (
            "ldap",
            &[(b"20037", b"\x30\x02\x02\x01")],
            "no answer to StartTLS",
        ),
        (
            "postgres",
            &[(b"\x2f", b"N")],
            "the server offers no STARTTLS",
        ),
        (
            "mysql",
            &[(b"", b"\x0b\0\0\0\xff\x10\x04Too many")],
            "the server said Too many",
        ),
        (
            "mysql",
            &[(b"", b"\x03\0\0\0\x0a5\0")],
            "the greeting is cut short",
        ),
        (
            "mysql",
            &[(b"", b"\xff\xff\xff\0")],
            "a greeting of 16777215 bytes",
        ),
        (
            "mysql",
            &[(b"", b"\0\0\0\0")],
            "the server does not speak MySQL",
        ),
    ];
    for (dialect, script, wanted) in REFUSING {
        assert_eq!(
            dialogue(dialect, script),
            (Status::Critical, wanted.to_string()),
            "{dialect}"
        );
    }
}

#[test]
fn a_descriptor_of_ones_own() {
    assert_eq!(check(r#"{"case": "fd"}"#).message, "done");
}

#[test]
fn a_source_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let o = check(&format!(
        r#"{{"case": "source", "source": "127.0.0.2", "to": "{to}"}}"#
    ));
    assert_eq!(o.status, Status::Ok, "{}", o.message);
    let from: IpAddr = [127, 0, 0, 2].into();
    assert_eq!(listener.accept().unwrap().1.ip(), from);
    let o = check(&format!(
        r#"{{"case": "source", "source": "::1", "to": "{to}"}}"#
    ));
    let text = "connect: the source address is of another family than the target";
    assert_eq!(o.message, text);
    // Not ours: that is this machine's fault, not the target's.
    let o = check(&format!(
        r#"{{"case": "source", "source": "192.0.2.1", "to": "{to}"}}"#
    ));
    assert_eq!(o.status, Status::Resources, "{}", o.message);
}

#[test]
fn pings_of_both_families_with_both_kinds_of_sockets() {
    in_own_network(|| {
        // Raw sockets: a new network permits nobody the other kind.
        for group in ["1 0", "0 2147483647"] {
            net_sysctl("ipv4/ping_group_range", group);
            for to in ["127.0.0.1", "127.9.8.7", "::1"] {
                let o = check(&format!(r#"{{"to": "{to}", "size": 1000}}"#));
                assert_eq!(
                    (o.status, &*o.message),
                    (Status::Ok, "ttl Some(64)"),
                    "{to} {group}"
                );
            }
        }
    });
}

#[test]
fn what_icmp_says_of_a_request() {
    in_own_network(|| {
        ip("route add unreachable 192.0.2.0/24");
        ip("link set lo mtu 1500");
        net_sysctl("ipv4/ping_group_range", "0 2147483647");
        let o = check(r#"{"to": "192.0.2.1"}"#);
        assert_eq!(o.message, "send: no route to host");
        let o = check(r#"{"to": "127.0.0.1", "size": 2000}"#);
        assert_eq!(o.message, "ttl Some(64)");
        let o = check(r#"{"to": "127.0.0.1", "size": 2000, "dont_fragment": true}"#);
        assert_eq!(o.message, "send: message too long");
    });
}

/// Neither what comes byte by byte nor a server that sends TLS records of a byte has a step for each of them.
#[test]
fn dribs_are_read_with_pauses_and_wake_nobody() {
    let slow = |case: &str, peer: Peer| {
        let o = check(&format!(r#"{{"case": "{case}", "to": "{}"}}"#, peer.addr));
        assert_eq!(o.status, Status::Ok, "{o:?}");
        // After the first of those that have to wait. In TLS the first read may be a large one: tickets come with it.
        let waited: u64 = o.message.parse().unwrap();
        assert!(waited >= PAUSED - 2, "{o:?}");
        // When its moment comes, or else also when something comes after that.
        assert!(u64::from(o.steps) <= 3 * (FREE + PAUSED), "{o:?}");
    };
    slow(
        "dribs",
        Peer::new(|mut stream| {
            stream.set_nodelay(true).unwrap();
            in_bursts(&mut stream);
        }),
    );
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let chain = CertificateDer::pem_file_iter(certs.certificate()).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(certs.key()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    slow(
        "dribs in TLS",
        Peer::new(move |stream| {
            stream.set_nodelay(true).unwrap();
            let connection = ServerConnection::new(config.clone()).unwrap();
            in_bursts(&mut StreamOwned::new(connection, stream));
        }),
    );
}
