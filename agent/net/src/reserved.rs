//! Ports that the kernel must not choose by itself: `net.ipv4.ip_local_reserved_ports`.
//!
//! A range for dynamic host ports that overlaps the kernel's ephemeral range would lose ports to outgoing connections.
//! Programs that ask for a reserved port by number still get it, so nothing breaks by reserving.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

const FILE: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// A set of ports as the kernel writes it: `53,30000-32767`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortSet(BTreeSet<u16>);

/// Why ports could not be reserved. Not fatal: bound sockets still hold what is given out.
#[derive(Debug, thiserror::Error)]
pub enum ReserveError {
    /// The kernel's list could not be read or written.
    #[error("could not {verb} {}", path.display())]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's list is not what it should be.
    #[error("{} holds `{text}`, which is not a list of ports", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
}

/// Adds a range to what the kernel keeps out of its own choice, in the namespace of the calling thread. What is
/// reserved already stays. Returns whether anything changed.
///
/// # Errors
/// When this process may not (not root, `/proc/sys` read-only).
pub fn reserve_local_ports(range: &RangeInclusive<u16>) -> Result<bool, ReserveError> {
    reserve_in(Path::new(FILE), range)
}

fn reserve_in(path: &Path, range: &RangeInclusive<u16>) -> Result<bool, ReserveError> {
    let fail = |verb| move |source| ReserveError::File { verb, path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(fail("read"))?;
    let mut set: PortSet =
        text.parse().map_err(|()| ReserveError::Unreadable { path: path.to_owned(), text: text.trim().to_owned() })?;
    if !set.add(range) {
        return Ok(false);
    }
    std::fs::write(path, format!("{set}\n")).map_err(fail("write"))?;
    Ok(true)
}

impl PortSet {
    /// Adds a range and says whether any of it was new.
    pub fn add(&mut self, range: &RangeInclusive<u16>) -> bool {
        let before = self.0.len();
        self.0.extend(range.clone());
        self.0.len() > before
    }

    /// Whether a port is in it.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

impl FromStr for PortSet {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut set = Self::default();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |n: &str| n.trim().parse::<u16>().map_err(drop);
            set.add(&(number(first)?..=number(last)?));
        }
        Ok(set)
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ports = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = ports.next() {
            let mut last = first;
            while let Some(next) = ports.next_if(|p| *p - last == 1) {
                last = next;
            }
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_joined_and_written_as_the_kernel_does() {
        for (present, add, expected) in [
            ("\n", 5..=5, "5"),
            ("53\n", 30_000..=32_767, "53,30000-32767"),
            ("29999,32768\n", 30_000..=32_767, "29999-32768"),
            ("1-3,65535", 65_534..=65_534, "1-3,65534-65535"),
        ] {
            let mut set: PortSet = present.parse().expect(present);
            assert!(set.add(&add));
            assert_eq!(set.to_string(), expected);
            assert!(!set.add(&add), "nothing new the second time");
            assert_eq!(expected.parse(), Ok(set));
        }
        for bad in ["x", "1-", "70000"] {
            assert_eq!(bad.parse::<PortSet>(), Err(()), "{bad}");
        }
    }

    #[test]
    fn a_file_that_is_no_list_stays_as_it_is() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "what?\n").expect("written");
        assert!(matches!(reserve_in(file.path(), &(1..=2)), Err(ReserveError::Unreadable { .. })));
        assert_eq!(std::fs::read_to_string(file.path()).expect("there"), "what?\n");
        std::fs::write(file.path(), "80\n").expect("written");
        assert!(reserve_in(file.path(), &(81..=82)).expect("a list"));
        assert_eq!(std::fs::read_to_string(file.path()).expect("there"), "80-82\n");
    }
}
