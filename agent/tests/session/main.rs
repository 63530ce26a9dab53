//! The agent's session and identity against a real control plane: its core, its agent port, real TLS on loopback.

mod control;
mod exchange;
mod host;
mod joining;
mod line;
mod odd;
