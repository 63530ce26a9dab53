//! The states of tasks and containers, as ECS users know them.

use serde::{Deserialize, Serialize};

macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant),+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The text that the ECS API carries.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

wire_enum!(
    /// How far a task is. Only rises; `Stopped` is final (ECS developer guide, task lifecycle).
    TaskStatus {
        /// Resources that the task needs before it may launch are being made (an interface, for example).
        Provisioning = "PROVISIONING",
        /// On its way to a host or starting there.
        Pending = "PENDING",
        /// Its containers run; registrations around it (load balancer, discovery) are being made.
        Activating = "ACTIVATING",
        /// Running.
        Running = "RUNNING",
        /// Asked to stop; registrations around it are being undone.
        Deactivating = "DEACTIVATING",
        /// Its containers are being stopped.
        Stopping = "STOPPING",
        /// Its containers are gone; what was provisioned is being returned.
        Deprovisioning = "DEPROVISIONING",
        /// Over. Final.
        Stopped = "STOPPED",
    }
);

wire_enum!(
    /// What a task should be. Only moves forward.
    DesiredStatus {
        /// It should run.
        Running = "RUNNING",
        /// It should be stopped.
        Stopped = "STOPPED",
    }
);

wire_enum!(
    /// How far a container is, as the API shows it. Only rises.
    ContainerStatus {
        /// Not started yet.
        Pending = "PENDING",
        /// Started.
        Running = "RUNNING",
        /// Over. Final.
        Stopped = "STOPPED",
    }
);

wire_enum!(
    /// What a health check says.
    HealthStatus {
        /// Every essential container with a check is healthy.
        Healthy = "HEALTHY",
        /// One is not.
        Unhealthy = "UNHEALTHY",
        /// There is no check, or no answer yet.
        Unknown = "UNKNOWN",
    }
);

wire_enum!(
    /// How far a container must have come before one that depends on it is started (`dependsOn.condition`).
    ContainerCondition {
        /// It was started.
        Start = "START",
        /// It ran and ended, however.
        Complete = "COMPLETE",
        /// It ran and ended with the exit code 0.
        Success = "SUCCESS",
        /// Its health check says that it is healthy.
        Healthy = "HEALTHY",
    }
);

wire_enum!(
    /// Why a task stopped, for programs (`stopCode`).
    StopCode {
        /// It never ran: pull, create or start failed.
        TaskFailedToStart = "TaskFailedToStart",
        /// An essential container ended by itself.
        EssentialContainerExited = "EssentialContainerExited",
        /// Somebody called StopTask.
        UserInitiated = "UserInitiated",
        /// Its service no longer wants it.
        ServiceSchedulerInitiated = "ServiceSchedulerInitiated",
        /// The host was taken back.
        SpotInterruption = "SpotInterruption",
        /// The host announced its end.
        TerminationNotice = "TerminationNotice",
        /// The host was lost or unhealthy.
        InfrastructureHealth = "InfrastructureHealth",
    }
);
