//! Calls that may never return: a look at a file system whose server is dead.
//!
//! Such a call is made on a thread of its own. If it does not return in time, the thread is left behind and remembered:
//! nobody asks the same again before it is back. So what hangs costs one thread a worker process, however often it is checked.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What became of one question.
#[derive(Debug, PartialEq)]
pub enum Answer<T> {
    Got(T),
    /// It has not answered for so long.
    Silent(Duration),
}

/// A question about a path. The name tells those of different kinds apart.
pub struct Question<T> {
    pub name: &'static str,
    pub ask: fn(&Path) -> T,
}

/// Who is asked and has not answered, and since when.
static SILENT: Mutex<BTreeMap<(&'static str, PathBuf), Instant>> = Mutex::new(BTreeMap::new());

/// What the thread that asks and the one that waits share.
struct Round<T> {
    state: Mutex<State<T>>,
    news: Condvar,
}

struct State<T> {
    answers: Vec<T>,
    /// Nobody waits for this thread any more.
    is_abandoned: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// Asks about each path in turn and waits for each answer at most so long. The error: there is no thread to be had.
pub fn ask_each<T: Send + 'static>(
    paths: &[PathBuf],
    patience: Duration,
    question: &Question<T>,
) -> io::Result<Vec<Answer<T>>> {
    let mut answers = Vec::with_capacity(paths.len());
    while answers.len() < paths.len() {
        let path = &paths[answers.len()];
        if let Some(since) = lock(&SILENT).get(&(question.name, path.clone())) {
            answers.push(Answer::Silent(since.elapsed()));
            continue;
        }
        // Up to the next one that is known to be silent.
        let silent = lock(&SILENT);
        let some = paths[answers.len()..]
            .iter()
            .take_while(|p| !silent.contains_key(&(question.name, (*p).clone())));
        let some: Vec<PathBuf> = some.cloned().collect();
        drop(silent);
        round(some, patience, question, &mut answers)?;
    }
    Ok(answers)
}

/// As [`ask_each`], about one.
pub fn ask<T: Send + 'static>(
    path: &Path,
    patience: Duration,
    question: &Question<T>,
) -> io::Result<Answer<T>> {
    let mut answers = ask_each(&[path.to_owned()], patience, question)?;
    Ok(answers.remove(0))
}

/// One thread asks about these, until all have answered or one is silent.
fn round<T: Send + 'static>(
    paths: Vec<PathBuf>,
    patience: Duration,
    question: &Question<T>,
    answers: &mut Vec<Answer<T>>,
) -> io::Result<()> {
    let shared = Arc::new(Round {
        state: Mutex::new(State {
            answers: Vec::new(),
            is_abandoned: false,
        }),
        news: Condvar::new(),
    });
    let (theirs, asked, name, ask) = (shared.clone(), paths.clone(), question.name, question.ask);
    std::thread::Builder::new()
        .name("asks".into())
        .stack_size(128 << 10)
        .spawn(move || {
            for path in asked {
                let answer = ask(&path);
                let mut state = lock(&theirs.state);
                if state.is_abandoned {
                    lock(&SILENT).remove(&(name, path));
                    return;
                }
                state.answers.push(answer);
                theirs.news.notify_one();
            }
        })?;
    let mut state = lock(&shared.state);
    loop {
        let before = state.answers.len();
        if before == paths.len() {
            break;
        }
        let waited = shared
            .news
            .wait_timeout_while(state, patience, |s| s.answers.len() == before);
        state = waited.unwrap_or_else(|e| e.into_inner()).0;
        if state.answers.len() == before {
            // Under the lock: the thread is not back, and will see that it was given up.
            state.is_abandoned = true;
            let path = paths[before].clone();
            let since = Instant::now().checked_sub(patience);
            lock(&SILENT).insert((name, path), since.unwrap_or_else(Instant::now));
            break;
        }
    }
    let silent = state.is_abandoned;
    answers.extend(state.answers.drain(..).map(Answer::Got));
    if silent {
        answers.push(Answer::Silent(patience));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Reads a FIFO, which returns when somebody has written and closed it.
    const READ: Question<usize> = Question {
        name: "test",
        ask: |path| {
            let mut text = String::new();
            let read = std::fs::File::open(path).and_then(|mut f| f.read_to_string(&mut text));
            read.unwrap_or(usize::MAX)
        },
    };
    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(60);

    #[test]
    fn the_silent_one_costs_one_thread_and_the_others_answer() {
        let folder = healthd_testing::Folder::new();
        let (a, b) = (folder.write("a", "1"), folder.write("b", "22"));
        let fifo = folder.file("fifo");
        healthd_testing::run(std::process::Command::new("mkfifo").arg(&fifo));
        // However slow this machine is: only the FIFO never answers.
        let first = ask(&fifo, SOON, &READ).unwrap();
        assert_eq!(first, Answer::Silent(SOON));
        let paths = [a, fifo.clone(), b];
        // It is not asked again: this would wait for a minute.
        for _ in 0..10 {
            let again = ask_each(&paths, LATE, &READ).unwrap();
            assert_eq!((&again[0], &again[2]), (&Answer::Got(1), &Answer::Got(2)));
            assert!(matches!(again[1], Answer::Silent(since) if since >= SOON));
        }
        // Another one in the middle: those after it are asked too.
        let second = folder.file("second");
        healthd_testing::run(std::process::Command::new("mkfifo").arg(&second));
        let paths = [second.clone(), paths[2].clone()];
        let mixed = ask_each(&paths, SOON, &READ).unwrap();
        assert_eq!((mixed.len(), &mixed[0]), (2, &Answer::Silent(SOON)));
        std::fs::write(&second, "x").unwrap();
        // It comes back: that thread ends, and the next one asks anew.
        std::fs::write(&fifo, "x").unwrap();
        while lock(&SILENT).contains_key(&("test", fifo.clone())) {
            std::thread::yield_now();
        }
        let writer = std::thread::spawn({
            let fifo = fifo.clone();
            move || std::fs::write(fifo, "four")
        });
        assert_eq!(ask(&fifo, LATE, &READ).unwrap(), Answer::Got(4));
        writer.join().unwrap().unwrap();
    }
}
