//! What `auto` comes to for a pool on this machine. `healthctl bench tune` measures these numbers beside others, so that
//! their rule can be held against the machine.

/// Checks that wait: more processes than processors do no more of them. Two at least, so that one serves while another
/// starts anew. Some sixteen do as much as the manager, which is one thread, can hand out.
pub fn io_workers(cores: u16) -> u16 {
    cores.clamp(2, 16)
}

/// Of one io worker. Those that only wait cost little, and a file system that hangs holds one for each check of it.
pub fn io_threads(cores: u16) -> u16 {
    cores.saturating_mul(4).clamp(64, 1024)
}

/// Checks that compute: a process for each processor.
pub fn cpu_workers(cores: u16) -> u16 {
    cores.clamp(1, 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_processors_within_what_may_be_written() {
        let all = |cores| (io_workers(cores), io_threads(cores), cpu_workers(cores));
        assert_eq!(all(1), (2, 64, 1));
        assert_eq!(all(2), (2, 64, 2));
        assert_eq!(all(32), (16, 128, 32));
        assert_eq!(all(u16::MAX), (16, 1024, 256));
    }
}
