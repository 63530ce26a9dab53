//! Everything that the control plane knows.

/// A state.
pub struct State {}
