//! A processor on which somebody always computes, for threads that are to get next to nothing of it.

use super::skipped;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// As long as it lives, its victims have what nobody else wants of one processor.
pub struct Hog {
    /// For the victims, when it is over.
    all: CpuSet,
    victims: Vec<u32>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hog {
    /// For the whole of a test: two at once would take from each other's victims the little that they are to have.
    pub fn alone() -> MutexGuard<'static, ()> {
        static ONE: Mutex<()> = Mutex::new(());
        ONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: it cannot be had here, and that has been said.
    pub fn starve(victims: Vec<u32>) -> Option<Hog> {
        let all = sched_getaffinity(Pid::from_raw(0)).expect("our own");
        let first = (0..CpuSet::count()).find(|cpu| all.is_set(*cpu) == Ok(true));
        let mut one = CpuSet::new();
        one.set(first.expect("we run somewhere"))
            .expect("it is one");
        for tid in &victims {
            let idle = Command::new("chrt")
                .args(["--idle", "--pid", "0", &tid.to_string()])
                .status();
            if !idle.is_ok_and(|s| s.success()) {
                skipped("no thread can be made to starve: chrt");
                return None;
            }
            sched_setaffinity(pid(*tid), &one).expect("our own");
        }
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..enough()).map(|_| {
            let over = over.clone();
            std::thread::spawn(move || {
                sched_setaffinity(Pid::from_raw(0), &one).expect("our own");
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        });
        let threads = threads.collect();
        Some(Hog {
            all,
            victims,
            over,
            threads,
        })
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for tid in &self.victims {
            // They may be gone; and who is not root cannot take back that they are idle.
            let _ = sched_setaffinity(pid(*tid), &self.all);
            let _ = Command::new("chrt")
                .args(["--other", "--pid", "0", &tid.to_string()])
                .stderr(std::process::Stdio::null())
                .status();
        }
    }
}

/// So many threads leave an idle one less than a twentieth of a processor, also where all of this runs with a low priority:
/// by the weights of sched(7).
fn enough() -> u32 {
    const IDLE: f64 = 3.0;
    let stat = fs::read_to_string("/proc/thread-self/stat").expect("our own");
    let words: Vec<&str> = stat
        .rsplit_once(')')
        .map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
    // proc(5): two words stand before these.
    let (nice, policy) = (words[16].parse::<i32>(), words[38]);
    let ours = match policy {
        "5" => IDLE,
        _ => 1024.0 / 1.25_f64.powi(nice.expect("a number")),
    };
    ((20.0 * IDLE / ours).ceil() as u32).max(2)
}

fn pid(tid: u32) -> Pid {
    Pid::from_raw(i32::try_from(tid).expect("a pid"))
}
