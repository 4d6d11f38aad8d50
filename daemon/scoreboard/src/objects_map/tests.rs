use super::*;
use healthd_core::wire::objects_map::CELLS;
use std::collections::HashSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = std::env::temp_dir().join(format!("healthd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("temp dir");
        Dir(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn claims_and_cells() {
    let dir = Dir::new("claims");
    let map = ObjectsMap::create(&dir.0, 0o640).expect("map");
    let a = map.claim("http/a", 1).expect("room");
    let b = map.claim("http/b", 16).expect("room");
    assert_eq!(map.claim("http/a", 1), Ok(a));
    let other = ObjectsMap::open(&dir.0).expect("the same file");
    assert_eq!(other.claim("http/b", 16), Ok(b));
    assert_eq!(
        other.claim("http/b", 8),
        Err(ClaimError::OtherSize { there: 16 })
    );
    other.cell(b, 15).expect("in there").fetch_add(7, SeqCst);
    assert_eq!(map.cell(b, 15).expect("in there").load(SeqCst), 7);
    assert!(map.cell(b, 16).is_none());
    assert_eq!(map.claim("", 1), Err(ClaimError::BadName));
    assert_eq!(map.claim("x", 0), Err(ClaimError::NoRoomForCells));
    let (listed, broken) = list(&dir.0).expect("readable");
    assert_eq!(broken, 0);
    assert_eq!(listed[1].values.len(), 16);
    assert_eq!(
        (listed[0].name.as_str(), listed[1].values[15]),
        ("http/a", 7)
    );
    // Made anew, it is empty.
    let map = ObjectsMap::create(&dir.0, 0o640).expect("map");
    let (listed, _) = list(&dir.0).expect("readable");
    assert!(listed.is_empty());
    // Full, it says so, and what was there stays.
    let mut last = 0;
    for n in 0.. {
        match map.claim(&format!("x/{n}"), 4096) {
            Ok(_) => last = n,
            Err(e) => {
                assert_eq!(e, ClaimError::NoRoomForCells);
                break;
            }
        }
    }
    assert_eq!(last + 1, CELLS / 4096);
    assert!(map.claim("x/0", 4096).is_ok());
    for n in 0..NAMES {
        let _ = map.claim(&format!("y/{n}"), 1);
    }
    assert_eq!(map.claim("z/0", 1), Err(ClaimError::NoRoomForNames));
}

/// Dies before its first step, its second, ...: whoever comes next finds the same cells, and nobody else's.
#[test]
fn killed_at_any_step_it_leaves_nothing_that_stands_in_the_way() {
    let dir = Dir::new("steps");
    let map = ObjectsMap::create(&dir.0, 0o640).expect("map");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut deaths = 0;
    for step in 0.. {
        fuse::LEFT.set(step);
        let name = format!("plugin/name-of-step-{step}");
        let done = std::panic::catch_unwind(|| map.claim(&name, 3));
        fuse::LEFT.set(u64::MAX);
        match done {
            Err(_) => deaths += 1,
            Ok(done) => {
                done.expect("room");
                break;
            }
        }
        // Another comes first, or the same.
        if step % 2 == 0 {
            map.claim(&format!("other/{step}"), 5).expect("room");
        }
    }
    std::panic::set_hook(hook);
    assert!(deaths > 15, "{deaths}");
    let mut cells = HashSet::new();
    for step in 0..=deaths {
        let extent = map
            .claim(&format!("plugin/name-of-step-{step}"), 3)
            .expect("room");
        assert_eq!(
            map.claim(&format!("plugin/name-of-step-{step}"), 3),
            Ok(extent)
        );
        for cell in 0..3 {
            assert!(cells.insert(extent.word_of(cell)), "two have one cell");
        }
        if step % 2 == 0 && step < deaths {
            let extent = map.claim(&format!("other/{step}"), 5).expect("room");
            for cell in 0..5 {
                assert!(cells.insert(extent.word_of(cell)), "two have one cell");
            }
        }
    }
    // No cell was lost by a death.
    let last = Allocation::from_word(map.map.get(header::ALLOCATION)).expect("whole");
    assert_eq!((last.next as usize, last.pending), (cells.len(), None));
    let (_, broken) = list(&dir.0).expect("readable");
    assert_eq!(broken, 0);
}

#[test]
fn two_names_with_one_key_are_two_names() {
    let dir = Dir::new("keys");
    let map = ObjectsMap::create(&dir.0, 0o640).expect("map");
    let a = map.claim("p/first", 1).expect("room");
    // As if the hash of the other were the same.
    let at = record_at(key_of("p/second") as usize % NAMES);
    map.map.set(at + record::KEY, key_of("p/second"));
    let words = name_words("p/sister").expect("short");
    map.map.set(at + record::NAME, words[0]);
    map.map.set(at + record::NAME + 1, words[1]);
    let b = map.claim("p/second", 1).expect("room");
    assert_ne!(a, b);
    assert_eq!(map.claim("p/second", 1), Ok(b));
    assert_eq!(map.map.get(at + record::EXTENT), 0);
}

#[test]
fn a_map_that_was_scribbled_over_hurts_nobody() {
    let dir = Dir::new("scribble");
    let map = ObjectsMap::create(&dir.0, 0o640).expect("map");
    let mut seed = 88_172_645_463_325_252_u64;
    for round in 0..200 {
        for _ in 0..500 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = seed as usize % WORDS;
            if at >= 2 {
                map.map.set(at, seed.rotate_left(17) * (seed & 1));
            }
        }
        if round % 3 == 0 {
            map.map.set(header::ALLOCATION, seed);
        }
        for n in 0..8 {
            if let Ok(extent) = map.claim(&format!("p/{round}-{n}"), 1 + n) {
                assert!((0..extent.cells).all(|c| map.cell(extent, c).is_some()));
            }
        }
        let (listed, _) = list(&dir.0).expect("the header is whole");
        assert!(listed.iter().all(|l| l.name.is_ascii()));
    }
    map.map.set(header::MAGIC, 0);
    assert!(list(&dir.0).is_err() && ObjectsMap::open(&dir.0).is_err());
}

// ---- real processes: this test binary again, with one test and a word of what to do ----

const ROLE: &str = "HEALTHD_OBJECTS_ROLE";

fn child(dir: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().expect("our own program"))
        .args([
            "--exact",
            "objects_map::tests::child_process",
            "--nocapture",
        ])
        .env(ROLE, format!("{role} {}", dir.display()))
        .stdout(Stdio::null())
        .spawn()
        .expect("a child")
}

/// Does nothing when it is run as a test.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let (role, dir) = role.split_once(' ').expect("a role and a folder");
    let map = ObjectsMap::open(Path::new(dir)).expect("map");
    match role {
        "add" => {
            let all = map.claim("test/sum", 2).expect("room");
            for _ in 0..ADDS {
                map.cell(all, 0).expect("there").fetch_add(1, SeqCst);
            }
        }
        // Until it is killed; each addition in both cells, the second after the first.
        "add-for-ever" => {
            let all = map.claim("test/doomed", 2).expect("room");
            loop {
                map.cell(all, 0).expect("there").fetch_add(1, SeqCst);
                map.cell(all, 1).expect("there").fetch_add(1, SeqCst);
            }
        }
        // The same names as everybody, in an order of its own.
        "claim-for-ever" => {
            for n in (0..1500).cycle().skip(std::process::id() as usize % 1500) {
                let extent = map
                    .claim(&format!("test/claim-{n}"), 1 + n % 7)
                    .expect("room");
                map.cell(extent, n % (1 + n % 7))
                    .expect("there")
                    .fetch_add(1, SeqCst);
            }
        }
        other => panic!("{other}"),
    }
}

const ADDS: u64 = 200_000;

#[test]
fn eight_processes_add_and_one_is_killed_in_the_middle() {
    let dir = Dir::new("adds");
    let map = ObjectsMap::create(&dir.0, 0o640).expect("map");
    let mut doomed = child(&dir.0, "add-for-ever");
    let mut children: Vec<Child> = (0..8).map(|_| child(&dir.0, "add")).collect();
    let tally = map.claim("test/doomed", 2).expect("room");
    while map.cell(tally, 1).expect("there").load(SeqCst) < 100_000 {
        std::thread::yield_now();
    }
    doomed.kill().expect("it runs");
    doomed.wait().expect("it is ours");
    for child in &mut children {
        assert!(child.wait().expect("it is ours").success());
    }
    let sum = map.claim("test/sum", 2).expect("room");
    assert_eq!(map.cell(sum, 0).expect("there").load(SeqCst), 8 * ADDS);
    let (first, second) = (
        map.cell(tally, 0).expect("there").load(SeqCst),
        map.cell(tally, 1).expect("there").load(SeqCst),
    );
    assert!(first == second || first == second + 1, "{first} {second}");
}

#[test]
fn processes_claim_the_same_names_and_are_killed_again_and_again() {
    let dir = Dir::new("kills");
    let map = ObjectsMap::create(&dir.0, 0o640).expect("map");
    let mut claimants: Vec<Child> = (0..4).map(|_| child(&dir.0, "claim-for-ever")).collect();
    for round in 0..24_u64 {
        // Wait until the map has grown, so that most deaths are among claims.
        let before = map.map.get(header::ALLOCATION);
        let begun = std::time::Instant::now();
        while map.map.get(header::ALLOCATION) == before && begun.elapsed().as_millis() < 20 {
            std::thread::yield_now();
        }
        let at = (round % 4) as usize;
        claimants[at].kill().expect("it runs");
        claimants[at].wait().expect("it is ours");
        claimants[at] = child(&dir.0, "claim-for-ever");
    }
    for claimant in &mut claimants {
        claimant.kill().expect("it runs");
        claimant.wait().expect("it is ours");
    }
    let mut cells = HashSet::new();
    for n in 0..1500 {
        let extent = map
            .claim(&format!("test/claim-{n}"), 1 + n % 7)
            .expect("room");
        for cell in 0..extent.cells {
            assert!(cells.insert(extent.word_of(cell)), "two have one cell");
        }
    }
    let last = Allocation::from_word(map.map.get(header::ALLOCATION)).expect("whole");
    assert_eq!((last.next as usize, last.pending), (cells.len(), None));
}
