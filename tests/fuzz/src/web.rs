//! What a browser, a proxy or anybody else sends to the role `web`.

/// Whatever is sent, each answer is one of HTTP, and none of them says that we failed.
pub fn requests(bytes: &[u8]) {
    let answer = healthd_web::fuzzing::answer(bytes);
    if let Some(first) = answer.get(..13) {
        assert!(first.starts_with(b"HTTP/1."), "{first:?}");
        assert!(!first[9..].starts_with(b"500"), "{first:?}");
    }
}
