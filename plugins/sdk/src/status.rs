//! What a check found out.

use healthd_abi as abi;

/// The outcome of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Ok,
    Warn,
    Critical,
    /// The target could not be judged; the message says why.
    Unknown,
    /// This machine ran out of something. Reported as `unknown` with `self:resources`; counts as no attempt.
    Resources,
    /// The run saw [`Cx::is_cancelled`](crate::Cx::is_cancelled) and gave up.
    Cancelled,
}

impl Status {
    /// The worse of the two, in the order ok, warning, unknown, critical, and what is no judgement above all.
    #[must_use]
    pub fn worst(self, other: Status) -> Status {
        if other.rank() > self.rank() {
            other
        } else {
            self
        }
    }

    fn rank(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::Warn => 1,
            Status::Unknown => 2,
            Status::Critical => 3,
            Status::Resources => 4,
            Status::Cancelled => 5,
        }
    }

    pub(crate) fn to_abi(self) -> abi::HdRet {
        match self {
            Status::Ok => abi::OK,
            Status::Warn => abi::WARN,
            Status::Critical => abi::CRIT,
            Status::Unknown => abi::UNKNOWN,
            Status::Resources => abi::E_RESOURCES,
            Status::Cancelled => abi::E_CANCELLED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Status::*;

    #[test]
    fn worst_keeps_the_graver_one() {
        assert_eq!(Ok.worst(Warn), Warn);
        assert_eq!(Critical.worst(Unknown), Critical);
        assert_eq!(Critical.worst(Resources), Resources);
    }
}
