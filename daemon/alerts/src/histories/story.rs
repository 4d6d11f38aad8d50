//! A history: routes, checks, and what happens to them. All of it follows from one number.

#[derive(Clone, Debug)]
pub struct Story {
    pub routes: Vec<RouteSetup>,
    pub checks: usize,
    /// Checks flap, by a rule of few flips.
    pub flap: bool,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteSetup {
    /// Seconds.
    pub wait: u64,
    pub after: u64,
    pub repeat: Option<u64>,
    /// 0: one notice for all, 1: a notice each, 2: by a label.
    pub by: u8,
    /// So many in so many seconds.
    pub limit: Option<(u32, u64)>,
    pub backup: Option<usize>,
    /// Only critical.
    pub critical: bool,
}

/// Who is meant is taken modulo how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Seconds.
    Pass(u64),
    /// To ok, warning, critical, unknown.
    Flip(usize, u8),
    /// All of them at once.
    Storm(u8),
    Receiver(usize, Mode),
    Silence(usize),
    Unsilence(usize),
    Ack(usize),
    /// It lies behind another check, or does not any more.
    Behind(usize, bool),
    Remove(usize),
    Add(usize),
    /// The config is read again.
    Reload,
    /// The manager dies, and its log in memory is there.
    Kill,
    /// All is lost but what is on the disk.
    PowerCut,
    DiskFull(bool),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Accept,
    /// A clear no.
    Refuse,
    /// A clear no, and a time to come again.
    Later,
    /// It takes the message, and its answer is lost.
    Swallow,
    /// Message and answer are lost.
    Lose,
    /// It takes the message after 20 s, and says so after 30.
    Slow,
    /// The same, and the run's deadline is shorter.
    TooSlow,
}

/// SplitMix64.
pub struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

impl Story {
    pub fn random(seed: u64) -> Story {
        let r = &mut Random(seed);
        let routes = r.of(&[1, 1, 2, 2, 3]);
        let setups = (0..routes).map(|_| RouteSetup {
            wait: r.of(&[0, 0, 2, 10]),
            after: r.of(&[0, 0, 0, 60]),
            repeat: r.of(&[None, None, Some(120)]),
            by: r.of(&[0, 0, 1, 2]),
            limit: r.of(&[None, None, Some((1, 300)), Some((2, 60))]),
            backup: r.one_in(3).then(|| r.below(routes)),
            critical: r.one_in(4),
        });
        let routes = setups.collect();
        let length = r.of(&[4, 8, 16, 32]);
        Story {
            routes,
            checks: r.of(&[1, 1, 2, 3, 5]),
            flap: r.one_in(8),
            steps: (0..length).map(|_| Step::random(r)).collect(),
        }
    }
}

impl Step {
    fn random(r: &mut Random) -> Step {
        let who = r.below(16);
        match r.below(32) {
            0..12 => Step::Pass(r.of(&[1, 1, 3, 6, 11, 25, 60, 130, 310, 700])),
            12 | 13 => Step::Storm(r.of(&[0, 2, 2, 3])),
            14..20 => Step::Flip(who, r.of(&[0, 0, 0, 1, 2, 2, 2, 3])),
            20..24 => {
                use Mode::*;
                let mode = r.of(&[
                    Accept, Accept, Refuse, Refuse, Later, Swallow, Lose, Slow, TooSlow,
                ]);
                Step::Receiver(who, mode)
            }
            24 => Step::Silence(who),
            25 => Step::Unsilence(who),
            26 => r.of(&[
                Step::Ack(who),
                Step::Behind(who, true),
                Step::Behind(who, false),
            ]),
            27 => r.of(&[Step::Remove(who), Step::Add(who), Step::Reload]),
            28..30 => Step::Kill,
            30 => Step::PowerCut,
            _ => Step::DiskFull(r.one_in(2)),
        }
    }
}
