//! What of the kernel healthd uses.

use super::{Findings, Root};

/// pidfd_open(2).
const OLDEST: (u32, u32) = (5, 3);

pub fn look(root: &Root) -> Findings {
    let mut found = Findings::of("kernel");
    let Some(release) = root.read("/proc/sys/kernel/osrelease") else {
        found.problem(
            "/proc is not mounted: healthd finds its own processes there",
            "sudo mount -t proc proc /proc",
        );
        return found;
    };
    match version(&release) {
        Some(version) if version < OLDEST => found.problem(
            format!("Linux {release}: {}.{} or newer is needed (pidfd)", OLDEST.0, OLDEST.1),
            "sudo apt-get install linux-image-amd64 && sudo reboot   # or as your distribution has it",
        ),
        _ => found.ok(format!("Linux {release}")),
    }
    // 2: whoever makes a file in memory without saying that it is not executable is refused.
    if root.read("/proc/sys/vm/memfd_noexec").as_deref() == Some("2") {
        found.problem(
            "vm.memfd_noexec is 2: workers load plugins from memory, and may not",
            "sudo sysctl -w vm.memfd_noexec=1",
        );
    }
    match root.read("/sys/kernel/security/lsm") {
        Some(modules) if modules.split(',').any(|m| m == "landlock") => {
            found.ok("Landlock: workers can read and write only what they need");
        }
        Some(modules) => found.warning(
            "Landlock is not switched on: workers can write what their user can",
            format!(
                "add `lsm=landlock,{modules}` to the kernel's command line (GRUB: GRUB_CMDLINE_LINUX in \
                 /etc/default/grub, then `sudo update-grub && sudo reboot`)"
            ),
        ),
        // Only root may look, or nobody has mounted it: `healthctl workers` shows what they have.
        None => {}
    }
    match root.read("/proc/sys/kernel/seccomp/actions_avail") {
        Some(_) => found.ok("seccomp: system calls that no check needs are refused"),
        None => found.warning(
            "this kernel has no seccomp: workers may use every system call",
            "use a kernel with CONFIG_SECCOMP_FILTER=y; `healthctl workers` shows the sandbox that is left",
        ),
    }
    if root.read("/proc/pressure/cpu").is_none() {
        found.warning(
            "the kernel does not tell pressure (PSI): `load` and `memory` cannot check `pressure_*`",
            "add `psi=1` to the kernel's command line, and reboot",
        );
    }
    found
}

/// "6.1.0-18-amd64"
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use std::fs;

    fn machine(name: &str, files: &[(&str, &str)]) -> Root {
        let root =
            std::env::temp_dir().join(format!("healthctl-kernel-{name}-{}", std::process::id()));
        let root = Root(root);
        for (path, text) in files {
            let file = root.at(path);
            fs::create_dir_all(file.parent().expect("a folder")).expect("our own folder");
            fs::write(file, text).expect("our own folder");
        }
        root
    }

    #[test]
    fn what_is_missing_is_told_with_a_way_out() {
        let good = [
            ("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
            ("/proc/sys/vm/memfd_noexec", "0\n"),
            ("/sys/kernel/security/lsm", "capability,landlock,yama\n"),
            ("/proc/sys/kernel/seccomp/actions_avail", "kill_process\n"),
            ("/proc/pressure/cpu", "some avg10=0.00\n"),
        ];
        let root = machine("good", &good);
        let found = look(&root).list;
        assert!(found.iter().all(|f| f.state == State::Ok), "{found:?}");
        fs::remove_dir_all(&root.0).expect("our own folder");

        let bad = [
            ("/proc/sys/kernel/osrelease", "4.19.0\n"),
            ("/proc/sys/vm/memfd_noexec", "2\n"),
            ("/sys/kernel/security/lsm", "capability,yama\n"),
        ];
        let root = machine("bad", &bad);
        let found = look(&root).list;
        let states: Vec<State> = found.iter().map(|f| f.state).collect();
        use State::{Problem, Warning};
        assert_eq!(
            states,
            [Problem, Problem, Warning, Warning, Warning],
            "{found:?}"
        );
        assert!(found.iter().all(|f| f.mend.is_some()));
        fs::remove_dir_all(&root.0).expect("our own folder");

        let found = look(&Root("/nonexistent".into())).list;
        assert_eq!(found[0].state, Problem);
    }

    #[test]
    fn versions() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.15-rc1"), Some((5, 15)));
        assert_eq!(version("x"), None);
    }
}
