//! PROTOCOL.md is for people who write clients from it, so its examples must be what goes over the wire:
//! each is read into the types and written again, and must come out the same to the byte.

use healthd_core::check::fault::Fault;
use healthd_core::wire::control::{ErrorCode, MAX_REQUEST, Reply, Request, VERSION};
use healthd_core::wire::events::EventKind;
use serde::Serialize;
use std::collections::BTreeSet;

const TEXT: &str = include_str!("../../PROTOCOL.md");

fn examples() -> Vec<&'static str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in TEXT.lines() {
        if line.starts_with("```") {
            inside = line == "```json";
        } else if inside {
            lines.push(line);
        }
    }
    lines
}

/// The word that serde writes for an enum without fields.
fn word(value: &impl Serialize) -> String {
    serde_json::to_string(value)
        .expect("serializes")
        .trim_matches('"')
        .to_owned()
}

#[test]
fn examples_are_what_goes_over_the_wire() {
    let (mut ops, mut types) = (BTreeSet::new(), BTreeSet::new());
    for line in examples() {
        let value: serde_json::Value = serde_json::from_str(line).expect(line);
        let again = if let Some(op) = value["op"].as_str() {
            ops.insert(op.to_owned());
            let request: Request = serde_json::from_str(line).expect(line);
            assert_eq!(request.v, VERSION, "{line}");
            serde_json::to_string(&request)
        } else {
            types.insert(value["type"].as_str().expect(line).to_owned());
            let reply: Reply = serde_json::from_str(line).expect(line);
            serde_json::to_string(&reply)
        };
        assert_eq!(again.expect("serializes"), line);
    }
    let all = |words: &str| words.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(
        ops,
        all(
            "status show run watch why workers objects events alerts alerts_who silence unsilence ack note alerts_test heartbeat submit probe plugins plugins_reload plugins_rollback pause resume release reload stop \
             version"
        )
    );
    assert_eq!(
        types,
        all(
            "check detail started gone worker object event alerts silence tested who probed plugin why reloaded version end error"
        )
    );
}

#[test]
fn every_error_code_is_explained() {
    use ErrorCode::{
        BadConfig, BadRequest, Busy, Denied, Failed, Internal, NoSuchCheck, NoSuchPlugin, TooLong,
        Version,
    };
    for code in [
        BadRequest,
        TooLong,
        Version,
        NoSuchCheck,
        NoSuchPlugin,
        Denied,
        BadConfig,
        Failed,
        Busy,
        Internal,
    ] {
        // A new code must be added here and in the document.
        match code {
            BadRequest | TooLong | Version | NoSuchCheck | NoSuchPlugin | Denied | BadConfig
            | Failed | Busy | Internal => {}
        }
        assert!(TEXT.contains(&format!("| `{}` |", word(&code))), "{code:?}");
    }
}

#[test]
fn every_fault_and_every_kind_of_event_is_explained() {
    let explained = |word: &str| TEXT.contains(&format!("`{word}`"));
    for fault in Fault::ALL.into_iter().filter(|f| *f != Fault::Other) {
        assert!(TEXT.contains(&format!("| `{fault}` |")), "{fault}");
    }
    for kind in EventKind::ALL
        .into_iter()
        .filter(|k| *k != EventKind::Other)
    {
        assert!(explained(kind.as_str()), "{}", kind.as_str());
    }
}

#[test]
fn the_limit_is_the_one_in_the_code() {
    assert_eq!(MAX_REQUEST, 65_536);
    assert!(TEXT.contains("64 KiB (65,536 bytes"));
}

#[test]
fn unknown_fields_of_a_request_are_ignored() {
    let request: Request =
        serde_json::from_str(r#"{"v":1,"op":"status","later":true}"#).expect("parses");
    assert_eq!(request.v, 1);
    assert!(serde_json::from_str::<Request>(r#"{"v":1,"op":"levitate"}"#).is_err());
}
