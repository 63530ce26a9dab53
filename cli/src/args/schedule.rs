//! `longshore schedule …`

use clap::{Args, Subcommand};

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Run tasks by the clock
    Create(Box<ScheduleCreateArgs>),
    /// List schedules: when they fire next, and what came of it last
    #[command(visible_alias = "ls")]
    List {
        /// Only of this group
        group: Option<String>,
    },
    /// Show schedules in full: what they run, what waits, and why
    Describe {
        /// NAME or GROUP/NAME
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Let schedules fire again; what they missed meanwhile stays missed
    Enable {
        /// NAME or GROUP/NAME
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Keep schedules from firing; tasks that run go on
    Disable {
        /// NAME or GROUP/NAME
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Delete schedules; tasks that run go on
    #[command(visible_alias = "rm")]
    Delete {
        /// NAME or GROUP/NAME
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

/// `longshore schedule create …`
#[derive(Debug, Args)]
#[command(after_help = "\
WHEN is an expression of EventBridge Scheduler:
  rate(5 minutes)                 again and again, the first time at once (or at --start)
  cron(30 8 ? * MON-FRI *)        minute hour day-of-month month day-of-week year; one of the two days is `?`
  at(2027-05-01T06:30:00)         once

Examples:
  longshore schedule create nightly 'cron(0 3 * * ? *)' backup --timezone Europe/Berlin
  longshore schedule create tick 'rate(1 minute)' job --env MODE=fast -- ./tick --once
  longshore schedule create once 'at(2027-05-01T06:30:00)' ./request.json --delete-when-over

In what tasks are given, <aws.scheduler.scheduled-time>, <aws.scheduler.schedule-arn>, <aws.scheduler.execution-id> and
<aws.scheduler.attempt-number> are filled in when they start.")]
pub(crate) struct ScheduleCreateArgs {
    /// NAME or GROUP/NAME; a group other than `default` must be there
    pub(crate) name: String,
    /// When it fires
    #[arg(value_name = "WHEN")]
    pub(crate) when: String,
    /// FAMILY (its newest revision each time), FAMILY:REVISION, an ARN, or a JSON file as `longshore run` takes it
    #[arg(value_name = "DEFINITION|FILE")]
    pub(crate) what: String,
    /// The time zone of WHEN, as in Europe/Berlin (UTC)
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// Nothing that recurs fires before, as in 2027-05-01T06:30:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) start: Option<jiff::Timestamp>,
    /// Nothing that recurs fires after
    #[arg(long, value_name = "TIME")]
    pub(crate) end: Option<jiff::Timestamp>,
    /// Spread firings over so many minutes
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1440), value_name = "MINUTES")]
    pub(crate) window: Option<u16>,
    /// Do not let it fire yet
    #[arg(long)]
    pub(crate) disabled: bool,
    /// Delete the schedule after its last firing
    #[arg(long)]
    pub(crate) delete_when_over: bool,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// How long a firing may find no place until it is given up (86400)
    #[arg(long, value_parser = clap::value_parser!(u32).range(60..=86400), value_name = "SECS")]
    pub(crate) max_age: Option<u32>,
    /// How often it is tried again until then (185)
    #[arg(long, value_parser = clap::value_parser!(u16).range(0..=185), value_name = "N")]
    pub(crate) retries: Option<u16>,
    /// How many tasks (1)
    #[arg(long, short = 'n', value_parser = clap::value_parser!(i32).range(1..=10), value_name = "N")]
    pub(crate) count: Option<i32>,
    /// The container that --env without a name and ARGS mean; needed if there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// A variable of the environment: KEY=VALUE or CONTAINER:KEY=VALUE; may be repeated. It is kept with the schedule
    #[arg(long, short = 'e', value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Where tasks may run: `distinctInstance` or a cluster query expression; may be repeated
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint: Vec<String>,
    /// The task group (`family:FAMILY` when absent)
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// Another command for the container, word by word
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}
