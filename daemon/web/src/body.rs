//! What an answer consists of: one text, or parts that are made as the client takes them.

use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

pub enum Answer {
    Whole(Option<Bytes>),
    Parts(Box<dyn Iterator<Item = String>>),
}

impl Answer {
    pub fn text(text: impl Into<String>) -> Answer {
        Answer::Whole(Some(Bytes::from(text.into())))
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.get_mut() {
            Answer::Whole(text) => text.take(),
            Answer::Parts(parts) => parts.next().map(Bytes::from),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Answer::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |t| t.len() as u64))
            }
            Answer::Parts(_) => SizeHint::default(),
        }
    }
}
