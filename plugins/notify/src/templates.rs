//! `title` and `text` in somebody's own words: minijinja over the fields of the message. A template that does not end
//! runs out of fuel, and its delivery is refused by name.

use crate::end::NotTaken;
use crate::message::Message;
use crate::words;
use healthd_plugin::serde_json::{self, Value};
use healthd_plugin::{Cx, Notice};
use minijinja::Environment;

pub struct Templates {
    env: Environment<'static>,
    title: bool,
    text: bool,
}

pub struct Words {
    pub title: String,
    pub text: String,
}

impl Templates {
    pub fn new(title: Option<&str>, text: Option<&str>) -> Result<Templates, String> {
        let mut env = Environment::new();
        env.set_fuel(Some(FUEL));
        for (name, source) in [("title", title), ("text", text)] {
            if let Some(source) = source {
                let added = env.add_template_owned(name, source.to_owned());
                added.map_err(|e| said(name, &e))?;
            }
        }
        Ok(Templates {
            env,
            title: title.is_some(),
            text: text.is_some(),
        })
    }

    /// The message of this run, and what is to be said of it.
    pub fn message_of<'a>(&self, cx: Cx<'a>) -> Result<(Notice<'a>, Message, Words), NotTaken> {
        let notice = cx.notice();
        let notice = notice.map_err(|e| NotTaken::surely(format!("no message: {e}")))?;
        let message = Message::read(notice.json).map_err(NotTaken::surely)?;
        let words = self.words(&message, notice.json);
        Ok((notice, message, words.map_err(NotTaken::surely)?))
    }

    /// By template, or in our words.
    pub fn words(&self, message: &Message, json: &str) -> Result<Words, String> {
        let mut words = Words {
            title: words::title(message),
            text: words::text(message),
        };
        if !self.title && !self.text {
            return Ok(words);
        }
        let mut fields: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        fields["title"] = words.title.clone().into();
        fields["text"] = words.text.clone().into();
        if self.title {
            let title = self.render("title", &fields)?;
            words.title = words::one_line(title.trim());
            fields["title"] = words.title.clone().into();
        }
        if self.text {
            words.text = self.render("text", &fields)?;
        }
        Ok(words)
    }

    fn render(&self, name: &str, fields: &Value) -> Result<String, String> {
        let template = self.env.get_template(name).map_err(|e| said(name, &e))?;
        let text = template
            .render(minijinja::Value::from(minijinja::value::Serde(fields)))
            .map_err(|e| said(name, &e))?;
        Ok(healthd_plugin::cut(&text, TEXT_MAX).to_owned())
    }
}

fn said(name: &str, e: &minijinja::Error) -> String {
    let line = e
        .line()
        .map(|line| format!(", line {line}"))
        .unwrap_or_default();
    let why = e.detail().map(|d| format!(": {d}")).unwrap_or_default();
    format!("{name}{line}: {}{why}", e.kind())
}

/// Some milliseconds.
const FUEL: u64 = 200_000;
const TEXT_MAX: usize = 256 << 10;
