//! A check as a badge, for a page elsewhere that shows pictures.

use crate::body::Answer;
use crate::pages::words::{Shown, shown};
use crate::problem::Problem;
use crate::routes::{Answered, Call, Site, typed};
use askama::Template;
use hyper::StatusCode;
use std::rc::Rc;

#[derive(Template)]
#[template(path = "badge.svg", escape = "html")]
struct Badge<'a> {
    label: &'a str,
    word: &'static str,
    color: &'static str,
    /// Of the label, and of the word.
    widths: (usize, usize),
}

pub async fn badge(site: Rc<Site>, call: Call) -> Answered {
    let picture = site.viewer.borrow_mut().picture();
    let picture = picture.map_err(|e| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("nothing is known yet: {e}"),
        )
    })?;
    let row = picture
        .rows
        .iter()
        .find(|r| *r.name == *call.name && !r.name.is_empty());
    let row = row.ok_or_else(|| Problem::no_check(&call.name))?;
    // Who looks at it cannot see that nothing is behind it.
    let shown = match picture.silence() {
        Some(_) => Shown::Unknown,
        None => shown(row),
    };
    let color = match shown {
        Shown::Ok => "#176b3d",
        Shown::Warning => "#855400",
        Shown::Critical => "#b3211b",
        Shown::Unknown => "#6a35a8",
        Shown::Pending | Shown::Paused => "#596470",
    };
    // As wide as the widest letters of its font are.
    let wide = |text: &str| 12 + 7 * text.chars().count();
    let badge = Badge {
        label: row.label(),
        word: shown.word(),
        color,
        widths: (wide(row.label()), wide(shown.word())),
    };
    let text = badge.render().unwrap_or_default();
    Ok(typed(StatusCode::OK, "image/svg+xml", Answer::text(text)))
}
