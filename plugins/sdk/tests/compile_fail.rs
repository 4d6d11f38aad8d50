//! What must not compile: a `Cx` on another thread, a `Cx` or a stream that outlives its run.

#[test]
fn cx_stays_where_it_belongs() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/compile_fail/*.rs");
}
