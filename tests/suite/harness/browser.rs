//! A real browser without a window, driven over WebDriver by the chromedriver that Debian ships with it.

use super::{DEADLINE, TempDir};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    _profile: TempDir,
}

/// What is not as most have it.
#[derive(Default)]
pub struct Kind {
    pub without_scripts: bool,
    pub width: u32,
    pub dark: bool,
}

impl Browser {
    /// None: it is not installed.
    pub fn start(kind: &Kind) -> Option<Browser> {
        let installed = |program: &str| Path::new("/usr/bin").join(program).exists();
        if !installed("chromium") || !installed("chromedriver") {
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is there");
        let lines = BufReader::new(driver.stdout.take().expect("it is piped")).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("successfully on port ")?;
                port.trim().trim_end_matches('.').parse().ok()
            })
            .expect("it says its port");
        let profile = TempDir::new();
        let width = if kind.width == 0 { 1280 } else { kind.width };
        let arguments = [
            "--headless=new".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
            format!("--window-size={width},900"),
        ];
        let scripts = "profile.managed_default_content_settings.javascript";
        let prefs = match kind.without_scripts {
            true => json!({ scripts: 2 }),
            false => json!({}),
        };
        let mut browser = Browser {
            driver,
            port,
            session: String::new(),
            _profile: profile,
        };
        let made = browser.ask(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "goog:chromeOptions": { "args": arguments, "prefs": prefs },
                "goog:loggingPrefs": { "browser": "ALL" },
            } } }),
        );
        browser.session = made["sessionId"].as_str().expect("a session").to_owned();
        // A window has a least width; what is shown has not.
        browser.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false }),
        );
        if kind.dark {
            let dark = json!({ "name": "prefers-color-scheme", "value": "dark" });
            browser.devtools("Emulation.setEmulatedMedia", &json!({ "features": [dark] }));
        }
        Some(browser)
    }

    pub fn open(&self, url: &str) {
        self.of_session("POST", "/url", &json!({ "url": url }));
    }

    /// The value of a function's body; its arguments are `arguments`.
    pub fn run(&self, script: &str, arguments: Value) -> Value {
        let body = json!({ "script": script, "args": arguments });
        self.of_session("POST", "/execute/sync", &body)
    }

    /// Until the script says something that is not false, null or empty; that. A page on its way to another may have
    /// nothing of what the script looks at, which is not so yet.
    pub fn until(&self, what: &str, script: &str) -> Value {
        let begun = Instant::now();
        let path = format!("/session/{}/execute/sync", self.session);
        let body = json!({ "script": script, "args": [] });
        loop {
            let value = self.try_to("POST", &path, &body);
            match &value {
                Err(_) | Ok(Value::Null | Value::Bool(false)) => {}
                Ok(Value::String(text)) if text.is_empty() => {}
                Ok(value) => return value.clone(),
            }
            if begun.elapsed() > DEADLINE {
                let page = self.run("return document.body.innerText", json!([]));
                let log = self.complaints();
                panic!("not so: {what}: {value:?}\n{page}\nlog: {log:?}");
            }
            std::thread::yield_now();
        }
    }

    pub fn text(&self) -> String {
        let text = self.run("return document.body.innerText", json!([]));
        text.as_str().unwrap_or_default().to_owned()
    }

    pub fn click(&self, css: &str) {
        self.to_element(css, "click", &json!({}));
    }

    pub fn type_into(&self, css: &str, text: &str) {
        self.to_element(css, "value", &json!({ "text": text }));
    }

    /// To what has the focus.
    pub fn press(&self, key: char) {
        let keys = [
            json!({ "type": "keyDown", "value": key }),
            json!({ "type": "keyUp", "value": key }),
        ];
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": keys }] });
        self.of_session("POST", "/actions", &actions);
    }

    /// A page that is live may replace what was just found, and nothing was done to it then: once more.
    fn to_element(&self, css: &str, what: &str, body: &Value) {
        let begun = Instant::now();
        let session = format!("/session/{}/element", self.session);
        let find = json!({ "using": "css selector", "value": css });
        let once = || -> Result<Value, Value> {
            let found = self.try_to("POST", &session, &find)?;
            let id = found.as_object().and_then(|o| o.values().next());
            let id = id.and_then(Value::as_str).expect("an element");
            self.try_to("POST", &format!("{session}/{id}/{what}"), body)
        };
        while let Err(e) = once() {
            let passes = [
                "stale element reference",
                "no such element",
                "element click intercepted",
                "element not interactable",
            ];
            let passes = passes.iter().any(|kind| e["error"] == *kind);
            assert!(passes && begun.elapsed() < DEADLINE, "{what} {css}: {e}");
            std::thread::yield_now();
        }
    }

    /// Errors and warnings of its console since the last time.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.of_session("POST", "/se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().cloned().unwrap_or_default();
        lines.iter().map(|l| l["message"].to_string()).collect()
    }

    fn devtools(&self, command: &str, params: &Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        self.of_session("POST", "/goog/cdp/execute", &body)
    }

    fn of_session(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("/session/{}{path}", self.session);
        self.ask(method, &path, body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.try_to(method, path, body);
        answer.unwrap_or_else(|e| panic!("{method} {path} {body}: {e}"))
    }

    fn try_to(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let body = body.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            self.port
        )
        .expect("it takes a request");
        let mut stream = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).expect("it answers");
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if line.is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).expect("it answers whole");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        let value = &answer["value"];
        match value["error"].is_null() {
            true => Ok(value.clone()),
            false => Err(value.clone()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Also after a failure: it ends its browser, which would be left behind. What goes wrong here is told to nobody.
        let end = || -> std::io::Result<()> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(DEADLINE))?;
            write!(
                stream,
                "DELETE /session/{} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                self.session, self.port
            )?;
            stream.read(&mut [0; 512]).map(|_| ())
        };
        let _ = end();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
