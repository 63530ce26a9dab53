//! `longshore service …` and `longshore deploy`.

use super::WhyArgs;
use clap::{Args, Subcommand};

/// `longshore service …`
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// List the cluster's services
    #[command(visible_alias = "ls")]
    List,
    /// Make a service: so many tasks of a definition, or one on each host, kept running
    Create(Box<ServiceCreateArgs>),
    /// Change a service; a new definition is deployed
    Update(Box<ServiceUpdateArgs>),
    /// Set how many tasks there are to be
    #[command(after_help = "Example:\n  longshore service scale web 5 --wait")]
    Scale {
        /// Its name or ARN
        name: String,
        /// How many tasks
        #[arg(value_parser = clap::value_parser!(i32).range(0..=5000))]
        count: i32,
        /// Wait until so many run
        #[arg(long)]
        wait: bool,
    },
    /// List a service's tasks
    Ps {
        /// Its name or ARN
        name: String,
        /// Stopped tasks too (they are kept for an hour)
        #[arg(long, short = 'a')]
        all: bool,
    },
    /// Show everything about services, with what happened lately
    Describe {
        /// Names or ARNs
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Say why a service has not the tasks that it should have, host by host
    Why(WhyArgs),
    /// Go back to what ran before: ends a deployment that is under way, or deploys the revision before the last one
    Rollback {
        /// Its name or ARN
        name: String,
        /// Do not wait for the end of it
        #[arg(long)]
        no_wait: bool,
    },
    /// Delete a service and stop its tasks
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name or ARN
        name: String,
        /// Even while it is scaled above 0
        #[arg(long)]
        force: bool,
        /// Wait until its last task has stopped
        #[arg(long)]
        wait: bool,
    },
}

/// How a service deploys and places, for `create` and `update`.
#[derive(Debug, Default, Args)]
pub(crate) struct ServiceSettings {
    /// So much of the desired count stays healthy during a deployment, in percent
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(i32).range(0..=100))]
    pub(crate) min_percent: Option<i32>,
    /// No more tasks than this during a deployment, in percent of the desired count
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(i32).range(1..=200))]
    pub(crate) max_percent: Option<i32>,
    /// The circuit breaker: whether a deployment whose tasks fail ends, and brings back what ran before
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) breaker: Option<Breaker>,
    /// Seconds after its start in which a task's health is not held against it
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) grace_secs: Option<i32>,
    /// Where tasks may run: `distinctInstance` or a cluster query expression; may be repeated
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint: Vec<String>,
    /// Where tasks should run: random, spread:FIELD, binpack:cpu or binpack:memory; may be repeated
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) strategy: Vec<String>,
    /// Let `longshore exec` and `longshore attach` into the tasks (enableExecuteCommand)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) exec: Option<bool>,
    /// Move tasks when zones have come to have more than others (availabilityZoneRebalancing), which needs room above
    /// 100 percent
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) rebalancing: Option<bool>,
}

/// What `--breaker` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Breaker {
    /// A deployment whose tasks fail goes on trying.
    Off,
    /// It ends and starts no more tasks.
    Stop,
    /// It ends, and what ran before comes back.
    Rollback,
}

/// `longshore service create …`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  longshore service create web web:3 --count 4 --breaker rollback
  longshore service create logs ./logs.json --daemon      register the definition in the file; one task on each host
  longshore service create web ./request.json             a file for `aws ecs create-service --cli-input-json`")]
pub(crate) struct ServiceCreateArgs {
    /// Its name
    pub(crate) name: String,
    /// FAMILY, FAMILY:REVISION, an ARN, a JSON file (its name ends in `.json`), or `-`
    #[arg(value_name = "DEFINITION|FILE")]
    pub(crate) what: String,
    /// How many tasks (1)
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(i32).range(0..=5000))]
    pub(crate) count: Option<i32>,
    /// One task on each host instead
    #[arg(long, conflicts_with_all = ["count", "strategy"])]
    pub(crate) daemon: bool,
    #[command(flatten)]
    pub(crate) settings: ServiceSettings,
    /// Wait for the end of its first deployment
    #[arg(long)]
    pub(crate) wait: bool,
}

/// `longshore service update …`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longshore service update web --definition web:4 --max-percent 150 --wait")]
pub(crate) struct ServiceUpdateArgs {
    /// Its name or ARN
    pub(crate) name: String,
    /// Another definition: FAMILY, FAMILY:REVISION, an ARN, a JSON file, or `-`
    #[arg(long, value_name = "DEFINITION|FILE")]
    pub(crate) definition: Option<String>,
    /// How many tasks
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(i32).range(0..=5000))]
    pub(crate) count: Option<i32>,
    #[command(flatten)]
    pub(crate) settings: ServiceSettings,
    /// A new deployment although the definition is the same
    #[arg(long)]
    pub(crate) force: bool,
    /// Wait for the end of the deployment, or until the service is stable
    #[arg(long)]
    pub(crate) wait: bool,
}

/// `longshore deploy …`
#[derive(Debug, Args)]
#[command(after_help = "\
Shows how new tasks take the place of old ones, and ends with the result: with status 6 when the deployment failed or
was rolled back, with 7 when it took longer than --wait-secs (it goes on). Without DEFINITION and --image the same
definition is deployed anew.

Examples:
  longshore deploy web web:4
  longshore deploy web ./web.json                        register the definition in the file, then deploy it
  longshore deploy web --image registry.lab:5000/web:7   register the definition with another image")]
pub(crate) struct DeployArgs {
    /// The service's name or ARN
    pub(crate) service: String,
    /// FAMILY, FAMILY:REVISION, an ARN, a JSON file (its name ends in `.json`), or `-`
    #[arg(value_name = "DEFINITION|FILE", conflicts_with = "image")]
    pub(crate) what: Option<String>,
    /// The definition that runs, with this image
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// The container that --image is for; needed if there are several
    #[arg(long, value_name = "NAME", requires = "image")]
    pub(crate) container: Option<String>,
    /// Do not wait for the end of it
    #[arg(long)]
    pub(crate) no_wait: bool,
}
