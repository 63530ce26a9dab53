//! The numbers by which the kernel's announcements say who asked for a change: those of this process's sockets and of
//! the programs that it runs. They are unique in a namespace.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Numbers that are remembered after their end: what they did may still be announced.
const RETIRED: usize = 256;

struct Ports {
    open: BTreeMap<u32, usize>,
    retired: VecDeque<u32>,
}

static PORTS: Mutex<Ports> = Mutex::new(Ports { open: BTreeMap::new(), retired: VecDeque::new() });

fn ports() -> MutexGuard<'static, Ports> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number of ours, as long as this lives, and a little longer.
#[derive(Debug)]
pub(crate) struct OwnPort(u32);

impl OwnPort {
    /// Of a socket, or of a program by its process's number, which its first socket takes.
    pub(crate) fn new(port: u32) -> Self {
        *ports().open.entry(port).or_default() += 1;
        Self(port)
    }
}

impl Drop for OwnPort {
    fn drop(&mut self) {
        let mut ports = ports();
        if let Some(count) = ports.open.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                ports.open.remove(&self.0);
            }
        }
        if ports.retired.len() >= RETIRED {
            ports.retired.pop_front();
        }
        ports.retired.push_back(self.0);
    }
}

/// Whether what was asked for by this number was ours. The kernel's own number is none.
pub(crate) fn is_own(port: u32) -> bool {
    let ports = ports();
    port != 0 && (ports.open.contains_key(&port) || ports.retired.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_ours_while_it_is_used_and_shortly_after() {
        // Larger than any process has.
        let port = 0xfff0_0001;
        assert!(!is_own(port) && !is_own(0));
        let (one, two) = (OwnPort::new(port), OwnPort::new(port));
        drop(one);
        assert!(is_own(port));
        drop(two);
        assert!(is_own(port), "its last announcements are still to come");
        for other in 0..u32::try_from(RETIRED).unwrap() {
            drop(OwnPort::new(0xfff1_0000 + other));
        }
        assert!(!is_own(port));
    }
}
