//! The plugin on MockHost against etcd (gRPC in Go), Debian's grpcio (gRPC in C), and peers that say what they would not.

use crate::tests::{at, check, plugin, refused, told, with};
use healthd_plugin::Status;
use healthd_plugin::mock::Outcome;
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::{Certs, Peer, Server, free_port, program, until};
use std::process::Command;

fn ask(port: u16, more: &Value) -> Outcome {
    check("grpc", &at(port, more))
}

#[test]
fn the_page_has_all_options() {
    plugin("grpc").assert_documented(include_str!("../../GRPC.md"));
}

#[test]
fn mistakes_in_options() {
    for (options, text) in [
        (json!({}), "port: missing (or give a socket)"),
        (
            json!({"port": 1, "insecure": true}),
            "ca_file, insecure, server_name: need `tls`",
        ),
        (
            json!({"port": 1, "authority": "a b"}),
            "authority: \"a b\" is no name of a server",
        ),
        (
            json!({"port": 1, "metadata": {"grpc-x": "1"}}),
            "metadata: grpc-x: such names are gRPC's own",
        ),
        (
            json!({"port": 1, "metadata": {"a": "b\nc"}}),
            "metadata: \"a\" is no name, or its value has control characters",
        ),
    ] {
        assert_eq!(refused("grpc", &options), text);
    }
}

fn etcd(certs: Option<&Certs>) -> Option<Server> {
    let etcd = program("etcd", "etcd-server")?;
    let scheme = if certs.is_some() { "https" } else { "http" };
    Some(Server::start(
        |folder, port| {
            let peers = format!("http://127.0.0.1:{}", free_port("127.0.0.1"));
            let clients = format!("{scheme}://127.0.0.1:{port}");
            let mut command = Command::new(&etcd);
            command.arg("--data-dir").arg(folder.file("data"));
            for (option, url) in [
                ("--listen-client-urls", &clients),
                ("--advertise-client-urls", &clients),
                ("--listen-peer-urls", &peers),
                ("--initial-advertise-peer-urls", &peers),
            ] {
                command.args([option, url]);
            }
            command.args(["--initial-cluster", &format!("default={peers}")]);
            if let Some(certs) = certs {
                command.arg("--cert-file").arg(certs.certificate());
                command.arg("--key-file").arg(certs.key());
            }
            command
        },
        |_, port| healthd_testing::accepts(port),
    ))
}

#[test]
fn etcd_in_plain_and_inside_of_tls() {
    if !Certs::possible() {
        return;
    }
    let certs = Certs::new();
    let tls = json!({"tls": true, "ca_file": certs.ca()});
    for (certs, more) in [(None, json!({})), (Some(&certs), tls.clone())] {
        let Some(etcd) = etcd(certs) else {
            return;
        };
        // It listens before it serves.
        until(|| ask(etcd.port, &more).status == Status::Ok, || etcd.log());
        let o = ask(etcd.port, &more);
        assert_eq!(told(&o), (Status::Ok, "the server is SERVING"));
        assert!(o.metric("connect").value <= o.metric("total").value);
        let o = ask(etcd.port, &with(more.clone(), &json!({"service": "shop"})));
        let text = "the server does not know the service \"shop\" (NOT_FOUND: unknown service)";
        assert_eq!(told(&o), (Status::Unknown, text));
        let o = ask(
            etcd.port,
            &with(more.clone(), &json!({"latency_crit": "0s"})),
        );
        assert_eq!(o.status, Status::Critical, "{}", o.message);
        if certs.is_none() {
            // It says so, or hangs up.
            let o = ask(etcd.port, &tls);
            assert_eq!(o.status, Status::Critical, "{}", o.message);
            assert!(o.message.starts_with("tls: "), "{}", o.message);
        }
    }
}

/// The name of a service is what comes of asking for it.
const GRPCIO: &str = r#"
import sys, grpc
from concurrent import futures
class Health(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        def answer(request, context):
            name = request[2:].decode()
            if name == "metadata":
                given = dict(context.invocation_metadata())
                assert given["token"] == "s3cret" and "grpc-timeout" not in given, given
                name = "1"
            if name.isdigit():
                return bytes([8, int(name)])
            context.abort(getattr(grpc.StatusCode, name), "for a test")
        return grpc.unary_unary_rpc_method_handler(answer)
server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Health()], options=[("grpc.so_reuseport", 0)])
if server.add_insecure_port(sys.argv[1]) == 0:
    sys.exit("address in use")
server.add_insecure_port("unix:" + sys.argv[2])
server.start()
print("ready", flush=True)
server.wait_for_termination()
"#;

#[test]
fn grpcio_and_all_that_a_server_may_say() {
    let Some(python) = program("python3", "python3-grpcio") else {
        return;
    };
    let there = Command::new(&python).args(["-c", "import grpc"]).status();
    if !there.is_ok_and(|s| s.success()) {
        eprintln!("skipped: grpc for Python is missing (package python3-grpcio)");
        return;
    }
    let server = Server::start(
        |folder, port| {
            let script = folder.write("server.py", GRPCIO);
            let mut command = Command::new(&python);
            command.arg(script).arg(format!("127.0.0.1:{port}"));
            command.arg(folder.file("sock"));
            command
        },
        |folder, _| std::fs::read_to_string(folder.file("log")).is_ok_and(|l| l.contains("ready")),
    );
    for (service, status, text) in [
        ("1", Status::Ok, "the service \"1\" is SERVING"),
        ("2", Status::Critical, "the service \"2\" is NOT_SERVING"),
        (
            "0",
            Status::Unknown,
            "the service \"0\" is UNKNOWN, the server says",
        ),
        (
            "3",
            Status::Unknown,
            "the server does not know the service \"3\"",
        ),
        (
            "77",
            Status::Unknown,
            "the service \"77\" has health 77, which is not known here",
        ),
        (
            "NOT_FOUND",
            Status::Unknown,
            "the server does not know the service \"NOT_FOUND\" (NOT_FOUND: for a test)",
        ),
        (
            "UNIMPLEMENTED",
            Status::Unknown,
            "the server has no health service (UNIMPLEMENTED: for a test)",
        ),
        (
            "UNAUTHENTICATED",
            Status::Unknown,
            "call: UNAUTHENTICATED: for a test",
        ),
        (
            "UNAVAILABLE",
            Status::Critical,
            "call: UNAVAILABLE: for a test",
        ),
        (
            "RESOURCE_EXHAUSTED",
            Status::Critical,
            "call: RESOURCE_EXHAUSTED: for a test",
        ),
    ] {
        let o = ask(server.port, &json!({"service": service}));
        assert_eq!(told(&o), (status, text), "{}", server.log());
    }
    let o = ask(
        server.port,
        &json!({"service": "metadata", "metadata": {"token": "s3cret"}}),
    );
    assert_eq!(o.status, Status::Ok, "{}: {}", o.message, server.log());
    let socket = server.folder().file("sock");
    let o = check("grpc", &json!({"socket": socket, "service": "1"}));
    assert_eq!(told(&o), (Status::Ok, "the service \"1\" is SERVING"));
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, content: &[u8]) -> Vec<u8> {
    let mut all = (content.len() as u32).to_be_bytes()[1..].to_vec();
    all.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
    all.extend_from_slice(content);
    all
}

#[test]
fn peers_of_something_else() {
    let settings = frame(4, 0, 0, &[]);
    // HPACK: `:status: 200` is number 8; a header of its own begins with 0x40 (name, value) or 0 (not kept).
    let own = |name: &str, value: &str| {
        [
            &[0, name.len() as u8],
            name.as_bytes(),
            &[value.len() as u8],
            value.as_bytes(),
        ]
        .concat()
    };
    let head = |flags: u8, more: &[u8]| frame(1, 4 | flags, 1, &[&[0x88], more].concat());
    let grpc = own("content-type", "application/grpc");
    for (said, text) in [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "call: the server does not speak HTTP/2",
        ),
        (Vec::new(), "call: connection closed within HTTP/2"),
        (
            [settings.clone(), frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])].concat(),
            "call: the server ends the connection: ENHANCE_YOUR_CALM",
        ),
        (
            [settings.clone(), frame(3, 0, 1, &[0, 0, 0, 7])].concat(),
            "call: the server ends the call: REFUSED_STREAM",
        ),
        (
            [settings.clone(), head(1, &own("content-type", "text/html"))].concat(),
            "call: not gRPC: HTTP 200, text/html",
        ),
        (
            [settings.clone(), head(1, &own("grpc-status", "0"))].concat(),
            "call: the server says OK, and answers nothing",
        ),
        (
            [settings.clone(), head(1, &own("grpc-status", "14"))].concat(),
            "call: UNAVAILABLE",
        ),
        (
            [settings.clone(), head(1, &own("grpc-status", "x"))].concat(),
            "call: UNKNOWN",
        ),
        (
            [settings.clone(), head(1, &grpc)].concat(),
            "call: its answer ends without a status",
        ),
        (
            [
                settings.clone(),
                head(0, &grpc),
                frame(0, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff]),
            ]
            .concat(),
            "call: its answer is a message of 4294967295 bytes",
        ),
        (
            [
                settings.clone(),
                head(0, &grpc),
                frame(0, 0, 1, &[1, 0, 0, 0, 0]),
            ]
            .concat(),
            "call: its answer is compressed, which it was not asked for",
        ),
        (
            [
                settings.clone(),
                head(0, &grpc),
                frame(1, 5, 1, &own("grpc-status", "0")),
            ]
            .concat(),
            "call: its answer is cut short",
        ),
    ] {
        let peer = Peer::answering(said);
        let o = ask(peer.addr.port(), &json!({}));
        assert_eq!(told(&o), (Status::Critical, text));
    }
}
