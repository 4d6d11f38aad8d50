//! What a worker is to give up before it loads a plugin, and what of that its kernel could do.

use super::class::WorkerClass;
use super::frame::{Get, Put, WireError};

/// By what its plugins do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Profile {
    /// They wait for the network: no programs, nothing written.
    Network = 0,
    /// They compute: the same without the network.
    Compute = 1,
    /// They start programs, which may do what programs do; but nothing to the machine itself.
    Programs = 2,
}

impl Profile {
    pub fn of(class: WorkerClass) -> Profile {
        match class {
            WorkerClass::Exec => Profile::Programs,
            WorkerClass::Cpu => Profile::Compute,
            // Of those that deliver messages only some start programs, and these say so.
            WorkerClass::Io | WorkerClass::Notify => Profile::Network,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub profile: Profile,
    /// Also where that takes rights from programs which they had (setuid, sudo).
    pub forced: bool,
    /// Its checks look into other processes, which no sandbox of files lets them.
    pub looks_around: bool,
    /// Those that its checks name.
    pub paths: Vec<OpenPath>,
}

/// A file or a folder, with all below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenPath {
    pub path: String,
    pub write: bool,
}

/// What a kernel could do of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// System calls (seccomp).
    pub calls: bool,
    /// Files (Landlock 1, Linux 5.13).
    pub files: bool,
    /// TCP servers (Landlock 4, Linux 6.7).
    pub bind: bool,
    /// Signals and abstract sockets (Landlock 6, Linux 6.12).
    pub scope: bool,
}

impl Layers {
    pub fn bits(self) -> u8 {
        let Layers {
            calls,
            files,
            bind,
            scope,
        } = self;
        u8::from(calls) | u8::from(files) << 1 | u8::from(bind) << 2 | u8::from(scope) << 3
    }

    pub fn from_bits(bits: u8) -> Layers {
        Layers {
            calls: bits & 1 != 0,
            files: bits & 2 != 0,
            bind: bits & 4 != 0,
            scope: bits & 8 != 0,
        }
    }

    /// `full`, what there is of it, or `none`.
    pub fn words(self, profile: Profile) -> String {
        let all = match profile {
            Profile::Programs => Layers {
                calls: true,
                scope: true,
                ..Layers::default()
            },
            Profile::Network | Profile::Compute => Layers::from_bits(0xf),
        };
        if self == all {
            return "full".into();
        }
        let parts = [
            (self.calls, "calls"),
            (self.files, "files"),
            (self.bind, "bind"),
            (self.scope, "scope"),
        ];
        let parts: Vec<&str> = parts.iter().filter(|p| p.0).map(|p| p.1).collect();
        match parts.is_empty() {
            true => "none".into(),
            false => parts.join("+"),
        }
    }
}

impl Sandbox {
    pub(super) fn put(&self, put: &mut Put<'_>) {
        put.u8(self.profile as u8)
            .u8(u8::from(self.forced))
            .u8(u8::from(self.looks_around))
            .u16(self.paths.len() as u16);
        for path in &self.paths {
            put.u8(u8::from(path.write)).text(&path.path);
        }
    }

    pub(super) fn get(get: &mut Get<'_>) -> Result<Sandbox, WireError> {
        let profile = match get.u8()? {
            0 => Profile::Network,
            1 => Profile::Compute,
            2 => Profile::Programs,
            _ => return Err(WireError::BadValue { what: "a profile" }),
        };
        let forced = get.u8()? != 0;
        let looks_around = get.u8()? != 0;
        // A path has a flag and a length.
        let count = get.count(5)?;
        let mut paths = Vec::with_capacity(count);
        for _ in 0..count {
            let write = get.u8()? != 0;
            let path = get.text()?.to_owned();
            paths.push(OpenPath { path, write });
        }
        Ok(Sandbox {
            profile,
            forced,
            looks_around,
            paths,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_could_do_is_said_in_a_word() {
        let all = Layers::from_bits(0xf);
        assert_eq!(Layers::from_bits(all.bits()), all);
        assert_eq!(all.words(Profile::Network), "full");
        let old = Layers {
            calls: true,
            files: true,
            ..Layers::default()
        };
        assert_eq!(old.words(Profile::Compute), "calls+files");
        assert_eq!(Layers::default().words(Profile::Network), "none");
        let programs = Layers {
            calls: true,
            scope: true,
            ..Layers::default()
        };
        assert_eq!(programs.words(Profile::Programs), "full");
        assert_eq!(Profile::of(WorkerClass::Cpu), Profile::Compute);
        assert_eq!(Profile::of(WorkerClass::Notify), Profile::Network);
    }
}
