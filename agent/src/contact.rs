//! When the control plane certainly heard this agent last, for tasks that must not run twice.
//!
//! Told by the session, which knows what was acknowledged; read by the engine. Counts by a clock that nobody sets and
//! that goes on while the host sleeps, and is kept over a restart of the agent in a file beside the status socket,
//! which does not outlive a boot: after one nothing is known, and nothing of before runs.

use crate::crash::{self, Place};
use longshore_plan::Contact;
use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A moment since the host was booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(Duration);

impl Uptime {
    /// So long after it.
    #[must_use]
    pub const fn after(since: Duration) -> Self {
        Self(since)
    }

    /// How long that is.
    pub(crate) const fn since_boot(self) -> Duration {
        self.0
    }

    /// Now, by the kernel's clock.
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let (secs, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
        Self(Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default()))
    }
}

/// The host's clock since its boot, and what outlives the agent and not the boot.
pub trait Boot: fmt::Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Uptime;

    /// What was kept last; `None` when that is not known for certain.
    fn kept(&self) -> Option<Uptime>;

    /// Keeps the moment of a contact.
    ///
    /// # Errors
    /// When it could not be written. What was kept before may be there still.
    fn keep(&self, at: Uptime) -> io::Result<()>;
}

/// The last confirmed contact.
#[derive(Debug)]
pub struct Contacts {
    last: Mutex<Option<Uptime>>,
    /// Whether any task wants to know, so that it is worth a file.
    wanted: AtomicBool,
    boot: Box<dyn Boot>,
}

/// This host's boot, with a file.
#[derive(Debug)]
struct ThisBoot {
    file: PathBuf,
    /// The kernel's id of it; empty when it does not say.
    id: String,
}

impl Boot for ThisBoot {
    fn now(&self) -> Uptime {
        Uptime::now()
    }

    fn kept(&self) -> Option<Uptime> {
        read(&std::fs::read_to_string(&self.file).ok()?, &self.id)
    }

    fn keep(&self, at: Uptime) -> io::Result<()> {
        if self.id.is_empty() {
            return Ok(());
        }
        let text = format!("{} {}\n", self.id, at.0.as_millis());
        let new = self.file.with_extension("contact.new");
        crash::before(Place::ContactFile);
        crash::space_for(Place::ContactFile)?;
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.file))?;
        crash::after(Place::ContactFile);
        Ok(())
    }
}

impl Contacts {
    /// As a process of the same boot left it in the file beside `socket`.
    #[must_use]
    pub fn beside(socket: &Path) -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let mut file = socket.as_os_str().to_owned();
        file.push(".contact");
        Self::of(Box::new(ThisBoot { file: PathBuf::from(file), id }))
    }

    /// As a process left it in `boot`.
    #[must_use]
    pub fn of(boot: Box<dyn Boot>) -> Self {
        let last = boot.kept().filter(|at| *at <= boot.now());
        Self { last: Mutex::new(last), wanted: AtomicBool::new(false), boot }
    }

    /// Now, by the clock that contacts are told in.
    #[must_use]
    pub fn now(&self) -> Uptime {
        self.boot.now()
    }

    /// The control plane acknowledged something that was sent at `sent`.
    pub fn heard(&self, sent: Uptime) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last >= sent) {
            return;
        }
        *last = Some(sent);
        drop(last);
        if self.wanted.load(Ordering::Relaxed)
            && let Err(error) = self.boot.keep(sent)
        {
            let boot = &self.boot;
            tracing::warn!(?boot, %error,
                "could not note the last contact; tasks that must not run twice stop when the agent starts anew");
        }
    }

    /// How long ago that is.
    #[must_use]
    pub fn look(&self) -> Contact {
        match *self.last.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(last) => Contact::Ago(self.boot.now().0.saturating_sub(last.0)),
            None => Contact::Unknown,
        }
    }

    /// Whether there are tasks that stop when it is long ago.
    pub fn want(&self, wanted: bool) {
        self.wanted.store(wanted, Ordering::Relaxed);
    }
}

fn read(text: &str, boot: &str) -> Option<Uptime> {
    let (of, millis) = text.trim().split_once(' ')?;
    let millis = millis.parse().ok()?;
    (of == boot && !boot.is_empty()).then_some(Uptime(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_outlives_the_agent_and_not_the_boot() {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("agent.sock");
        let contacts = Contacts::beside(&socket);
        assert_eq!(contacts.look(), Contact::Unknown);
        let early = Uptime::now();
        contacts.heard(early);
        assert_eq!(Contacts::beside(&socket).look(), Contact::Unknown, "nobody wants it kept");
        contacts.want(true);
        contacts.heard(Uptime::now());
        contacts.heard(early);
        let Contact::Ago(ago) = Contacts::beside(&socket).look() else { panic!("it is kept") };
        assert!(ago < Duration::from_secs(60), "{ago:?}");
        assert_eq!(read("other-boot 5", "this-boot"), None);
        assert_eq!(read("this-boot 5", "this-boot"), Some(Uptime(Duration::from_millis(5))));
        for text in ["", "this-boot", "this-boot x", "this-boot -1"] {
            assert_eq!(read(text, "this-boot"), None, "{text}");
        }
    }
}
