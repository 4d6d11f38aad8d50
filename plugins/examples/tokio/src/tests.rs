//! Both lanes against a real nginx, and against a peer that says nothing.

use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockCheck, MockHost};
use healthd_testing::{Peer, Server, program};
use std::process::Command;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const LANES: [&str; 2] = ["h2_step", "h2_run"];

fn check(kind: &str, address: &str, path: &str) -> MockCheck {
    let options = format!(r#"{{"address": "{address}", "path": "{path}"}}"#);
    let host = MockHost::new(hd_plugin_v1);
    host.plugin(kind).create(options).expect("good options")
}

/// HTTP/2 without TLS, and a page that does not fit into any buffer.
fn nginx() -> Option<Server> {
    let nginx = program("nginx", "nginx-light")?;
    Some(Server::start(
        |folder, port| {
            folder.write("large", "x".repeat(1 << 20));
            let dir = folder.path().display();
            let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path {dir}/{name};"))
                .join("\n");
            let conf = format!(
                "daemon off; master_process off; pid {dir}/pid; error_log stderr;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{ access_log off; {temp}\n server {{ listen 127.0.0.1:{port} http2; root {dir}; }} }}\n"
            );
            let conf = folder.write("nginx.conf", &conf);
            let mut command = Command::new(&nginx);
            command.arg("-p").arg(folder.path()).arg("-c").arg(conf);
            command
        },
        |_, port| healthd_testing::accepts(port),
    ))
}

#[test]
fn a_page_in_both_lanes() {
    let Some(nginx) = nginx() else {
        return;
    };
    let address = format!("127.0.0.1:{}", nginx.port);
    for kind in LANES {
        let large = check(kind, &address, "/large");
        for _ in 0..5 {
            let o = large.run(LONG);
            let said = (o.status, o.message.as_str());
            assert_eq!(said, (Status::Ok, "1048576 bytes"), "{kind}");
        }
        let o = check(kind, &address, "/nothing").run(LONG);
        let said = (o.status, o.message.as_str());
        assert_eq!(said, (Status::Critical, "HTTP 404"), "{kind}");
    }
}

#[test]
fn servers_that_do_not_answer() {
    for kind in LANES {
        let o = check(kind, "127.0.0.1:1", "/").run(LONG);
        assert_eq!(o.status, Status::Critical, "{kind}: {o:?}");
        let web = Peer::answering("HTTP/1.1 400 Bad Request\r\n\r\n");
        let o = check(kind, &web.addr.to_string(), "/").run(LONG);
        assert_eq!(o.status, Status::Critical, "{kind}: {o:?}");
    }
}

#[test]
fn a_runtime_ends_when_the_host_gives_up() {
    let mute = Peer::new(|mut stream| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let silent = check("h2_run", &mute.addr.to_string(), "/");
    let (o, took) = silent.run_cancelled(LONG, Duration::from_millis(100));
    assert_eq!(
        (o.status, o.message.as_str()),
        (Status::Critical, "no answer in time")
    );
    assert!(took < LONG / 2, "{took:?}");
}
