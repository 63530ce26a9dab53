//! Health probes that the agent makes itself, from labels of a container's definition: beyond ECS, whose checks are
//! commands inside the container and need a shell or a program there.

use std::collections::BTreeMap;
use std::time::Duration;

/// `PORT/PATH`: a GET of it is answered with 200 to 399.
const HTTP: &str = "longshore.health.http";
/// `PORT`: a connection to it is taken.
const TCP: &str = "longshore.health.tcp";
const INTERVAL: &str = "longshore.health.interval";
const TIMEOUT: &str = "longshore.health.timeout";
const RETRIES: &str = "longshore.health.retries";
const START_PERIOD: &str = "longshore.health.start-period";

/// What all of the labels begin with.
pub const PROBE_LABELS: &str = "longshore.health.";

/// Longest path, in bytes.
const MAX_PATH: usize = 1024;

/// What is asked of the container, at its own loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// GET of a path, which begins with `/` and has visible ASCII characters alone.
    Http {
        /// On which port.
        port: u16,
        /// What.
        path: String,
    },
    /// A connection.
    Tcp {
        /// To which port.
        port: u16,
    },
}

/// A probe: numbers with the bounds and defaults of ECS's `healthCheck`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub question: Question,
    /// Between two tries.
    pub interval: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// Failures in a row until it is unhealthy.
    pub retries: u32,
    /// After the start, in which failures do not count.
    pub start_period: Duration,
}

impl Probe {
    /// The probe that labels ask for; `None` when they ask for none.
    ///
    /// # Errors
    /// The label that cannot be meant and what it has to be, without its value's text.
    pub fn of(labels: &BTreeMap<String, String>) -> Result<Option<Self>, String> {
        let ours = labels.keys().filter(|key| key.starts_with(PROBE_LABELS));
        let known = [HTTP, TCP, INTERVAL, TIMEOUT, RETRIES, START_PERIOD];
        if let Some(unknown) = ours.clone().find(|key| !known.contains(&key.as_str())) {
            return Err(format!("{unknown} must be one of [{}].", known.join(", ")));
        }
        let question = match (labels.get(HTTP), labels.get(TCP)) {
            (None, None) => {
                return match ours.into_iter().next() {
                    Some(key) => Err(format!("{key} needs {HTTP} or {TCP}.")),
                    None => Ok(None),
                };
            }
            (Some(_), Some(_)) => return Err(format!("{TCP} must not be there beside {HTTP}.")),
            (Some(text), None) => {
                http(text).ok_or_else(|| format!("{HTTP} must be a port and a path, like 8080/healthz."))?
            }
            (None, Some(text)) => {
                let port = port(text).ok_or_else(|| format!("{TCP} must be a port, 1 to 65535."))?;
                Question::Tcp { port }
            }
        };
        let number = |key: &str, bounds: std::ops::RangeInclusive<u32>, default: u32| match labels.get(key) {
            None => Ok(default),
            Some(text) => text.parse().ok().filter(|n| bounds.contains(n)).ok_or_else(|| {
                let (least, most) = bounds.into_inner();
                format!("{key} must be a number from {least} to {most}.")
            }),
        };
        let secs = |n: u32| Duration::from_secs(n.into());
        Ok(Some(Self {
            question,
            interval: secs(number(INTERVAL, 5..=300, 30)?),
            timeout: secs(number(TIMEOUT, 2..=60, 5)?),
            retries: number(RETRIES, 1..=10, 3)?,
            start_period: secs(number(START_PERIOD, 0..=300, 0)?),
        }))
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

fn http(text: &str) -> Option<Question> {
    let (digits, path) = text.split_once('/')?;
    let sound = path.len() < MAX_PATH && path.bytes().all(|b| b.is_ascii_graphic());
    sound.then(|| Some(Question::Http { port: port(digits)?, path: format!("/{path}") })).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[(&str, &str)]) -> Result<Option<Probe>, String> {
        Probe::of(&labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn labels_make_probes() {
        assert_eq!(of(&[("a", "b"), ("longshore.runtime", "x")]), Ok(None));
        let plain = Probe {
            question: Question::Http { port: 8080, path: "/healthz?a=b".into() },
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::ZERO,
        };
        assert_eq!(of(&[(HTTP, "8080/healthz?a=b")]), Ok(Some(plain)));
        let all = [(TCP, "5432"), (INTERVAL, "5"), (TIMEOUT, "2"), (RETRIES, "1"), (START_PERIOD, "300")];
        let quick = Probe {
            question: Question::Tcp { port: 5432 },
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            retries: 1,
            start_period: Duration::from_secs(300),
        };
        assert_eq!(of(&all), Ok(Some(quick)));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for (labels, why) in [
            (vec![("longshore.health.x", "1")], "longshore.health.x must be one of [longshore.health.http, "),
            (vec![(RETRIES, "1")], "longshore.health.retries needs longshore.health.http or longshore.health.tcp."),
            (vec![(HTTP, "80/"), (TCP, "80")], "longshore.health.tcp must not be there beside"),
            (vec![(HTTP, "80")], "longshore.health.http must be a port and a path"),
            (vec![(HTTP, "/x")], "longshore.health.http must be a port and a path"),
            (vec![(HTTP, "0/x")], "longshore.health.http must be a port and a path"),
            (vec![(HTTP, "80/a b")], "longshore.health.http must be a port and a path"),
            (vec![(HTTP, "80/a\r\nX: y")], "longshore.health.http must be a port and a path"),
            (vec![(TCP, "+80")], "longshore.health.tcp must be a port, 1 to 65535."),
            (vec![(TCP, "65536")], "longshore.health.tcp must be a port, 1 to 65535."),
            (vec![(TCP, "1"), (INTERVAL, "4")], "longshore.health.interval must be a number from 5 to 300."),
        ] {
            let error = of(&labels).expect_err("refused");
            assert!(error.starts_with(why), "{error}");
        }
    }
}
