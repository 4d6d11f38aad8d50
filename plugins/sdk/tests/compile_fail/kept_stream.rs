//! A stream belongs to the run that opened it.
use healthd_plugin::net::TcpStream;
use healthd_plugin::{Check, Cx, Status};
use std::cell::RefCell;

thread_local! {
    static POOL: RefCell<Vec<TcpStream<'static>>> = const { RefCell::new(Vec::new()) };
}

struct Example;

impl Check for Example {
    type Options = ();
    fn create(_: (), _: Cx<'_>) -> Result<Self, String> {
        Ok(Example)
    }
    async fn check(&self, cx: Cx<'_>) -> Status {
        let stream = TcpStream::start(cx, ([127, 0, 0, 1], 80).into()).unwrap();
        POOL.with_borrow_mut(|pool| pool.push(stream));
        Status::Ok
    }
}

fn main() {}
