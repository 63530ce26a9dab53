//! The `nft` program: whole tables and the rules of groups, as text, one transaction each.

use crate::namespace::{Namespace, NamespaceError};
use crate::netlink::own::OwnPort;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

/// The oldest one that reads what we write (Debian 11 has 0.9.8).
const OLDEST: (u32, u32, u32) = (0, 9, 8);

/// Why the `nft` program did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It is not installed.
    #[error(
        "the `nft` program is not there; install version {}.{}.{} or newer (Debian's package `nftables`)",
        OLDEST.0, OLDEST.1, OLDEST.2
    )]
    NotInstalled,
    /// It is too old.
    #[error(
        "`nft` says that it is `{found}`, and version {}.{}.{} or newer is needed (Debian's package `nftables`)",
        OLDEST.0, OLDEST.1, OLDEST.2
    )]
    TooOld {
        /// What it said of itself.
        found: String,
    },
    /// It could not be run.
    #[error("could not run `nft`")]
    Run(#[source] io::Error),
    /// The namespace could not be entered.
    #[error("could not run `nft` in a namespace")]
    Namespace(#[source] NamespaceError),
    /// It refused.
    #[error("`nft` refused: {message}")]
    Refused {
        /// Its first words.
        message: String,
    },
}

fn ran(result: io::Result<Output>) -> Result<Output, ProgramError> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ProgramError::NotInstalled,
        _ => ProgramError::Run(error),
    })
}

/// Checks that the program is there and new enough.
pub(crate) fn check() -> Result<(), ProgramError> {
    check_as("nft")
}

fn check_as(program: &str) -> Result<(), ProgramError> {
    let output = ran(Command::new(program).arg("--version").stdin(Stdio::null()).output())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match version(&said) {
        Some(version) if version >= OLDEST => Ok(()),
        Some(_) | None => Err(ProgramError::TooOld { found: said.lines().next().unwrap_or_default().to_owned() }),
    }
}

/// `nftables v1.0.6 (Lester Gooch #5)`.
fn version(said: &str) -> Option<(u32, u32, u32)> {
    let numbers = said.split_whitespace().find_map(|word| word.strip_prefix('v'))?;
    let mut numbers = numbers.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?))
}

/// Has the program carry out `script` in a namespace, as one transaction.
pub(crate) fn run(namespace: &Namespace, script: &str) -> Result<(), ProgramError> {
    let work = || -> io::Result<Output> {
        // A child is in the namespace of the thread that starts it.
        let mut child = Command::new("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let _own = OwnPort::new(child.id());
        // It reads all of it before it says anything; what it says is short. A broken pipe is explained by its words.
        let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(script.as_bytes()));
        let output = child.wait_with_output()?;
        match written {
            Err(error) if output.status.success() => Err(error),
            _ => Ok(output),
        }
    };
    let output = ran(namespace.visit(work).map_err(ProgramError::Namespace)?)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = said.lines().take(3).collect::<Vec<_>>().join("; ");
    Err(ProgramError::Refused { message: if message.is_empty() { output.status.to_string() } else { message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program of this name that prints `version` is told of.
    fn told(version: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("nft");
        std::fs::write(&program, format!("#!/bin/sh\necho '{version}'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        check_as(program.to_str().unwrap()).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_missing_or_too_old_is_said_with_what_to_install() {
        let missing = check_as("/nowhere/nft").unwrap_err();
        assert!(matches!(missing, ProgramError::NotInstalled), "{missing:?}");
        assert!(missing.to_string().contains("0.9.8") && missing.to_string().contains("`nftables`"), "{missing}");
        assert_eq!(told("nftables v0.9.8 (E.D.S.)"), "");
        for old in ["nftables v0.9.0 (Fearless Fosdick)", "something else"] {
            let said = told(old);
            assert!(said.contains(old) && said.contains("0.9.8") && said.contains("`nftables`"), "{said}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("nftables v1.0.6 (Lester Gooch #5)\n"), Some((1, 0, 6)));
        assert_eq!(version("nftables v1.1 (x)"), Some((1, 1, 0)));
        assert!(version("nftables v0.9.3 (Topsy)").is_some_and(|v| v < OLDEST));
        assert!(version("nftables v0.9.10 (x)").is_some_and(|v| v >= OLDEST));
        assert_eq!(version("something else"), None);
    }
}
