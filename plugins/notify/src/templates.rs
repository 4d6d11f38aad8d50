//! `title`, `text` and `body` in somebody's own words: minijinja over the fields of the message. A template that does not end
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
    body: bool,
}

pub struct Words {
    pub title: String,
    pub text: String,
    /// Of a request, where the config has a template of it.
    pub body: Option<String>,
}

impl Templates {
    pub fn new(title: Option<&str>, text: Option<&str>) -> Result<Templates, String> {
        let mut templates = Templates {
            env: Environment::new(),
            title: title.is_some(),
            text: text.is_some(),
            body: false,
        };
        templates.env.set_fuel(Some(FUEL));
        templates.env.add_filter("tojson", tojson);
        for (name, source) in [("title", title), ("text", text)] {
            templates.add(name, source)?;
        }
        Ok(templates)
    }

    /// With one of the whole body.
    pub fn with_body(mut self, body: Option<&str>) -> Result<Templates, String> {
        self.add("body", body)?;
        self.body = body.is_some();
        Ok(self)
    }

    fn add(&mut self, name: &'static str, source: Option<&str>) -> Result<(), String> {
        let Some(source) = source else { return Ok(()) };
        let added = self.env.add_template_owned(name, source.to_owned());
        added.map_err(|e| said(name, &e))
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
            body: None,
        };
        if !self.title && !self.text && !self.body {
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
            fields["text"] = words.text.clone().into();
        }
        if self.body {
            words.body = Some(self.render("body", &fields)?);
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

/// A value as JSON has it: a text with its quotes.
fn tojson(value: &minijinja::Value) -> Result<String, minijinja::Error> {
    serde_json::to_string(value)
        .map_err(|e| minijinja::Error::new(minijinja::ErrorKind::BadSerialization, e.to_string()))
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
