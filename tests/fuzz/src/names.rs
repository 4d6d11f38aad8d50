//! What the resolver reads: the machine's files, names of a config, and whatever somebody sends from a name server's port.

use healthd_names::hosts::Hosts;
use healthd_names::message::{self, Extras, Kind, Reply};
use healthd_names::nsswitch::{self, Machine};
use healthd_names::resolv_conf::{self, Environment};
use healthd_names::{name, search};

/// The first two bytes say what the rest is.
pub fn names(data: &[u8]) {
    let [what, how, rest @ ..] = data else { return };
    match what % 3 {
        0 => answer(*how, rest),
        1 => files(rest),
        _ => text(rest),
    }
}

/// An answer to a question of ours, with our id and question before it as `how` wants it.
fn answer(how: u8, rest: &[u8]) {
    let (name, kind) = match how & 1 {
        0 => ("www.example.org", Kind::A),
        _ => ("a.b", Kind::Aaaa),
    };
    let question = message::question(0x1234, name, kind, Extras::default());
    let bytes = match how & 2 {
        0 => rest.to_vec(),
        _ => {
            let mut bytes = question.clone();
            bytes[2] |= 0x80;
            // The counts of records, and what follows the question.
            let (head, records) = rest.split_at(rest.len().min(8));
            for (to, from) in bytes[3..12].iter_mut().zip(head) {
                *to = *from;
            }
            (bytes[4], bytes[5]) = (0, 1);
            bytes.extend_from_slice(records);
            bytes
        }
    };
    if let Some(Reply::Addresses { ips, .. }) = message::read(0x1234, name, kind, &bytes) {
        assert!(!ips.is_empty() && ips.len() <= 64);
        assert!(ips.iter().all(|ip| ip.is_ipv4() == (kind == Kind::A)));
    }
}

fn files(rest: &[u8]) {
    let text = String::from_utf8_lossy(rest);
    let environment = Environment {
        res_options: Some(text.chars().take(40).collect()),
        ..Environment::default()
    };
    let settings = resolv_conf::parse(&text, &environment, |_| Some(1));
    assert!(!settings.servers.is_empty() && settings.servers.len() <= 8);
    assert!((1..=5).contains(&settings.attempts) && settings.ndots <= 15);
    let hosts = Hosts::parse(&text);
    assert!(hosts.get("localhost").is_none_or(|ips| !ips.is_empty()));
    let services = nsswitch::parse(&text);
    let steps = nsswitch::plan(&services, "www.example.org", &Machine::default());
    assert!(steps.len() <= 3);
    let host = name::parse("db").expect("a name");
    let names = search::candidates(&host, &settings);
    assert!(!names.is_empty() && names.iter().all(|n| n.len() <= 253));
}

fn text(rest: &[u8]) {
    let text = String::from_utf8_lossy(rest);
    let _ = name::literal(&text);
    if let Ok(host) = name::parse(&text) {
        assert!(!host.name.is_empty() && host.name.len() <= 253);
        let question = message::question(1, &host.name, Kind::A, Extras::default());
        assert!(question.len() <= 12 + 255 + 4);
        assert!(host.name.ends_with(name::zone(&host.name)));
    }
}
