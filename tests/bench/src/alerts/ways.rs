//! What takes its time: a backup is told after 5 minutes, a problem again after one, and one that goes up and down each second
//! hardly ever.

use super::gate::Gate;
use super::wanted;
use crate::Options;
use crate::daemon::Daemon;
use crate::runs::wait;
use healthd_test_support::receiver::{Got, Manner, Receiver};
use healthd_testing::free_port;
use std::time::{Duration, Instant};

pub fn ways(options: &Options) -> Result<(), String> {
    let seconds = options.seconds.max(330);
    println!(
        "alerts, ways: a backup after 5 min, `repeat` of 1 min, a check that flips each second, for {seconds} s"
    );
    let [refuses, backup, hangs, stands_in, again, flaps, eager] =
        [(); 7].map(|()| Receiver::new());
    refuses.be(Manner::Answer(404, ""));
    hangs.be(Manner::Hang);
    let mut gate = Gate::new()?;
    let check = |name: &str, port: u16| {
        format!(
            "[[check]]\nname = \"{name}\"\nplugin = \"tcp\"\ninterval = \"200ms\"\ntimeout = \"1s\"\nattempts = 1\n\
             config = {{ host = \"127.0.0.1\", port = {port} }}\n"
        )
    };
    let route = |name: &str, receiver: &Receiver, more: &str| {
        format!(
            "[[notify]]\nname = \"{name}\"\nplugin = \"webhook\"\nconfig = {{ url = \"{}\" }}\n{more}",
            receiver.url()
        )
    };
    let at_once = "wait = \"0s\"\nmatch = \"down\"\n";
    let config = check("down", free_port("127.0.0.1"))
        + &check("flappy", gate.port)
        + &route(
            "first",
            &refuses,
            &format!("{at_once}backup = \"second\"\n"),
        )
        + &route("second", &backup, "wait = \"0s\"\nmatch = \"none\"\n")
        + &route("third", &hangs, &format!("{at_once}backup = \"fourth\"\n"))
        + &route("fourth", &stands_in, "wait = \"0s\"\nmatch = \"none\"\n")
        + &route("again", &again, &format!("{at_once}repeat = \"1m\"\n"))
        + &route("flaps", &flaps, "match = \"flappy\"\n")
        + &route("eager", &eager, "wait = \"0s\"\nmatch = \"flappy\"\n");
    let daemon = Daemon::start_with("ways", "start_spread = \"0s\"\n", &config, &[])?;
    let begun = Instant::now();
    let mut told = [None; 2];
    while begun.elapsed() < Duration::from_secs(seconds) {
        gate.set(begun.elapsed().as_secs().is_multiple_of(2))?;
        wait(0.1);
        for (told, backup) in told.iter_mut().zip([&backup, &stands_in]) {
            if told.is_none() && !backup.all().is_empty() {
                *told = Some(begun.elapsed());
            }
        }
    }
    for (told, first, what) in [(told[0], &refuses, "refuses"), (told[1], &hangs, "hangs")] {
        let after = told.ok_or_else(|| format!("the backup was not told\n{}", daemon.log()))?;
        println!(
            "  backup told after     {:8.1} s (310 wanted) of one that {what}; {} tries on that",
            after.as_secs_f64(),
            first.all().len()
        );
        wanted(after < Duration::from_secs(310), "the backup was told late")?;
    }
    println!(
        "  told again            {:8} times ({} wanted)",
        of(&again, "repeat"),
        (seconds - 1) / 60
    );
    let (problems, more) = (of(&flaps, "problem"), accepted(&flaps));
    println!(
        "  flapping              {problems:8} problems and {} more messages in {seconds} flips (1, and at most 3, wanted)",
        more - problems
    );
    let (at_once, beside) = (of(&eager, "problem"), accepted(&eager));
    println!(
        "  with wait = \"0s\"      {at_once:8} problems and {} more messages (1, and at most 3, wanted)",
        beside - at_once
    );
    wanted(problems == 1 && more <= 4, "messages of a check that flaps")?;
    wanted(at_once == 1 && beside <= 4, "messages without a wait")
}

fn accepted(receiver: &Receiver) -> usize {
    receiver.all().iter().filter(|g| g.accepted).count()
}

fn of(receiver: &Receiver, kind: &str) -> usize {
    let like = |g: &&Got| g.accepted && g.text("kind") == kind;
    receiver.all().iter().filter(like).count()
}
