//! `Debug` of the messages that may hold secrets: names, never values.

use crate::v1;
use std::fmt;

impl fmt::Debug for v1::EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=…", self.name)
    }
}

impl fmt::Debug for v1::LogConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.driver, self.options.keys().collect::<Vec<_>>())
    }
}

impl fmt::Debug for v1::DockerVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerVolume")
            .field("shared", &self.shared)
            .field("autoprovision", &self.autoprovision)
            .field("driver", &self.driver)
            .field("driver_opts", &self.driver_opts.keys().collect::<Vec<_>>())
            .field("labels", &self.labels)
            .finish()
    }
}

impl fmt::Debug for v1::JoinRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinRequest")
            .field("facts", &self.facts)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::RegistryCredentialsResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryCredentialsResponse").field("refused", &self.refused).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::ExecCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecCommand")
            .field("program", &self.argv.first())
            .field("arguments", &self.argv.len().saturating_sub(1))
            .field("user", &self.user)
            .finish()
    }
}

impl fmt::Debug for v1::ExecFromAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecFromAgent").finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::ExecToAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecToAgent").finish_non_exhaustive()
    }
}
