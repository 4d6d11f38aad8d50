//! `rate_limit`: one for all checks of a host, and a wait that is not the target's.

use super::{LONG, told};
use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::MockHost;
use healthd_plugin::serde_json::json;
use healthd_testing::Peer;
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

/// Requests at even distances, by the server's clock, whichever check they come from.
#[test]
fn a_rate_limit_is_one_for_all_checks_of_a_host() {
    let (arrived, arrivals) = std::sync::mpsc::channel();
    let peer = Peer::new(move |mut stream| {
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        let _ = arrived.send(std::time::Instant::now());
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    // Another spelling of loopback: no other test counts on it.
    let url = format!("http://127.0.0.1:{}/", peer.addr.port());
    let options = json!({"url": url, "rate_limit": "50/s"}).to_string();
    let checks = [
        plugin.create(&options).expect("fine"),
        plugin.create(&options).expect("fine"),
    ];
    let begun = std::time::Instant::now();
    for check in &checks {
        for o in check.run_many(10, LONG) {
            assert_eq!(o.status, Status::Ok, "{o:?}");
            assert_eq!(o.phases[0], "rate_limit");
        }
    }
    let last = arrivals.iter().take(20).last().expect("twenty came");
    // Twenty turns are nineteen distances of 20 ms: never sooner, however late.
    assert!(
        last - begun >= Duration::from_millis(380),
        "{:?}",
        last - begun
    );
    // No turn in time: not asked at all, and not the target's fault.
    let slow = json!({"url": url, "rate_limit": "1/h"}).to_string();
    let slow = plugin.create(&slow).expect("fine");
    assert_eq!(slow.run(LONG).status, Status::Ok);
    let o = slow.run(LONG);
    assert_eq!(o.status, Status::Resources);
    let begins = "rate_limit of 127.0.0.1: more than 1/h: its turn would come in 3";
    assert!(o.message.starts_with(begins), "{}", o.message);
    assert_eq!(o.watches, 0);
}

/// Two runs: the first gets no answer until its time is up, and only then the second gets one. By then the time would be
/// up for the second as well, had it not waited for its turn.
#[test]
fn a_wait_for_a_turn_takes_nothing_from_the_target() {
    let mut first = true;
    let peer = Peer::new(move |mut stream| {
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        if std::mem::take(&mut first) {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            return;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let url = format!("http://localhost:{}/", peer.addr.port());
    let options = json!({"url": url, "family": "ipv4", "rate_limit": "30/m"}).to_string();
    let check = plugin.create(options).expect("fine");
    let outcomes = check.run_many(2, Duration::from_secs(3));
    assert_eq!(
        told(&outcomes[0]),
        (Status::Critical, "timeout after 3s in phase ttfb")
    );
    assert_eq!(outcomes[1].status, Status::Ok, "{:?}", outcomes[1]);
}

/// Which is not held against a target that says nothing, however long the wait was.
#[test]
fn a_silent_target_is_critical_after_any_wait() {
    let silent = TcpListener::bind("127.0.0.2:0").expect("a loopback port");
    let url = format!("http://{}/", silent.local_addr().expect("bound"));
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let options = json!({"url": url, "rate_limit": "5/s"}).to_string();
    let check = plugin.create(options).expect("fine");
    let begun = std::time::Instant::now();
    for o in check.run_many(2, Duration::from_secs(2)) {
        assert_eq!(
            told(&o),
            (Status::Critical, "timeout after 2s in phase ttfb")
        );
    }
    // The second has waited for its turn before.
    assert!(begun.elapsed() >= Duration::from_millis(2100));
}

/// A redirect that has to wait for its turn: neither slow, nor are the phases of the first request in those of the last.
#[test]
fn a_wait_between_two_requests_is_not_in_the_total() {
    // No other test counts on this host.
    let listener = TcpListener::bind("127.0.0.3:0").expect("a loopback port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for status in ["302 Found\r\nLocation: /next", "200 OK"] {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let plugin = MockHost::new(hd_plugin_v1).plugin("http");
    let options = json!({"url": url, "redirects": 1, "rate_limit": "20/m"});
    let check = plugin.create(options.to_string()).expect("fine");
    let begun = std::time::Instant::now();
    let o = check.run(LONG);
    let elapsed = begun.elapsed().as_secs_f64();
    assert_eq!(o.status, Status::Ok, "{o:?}");
    let total = o.metric("total").value;
    assert!(elapsed - total >= 0.9, "{total} of {elapsed}");
    let parts = ["connect", "ttfb"].iter().map(|m| o.metric(m).value);
    assert!(parts.sum::<f64>() < total, "{o:?}");
}
