//! What an answer consists of: one text, parts that are made as the client takes them, or parts that come in time.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

pub enum Answer {
    Whole(Option<Bytes>),
    Parts(Box<dyn Iterator<Item = String>>),
    /// An error ends the connection in the middle, so that nobody takes half of an answer for the whole.
    Fed(Receiver<io::Result<Bytes>>),
}

impl Answer {
    pub fn text(text: impl Into<String>) -> Answer {
        Answer::Whole(Some(Bytes::from(text.into())))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = match self.get_mut() {
            Answer::Whole(text) => text.take().map(Ok),
            Answer::Parts(parts) => parts.next().map(|part| Ok(Bytes::from(part))),
            Answer::Fed(parts) => match parts.poll_recv(cx) {
                Poll::Ready(part) => part,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(next.map(|part| part.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |t| t.len() as u64))
            }
            Answer::Parts(_) | Answer::Fed(_) => SizeHint::default(),
        }
    }
}
