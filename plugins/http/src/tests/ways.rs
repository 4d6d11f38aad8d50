//! Ways to a server: the real tinyproxy, lighttpd with Digest, nginx behind the PROXY protocol.

use super::{LONG, check, told};
use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Folder, Nginx, Process, free_port};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program that listens on `port` by now.
fn started(program: &str, arguments: &[&str], port: u16) -> Option<Process> {
    if !Path::new(program).exists() {
        eprintln!("skipped: {program} is missing");
        return None;
    }
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut process = Process(child.expect("a program that is there"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = process.0.try_wait().expect("our own child");
        assert!(ended.is_none(), "{program} has ended: {ended:?}");
        assert!(Instant::now() < deadline, "{program} does not listen");
        std::thread::yield_now();
    }
    Some(process)
}

fn good(options: Value) -> Outcome {
    let o = check(options.clone());
    assert_eq!(o.status, Status::Ok, "{options}: {}", o.message);
    o
}

#[test]
fn through_a_proxy() {
    if !Nginx::installed() {
        return;
    }
    let nginx = Nginx::start(
        "location /ok { return 200 \"$host $http_via $http_proxy_authorization\"; } location /go { return 302 /ok; }",
    );
    let folder = Folder::new();
    let port = free_port("127.0.0.1");
    let config = folder.write(
        "conf",
        format!("Port {port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nBasicAuth u s3cret\nViaProxyName \"tiny\"\nConnectPort {}\n", nginx.port_tls),
    );
    let config = config.display().to_string();
    let Some(_proxy) = started("/usr/bin/tinyproxy", &["-d", "-c", &config], port) else {
        return;
    };
    let proxy = format!("http://u:s3cret@127.0.0.1:{port}");
    let tls = format!("https://localhost:{}", nginx.port_tls);
    let ca = nginx.certs.ca();
    good(
        json!({"url": nginx.url("/ok"), "proxy": proxy, "body_regex": "^127.0.0.1 1.1 tiny .* $"}),
    );
    good(json!({"url": nginx.url("/go"), "proxy": proxy, "body_regex": "1.1 tiny"}));
    let o = good(
        json!({"url": format!("{tls}/ok"), "proxy": proxy, "ca_file": ca, "body_regex": "^localhost  $"}),
    );
    assert!(o.metric("certificate").value > 29.0);
    // A tunnel stays with its connection.
    let kept =
        json!({"url": format!("{tls}/ok"), "proxy": proxy, "ca_file": ca, "keep_alive": true});
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let kept = plugin.create(kept.to_string()).expect("fine");
    let phases = [(); 2].map(|()| kept.run(LONG).phases.join(" "));
    assert_eq!(phases, ["connect proxy tls ttfb", "ttfb"]);
    good(
        json!({"url": nginx.url("/ok"), "proxy": proxy, "no_proxy": ["127.0.0.0/8"], "body_regex": "^127.0.0.1  $"}),
    );
    // What is wrong with the proxy says nothing of the target.
    for (url, proxy, why) in [
        (
            nginx.url("/ok"),
            format!("http://127.0.0.1:{port}"),
            "HTTP 407 Proxy Authentication Required",
        ),
        (
            format!("{tls}/ok"),
            format!("http://u:wr0ng@127.0.0.1:{port}"),
            "when asked for localhost:",
        ),
        (
            nginx.url("/ok"),
            format!("http://127.0.0.1:{}", free_port("127.0.0.1")),
            "connect: connection refused",
        ),
        // tinyproxy allows CONNECT to one port only.
        (
            "https://localhost:1/".into(),
            proxy.clone(),
            "HTTP 403 Forbidden when asked for localhost:1",
        ),
    ] {
        let o = check(json!({"url": url, "proxy": proxy, "ca_file": ca}));
        assert_eq!(o.status, Status::Unknown, "{url}: {}", o.message);
        assert!(o.message.starts_with("proxy 127.0.0.1:"), "{}", o.message);
        assert!(
            o.message.contains(why) && !o.message.contains("wr0ng"),
            "{}",
            o.message
        );
    }
}

#[test]
fn digest_by_a_real_server() {
    let folder = Folder::new();
    folder.write("ok", "in");
    folder.write("users", "u:s3cret\n");
    let root = folder.path().display().to_string();
    for algorithm in ["MD5", "SHA-256"] {
        let port = free_port("127.0.0.1");
        let config = folder.write(
            "conf",
            format!(
                "server.document-root = \"{root}\"\nserver.port = {port}\nserver.bind = \"127.0.0.1\"\n\
                 server.modules = (\"mod_auth\", \"mod_authn_file\")\nauth.backend = \"plain\"\n\
                 auth.backend.plain.userfile = \"{root}/users\"\n\
                 auth.require = (\"/\" => (\"method\" => \"digest\", \"realm\" => \"a b\", \"require\" => \"valid-user\", \"algorithm\" => \"{algorithm}\"))\n"
            ),
        );
        let config = config.display().to_string();
        let Some(_server) = started("/usr/sbin/lighttpd", &["-D", "-f", &config], port) else {
            return;
        };
        let ask = |password: &str| {
            check(
                json!({"url": format!("http://127.0.0.1:{port}/ok?x=y"), "body_regex": "^in$",
                "digest_auth": {"user": "u", "password": password}}),
            )
        };
        let o = ask("s3cret");
        assert_eq!(o.status, Status::Ok, "{algorithm}: {}", o.message);
        assert_eq!(
            told(&ask("wr0ng")),
            (Status::Critical, "HTTP 401 Unauthorized, expected 200-299")
        );
    }
}

#[test]
fn from_where_and_to_where() {
    if !Nginx::installed() {
        return;
    }
    let behind = free_port("127.0.0.1");
    let nginx = Nginx::start(&format!(
        "location /ok {{ return 200 \"$host $remote_addr\"; }} location /go {{ return 302 http://other.example:$server_port/ok; }}
         }} server {{ listen 127.0.0.1:{behind} proxy_protocol; location / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_server_port\"; }}"
    ));
    let port = nginx.port;
    good(
        json!({"url": nginx.url("/ok"), "source_address": "127.0.0.9", "body_regex": "^127.0.0.1 127.0.0.9$"}),
    );
    good(json!({"url": nginx.url("/ok"), "interface": "lo"}));
    let o = check(json!({"url": nginx.url("/ok"), "source_address": "192.0.2.1"}));
    assert_eq!(o.status, Status::Resources, "{}", o.message);
    assert!(
        o.message.starts_with("connect: cannot send from there: "),
        "{}",
        o.message
    );
    // At every hop.
    let to = json!({"shop.example": "127.0.0.1", "other.example:80": "127.0.0.2", "other.example": format!("127.0.0.1:{port}")});
    good(
        json!({"url": format!("http://shop.example:{port}/go"), "connect_to": to, "body_regex": "^other.example "}),
    );
    good(
        json!({"url": "http://any.example/ok", "connect_to": {"*": format!("127.0.0.1:{port}")}, "body_regex": "^any.example "}),
    );
    for version in ["v1", "v2"] {
        good(
            json!({"url": format!("http://127.0.0.1:{behind}/"), "source_address": "127.0.0.8", "proxy_protocol": version,
            "body_regex": format!("^127.0.0.8 {behind}$")}),
        );
    }
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    for (options, why) in [
        (
            json!({"proxy": "http://p/x"}),
            "proxy: http://HOST:PORT is all",
        ),
        (json!({"no_proxy": ["*"]}), "no_proxy: needs proxy"),
        (
            json!({"source_address": "x"}),
            "source_address: \"x\" is no IP address",
        ),
        (
            json!({"connect_to": {"h": "a b"}}),
            "connect_to: \"a b\" is no host",
        ),
        (
            json!({"proxy": "http://p", "connect_to": {"h": "a"}}),
            "proxy and connect_to",
        ),
        (
            json!({"digest_auth": {"user": "u"}, "bearer": "t0k"}),
            "digest_auth beside basic_auth",
        ),
    ] {
        let mut all = options;
        all["url"] = "http://x".into();
        let e = plugin.create(all.to_string()).err().expect(why);
        assert!(e.starts_with(why), "{e}");
    }
}
