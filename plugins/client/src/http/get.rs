//! What stands at a URL: a connection of its own for each step of the way, and none that leads out of TLS.

use super::url::Url;
use super::{Response, Wanted, exchange};
use crate::host::Host;
use crate::wire::Wire;
use healthd_plugin::tls::Connector;
use healthd_plugin::{Cx, Family, Status};

const REDIRECTS_MAX: usize = 5;

pub struct Get<'o> {
    pub accept: &'static str,
    pub max_body: u64,
    pub family: Family,
    /// For whatever host; made in `create`, because it reads files.
    pub tls: &'o Connector,
}

/// The answer, whatever its status; redirects are followed. The error says that there is none, and is UNKNOWN or our own fault.
pub async fn get(cx: Cx<'_>, url: &Url, how: &Get<'_>) -> Result<Response, (Status, String)> {
    let unknown = |why: String| (Status::Unknown, why);
    let mut url = url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let response = once(cx, &url, how).await?;
        let is_redirect = matches!(response.status, 301 | 302 | 303 | 307 | 308);
        let Some(to) = response.header("location").filter(|_| is_redirect) else {
            return Ok(response);
        };
        let next = url.join(&to.value);
        let next = next.map_err(|why| unknown(format!("redirect: {why}")))?;
        if url.https && !next.https {
            return Err(unknown(format!("redirect: to {next}, which is not secure")));
        }
        url = next;
    }
    Err(unknown(format!("more than {REDIRECTS_MAX} redirects")))
}

async fn once(cx: Cx<'_>, url: &Url, how: &Get<'_>) -> Result<Response, (Status, String)> {
    let own = |(status, text): (Status, String)| match status {
        Status::Resources => (status, text),
        _ => (Status::Unknown, format!("{}: {text}", url.host)),
    };
    let unknown = |text: String| own((Status::Unknown, text));
    let host = Host::new(&url.host, how.family).map_err(unknown)?;
    let ips = host.resolve(cx).await;
    let ips = ips.map_err(|f| own(f.status_and_text()))?;
    let stream = host.reach(cx, ips, url.port).await;
    let stream = stream.map_err(|f| own(f.status_and_text()))?.into();
    let mut wire = Wire::plain(cx, stream);
    if url.https {
        let tls = how.tls.for_name(host.bare()).map_err(unknown)?;
        let secure = wire.secure(&tls).await;
        wire = secure.map_err(|f| own(f.status_and_text()))?;
    }
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: healthd/{}\r\nAccept: {}\r\nConnection: close\r\n\r\n",
        url.path,
        url.authority(),
        env!("CARGO_PKG_VERSION"),
        how.accept,
    );
    let mut response = Response::new(Wanted {
        is_head_request: false,
        headers: true,
        body: true,
        max_body: how.max_body,
    });
    let heard = exchange(cx, &mut wire, request.as_bytes(), &mut response).await;
    heard.map_err(|fault| unknown(fault.to_string()))?;
    Ok(response)
}
