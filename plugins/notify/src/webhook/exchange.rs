//! One POST and its answer. Until its first byte has left, whatever goes wrong is a definite refusal; from then on only
//! the answer says what became of it.

use super::Webhook;
use super::read::Answer;
use crate::end::NotTaken;
use crate::secure::Wire;
use healthd_plugin::net::{self, Bind, TcpStream};
use healthd_plugin::{Cx, Status};
use std::io;
use std::net::SocketAddr;

pub async fn exchange(hook: &Webhook, cx: Cx<'_>, request: &[u8]) -> Result<Answer, NotTaken> {
    let ips = hook
        .host
        .resolve(cx)
        .await
        .map_err(|(status, why)| NotTaken {
            own: status == Status::Resources,
            ..NotTaken::surely(why)
        })?;
    cx.phase("connect");
    let to: Vec<SocketAddr> = ips
        .into_iter()
        .map(|ip| (ip, hook.base.port).into())
        .collect();
    let stream = TcpStream::connect_any_with(cx, &to, &Bind::default()).await;
    let stream = stream.map_err(|e| NotTaken::before("connect", &e))?;
    let mut wire = match &hook.tls {
        None => Wire::Plain(stream.into()),
        Some(tls) => {
            cx.phase("tls");
            let secure = tls.connect(stream.into()).await;
            Wire::Tls(Box::new(secure.map_err(|e| NotTaken::before("tls", &e))?))
        }
    };
    cx.phase("send");
    let sent = net::write_all(&mut wire, request).await;
    cx.phase("answer");
    let answer = read(&mut wire).await;
    match (answer, sent) {
        (Ok(response), _) => Ok(response),
        // Who hangs up while we still send has not heard all of it; but a part may be enough.
        (Err(_), Err(e)) => Err(NotTaken::after("send", &e)),
        (Err(not), Ok(())) => Err(not),
    }
}

async fn read(wire: &mut Wire<'_>) -> Result<Answer, NotTaken> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 8 << 10];
    loop {
        let (n, error) = match net::read(wire, &mut buffer).await {
            Ok(n) => (n, None),
            // TLS says so when the server ends without a goodbye.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => (0, None),
            Err(e) => (0, Some(e)),
        };
        bytes.extend_from_slice(&buffer[..n]);
        match (Answer::read(&bytes, n == 0), error) {
            (Ok(Some(answer)), _) => return Ok(answer),
            (_, Some(e)) => return Err(NotTaken::after("answer", &e)),
            (Ok(None), None) => {}
            (Err(why), None) => return Err(NotTaken::perhaps(format!("answer: {why}"))),
        }
    }
}
