//! What an answer consists of: one text, parts that are made as the client takes them, or parts that come in time.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

pub enum Answer {
    Whole(Option<Bytes>),
    Parts(Parts),
    /// An error ends the connection in the middle, so that nobody takes half of an answer for the whole.
    Fed(Receiver<io::Result<Bytes>>),
}

/// Of a long answer: between two of them all others have their turn, however much its client takes at once.
pub struct Parts {
    parts: Box<dyn Iterator<Item = String>>,
    turn: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Parts {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<String>> {
        if let Some(turn) = &mut self.turn
            && turn.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        // Until it was looked who else there is.
        self.turn = Some(Box::pin(tokio::task::yield_now()));
        Poll::Ready(self.parts.next())
    }
}

impl Answer {
    pub fn parts(parts: impl Iterator<Item = String> + 'static) -> Answer {
        Answer::Parts(Parts {
            parts: Box::new(parts),
            turn: None,
        })
    }

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
            Answer::Parts(parts) => match parts.poll_next(cx) {
                Poll::Ready(part) => part.map(|part| Ok(Bytes::from(part))),
                Poll::Pending => return Poll::Pending,
            },
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
