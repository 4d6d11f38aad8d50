//! The servers, the first of them a good one.

use super::talk::Part::{self, Again, Hear, Say};
use super::talk::{Talk, postgres};
use healthd_testing::{Folder, run};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

pub struct Server {
    pub name: String,
    pub plugin: &'static str,
    /// Of its checks; PORT is where it listens.
    pub options: String,
    pub talk: Talk,
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
/// What a terminal would obey: its title, colours, the other direction, back and over it.
const ESCAPES: &[u8] = b"\x1b]0;owned\x07\x1b[2J\x9b31m\xe2\x80\xae\x08";
const NEVER: &str = ", body_contains = \"never\"";
const NOW: Duration = Duration::ZERO;

pub fn all() -> Result<Vec<Server>, String> {
    let groups = [http(), tcp(), records(), certificates()?, databases()];
    Ok(groups.into_iter().flatten().collect())
}

fn large() -> Vec<u8> {
    vec![b'x'; 64 << 10]
}

fn http() -> Vec<Server> {
    let server = |name: &str, more: &str, parts: Vec<Part>| Server {
        name: format!("http: {name}"),
        plugin: "http",
        options: format!("url = \"http://127.0.0.1:PORT/\"{more}"),
        talk: Talk::Plain(parts.into()),
    };
    let endless = |name: &str, more: &str, first: &[u8], again: Vec<u8>| {
        let parts = vec![Hear, Say(first.to_vec()), Again(again, NOW)];
        server(name, more, parts)
    };
    let once = |name: &str, more: &str, parts: &[&[u8]]| {
        server(name, more, vec![Hear, Say(parts.concat())])
    };
    let drip = Duration::from_millis(50);
    let line = [b"A: ", &large()[..4000], b"\r\n"].concat();
    let deep = [vec![b'['; 500_000], vec![b']'; 500_000]].concat();
    let wide = format!("[{}0]", r#"{"a":[1,2,3]},"#.repeat(70_000));
    let nested = format!("{}[]{}", "[".repeat(100), "]".repeat(100));
    let nested = nested.replace("[]", &format!("{}[]", "[],".repeat(340_000)));
    let words = "status health ".repeat(75_000);
    let not_text = [&b"\xff"[..], &vec![b'a'; 1_040_000]].concat();
    let many = format!(", body_contains = \"{}b\"", "a".repeat(500));
    vec![
        once("good", "", &[OK, b"Content-Length: 2\r\n\r\nok"]),
        endless("headers without end", "", OK, line),
        endless(
            "one header line without end",
            "",
            &[OK, b"A: "].concat(),
            large(),
        ),
        endless(
            "100 Continue without end",
            "",
            b"",
            b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100),
        ),
        endless(
            "a body without end",
            NEVER,
            &[OK, b"\r\n"].concat(),
            large(),
        ),
        endless(
            "the same, max_body of 64 MiB",
            &format!("{NEVER}, max_body = 67108864"),
            &[OK, b"\r\n"].concat(),
            large(),
        ),
        endless(
            "a length of 2^63",
            "",
            &[OK, b"Content-Length: 9223372036854775808\r\n\r\n"].concat(),
            large(),
        ),
        endless(
            "a chunk of 2^64-1",
            "",
            &[CHUNKED, b"ffffffffffffffff\r\n"].concat(),
            large(),
        ),
        endless(
            "chunks of a byte without end",
            NEVER,
            CHUNKED,
            b"1\r\nx\r\n".repeat(10_000),
        ),
        endless(
            "trailers without end",
            "",
            &[CHUNKED, b"0\r\n"].concat(),
            b"A: b\r\n".repeat(1000),
        ),
        server(
            "a head that drips",
            "",
            vec![Hear, Say(OK.to_vec()), Again(b"A".to_vec(), drip)],
        ),
        server(
            "a body that drips",
            "",
            vec![
                Hear,
                Say([OK, b"\r\n"].concat()),
                Again(b"A".to_vec(), drip),
            ],
        ),
        server("silence", "", vec![Hear, Hear]),
        once(
            "escapes in reason and headers",
            ", expect_headers = { x-a = \"never\" }, status = [500]",
            &[
                b"HTTP/1.1 500 ",
                ESCAPES,
                b"\r\nX-A: ",
                ESCAPES,
                b"\r\nContent-Length: 0\r\n\r\n",
            ],
        ),
        once(
            "escapes in JSON",
            ", json_path = \"$.s\", json_equals = \"up\"",
            &[
                OK,
                b"\r\n{\"s\":\"\\u001b]0;x\\u0007\\u009b31m\\u202e\\u2066\\b\\r\"}",
            ],
        ),
        once(
            "escapes in Location",
            ", redirects = 5",
            &[
                b"HTTP/1.1 302 x\r\nLocation: http://a",
                ESCAPES,
                b"/\r\n\r\n",
            ],
        ),
        once(
            "a redirect to a file",
            ", redirects = 5",
            &[b"HTTP/1.1 302 x\r\nLocation: file:///etc/passwd\r\n\r\n"],
        ),
        once(
            "redirects without end",
            ", redirects = 20",
            &[b"HTTP/1.1 302 x\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"],
        ),
        once(
            "gzip that nobody asked for",
            ", body_contains = \"x\"",
            &[
                OK,
                b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\x03",
                &[0; 1000],
            ],
        ),
        once(
            "JSON 500,000 deep",
            ", json_path = \"$..x\"",
            &[OK, b"\r\n", &deep],
        ),
        once(
            "JSON of 1 MB, $..status",
            ", json_path = \"$..status\"",
            &[OK, b"\r\n", wide.as_bytes()],
        ),
        once(
            "JSON of 1 MB, $..*..*",
            ", json_path = \"$..*..*\"",
            &[OK, b"\r\n", nested.as_bytes()],
        ),
        once(
            "a regex on 1 MB",
            ", body_regex = \"(status|health).*(ok|up)$\"",
            &[OK, b"\r\n", words.as_bytes()],
        ),
        once(
            "a regex that counts on 1 MB",
            ", body_regex = \"(a?){{1,50}}b\"",
            &[OK, b"\r\n", &not_text[1..]],
        ),
        once("1 MB that is no text", &many, &[OK, b"\r\n", &not_text]),
    ]
}

fn tcp() -> Vec<Server> {
    let server = |name: &str, expect: &str, parts: Vec<Part>| Server {
        name: format!("tcp: {name}"),
        plugin: "tcp",
        options: format!("host = \"127.0.0.1\", port = PORT, expect = \"{expect}\""),
        talk: Talk::Plain(parts.into()),
    };
    let byte = Again(b"a".to_vec(), Duration::from_micros(50));
    vec![
        server("a banner without end", "never", vec![Again(large(), NOW)]),
        server(
            "a banner byte by byte",
            "(status|health).*(ok|up)",
            vec![byte],
        ),
        server("escapes", ".", vec![Say([ESCAPES, b"\n"].concat())]),
    ]
}

/// TLS below the handshake.
fn records() -> Vec<Server> {
    let server = |name: &str, parts: Vec<Part>| Server {
        name: format!("tls: {name}"),
        plugin: "http",
        options: "url = \"https://127.0.0.1:PORT/\", insecure = true".into(),
        talk: Talk::Plain(parts.into()),
    };
    let again = |name: &str, kind: u8, body: &[u8]| {
        let length = (body.len() as u16).to_be_bytes();
        let record = [&[kind, 3, 3][..], &length, body].concat();
        server(name, vec![Hear, Again(record.repeat(50), NOW)])
    };
    let message = [&b"\x0b\xff\xff\xff"[..], &large()[..16_000]].concat();
    let byte = Again(
        b"\x16\x03\x03\x00\x01\x02".to_vec(),
        Duration::from_millis(20),
    );
    vec![
        server("silence", vec![Hear, Hear]),
        again("warnings without end", 21, b"\x01\x5a"),
        again("ChangeCipherSpec without end", 20, b"\x01"),
        again("empty handshake records without end", 22, b""),
        again("empty data records without end", 23, b""),
        again("a handshake message of 16 MB", 22, &message),
        server("plain HTTP", vec![Hear, Say([OK, b"\r\n"].concat())]),
        server("a byte a record", vec![byte]),
    ]
}

fn certificates() -> Result<Vec<Server>, String> {
    let good = || vec![Hear, Say([OK, b"Content-Length: 2\r\n\r\nok"].concat())];
    let mut servers = Vec::new();
    for names in [1_000, 2_500, 20_000] {
        let made = Certificate::of(names);
        servers.push(Server {
            name: format!("tls: a certificate with {names} names"),
            plugin: "http",
            options: format!(
                "url = \"https://127.0.0.1:PORT/\", ca_file = {:?}",
                made.pem
            ),
            talk: Talk::Tls(Arc::new(made.config()?), good().into()),
        });
    }
    let insecure = "url = \"https://127.0.0.1:PORT/\", insecure = true";
    let made = Certificate::of(1);
    let mut config = made.config()?;
    config.send_tls13_tickets = 5000;
    servers.push(Server {
        name: "tls: 5,000 session tickets".into(),
        plugin: "http",
        options: insecure.into(),
        talk: Talk::Tls(Arc::new(config), good().into()),
    });
    let body = vec![Hear, Say([OK, b"\r\n"].concat()), Again(b"x".to_vec(), NOW)];
    servers.push(Server {
        name: "tls: a body in records of a byte".into(),
        plugin: "http",
        options: format!("{insecure}{NEVER}"),
        talk: Talk::Tls(Arc::new(made.config()?), body.into()),
    });
    Ok(servers)
}

struct Certificate {
    pem: PathBuf,
    key: PathBuf,
}

impl Certificate {
    fn of(names: usize) -> Certificate {
        // For as long as this program runs, as checks name it.
        let folder: &'static Folder = Box::leak(Box::new(Folder::new()));
        let mut text = String::from(
            "[req]\ndistinguished_name = n\nx509_extensions = v\nprompt = no\n[n]\nCN = x\n[v]\nsubjectAltName = @a\n[a]\nIP.1 = 127.0.0.1\n",
        );
        for n in 1..=names {
            let _ = writeln!(text, "DNS.{n} = host{n}.example.org");
        }
        let cnf = folder.write("c.cnf", text);
        let (pem, key) = (folder.file("c.pem"), folder.file("k.pem"));
        let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9";
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split(' ')).arg("-config").arg(cnf);
        run(openssl.arg("-keyout").arg(&key).arg("-out").arg(&pem));
        Certificate { pem, key }
    }

    fn config(&self) -> Result<ServerConfig, String> {
        let text = |e: rustls::pki_types::pem::Error| e.to_string();
        let chain = CertificateDer::from_pem_file(&self.pem).map_err(text)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(text)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let text = |e: rustls::Error| e.to_string();
        let key = provider.key_provider.load_private_key(key).map_err(text)?;
        // Which is not looked at: rustls takes none with so many names.
        let key = SingleCertAndKey::from(CertifiedKey::new(vec![chain], key));
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().map_err(text)?;
        Ok(config
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(key)))
    }
}

fn databases() -> Vec<Server> {
    let server = |name: &str, talk: Talk| Server {
        name: format!("postgres: {name}"),
        plugin: "postgres",
        options: "url = \"postgres://u@127.0.0.1:PORT/x?sslmode=disable\", password = \"secret\""
            .into(),
        talk,
    };
    let let_in = postgres(b'R', &[0; 4]);
    // The log-in, and what follows the query.
    let after = |name: &str, parts: Vec<Part>| {
        let mut all = vec![
            Hear,
            Say([let_in.clone(), postgres(b'Z', b"I")].concat()),
            Hear,
        ];
        all.extend(parts);
        all.push(Hear);
        server(name, Talk::Plain(all.into()))
    };
    let endless = |name: &str, again: Vec<u8>| after(name, vec![Again(again, NOW)]);
    let notices = postgres(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mx\0\0").repeat(500);
    let other_names: Vec<u8> = (0..5000)
        .flat_map(|n| {
            let body = format!("n{n}\0{}\0", "v".repeat(1000));
            postgres(b'S', body.as_bytes())
        })
        .collect();
    let column = postgres(b'T', &[&b"\0\x01a\0"[..], &[0; 18]].concat());
    let rows = postgres(b'D', b"\0\x01\0\0\0\x01x").repeat(2000);
    let of_16_mb = [&b"D"[..], &((16u32 << 20) - 8).to_be_bytes()].concat();
    let error = |text: &[u8]| {
        let fields: [&[u8]; 4] = [b"SFATAL\0VFATAL\0C28000\0M", text, b"\0D", text];
        postgres(b'E', &[&fields.concat()[..], b"\0\0"].concat())
    };
    let in_clear = vec![Hear, Say(postgres(b'R', &3u32.to_be_bytes())), Hear];
    let before = vec![Hear, Say(let_in.clone()), Again(notices.clone(), NOW)];
    vec![
        server(
            "not PostgreSQL",
            Talk::Plain(vec![Hear, Say([OK, b"\r\n"].concat())].into()),
        ),
        after(
            "a length of 2 GB",
            vec![Say(b"D\x7f\xff\xff\xff".to_vec()), Again(large(), NOW)],
        ),
        after(
            "rows of 16 MB that drip",
            vec![
                Say(of_16_mb),
                Again(large().repeat(4), Duration::from_millis(30)),
            ],
        ),
        endless("notices without end", notices),
        server("notices before the log-in ends", Talk::Plain(before.into())),
        endless(
            "parameters without end",
            postgres(b'S', b"a\0b\0").repeat(1000),
        ),
        endless("parameters of other names", other_names),
        after("rows without end", vec![Say(column), Again(rows, NOW)]),
        after("errors with escapes", vec![Say(error(ESCAPES))]),
        after("an error of 16 MB", vec![Say(error(&large().repeat(122)))]),
        server(
            "asks for the password in clear",
            Talk::Plain(in_clear.into()),
        ),
        server("SCRAM with 4e9 rounds", Talk::Scram(4_000_000_000)),
        server("SCRAM with 100,000 rounds", Talk::Scram(100_000)),
    ]
}
