//! A TLS connection between two runs.

use super::identity::Identity;
use super::stream::{Seen, TlsStream};
use super::trust::Anchors;
use super::verify::Verifier;
use super::words::Wanted;
use super::{Connector, provider};
use crate::cx::Cx;
use crate::net::{self, Stream};
use rustls::{ClientConfig, ClientConnection};
use std::fmt;
use std::mem::swap;
use std::sync::{Arc, OnceLock};

/// A TLS connection that belongs to no run, with what its server showed. Closed when dropped.
pub struct Idle {
    socket: net::Idle,
    session: Box<ClientConnection>,
    seen: Seen,
    made_with: MadeWith,
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Idle").field(&self.socket).finish()
    }
}

/// What the files of a connector said when a connection was made.
pub(super) struct MadeWith {
    pub anchors: Option<Arc<Anchors>>,
    pub identity: Option<Arc<Identity>>,
}

impl MadeWith {
    fn is(&self, other: &MadeWith) -> bool {
        let anchors = |m: &MadeWith| m.anchors.as_ref().map(Arc::as_ptr);
        let identity = |m: &MadeWith| m.identity.as_ref().map(Arc::as_ptr);
        anchors(self) == anchors(other) && identity(self) == identity(other)
    }
}

impl TlsStream<Stream<'_>> {
    /// For a later run: all that was asked is answered. None: the server has said more than that, or its goodbye.
    pub fn leave(self) -> Option<Idle> {
        let (stream, mut session) = self.inner.into_inner();
        let state = session.process_new_packets().ok()?;
        let is_quiet = state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed();
        is_quiet.then(|| Idle {
            socket: stream.leave(),
            session: Box::new(session),
            seen: self.seen,
            made_with: self.made_with,
        })
    }
}

impl Connector {
    /// A connection of this connector in another run, without a handshake. None: it cannot be used any more. Its peer has
    /// closed it, its certificate has ended, or the files that say whom to trust and who comes have changed.
    pub async fn resume<'a>(&self, cx: Cx<'a>, idle: Idle) -> Option<TlsStream<Stream<'a>>> {
        let now = MadeWith {
            anchors: self.parts.trust.now().ok()?,
            identity: self.parts.identity.as_ref().map(|i| i.get()),
        };
        let ends = idle.seen.ends.as_ref();
        let has_ended = ends.is_some_and(|s| s.days_left() < 0.0) && idle.seen.unverified.is_none();
        if has_ended || !idle.made_with.is(&now) {
            return None;
        }
        let stream = idle.socket.resume(cx)?;
        let connector = tokio_rustls::TlsConnector::from(no_handshake());
        let mut session = idle.session;
        let put_back = |new: &mut ClientConnection| swap(new, session.as_mut());
        let inner = connector.connect_with(self.name.clone(), stream, put_back);
        let inner = inner.await.ok()?;
        let (seen, made_with) = (idle.seen, idle.made_with);
        Some(TlsStream::new(inner, seen, Wanted::Nothing, made_with))
    }
}

/// Of sessions that are replaced before they say anything: tokio-rustls takes no session that it has not made. With TLS 1.2
/// alone such a one costs no key.
fn no_handshake() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .expect("ring has cipher suites for TLS 1.2")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::nobody()))
            .with_no_client_auth();
        Arc::new(config)
    };
    CONFIG.get_or_init(make).clone()
}
