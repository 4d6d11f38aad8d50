//! One server, asked once: over UDP, over TCP if that is cut off, or over TLS.

use super::wire::{Answer, NoAnswer, Question};
use healthd_client::host::Host;
use healthd_plugin::net::{self, AsyncRead, AsyncWrite, TcpStream, UdpSocket};
use healthd_plugin::tls::Connector;
use healthd_plugin::{Cx, Status, failure};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// After so long without an answer a datagram is sent again: one that is lost is no fault of the server's.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Kept back of a run's time for the verdict: who is silent is named.
const FOR_THE_VERDICT: u64 = 20_000_000;

pub struct Server {
    pub host: Host,
    pub port: u16,
    pub tls: Option<Connector>,
    pub facts: bool,
}

/// A server's answer and how long it took, in seconds.
pub struct Asked {
    pub answer: Answer,
    pub seconds: f64,
}

/// Why there is no answer.
pub type Failed = (Status, String);

impl Server {
    pub async fn ask(&self, cx: Cx<'_>, question: &Question, tcp: bool) -> Result<Asked, Failed> {
        let ips = self.host.resolve(cx).await;
        let ips = ips.map_err(|f| f.status_and_text())?;
        if let (true, Some(ip)) = (self.facts, ips.first()) {
            cx.label("address", &ip.to_string());
        }
        let to: Vec<SocketAddr> = ips.into_iter().map(|ip| (ip, self.port).into()).collect();
        cx.phase("query");
        let begin = cx.now_ns();
        let end = cx.deadline_ns().saturating_sub(FOR_THE_VERDICT);
        let left = Duration::from_nanos(end.saturating_sub(begin));
        let asked = cx.timeout(left, self.ask_all(cx, question, &to, tcp)).await;
        let Ok(answer) = asked else {
            let text = format!("no answer in {:.1} s", left.as_secs_f64());
            return Err((Status::Critical, text));
        };
        Ok(Asked {
            answer: answer?,
            seconds: (cx.now_ns() - begin) as f64 / 1e9,
        })
    }

    async fn ask_all(
        &self,
        cx: Cx<'_>,
        question: &Question,
        to: &[SocketAddr],
        tcp: bool,
    ) -> Result<Answer, Failed> {
        if let Some(tls) = &self.tls {
            let stream = connect(cx, to).await?;
            let stream = tls.connect(stream).await;
            let mut stream = stream.map_err(|e| failure("tls", &e))?;
            return over_stream(question, &mut stream).await;
        }
        if !tcp {
            let answer = over_udp(cx, question, to).await?;
            if !answer.truncated {
                return Ok(answer);
            }
        }
        over_stream(question, &mut connect(cx, to).await?).await
    }
}

async fn connect<'a>(cx: Cx<'a>, to: &[SocketAddr]) -> Result<TcpStream<'a>, Failed> {
    let stream = TcpStream::connect_any(cx, to).await;
    stream.map_err(|e| failure("connect", &e))
}

/// Asks again, from another port and with another id, until there is an answer; the caller has the time limit.
async fn over_udp(cx: Cx<'_>, question: &Question, to: &[SocketAddr]) -> Result<Answer, Failed> {
    // Each address in turn.
    for to in to.iter().cycle() {
        let socket = UdpSocket::connect(cx, *to).map_err(|e| failure("socket", &e))?;
        let id = random();
        let sent = socket.send(&question.bytes(id)).await;
        sent.map_err(|e| failure("send", &e))?;
        match cx.timeout(AGAIN_AFTER, hear(&socket, question, id)).await {
            Ok(heard) => return heard,
            Err(_) => continue,
        }
    }
    Err((Status::Unknown, "the server has no address".into()))
}

/// Only datagrams from the server's address and port come in. Of those with another id or question, which somebody may
/// have forged, none counts.
async fn hear(socket: &UdpSocket<'_>, question: &Question, id: u16) -> Result<Answer, Failed> {
    loop {
        let datagram = socket.receive().await;
        let datagram = datagram.map_err(|e| failure("receive", &e))?;
        match question.answer(id, &datagram) {
            Ok(answer) => return Ok(answer),
            Err(NoAnswer::Stranger(_)) => continue,
            Err(NoAnswer::Broken(why)) => return Err((Status::Critical, why)),
        }
    }
}

async fn over_stream<S: AsyncRead + AsyncWrite + Unpin>(
    question: &Question,
    stream: &mut S,
) -> Result<Answer, Failed> {
    let id = random();
    let question_bytes = question.bytes(id);
    let mut message = (question_bytes.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(&question_bytes);
    let sent = net::write_all(stream, &message).await;
    sent.map_err(|e| failure("send", &e))?;
    let mut length = [0; 2];
    let whole = async {
        read_exact(stream, &mut length).await?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        read_exact(stream, &mut message).await?;
        Ok(message)
    };
    let message = whole.await.map_err(|e: io::Error| failure("receive", &e))?;
    match question.answer(id, &message) {
        Ok(answer) if answer.truncated => {
            let text = "the answer is cut off although it came over TCP";
            Err((Status::Critical, text.into()))
        }
        Ok(answer) => Ok(answer),
        // Nobody else can speak here.
        Err(NoAnswer::Stranger(why)) => {
            Err((Status::Critical, format!("the answer is broken: {why}")))
        }
        Err(NoAnswer::Broken(why)) => Err((Status::Critical, why)),
    }
}

async fn read_exact<S: AsyncRead + Unpin>(stream: &mut S, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match net::read(stream, into).await? {
            0 => {
                let why = "connection closed before the whole answer";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
            }
            n => into = &mut into[n..],
        }
    }
    Ok(())
}

/// Nobody can guess it who does not see the question.
fn random() -> u16 {
    RandomState::new().hash_one(0) as u16
}
