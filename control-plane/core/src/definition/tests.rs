//! Rules as a table, and what holds of every definition.
