//! `rate_limit`: so many requests to a host in a time, counted over all workers.

use crate::exchange::{self, Place, Target, Times};
use crate::failed::Failed;
use crate::request::Request;
use crate::response::Response;
use healthd_plugin::tls::Connector;
use healthd_plugin::{Cx, Rate, Status};

/// As `exchange::run`, when its turn has come. The wait is our own and is given back: the target has the whole timeout.
pub async fn run(
    cx: Cx<'_>,
    rate: Rate,
    target: &Target,
    tls: Option<&Connector>,
    request: &Request,
    response: &mut Response,
) -> Result<Times, Failed> {
    let host = &request.url.host;
    let own = |why: String| Failed {
        status: Status::Resources,
        why: format!("rate_limit of {host}: {why}"),
    };
    cx.phase("rate_limit");
    let turns = cx
        .counter(&counter_name(&target.place, host))
        .map_err(|e| own(e.to_string()))?;
    let turn = rate.wait(cx, turns).await;
    turn.map_err(|over| own(over.to_string()))?;
    exchange::run(cx, target, tls, request, response).await
}

/// One for all ports of a host. A host that is no name of a counter is known by a hash.
fn counter_name(place: &Place, host: &str) -> String {
    let host = match place {
        Place::Unix(path) => format!("unix:{}", path.display()),
        _ => host.to_owned(),
    };
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if host.len() <= 50 && host.bytes().all(plain) {
        return format!("rate:{host}");
    }
    let hash = host.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    });
    let known: String = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '.')
        .take(30)
        .collect();
    format!("rate:{known}:{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_counters() {
        let any = Place::Unix("/run/x.sock".into());
        assert_eq!(counter_name(&any, "x"), "rate:unix:/run/x.sock");
        let addr = Place::Addr("127.0.0.1:80".parse().expect("an address"));
        assert_eq!(counter_name(&addr, "example.org"), "rate:example.org");
        let long = "a".repeat(250);
        let name = counter_name(&addr, &long);
        assert!(
            name.len() <= 60 && name != counter_name(&addr, &"a".repeat(251)),
            "{name}"
        );
    }
}
