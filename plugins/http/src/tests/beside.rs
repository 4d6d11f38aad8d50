//! curl, check_curl and blackbox_exporter beside this plugin, all asking the same odd servers. Where one of them says
//! something else, the table says why ours is right.

use super::check;
use healthd_plugin::Status;
use healthd_plugin::serde_json::json;
use healthd_testing::{Folder, Process, free_port};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tool {
    Curl,
    CheckCurl,
    Blackbox,
}
use Tool::{Blackbox as B, CheckCurl as C, Curl as U};

/// What the server sends, whether we call it ok, and who says something else and why that is not better.
type Row = (&'static str, bool, &'static [(Tool, &'static str)]);

const CURL: &str = "/usr/bin/curl";
const CHECK_CURL: &str = "/usr/lib/nagios/plugins/check_curl";
const BLACKBOX: &str = "/usr/bin/prometheus-blackbox-exporter";

include!("beside_table.rs");

/// Escapes of the table: \r, \n, \0, \t, \xNN; `{n*TEXT}` is TEXT n times.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("{*") {
        let (before, repeat) = rest.split_at(at);
        let (inside, after) = repeat[2..].split_once("*}").expect("an end");
        let (n, what) = inside.split_once(' ').expect("a number and a text");
        out.extend(before.bytes());
        out.extend(what.repeat(n.parse().expect("a number")).bytes());
        rest = after;
    }
    out.extend(rest.bytes());
    // Latin-1 in the table's own spelling.
    String::from_utf8(out)
        .expect("the table is text")
        .chars()
        .flat_map(|c| match u8::try_from(u32::from(c)) {
            Ok(b) => vec![b],
            Err(_) => c.to_string().into_bytes(),
        })
        .collect()
}

/// A server on loopback that answers `/` with these bytes and everything else with a plain page.
struct Odd {
    port: u16,
}

impl Odd {
    fn start(answer: &str) -> Odd {
        let answer = Arc::new(bytes(answer));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let answer = answer.clone();
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                    let mut request = Vec::new();
                    let mut piece = [0; 4096];
                    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                        match stream.read(&mut piece) {
                            Ok(n) if n > 0 => request.extend(&piece[..n]),
                            _ => return,
                        }
                    }
                    let plain: &[u8] = match request.starts_with(b"GET /missing") {
                        true => {
                            b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        }
                        false => {
                            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
                        }
                    };
                    let is_start = request.starts_with(b"GET / ");
                    let _ = stream.write_all(if is_start { &answer } else { plain });
                    let _ = stream.shutdown(Shutdown::Write);
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                });
            }
        });
        Odd { port }
    }
}

fn blackbox(folder: &Folder) -> Option<(Process, u16)> {
    if !is_known(Tool::Blackbox) {
        return None;
    }
    let config = folder.write(
        "blackbox.yml",
        "modules:\n  http:\n    prober: http\n    timeout: 10s\n    http:\n      preferred_ip_protocol: ip4\n",
    );
    let port = free_port("127.0.0.1");
    let child = Command::new(BLACKBOX)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let process = Process(child.expect("a program that is there"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            Instant::now() < deadline,
            "blackbox_exporter does not listen"
        );
        std::thread::yield_now();
    }
    Some((process, port))
}

/// The table was written beside these versions; others may judge otherwise, and are not asked.
fn is_known(tool: Tool) -> bool {
    let (program, argument, version) = match tool {
        Tool::Curl => (CURL, "-V", "curl 7.88.1 "),
        Tool::CheckCurl => (CHECK_CURL, "-V", "check_curl v2.3.3 "),
        Tool::Blackbox => (BLACKBOX, "--version", "version 0.23.0"),
    };
    let said = Command::new(program).arg(argument).output();
    let said = said.map(|d| String::from_utf8_lossy(&[d.stdout, d.stderr].concat()).into_owned());
    let known = said.is_ok_and(|text| text.contains(version));
    if !known {
        eprintln!("skipped: {tool:?} of another version than {version:?}, or none");
    }
    known
}

/// Who is asked.
#[derive(Clone, Copy)]
struct Others {
    curl: bool,
    check_curl: bool,
    exporter: Option<u16>,
}

impl Others {
    /// Whether this tool calls the server good; None: it is not asked.
    fn ask(self, tool: Tool, port: u16) -> Option<bool> {
        let url = format!("http://127.0.0.1:{port}/");
        match tool {
            Tool::Curl => self.curl.then(|| {
                let options = "-sS -f -L --max-redirs 10 -m 10 -o /dev/null --noproxy *";
                succeeds(CURL, &format!("{options} {url}"))
            }),
            Tool::CheckCurl => self.check_curl.then(|| {
                let options = format!("-I 127.0.0.1 -p {port} -u / -f follow -t 10");
                succeeds(CHECK_CURL, &options)
            }),
            Tool::Blackbox => self.exporter.map(|at| {
                let mut stream = TcpStream::connect(("127.0.0.1", at)).expect("it listens");
                let get = format!("GET /probe?module=http&target={url} HTTP/1.0\r\n\r\n");
                stream.write_all(get.as_bytes()).expect("sent");
                let mut text = String::new();
                let _ = stream.read_to_string(&mut text);
                text.contains("\nprobe_success 1")
            }),
        }
    }
}

fn succeeds(program: &str, arguments: &str) -> bool {
    let done = Command::new(program).args(arguments.split(' ')).output();
    done.is_ok_and(|d| d.status.success())
}

#[test]
fn the_same_odd_servers_asked_by_others() {
    let folder = Folder::new();
    let exporter = blackbox(&folder);
    let others = Others {
        curl: is_known(Tool::Curl),
        check_curl: is_known(Tool::CheckCurl),
        exporter: exporter.as_ref().map(|(_, port)| *port),
    };
    let mut wrong = Vec::new();
    let threads = 4;
    let part = ROWS.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let parts: Vec<_> = ROWS
            .chunks(part)
            .map(|rows| {
                scope.spawn(move || {
                    rows.iter()
                        .flat_map(|r| judge(r, others))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        for part in parts {
            wrong.extend(part.join().expect("no panic"));
        }
    });
    assert!(ROWS.len() >= 100, "{}", ROWS.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is not as the table says.
fn judge((answer, good, differs): &Row, others: Others) -> Vec<String> {
    let server = Odd::start(answer);
    let o = check(json!({"url": format!("http://127.0.0.1:{}/", server.port)}));
    let shown: String = answer.chars().take(90).collect();
    let mut wrong = Vec::new();
    if (o.status == Status::Ok) != *good {
        wrong.push(format!(
            "{shown:?}: ours says {:?} {:?}",
            o.status, o.message
        ));
    }
    for tool in [Tool::Curl, Tool::CheckCurl, Tool::Blackbox] {
        let is_listed = differs.iter().any(|(t, why)| *t == tool && !why.is_empty());
        if let Some(said) = others.ask(tool, server.port)
            && (said != *good) != is_listed
        {
            wrong.push(format!(
                "{shown:?}: ours {good} {:?}, {tool:?} says {said}",
                o.message
            ));
        }
    }
    wrong
}
