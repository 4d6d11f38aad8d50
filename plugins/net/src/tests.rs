//! What the tests of the kinds share.

use crate::hd_plugin_v1;
use healthd_plugin::Status;
use healthd_plugin::mock::{MockHost, MockPlugin, Outcome};
use healthd_plugin::serde_json::{Value, json};
use healthd_testing::Peer;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

pub const LONG: Duration = Duration::from_secs(60);

pub fn plugin(name: &str) -> MockPlugin {
    MockHost::new(hd_plugin_v1).plugin(name)
}

/// One run of a kind with these options.
pub fn check(name: &str, options: &Value) -> Outcome {
    check_for(name, options, LONG)
}

/// One run that must be over after `timeout`.
pub fn check_for(name: &str, options: &Value, timeout: Duration) -> Outcome {
    let made = plugin(name).create(options.to_string());
    made.unwrap_or_else(|e| panic!("{options}: {e}"))
        .run(timeout)
}

/// These options, and more of them, which count.
pub fn with(mut options: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().expect("a table") {
        options[key] = value.clone();
    }
    options
}

/// The options of a server on loopback, and more of them.
pub fn at(port: u16, more: &Value) -> Value {
    with(json!({"host": "127.0.0.1", "port": port}), more)
}

/// What is said of options that are refused.
pub fn refused(name: &str, options: &Value) -> String {
    let made = plugin(name).create(options.to_string());
    made.err().unwrap_or_else(|| panic!("{options} are taken"))
}

pub fn told(o: &Outcome) -> (Status, &str) {
    (o.status, &o.message)
}

/// That a run which gets a long answer waits for its room while other checks have taken all that there is, and that the wait
/// is not held against the server.
pub fn assert_waits_for_room(run: impl FnOnce() -> Outcome) {
    // Each keeps 4 of 16 MiB; the last of them gets in over time.
    const OTHERS: usize = 5;
    let (broker, taken) = greedy();
    let options = at(broker.addr.port(), &json!({"topic": "a"}));
    let check = plugin("mqtt").create(options.to_string()).expect("fine");
    let others = std::thread::spawn(move || check.run_many(OTHERS, LONG));
    let taken: Vec<TcpStream> = taken.into_iter().take(OTHERS).collect();
    let begun = Instant::now();
    let o = run();
    let took = begun.elapsed().as_secs_f64();
    drop(taken);
    others.join().expect("no panic");
    // Redis has none.
    let total = o.metrics.iter().find(|m| m.name == "total");
    let total = total.map_or(0.0, |m| m.value);
    assert!(took - total >= 0.1, "{took} s, of which {total}: {o:?}");
}

/// A broker that sends a megabyte, which is passed over, and is silent once that is taken. The connections are handed over
/// then.
fn greedy() -> (Peer, Receiver<TcpStream>) {
    let message = [&b"\x30\x80\x80\x40\0\x01b"[..], &vec![b'x'; (1 << 20) - 3]].concat();
    let texts = [
        b"\x20\x02\0\0".to_vec(),
        [&message[..], b"\x90\x03\0\x01\0"].concat(),
        Vec::new(),
    ];
    let (full, is_full) = channel();
    let broker = Peer::new(move |mut stream| {
        let (texts, full) = (texts.clone(), full.clone());
        std::thread::spawn(move || {
            for text in texts {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&text);
            }
            let _ = full.send(stream);
        });
    });
    (broker, is_full)
}
