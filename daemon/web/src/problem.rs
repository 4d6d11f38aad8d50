//! What went wrong, for programs as RFC 9457 problem documents, for people as a page, for scripts as a line.

use crate::body::Answer;
use crate::control::Failure;
use crate::routes::typed;
use healthd_core::wire::control::{ControlError, ErrorCode};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// `title` is the same for each of its kind, `detail` is of this one, `help` the way out.
#[derive(Debug, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    pub detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// The manager's own word for it, where it was the manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<ErrorCode>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            help: String::new(),
            code: None,
        }
    }

    pub fn help(self, help: impl Into<String>) -> Problem {
        Problem {
            help: help.into(),
            ..self
        }
    }

    pub fn with_status(self, status: StatusCode) -> Problem {
        Problem {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            ..self
        }
    }

    pub fn bad(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn no_check(name: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no check `{name}`"))
            .help("/v1/checks lists all")
    }

    pub fn response(&self) -> Response<Answer> {
        let text = serde_json::to_string(self).expect("plain data has a JSON form");
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        typed(
            status,
            "application/problem+json",
            Answer::text(text + "\n"),
        )
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        match failure {
            Failure::Silent(why) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("healthd does not answer: {why}"),
            )
            .help("the log says why; `healthctl status` reads what it has left"),
            Failure::Refused(error) => error.into(),
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Problem {
        let status = match error.code {
            ErrorCode::NoSuchCheck | ErrorCode::NoSuchPlugin => StatusCode::NOT_FOUND,
            ErrorCode::BadRequest => StatusCode::BAD_REQUEST,
            ErrorCode::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::Denied => StatusCode::FORBIDDEN,
            ErrorCode::BadConfig | ErrorCode::Failed => StatusCode::CONFLICT,
            ErrorCode::Busy => StatusCode::SERVICE_UNAVAILABLE,
            ErrorCode::Version | ErrorCode::Internal => StatusCode::BAD_GATEWAY,
        };
        Problem {
            code: Some(error.code),
            ..Problem::new(status, error.message).help(error.help)
        }
    }
}
