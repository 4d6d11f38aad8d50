//! Makes a history that breaks something small: fewer steps, plainer routes.

use super::story::{RouteSetup, Step, Story};

pub fn shrink(mut story: Story, breaks: impl Fn(&Story) -> bool) -> Story {
    loop {
        let before = size(&story);
        fewer_steps(&mut story, &breaks);
        for plainer in plainer(&story) {
            if breaks(&plainer) {
                story = plainer;
            }
        }
        if size(&story) >= before {
            return story;
        }
    }
}

fn size(story: &Story) -> usize {
    let options = |r: &RouteSetup| {
        usize::from(r.wait > 0)
            + usize::from(r.after > 0)
            + usize::from(r.repeat.is_some())
            + usize::from(r.by > 0)
            + usize::from(r.limit.is_some())
            + usize::from(r.backup.is_some())
            + usize::from(r.critical)
    };
    let routes: usize = story.routes.iter().map(|r| 10 + options(r)).sum();
    1000 * story.steps.len() + routes + 5 * story.checks + usize::from(story.flap)
}

/// Leaves out halves, quarters, ... and in the end single steps.
fn fewer_steps(story: &mut Story, breaks: &impl Fn(&Story) -> bool) {
    let mut length = story.steps.len().max(1);
    while length > 0 {
        let mut at = 0;
        while at < story.steps.len() {
            let mut shorter = story.clone();
            let end = (at + length).min(shorter.steps.len());
            shorter.steps.drain(at..end);
            if breaks(&shorter) {
                *story = shorter;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
}

fn plainer(story: &Story) -> Vec<Story> {
    let mut list = Vec::new();
    let mut with = |change: &dyn Fn(&mut Story)| {
        let mut other = story.clone();
        change(&mut other);
        list.push(other);
    };
    with(&|s| s.checks = 1);
    with(&|s| s.flap = false);
    with(&|s| s.routes.truncate(1));
    for i in 0..story.routes.len() {
        with(&|s| s.routes[i] = RouteSetup::default());
        with(&|s| s.routes[i].backup = None);
        with(&|s| s.routes[i].limit = None);
        with(&|s| s.routes[i].wait = 0);
    }
    for i in 0..story.steps.len() {
        if let Step::Pass(n @ 2..) = story.steps[i] {
            with(&|s| s.steps[i] = Step::Pass(n / 2));
        }
    }
    list
}
