//! Placeholder until the backend is up.
