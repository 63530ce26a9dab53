//! An abrupt end at a chosen place, for tests of what a crash leaves behind. Release builds have no such places.
//!
//! In a debug build, `LONGSHORE_TEST_CRASH=A3` in the environment aborts the process the first time that place is
//! reached. Places are the steps of an interface's life, named where [`after`] is called: A in the making of a
//! sandbox, B in the start of a task, C in its end.

/// Says that a step was done.
pub(crate) fn after(step: &str) {
    after_if(step, || true);
}

/// Says that a step was done if `holds`, which is not asked in a release build.
#[cfg(debug_assertions)]
pub(crate) fn after_if(step: &str, holds: impl FnOnce() -> bool) {
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var("LONGSHORE_TEST_CRASH").ok());
    if CHOSEN.as_deref() == Some(step) && holds() {
        tracing::error!(step, "LONGSHORE_TEST_CRASH: the agent ends here");
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(crate) fn after_if(_step: &str, _holds: impl FnOnce() -> bool) {}
