//! Schedule expressions as EventBridge has them (`rate()`, `cron()`, `at()`), and when they fire.
//!
//! Pure: no I/O, no clock, no chance. Whoever asks says after which moment, and the rules of time zones are those that
//! this version was built with, so that every control plane gives the same answer. Where a firing lies in a flexible
//! window follows from the schedule and the firing alone, so that neither a restart nor another process moves it.
//!
//! ```
//! use longshore_model::Timestamp;
//! use longshore_schedule::{Dialect, Expression, Timing, Zone};
//!
//! let expression = Expression::parse("cron(30 8 ? * MON-FRI *)", Dialect::Scheduler).expect("good");
//! let zone = Zone::named("Europe/Berlin").expect("known");
//! let timing = Timing { expression, zone, anchor: Timestamp::from_millis(0), start: None, end: None };
//! // 2026-03-27 was a Friday, and the clocks went forward on the Sunday that followed.
//! let friday = Timestamp::from_millis(1_774_596_600_000);
//! assert_eq!(timing.next(friday).map(|at| at.to_string()).as_deref(), Some("2026-03-30T06:30:00Z"));
//! ```

mod cron;
mod expression;
mod fields;
mod timing;
mod window;
mod zone;

pub use cron::Cron;
pub use expression::{Dialect, Expression, ExpressionError};
pub use timing::Timing;
pub use window::place_in_window;
pub use zone::Zone;
