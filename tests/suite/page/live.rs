//! Whose page is open is told what changes: made once for all who look at the same, and each of them has all of it.

use super::{config, good, stop};
use crate::harness::http::address;
use crate::harness::{DEADLINE, check};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// An open page.
struct Told(BufReader<UnixStream>);

impl Told {
    fn open(at: &str, path: &str) -> Told {
        let socket = at.strip_prefix("unix:").expect("a path");
        let mut stream = UnixStream::connect(socket).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
        Told(BufReader::new(stream))
    }

    /// The next of its events that is as wanted.
    fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(1..) => {}
                end => panic!("{end:?} before {what}: {all}"),
            }
            if line.starts_with("data: ") && wanted(&line) {
                return line;
            }
            all += &line;
        }
    }

    /// The row of `shop`, alone or with all others.
    fn until_shop(&mut self, is_critical: bool) {
        let is_critical = |line: &str| line.contains("critical") == is_critical;
        self.until("shop", |line| {
            line.contains("/check/shop") && is_critical(line)
        });
    }
}

#[test]
fn all_who_look_at_the_same_are_told_each_change_and_who_comes_later_has_all_of_it() {
    let config = config();
    let switch = config.dir().join("broken");
    let script = format!("test ! -e {} || exit 2", switch.display());
    let shop = check("shop").script(&script).set("attempts", "1");
    let shop = shop.interval("100ms");
    let daemon = config.check(shop).check(good("web/a")).spawn();
    daemon.expect_notify("READY=1");
    daemon.until_ok(&["shop", "web/a"]);
    let at = address(&daemon);
    let rows = |line: &str| line.starts_with("data: [\"rows\",");
    let mut pages = vec![Told::open(&at, "/live"), Told::open(&at, "/live")];
    for page in &mut pages {
        let all = page.until("all rows", rows);
        assert!(
            all.contains("/check/shop") && all.contains("/check/web/a"),
            "{all}"
        );
    }
    // Another filter, and so other rows; the counts are of all checks.
    let mut web = Told::open(&at, "/live?q=web/*");
    let all = web.until("all rows", rows);
    assert!(
        !all.contains("/check/shop") && all.contains("/check/web/a"),
        "{all}"
    );
    for is_critical in [true, false, true] {
        match is_critical {
            true => std::fs::write(&switch, "").expect("our own directory"),
            false => std::fs::remove_file(&switch).expect("our own file"),
        }
        pages
            .iter_mut()
            .for_each(|page| page.until_shop(is_critical));
        let later = Told::open(&at, "/live");
        pages.push(later);
        let later = pages.last_mut().expect("it was opened");
        let all = later.until("all rows", rows);
        assert_eq!(all.contains("critical"), is_critical, "{all}");
        later.until("the counts", |line| line.starts_with("data: [\"counts\","));
    }
    // Whoever goes is no loss to the others.
    drop(pages.drain(..2));
    std::fs::remove_file(&switch).expect("our own file");
    pages.iter_mut().for_each(|page| page.until_shop(false));
    stop(daemon);
}
