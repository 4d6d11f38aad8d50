//! Maps, lists and locks on MockHost, in both lanes: what each call does, its bounds, and what ends a lock.

#![forbid(unsafe_code)]

use healthd_plugin::mock::MockHost;
use healthd_plugin::{BlockingCheck, Changed, Check, Cx, Entry, Status, options, plugins};
use std::io;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(30);
const KIB: usize = 1024;

options! {
    struct Options {
        /// Which test.
        case: String,
    }
}

fn errno<T>(done: io::Result<T>) -> i32 {
    done.err().and_then(|e| e.raw_os_error()).unwrap_or(0)
}

fn done(changed: io::Result<Changed>) -> u64 {
    match changed {
        Ok(Changed::Done(version)) => version,
        other => panic!("{other:?}"),
    }
}

fn texts(items: &[(String, Vec<u8>)]) -> Vec<(&str, &str)> {
    let text = |v| std::str::from_utf8(v).expect("we put text there");
    items.iter().map(|(k, v)| (k.as_str(), text(v))).collect()
}

struct Step(String);

impl Check for Step {
    type Options = Options;

    fn create(options: Options, cx: Cx<'_>) -> Result<Self, String> {
        if options.case == "create" {
            let map = cx.shared_map("made");
            map.set("by", b"create")
                .block()
                .map_err(|e| e.to_string())?;
            let lock = cx.lock_blocking(&["made"], LONG);
            drop(lock.map_err(|e| e.to_string())?);
        }
        Ok(Step(options.case))
    }

    async fn check(&self, cx: Cx<'_>) -> Status {
        match self.0.as_str() {
            "versions" => versions(cx).await,
            "lists" => lists(cx).await,
            "scopes" => scopes(cx).await,
            "ttl" => ttl(cx).await,
            "limits" => limits(cx).await,
            "create" => {
                let entry = cx.shared_map("made").get("by").wait().await;
                let made = entry.expect("a map").expect("made in create").value;
                assert_eq!(made, b"create");
            }
            "blocks" => {
                assert_eq!(errno(cx.shared_map("m").get("k").block()), libc::EPERM);
                assert_eq!(errno(cx.lock_blocking(&["l"], LONG)), libc::EPERM);
            }
            "locks" => locks(cx).await,
            "alone" => {
                let lock = cx.lock(&["alone", "again"], LONG).await.expect("a turn");
                let beside = INSIDE.fetch_add(1, SeqCst);
                cx.sleep(Duration::from_millis(1)).await;
                INSIDE.fetch_sub(1, SeqCst);
                drop(lock);
                assert_eq!(beside, 0);
            }
            "keeps" => {
                std::mem::forget(cx.lock(&["kept"], Duration::ZERO).await.expect("free"));
            }
            "hangs" => {
                let _lock = cx.lock(&["hung"], Duration::ZERO).await.expect("free");
                std::future::pending().await
            }
            "takes hung" => drop(cx.lock(&["hung"], Duration::ZERO).await.expect("free")),
            other => return cx.unknown(other),
        }
        Status::Ok
    }
}

static INSIDE: AtomicU32 = AtomicU32::new(0);

async fn versions(cx: Cx<'_>) {
    let map = cx.shared_map("versions");
    assert_eq!(map.get("k").wait().await.expect("a map"), None);
    assert_eq!(
        map.set("k", b"x").only_if(7).wait().await.expect("a map"),
        Changed::Other(None)
    );
    let first = done(map.set("k", b"one").only_if(0).wait().await);
    let one = Entry {
        value: b"one".into(),
        version: first,
    };
    assert_eq!(map.get("k").wait().await.expect("a map"), Some(one.clone()));
    assert_eq!(
        map.set("k", b"two").only_if(0).wait().await.expect("there"),
        Changed::Other(Some(one.clone()))
    );
    let second = done(map.set("k", b"two").only_if(first).wait().await);
    assert!(second > first);
    let third = done(map.set("k", b"").wait().await);
    assert!(third > second);
    let removed = map.remove("k").only_if(first).wait().await.expect("there");
    assert!(matches!(removed, Changed::Other(Some(e)) if e.version == third && e.value.is_empty()));
    assert!(matches!(
        map.remove("k").only_if(third).wait().await,
        Ok(Changed::Done(_))
    ));
    assert_eq!(
        map.remove("k").wait().await.expect("gone"),
        Changed::Other(None)
    );
}

async fn lists(cx: Cx<'_>) {
    let list = cx.shared_map("list");
    assert!(list.snapshot().wait().await.expect("none").is_empty());
    let first = list.append(b"b").wait().await.expect("room");
    assert!(list.append(b"a").wait().await.expect("room") > first);
    let all = list.snapshot().wait().await.expect("a list");
    assert_eq!(texts(&all), [("", "b"), ("", "a")]);
    // It is no map.
    assert_eq!(errno(list.get("k").wait().await), libc::EEXIST);
    assert_eq!(errno(list.set("k", b"v").wait().await), libc::EEXIST);
    assert_eq!(errno(list.remove("k").wait().await), libc::EEXIST);
    list.clear().wait().await.expect("it goes");
    list.clear().wait().await.expect("nothing is there");
    assert!(list.snapshot().wait().await.expect("none").is_empty());
    // The name is free for a map, which is no list.
    done(list.set("z", b"1").wait().await);
    done(list.set("y", b"2").wait().await);
    let all = list.snapshot().wait().await.expect("a map");
    assert_eq!(texts(&all), [("y", "2"), ("z", "1")]);
    assert_eq!(errno(list.append(b"x").wait().await), libc::EEXIST);
    list.clear().wait().await.expect("it goes");
    assert_eq!(list.get("z").wait().await.expect("a map"), None);
}

async fn scopes(cx: Cx<'_>) {
    done(cx.shared_map("scope").set("k", b"own").wait().await);
    let all = cx.shared_map_of_all("scope");
    assert_eq!(all.get("k").wait().await.expect("a map"), None);
    done(all.set("k", b"everybody's").wait().await);
    let own = cx.shared_map("scope").get("k").wait().await;
    assert_eq!(own.expect("a map").expect("there").value, b"own");
}

async fn ttl(cx: Cx<'_>) {
    let (map, list) = (cx.shared_map("ttl"), cx.shared_map("ttl-list"));
    let brief = Duration::from_millis(1);
    done(map.set("brief", b"x").ttl(brief).wait().await);
    done(map.set("long", b"x").ttl(LONG * 100).wait().await);
    done(map.set("for ever", b"x").ttl(brief).wait().await);
    // The last word counts.
    done(map.set("for ever", b"x").wait().await);
    list.append(b"brief").ttl(brief).wait().await.expect("room");
    list.append(b"stays").wait().await.expect("room");
    cx.sleep(brief * 2).await;
    let all = map.snapshot().wait().await.expect("a map");
    assert_eq!(texts(&all), [("for ever", "x"), ("long", "x")]);
    assert_eq!(map.get("brief").wait().await.expect("a map"), None);
    // Nothing is there, so whoever expects nothing may set it.
    done(map.set("brief", b"y").only_if(0).wait().await);
    let all = list.snapshot().wait().await.expect("a list");
    assert_eq!(texts(&all), [("", "stays")]);
}

async fn limits(cx: Cx<'_>) {
    let map = cx.shared_map("limits");
    let (key, value) = ("k".repeat(256), vec![b'v'; 16 * KIB]);
    done(map.set(&key, &value).wait().await);
    let read = map.get(&key).wait().await.expect("a map").expect("there");
    assert_eq!(read.value, value);
    let (long_key, large) = ("k".repeat(257), vec![b'v'; 16 * KIB + 1]);
    assert_eq!(errno(map.set(&long_key, b"").wait().await), libc::EINVAL);
    assert_eq!(errno(map.set("", b"").wait().await), libc::EINVAL);
    assert_eq!(errno(map.set("k", &large).wait().await), libc::EINVAL);
    let list = cx.shared_map("limits-list");
    assert_eq!(errno(list.append(&large).wait().await), libc::EINVAL);
    for name in ["", "no name", &"n".repeat(61)] {
        assert_eq!(
            errno(cx.shared_map(name).get("k").wait().await),
            libc::EINVAL
        );
    }
    // 48 KiB: a third value of 16 has no room, and what is there stays.
    done(map.set("second", &value).wait().await);
    assert_eq!(errno(map.set("third", &value).wait().await), libc::ENOSPC);
    done(map.set("second", &value).wait().await);
    assert_eq!(map.snapshot().wait().await.expect("a map").len(), 2);
    for n in 0..1024 {
        let place = list.append(b"").wait().await;
        assert!(place.is_ok(), "{n}: {place:?}");
    }
    assert_eq!(errno(list.append(b"").wait().await), libc::ENOSPC);
    assert_eq!(list.snapshot().wait().await.expect("a list").len(), 1024);
}

async fn locks(cx: Cx<'_>) {
    let seventeen: Vec<String> = (0..17).map(|n| format!("n{n}")).collect();
    let seventeen: Vec<&str> = seventeen.iter().map(String::as_str).collect();
    for names in [&[] as &[&str], &["no name"], &seventeen] {
        assert_eq!(errno(cx.lock(names, LONG).await), libc::EINVAL);
    }
    let lock = cx
        .lock(&seventeen[..16], Duration::ZERO)
        .await
        .expect("free");
    // Whoever holds may not ask for more, not even for something else.
    assert_eq!(errno(cx.lock(&["other"], LONG).await), libc::EDEADLK);
    drop(lock);
    drop(
        cx.lock(&["n3", "n3"], Duration::ZERO)
            .await
            .expect("given back"),
    );
}

struct Run(String);

/// What a run that holds a lock tells the test, and what it waits for.
static GATE: Mutex<Option<(Sender<()>, Receiver<()>)>> = Mutex::new(None);

impl BlockingCheck for Run {
    type Options = Options;

    fn create(options: Options, _: Cx<'_>) -> Result<Self, String> {
        Ok(Run(options.case))
    }

    fn run(&self, cx: Cx<'_>) -> Status {
        match self.0.as_str() {
            "maps" => {
                let map = cx.shared_map("blocking");
                let first = done(map.set("k", b"one").block());
                assert!(matches!(map.get("k").block(), Ok(Some(e)) if e.version == first));
                assert!(matches!(
                    map.set("k", b"two").only_if(first + 1).block(),
                    Ok(Changed::Other(Some(_)))
                ));
                done(map.remove("k").block());
                assert!(cx.shared_map("blocked").append(b"x").block().is_ok());
                let all = cx.shared_map("blocked").snapshot().block();
                assert_eq!(texts(&all.expect("a list")), [("", "x")]);
                cx.shared_map("blocked").clear().block().expect("it goes");
                let e = map.set("k", &[0; 16 * KIB + 1]).block();
                assert_eq!(errno(e), libc::EINVAL);
            }
            "holds" => {
                let lock = cx.lock_blocking(&["gate", "x"], LONG).expect("free");
                assert_eq!(errno(cx.lock_blocking(&["y"], LONG)), libc::EDEADLK);
                let gate = GATE.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (inside, open) = gate.expect("the test waits");
                inside.send(()).expect("the test waits");
                open.recv_timeout(LONG).expect("the test opens");
                drop(lock);
            }
            "waits" => drop(cx.lock_blocking(&["x", "z"], LONG).expect("in time")),
            "gives up" => {
                let timed_out = cx.lock_blocking(&["x"], Duration::from_millis(5));
                assert_eq!(
                    timed_out.err().map(|e| e.kind()),
                    Some(io::ErrorKind::TimedOut)
                );
            }
            "keeps" => {
                std::mem::forget(cx.lock_blocking(&["kept"], Duration::ZERO).expect("free"));
            }
            other => return cx.unknown(other),
        }
        Status::Ok
    }
}

plugins! {
    step Step { name: "step", summary: "shares in the step lane" }
    run Run { name: "run", summary: "shares in the run lane" }
}

fn check(plugin: &str, case: &str) -> healthd_plugin::mock::MockCheck {
    let plugin = MockHost::new(hd_plugin_v1).plugin(plugin);
    plugin
        .create(format!(r#"{{"case":"{case}"}}"#))
        .expect("fine")
}

fn assert_fine(plugin: &str, case: &str, timeout: Duration) {
    let o = check(plugin, case).run(timeout);
    assert_eq!((o.status, o.message.as_str()), (Status::Ok, ""), "{case}");
}

#[test]
fn a_change_may_be_bound_to_a_version() {
    assert_fine("step", "versions", LONG);
}

#[test]
fn a_list_grows_is_seen_whole_and_goes_whole() {
    assert_fine("step", "lists", LONG);
}

#[test]
fn a_name_is_the_plugins_own_or_everybodys() {
    assert_fine("step", "scopes", LONG);
}

#[test]
fn a_value_stays_as_long_as_it_was_told() {
    assert_fine("step", "ttl", LONG);
}

#[test]
fn what_is_too_much_is_an_error_and_changes_nothing() {
    assert_fine("step", "limits", LONG);
}

#[test]
fn the_run_lane_and_create_block() {
    assert_fine("run", "maps", LONG);
    assert_fine("step", "create", LONG);
    assert_fine("step", "blocks", LONG);
}

#[test]
fn names_are_taken_at_once_and_only_once_a_run() {
    assert_fine("step", "locks", LONG);
    for o in check("step", "alone").run_many(30, LONG) {
        assert_eq!((o.status, o.message.as_str()), (Status::Ok, ""));
    }
}

/// Of a run that ends, one that is at its deadline, and one that is cancelled.
#[test]
fn a_lock_ends_with_its_run() {
    for plugin in ["step", "run", "step"] {
        assert_fine(plugin, "keeps", LONG);
    }
    let o = check("step", "hangs").run(Duration::from_millis(50));
    assert!(o.message.starts_with("timeout"), "{o:?}");
    assert_fine("step", "takes hung", LONG);
    check("step", "hangs").start_and_drop();
    assert_fine("step", "takes hung", LONG);
}

#[test]
fn who_waits_gives_up_at_its_time_out_or_comes_in_when_it_is_free() {
    let ((inside, is_inside), (opener, open)) = (channel(), channel());
    *GATE.lock().unwrap_or_else(PoisonError::into_inner) = Some((inside, open));
    std::thread::scope(|s| {
        let holder = s.spawn(|| check("run", "holds").run(LONG));
        is_inside.recv_timeout(LONG).expect("it holds");
        assert_fine("run", "gives up", LONG);
        // Its own deadline comes before its time-out.
        let o = check("run", "waits").run(Duration::from_millis(5));
        assert!(o.message.contains("in time"), "{o:?}");
        let next = s.spawn(|| check("run", "waits").run(LONG));
        opener.send(()).expect("it waits");
        for run in [holder, next] {
            let o = run.join().expect("no panic");
            assert_eq!((o.status, o.message.as_str()), (Status::Ok, ""));
        }
    });
}
