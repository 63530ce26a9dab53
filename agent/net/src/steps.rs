//! The places where an operation can be cut, for tests of what a crash leaves behind.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What was done last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// `wire` mounted the namespace (A3).
    Pinned,
    /// `wire` made the link (A4).
    Linked,
    /// `wire` set the sandbox's side up (A5).
    SandboxSet,
    /// `wire` set the fabric's side up (A6).
    FabricSet,
    /// `admit` made the chains of a new set of groups.
    ProfileMade,
    /// `admit` added the elements (B3).
    Admitted,
    /// `dismiss` removed the elements (C2).
    Dismissed,
    /// Its connections are forgotten (C3). `dismiss` has answered already, so nothing is left to cut.
    Forgotten,
    /// `unwire` removed the namespace (C4).
    Unpinned,
    /// `unwire` removed the shaper.
    ShaperGone,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Pinned,
        Self::Linked,
        Self::SandboxSet,
        Self::FabricSet,
        Self::ProfileMade,
        Self::Admitted,
        Self::Dismissed,
        Self::Forgotten,
        Self::Unpinned,
        Self::ShaperGone,
    ];
}

/// Told after every step; stops the operation there, without any undoing, when it says so.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<dyn Fn(Step) -> ControlFlow<()> + Send + Sync>>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Steps")
    }
}

/// The operation was cut after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cut after {0:?}")]
pub struct Cut(pub Step);

impl Steps {
    /// Tells `told`.
    #[must_use]
    pub fn told(told: impl Fn(Step) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    pub(crate) fn reached(&self, step: Step) -> Result<(), Cut> {
        match &self.0 {
            Some(told) if told(step).is_break() => Err(Cut(step)),
            Some(_) | None => Ok(()),
        }
    }
}
