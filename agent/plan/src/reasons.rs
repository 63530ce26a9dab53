//! ECS's words for why things stop (ECS developer guide, "stopped tasks error messages"; names as in ECS's agent).

use longshore_model::ContainerName;

/// Longest reason of a task or container that the API carries.
pub const MAX_CHARS: usize = 1024;

/// An essential container ended.
pub const ESSENTIAL_EXITED: &str = "Essential container in task exited";
/// The kernel ended a container for its memory limit.
pub const OUT_OF_MEMORY: &str = "OutOfMemoryError: Container killed due to memory usage";
/// A container that had started is gone, and nobody here removed it.
pub const VANISHED: &str =
    "ContainerVanishedError: the container is gone from the container engine, and the agent did not remove it";
/// A container that was never started is not the agent's any more.
pub const NOT_STARTED: &str = "The task was stopped before the container started";
/// The control plane knows a task to have started, and this agent does not know it.
pub const UNKNOWN_HERE: &str =
    "The agent does not know the task any more, and it may have run already; a task never runs twice";
/// The task is not in the assignment any more.
pub const NOT_ASSIGNED: &str = "The task is no longer assigned to this host";
/// The container that holds a task's network namespace is not there any more: nobody here ended it, or the task's
/// interface was lost and could not be made again.
pub const SANDBOX_LOST: &str =
    "NetworkInterfaceLostError: the task's network sandbox ended or lost its interface, and nobody stopped the task";
/// The host's configuration refuses privileged containers.
pub const NO_PRIVILEGED: &str = "this host runs no privileged containers; set allow_privileged in its agent's \
                                 configuration, or run the task elsewhere";
/// Somebody else started a stopped container again.
pub const RESTARTED_BEHIND: &str = "somebody started the stopped container again";

/// A container that was to be started again is not any more.
pub const NOT_RESTARTED: &str = "The task was stopped before the container was started again";
/// A task that only wanted its images has them.
pub const PULLED: &str = "The images are on the host; nothing else was asked for (longshore.pull-only)";
/// A container was stopped to be started again.
pub const UNHEALTHY: &str = "stopped by the agent: its health check said that it is unhealthy";

/// A container ran when the host went down.
pub const HOST_RESTARTED: &str = "the host was restarted after the container was last seen to run";

/// The engine said that it could not start a container, and then it ran.
pub const STARTED_AFTER_ALL: &str =
    "the container engine could not start the container, and started it after all, maybe without its network";

/// The agent was cut off from the control plane.
#[must_use]
pub fn fenced(after: std::time::Duration) -> String {
    format!(
        "The host was cut off from the control plane for {} s, and the task must not run twice (longshore:at-most-one)",
        after.as_secs_f64()
    )
}

/// A task that is in the assignment and cannot be understood.
#[must_use]
pub fn refused(why: &str) -> String {
    clip(format!("UnrecognizedTaskError: {why}"))
}

/// Something beside the containers could not be made.
#[must_use]
pub fn resource(what: &str, text: &str) -> String {
    clip(format!("ResourceInitializationError: {what}: {text}"))
}

/// `text` under the error name `name`, unless it already begins with an error name of ECS's form.
#[must_use]
pub fn named(name: &str, text: &str) -> String {
    match text.split_once(':') {
        Some((first, _)) if first.ends_with("Error") && first.chars().all(|c| c.is_ascii_alphanumeric()) => {
            clip(text.to_owned())
        }
        _ => clip(format!("{name}: {text}")),
    }
}

/// What a task waits for when another, `holder`, has its port.
#[must_use]
pub fn port_held(port: crate::ports::PortKey, holder: &str) -> String {
    format!("host port {port}, which {holder} still has")
}

/// The containers of a task wrote more than its `ephemeralStorage`.
#[must_use]
pub fn over_storage(used_mib: u64, limit_mib: u32) -> String {
    format!(
        "EphemeralStorageExceededError: the task's containers have written {used_mib} MiB, and its ephemeralStorage is \
         {limit_mib} MiB"
    )
}

/// There was no room for a container as long as it waited.
#[must_use]
pub fn no_space_in_time(text: &str, waited: std::time::Duration) -> String {
    format!("{text}; it waited {} s for space", waited.as_secs())
}

/// Why a task failed to start, from the container that failed.
#[must_use]
pub fn failed_to_start(container: &ContainerName, reason: &str) -> String {
    // The task's own reason names the error as ECS does, then the container, since a task may have several.
    clip(format!("{reason} (container `{container}`)"))
}

/// At most [`MAX_CHARS`] characters.
#[must_use]
pub fn clip(text: String) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_doubled() {
        assert_eq!(named("CannotPullContainerError", "no such image"), "CannotPullContainerError: no such image");
        let named_already = "DockerTimeoutError: Could not transition to started; timed out after waiting 3m0s";
        assert_eq!(named("CannotStartContainerError", named_already), named_already);
        assert_eq!(named("E", "dial tcp: refused"), "E: dial tcp: refused");
    }

    #[test]
    fn long_reasons_are_cut_at_a_character() {
        assert_eq!(clip("é".repeat(2000)).chars().count(), MAX_CHARS);
    }
}
