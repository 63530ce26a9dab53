//! The command line: what may be typed, and the help that is printed for it.
//!
//! Owns names, flags and texts. Decides nothing: `settings` chooses values, `commands` act.

mod schedule;
mod service;

pub(crate) use schedule::{ScheduleCommand, ScheduleCreateArgs};
pub(crate) use service::{Breaker, DeployArgs, ServiceCommand, ServiceCreateArgs, ServiceSettings, ServiceUpdateArgs};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where the settings come from, and what the exit status means. Shown at the end of `longshore --help`.
const AFTER_HELP: &str = "\
Examples:
  longshore task-def register web.json        register a task definition
  longshore run web --count 2 --wait          run two tasks and wait until they run
  longshore run job --wait=stopped -- sh -c 'exit 3'
  longshore service create web web:3 -n 4     keep four tasks running
  longshore deploy web web:4                  replace them, and see how it goes
  longshore ps                                what runs, where, on which ports
  longshore top                               what tasks and hosts use of CPU and memory
  longshore why web                           why a service has not all of its tasks
  longshore logs -f 3f2a                      what a task prints, as it does
  longshore events --follow                   what happens to tasks, hosts and services, as it does
  longshore exec 3f2a sh                      a shell in a task's container
  longshore host join-token create            let another machine join
  longshore schedule create nightly 'cron(0 3 * * ? *)' backup
  longshore image pull app:7                  have an image on every host

Settings, the first that says something: the flag; LONGSHORE_*; AWS_* (AWS_ENDPOINT_URL_ECS, AWS_REGION,
AWS_PROFILE, AWS_ACCESS_KEY_ID, ...); a profile chosen by name; ~/.config/longshore/config.toml
($LONGSHORE_CONFIG); the default AWS profile.

Exit status:
  0  done
  1  refused by the control plane, or the thing named does not exist
  2  the command line or the given file is wrong
  3  settings are missing or wrong (endpoint, region, keys)
  4  the control plane could not be reached
  5  not every task found a place
  6  a task or deployment that was waited for failed, or a host did not get an image
  7  waiting took longer than --wait-secs
With exec and attach the command's own, once it runs, and 255 when it was lost.";

/// Run containers the ECS way on machines you own.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct GlobalArgs {
    /// The control plane's API, as in http://control:7420
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) endpoint_url: Option<String>,
    /// The region that clusters and ARNs belong to
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) region: Option<String>,
    /// The AWS profile to take keys, region and endpoint from
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// The cluster; `default` when nothing says otherwise
    #[arg(long, short = 'c', global = true, value_name = "NAME|ARN")]
    pub(crate) cluster: Option<String>,
    /// A file of PEM certificates to trust for https
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_bundle: Option<String>,
    /// Longest wait of --wait, in seconds (600)
    #[arg(long, global = true, value_name = "SECS")]
    pub(crate) wait_secs: Option<u64>,
    /// Print JSON in the shapes of the ECS API instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make, list, look at and delete clusters
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// List, drain and remove hosts; make tokens for new ones
    #[command(subcommand)]
    Host(HostCommand),
    /// Have images on hosts before any task needs them
    #[command(subcommand)]
    Image(ImageCommand),
    /// Register, list and look at task definitions
    #[command(subcommand, name = "task-def", visible_alias = "td")]
    TaskDef(TaskDefCommand),
    /// Make, change, look at and delete services, which keep tasks running
    #[command(subcommand, visible_alias = "svc")]
    Service(ServiceCommand),
    /// Deploy a definition or image to a service and watch how it goes
    Deploy(DeployArgs),
    /// Run tasks once
    Run(Box<RunArgs>),
    /// List tasks: where they run, their ports, how they ended
    Ps(PsArgs),
    /// Show what tasks and hosts use of CPU and memory
    Top(TopArgs),
    /// Show everything about a task, host, service, cluster or task definition
    Describe(DescribeArgs),
    /// Stop tasks
    Stop(StopArgs),
    /// Say why a service has not the tasks that it should have, host by host
    Why(WhyArgs),
    /// Print what a task's containers printed, wherever it runs
    Logs(LogsArgs),
    /// Print what happens as it does, or how the deliveries of rules fare
    Events(EventsArgs),
    /// Execute a command in a container of a task that runs
    Exec(ExecArgs),
    /// Watch what a container prints from now on, and type into it if it takes input
    Attach(AttachArgs),
    /// Run tasks by the clock
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  longshore completions bash > /etc/bash_completion.d/longshore")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// `longshore cluster …`
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// List the clusters of this region
    #[command(visible_alias = "ls")]
    List,
    /// Make a cluster; one that exists is left as it is
    Create {
        /// Its name; the chosen cluster when absent
        name: Option<String>,
    },
    /// Show clusters in full
    Describe {
        /// Names or ARNs; the chosen cluster when absent
        names: Vec<String>,
    },
    /// Delete a cluster that has no hosts, tasks and services
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name or ARN
        name: String,
    },
}

/// `longshore host …`
#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List the cluster's hosts
    #[command(visible_alias = "ls")]
    List {
        /// Only those that match, in the cluster query language, as in `attribute:ecs.cpu-architecture == arm64`
        #[arg(long, value_name = "EXPRESSION")]
        filter: Option<String>,
        /// Only those in this state
        #[arg(long, value_enum)]
        status: Option<HostState>,
    },
    /// Show hosts in full
    Describe {
        /// Host names, ids, beginnings of ids, or ARNs
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Place nothing new on hosts; what runs there goes on
    #[command(after_help = "Example:\n  longshore host drain rack7 --wait && ssh rack7 reboot")]
    Drain {
        /// Host names, ids, beginnings of ids, or ARNs
        #[arg(required = true)]
        hosts: Vec<String>,
        /// Wait until no task is left on them
        #[arg(long)]
        wait: bool,
    },
    /// Place tasks on drained hosts again
    Activate {
        /// Host names, ids, beginnings of ids, or ARNs
        #[arg(required = true)]
        hosts: Vec<String>,
    },
    /// Take hosts out of the cluster for good; their agents are refused from then on
    #[command(visible_alias = "rm")]
    Deregister {
        /// Host names, ids, beginnings of ids, or ARNs
        #[arg(required = true)]
        hosts: Vec<String>,
        /// Even with tasks on them, which then count as lost
        #[arg(long)]
        force: bool,
    },
    /// Make, list and revoke the tokens that let machines join
    #[command(subcommand)]
    JoinToken(JoinTokenCommand),
}

/// `longshore image …`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Pull an image, or all of a task definition, on hosts; done once all have it, and failed if one does not
    #[command(after_help = "\
Each host gets a task that ends once the images are there and runs nothing (StartTask with the tag
longshore.pull-only=true); `longshore stop` ends it before. Hosts use their own registry credentials.

Examples:
  longshore image pull registry.lab:5000/team/app:7
  longshore image pull --task-def web:3 --host rack1 --host rack2")]
    Pull(ImagePullArgs),
}

/// `longshore image pull …`
#[derive(Debug, Args)]
pub(crate) struct ImagePullArgs {
    /// The image, as a task definition would name it
    #[arg(required_unless_present = "task_def", conflicts_with = "task_def")]
    pub(crate) image: Option<String>,
    /// All images of this task definition, each when its container would pull it: FAMILY, FAMILY:REVISION or an ARN
    #[arg(long, value_name = "DEFINITION")]
    pub(crate) task_def: Option<String>,
    /// A host: its name, id, the beginning of an id, or ARN; may be repeated; all active ones when absent
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// Leave hosts alone that have an image of that name, however old
    #[arg(long, conflicts_with = "task_def")]
    pub(crate) if_missing: bool,
}

/// A host's state, as `--status` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostState {
    /// Takes tasks.
    Active,
    /// Takes nothing new.
    Draining,
}

/// `longshore host join-token …`
#[derive(Debug, Subcommand)]
pub(crate) enum JoinTokenCommand {
    /// Make a token; it is shown this once
    #[command(after_help = "Example:\n  longshore host join-token create --hosts 20 --hours 2 > token\n\n\
                            The token goes to standard output and everything else to standard error.")]
    Create {
        /// How many hosts may join with it
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=1000), value_name = "N")]
        hosts: i32,
        /// For how many hours it is good
        #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=720), value_name = "HOURS")]
        hours: u32,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List tokens, without their secrets
    #[command(visible_alias = "ls")]
    List,
    /// End tokens; hosts that joined with them stay
    #[command(visible_alias = "rm")]
    Revoke {
        /// Ids, as `list` shows them
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// `longshore task-def …`
#[derive(Debug, Subcommand)]
pub(crate) enum TaskDefCommand {
    /// Register a definition from a JSON file
    #[command(after_help = "FILE is what `aws ecs register-task-definition --cli-input-json` takes, or what \
                            `describe-task-definition` prints. `-` is standard input.")]
    Register {
        /// The file, or `-`
        file: String,
    },
    /// List definitions
    #[command(visible_alias = "ls")]
    List {
        /// Only of this family
        family: Option<String>,
        /// Those that were deregistered instead
        #[arg(long)]
        inactive: bool,
    },
    /// Show a definition in full
    Describe {
        /// FAMILY (the latest), FAMILY:REVISION, or an ARN
        name: String,
    },
    /// Deregister revisions: nothing new runs from them, what runs goes on
    #[command(visible_alias = "rm")]
    Deregister {
        /// FAMILY:REVISION, or ARNs
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// What `--wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WaitFor {
    /// Until every task runs, or has run.
    Running,
    /// Until every task is over.
    Stopped,
}

/// `longshore run …`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  longshore run web:3 --count 4 --strategy spread:attribute:ecs.availability-zone
  longshore run web --env LOG=debug --env sidecar:LEVEL=1
  longshore run job --wait=stopped -- sh -c 'echo hello; exit 3'
  longshore run ./web.json                    register the definition in the file, then run it
  longshore run ./request.json                a file for `aws ecs run-task --cli-input-json`")]
pub(crate) struct RunArgs {
    /// FAMILY, FAMILY:REVISION, an ARN, a JSON file (its name ends in `.json`), or `-`
    #[arg(value_name = "DEFINITION|FILE")]
    pub(crate) what: String,
    /// How many tasks (1)
    #[arg(long, short = 'n', value_parser = clap::value_parser!(i32).range(1..=1000), value_name = "N")]
    pub(crate) count: Option<i32>,
    /// The container that --command, --env without a name, and ARGS mean; needed if there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Another command for the container, split at blanks as a shell does (quotes are honoured, nothing is expanded)
    #[arg(long, value_name = "TEXT", conflicts_with = "args")]
    pub(crate) command: Option<String>,
    /// A variable of the environment: KEY=VALUE or CONTAINER:KEY=VALUE; may be repeated
    #[arg(long, short = 'e', value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// Let `longshore exec` and `longshore attach` into the tasks (enableExecuteCommand)
    #[arg(long)]
    pub(crate) exec: bool,
    /// Where tasks may run: `distinctInstance` or a cluster query expression; may be repeated
    #[arg(long, value_name = "CONSTRAINT")]
    pub(crate) constraint: Vec<String>,
    /// Where tasks should run: random, spread:FIELD, binpack:cpu or binpack:memory; may be repeated
    #[arg(long, value_name = "STRATEGY")]
    pub(crate) strategy: Vec<String>,
    /// The task group (`family:FAMILY` when absent)
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// A mark to find the tasks by, as in `longshore ps --started-by`
    #[arg(long, value_name = "TEXT")]
    pub(crate) started_by: Option<String>,
    /// Wait until the tasks run, or with `=stopped` until they are over
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "running")]
    pub(crate) wait: Option<WaitFor>,
    /// Another command for the container, word by word
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

/// `longshore ps …`
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:\n  longshore ps --all\n  longshore ps --host rack7\n  \
                  longshore ps --json | jq -r '.tasks[].taskArn'")]
pub(crate) struct PsArgs {
    /// Stopped tasks too (they are kept for an hour)
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Only of this family
    #[arg(long, value_name = "NAME")]
    pub(crate) family: Option<String>,
    /// Only on this host
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Only those started with this mark
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["family", "host", "service"])]
    pub(crate) started_by: Option<String>,
}

/// `longshore describe …`
#[derive(Debug, Args)]
#[command(after_help = "\
NAME is an ARN, a task's or host's id or the beginning of one, a host name, a service, a cluster, or FAMILY:REVISION.
What could be several things is looked for in that order; --kind says which is meant.")]
pub(crate) struct DescribeArgs {
    /// What to show
    pub(crate) name: String,
    /// What kind of thing it is
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
}

/// What `describe` can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A task.
    Task,
    /// A host.
    Host,
    /// A cluster.
    Cluster,
    /// A service.
    Service,
    /// A task definition.
    TaskDef,
}

/// `longshore stop …`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longshore stop 3f2a --reason 'bad build' --wait")]
pub(crate) struct StopArgs {
    /// Ids, beginnings of ids, or ARNs
    #[arg(required = true)]
    pub(crate) tasks: Vec<String>,
    /// Why; shown with the task afterwards
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Wait until they are over
    #[arg(long)]
    pub(crate) wait: bool,
}

/// `longshore why …`
#[derive(Debug, Args)]
#[command(after_help = "\
Says what the service's events say of it, and what RunTask would answer for each host that takes none of its tasks.

Example:
  longshore why web")]
pub(crate) struct WhyArgs {
    /// The service's name or ARN
    pub(crate) service: String,
}

/// `longshore logs …`
#[derive(Debug, Args)]
#[command(after_help = "\
Shows containers whose log driver is awslogs, also after they ended and as long as the task is kept (an hour); later
`aws logs get-log-events` reads the same stream.

Examples:
  longshore logs 3f2a --tail 20
  longshore logs -f 3f2a --container web --since 10m")]
pub(crate) struct LogsArgs {
    /// Id, beginning of an id, or ARN
    pub(crate) task: String,
    /// Go on with what is printed from now on, until the task is over
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// Only of this container
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Only what is younger: 90s, 10m, 2h, 3d, or a time as in 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only the last lines of each container
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) tail: Option<u32>,
    /// Print the time before each line
    #[arg(long, short = 't')]
    pub(crate) timestamps: bool,
}

/// `longshore top`
#[derive(Debug, Args)]
#[command(after_help = "\
On a terminal the screen is drawn anew again and again until ctrl-c; elsewhere the figures are printed once. Agents read
them about every twenty seconds (three times in the control plane's scaling_period_secs). CPU is in cores' shares of
1024.

Examples:
  longshore top
  longshore top --once --json | jq '.tasks[].attachments'")]
pub(crate) struct TopArgs {
    /// Print once, on a terminal too
    #[arg(long)]
    pub(crate) once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) every: u64,
}

/// `longshore events …`
#[derive(Debug, Args)]
#[command(after_help = "\
Events are those that rules of EventBridge see (`aws events put-rule`): tasks, hosts, services and deployments that
change. Of all clusters, unless one is chosen. What happens while the control plane is started anew may be missing,
which is said.

Examples:
  longshore events --follow --cluster prod --service web
  longshore events --follow --pattern '{\"detail\": {\"lastStatus\": [\"STOPPED\"]}}' --json
  longshore events --rules                    rules, what waits for their targets, and what was given up")]
#[command(group(clap::ArgGroup::new("what").required(true).args(["follow", "rules"])))]
pub(crate) struct EventsArgs {
    /// Print events from now on, until this command is ended
    #[arg(long, short = 'f')]
    pub(crate) follow: bool,
    /// List the rules of this region with their targets
    #[arg(long)]
    pub(crate) rules: bool,
    /// Only of this service and its tasks
    #[arg(long, value_name = "NAME", conflicts_with = "rules")]
    pub(crate) service: Option<String>,
    /// Only those that match an event pattern (JSON), whatever their cluster
    #[arg(long, value_name = "JSON", conflicts_with_all = ["rules", "service"])]
    pub(crate) pattern: Option<String>,
}

/// `longshore exec …`
#[derive(Debug, Args)]
#[command(after_help = "\
The task must have been run with `longshore run --exec` (enableExecuteCommand). The command's words are passed on as
they are, without a shell. A terminal is made when this command has one. The exit status is the command's. When this
command ends, so does the one in the container.

Examples:
  longshore exec 3f2a sh
  longshore exec 3f2a --container web -- cat /etc/hosts
  tar c files | longshore exec -i 3f2a tar x -C /data")]
pub(crate) struct ExecArgs {
    /// Id, beginning of an id, or ARN
    pub(crate) task: String,
    /// Which container; needed if there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Pass standard input on; always with a terminal
    #[arg(long, short = 'i')]
    pub(crate) stdin: bool,
    /// Make a terminal, though this command has none
    #[arg(long, short = 't')]
    pub(crate) tty: bool,
    /// Make no terminal: standard output and standard error stay apart
    #[arg(long, short = 'T', conflicts_with = "tty")]
    pub(crate) no_tty: bool,
    /// The user, as USER, UID, USER:GROUP or UID:GID; the container's when absent
    #[arg(long, short = 'u', value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// `longshore attach …`
#[derive(Debug, Args)]
#[command(after_help = "\
The task must have been run with `longshore run --exec` (enableExecuteCommand). What you type reaches a container whose
definition says `interactive`. The keys ctrl-p ctrl-q leave a container with a terminal (`pseudoTerminal`), which goes
on; ctrl-c leaves any other. The exit status is the container's when it ends.")]
pub(crate) struct AttachArgs {
    /// Id, beginning of an id, or ARN
    pub(crate) task: String,
    /// Which container; needed if there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Pass no input on
    #[arg(long)]
    pub(crate) no_stdin: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_commands_own_flags_are_its_own() {
        for words in [
            &["longshore", "exec", "3f2a", "ls", "-t", "--json"][..],
            &["longshore", "exec", "3f2a", "--", "ls", "-t", "--json"],
        ] {
            match Cli::try_parse_from(words).expect("parses").command {
                Command::Exec(exec) => assert_eq!((exec.command.len(), exec.tty), (3, false)),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn waiting_is_for_running_unless_said() {
        let wait = |words: &[&str]| match Cli::try_parse_from(words).expect("parses").command {
            Command::Run(run) => run.wait,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(&["longshore", "run", "web"]), None);
        assert_eq!(wait(&["longshore", "run", "web", "--wait"]), Some(WaitFor::Running));
        assert_eq!(wait(&["longshore", "run", "--wait", "web"]), Some(WaitFor::Running));
        assert_eq!(wait(&["longshore", "run", "--wait=stopped", "web", "--", "a", "-b"]), Some(WaitFor::Stopped));
    }
}
