//! What is done to a result before the verdict is asked: `invert`.

use healthd_core::check::outcome::Status;

/// `invert = true`: the check is well while its target is not. What could not be judged stays so.
pub fn invert(status: Status) -> Status {
    match status {
        Status::Ok => Status::Critical,
        Status::Warning | Status::Critical => Status::Ok,
        Status::Unknown => Status::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Status::{Critical, Ok, Unknown, Warning};

    #[test]
    fn inverted_twice_a_clear_word_is_itself() {
        assert_eq!(
            [Ok, Warning, Critical, Unknown].map(invert),
            [Critical, Ok, Ok, Unknown]
        );
        assert_eq!(invert(invert(Ok)), Ok);
        assert_eq!(invert(invert(Critical)), Critical);
    }
}
