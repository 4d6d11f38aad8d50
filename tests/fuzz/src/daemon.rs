//! Frames, maps, and the control protocol.

use healthd_core::wire::control::{Filter, Op, Reply, Request};
use healthd_core::wire::events::{
    EVENT_WORDS, EVENTS_MAGIC, EVENTS_VERSION, EventRecord, read_events,
};
use healthd_core::wire::maps::{
    CHECK_WORDS, LAYOUT_VERSION, LINE_WORDS, LineRecord, MESSAGE_BYTES, SLOT_WORDS, STATE_MAGIC,
    SlotRecord, WORD, get_text, read_state, words_at,
};
use healthd_core::wire::roles::Role;
use healthd_core::wire::samples::{LAST, SAMPLE_WORDS, SampleRecord, samples_size};
use healthd_core::wire::{glob, supervisor, worker};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// A record that was read is written as it was read, and read again it is the same.
macro_rules! records {
    ($data:expr, $kind:ty) => {
        let mut rest = $data;
        while let Ok(Some(message)) = <$kind>::decode(&mut rest) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let mut again = &bytes[..];
            let read = <$kind>::decode(&mut again).expect("what we wrote can be read");
            assert_eq!(read.as_ref(), Some(&message));
            assert!(again.is_empty());
        }
    };
}

pub fn worker_frames(data: &[u8]) {
    records!(data, worker::ToWorker);
    records!(data, worker::ToManager);
}

pub fn supervisor_frames(data: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<supervisor::ToSupervisor>(data) {
        let bytes = serde_json::to_vec(&message).expect("plain data");
        assert_eq!(serde_json::from_slice(&bytes).ok(), Some(message));
    }
    if let Ok(message) = serde_json::from_slice::<supervisor::ToManager>(data) {
        if let supervisor::ToManager::Died { death, .. } = &message {
            let _ = death.to_string();
        }
        let bytes = serde_json::to_vec(&message).expect("plain data");
        assert_eq!(serde_json::from_slice(&bytes).ok(), Some(message));
    }
    // How a role is told what it is.
    let words: Vec<OsString> = data
        .split(|b| *b == 0)
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    let _ = Role::from_args(&words);
}

/// With the magic and the version that are asked for, whatever the version is by now.
pub fn maps(data: &[u8]) {
    let mut data = data.to_vec();
    if let Some(head) = data.first_chunk_mut::<16>() {
        head[..8].copy_from_slice(&STATE_MAGIC.to_ne_bytes());
        head[8..].copy_from_slice(&LAYOUT_VERSION.to_ne_bytes());
    }
    let data = &data[..];
    if let Ok(state) = read_state(data) {
        assert!(state.checks.len() * CHECK_WORDS * WORD <= data.len());
        for (_, slot) in &state.slots {
            let _ = slot.lost();
        }
        for (_, check) in &state.checks {
            let _ = (check.verdict(), check.status());
            // A byte that is no UTF-8 is shown with three.
            assert!(check.message.len() <= 3 * MESSAGE_BYTES);
        }
    }
    let mut ring = data.to_vec();
    if let Some(head) = ring.first_chunk_mut::<16>() {
        head[..8].copy_from_slice(&EVENTS_MAGIC.to_ne_bytes());
        head[8..].copy_from_slice(&EVENTS_VERSION.to_ne_bytes());
    }
    if let Ok((ring, events)) = read_events(&ring, &ring) {
        assert!(events.len() <= ring.capacity);
        for pair in events.windows(2) {
            assert_eq!(pair[0].number + 1, pair[1].number);
        }
        for event in &events {
            let row = event.row(|ns| Some(ns.to_string()));
            assert_eq!(row.seq, event.number);
        }
    }
    if let Some(words) = words_at::<EVENT_WORDS>(data, 0) {
        let event = EventRecord::from_words(&words);
        let _ = EventRecord::from_words(&event.to_words());
    }
    if let Some(words) = words_at::<SAMPLE_WORDS>(data, 0) {
        let record = SampleRecord::from_words(&words);
        assert!(record.last.len() <= LAST);
        let (half, most) = (record.quantile_ns(0.5), record.quantile_ns(0.99));
        assert!(half <= most, "{half:?} {most:?}");
    }
    let _ = samples_size(data);
    if let Some(words) = words_at::<LINE_WORDS>(data, 0) {
        let _ = LineRecord::from_words(&words).entry.as_str();
    }
    if let Some(words) = words_at::<SLOT_WORDS>(data, 0) {
        let slot = SlotRecord::from_words(&words);
        assert_eq!(SlotRecord::from_words(&slot.to_words()), slot);
        let _ = slot.lost();
        let _ = get_text(&words);
    }
}

pub fn requests(data: &[u8]) {
    let request = match Request::read(data) {
        Ok(request) => request,
        Err(error) => {
            assert!(!error.message.is_empty() && !error.help.is_empty());
            return;
        }
    };
    if let Op::Status(filter) | Op::Run(filter) | Op::Watch(filter) | Op::Resume(filter) =
        &request.op
    {
        use_filter(filter);
    }
    let bytes = serde_json::to_vec(&request).expect("plain data");
    assert_eq!(Request::read(&bytes).ok(), Some(request));
}

fn use_filter(filter: &Filter) {
    for name in &filter.names {
        let _ = glob::is_pattern(name);
    }
    let _ = filter.matches("web/front-1", "http", &Default::default(), None);
}

pub fn replies(data: &[u8]) {
    for line in data.split(|b| *b == b'\n') {
        if let Ok(reply) = serde_json::from_slice::<Reply>(line) {
            let bytes = serde_json::to_vec(&reply).expect("plain data");
            assert!(serde_json::from_slice::<Reply>(&bytes).is_ok());
        }
    }
}

/// The pattern, a zero, the name; the answer is the one of the plain recursive rule.
pub fn glob(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (pattern, name) = text.split_once('\0').unwrap_or((text, ""));
    let answer = glob::matches(pattern, name);
    if !pattern.contains(['[', '*']) && pattern.len() + name.len() < 100 {
        let same = pattern.chars().count() == name.chars().count();
        let mut fits = pattern.chars().zip(name.chars());
        let plain = same && fits.all(|(p, n)| p == '?' || p == n);
        assert_eq!(answer, plain, "{pattern:?} on {name:?}");
    }
}
