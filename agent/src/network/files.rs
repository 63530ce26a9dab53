//! The files that name a task and its resolver, which its containers get by bind mounts: the container engine writes
//! them only for networks of its own.

use super::shelf::InterfaceFiles;
use crate::crash::{self, Place};
use async_trait::async_trait;
use longshore_model::{EniId, EniReport, TaskSpec};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::Permissions;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a host's resolver is said; the second when the first only names a stub on the host itself.
const RESOLV_CONF: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// What a task definition says of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskNames {
    servers: Vec<String>,
    search: Vec<String>,
    /// `name:address`.
    hosts: Vec<String>,
}

impl TaskNames {
    /// All that its containers ask for: they share one network, and so they share its names.
    pub(super) fn of(spec: &TaskSpec) -> Self {
        let mut names = Self::default();
        for container in &spec.containers {
            let add = |to: &mut Vec<String>, from: &[String]| {
                let new: Vec<String> = from.iter().filter(|text| !to.contains(text)).cloned().collect();
                to.extend(new);
            };
            add(&mut names.servers, &container.dns_servers);
            add(&mut names.search, &container.dns_search);
            add(&mut names.hosts, &container.extra_hosts);
        }
        names
    }
}

/// The directories of interfaces.
#[derive(Debug, Clone)]
pub struct Files {
    directory: PathBuf,
}

impl Files {
    /// Those in the agent's data directory.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { directory: data_dir.join("interfaces") }
    }
}

#[async_trait]
impl InterfaceFiles for Files {
    fn of(&self, eni: EniId) -> PathBuf {
        self.directory.join(eni.to_string())
    }

    async fn write(&self, eni: &EniReport, names: TaskNames) -> io::Result<()> {
        let (directory, eni) = (self.of(eni.id), eni.clone());
        blocking(move || {
            crash::before(Place::InterfaceFiles);
            crash::space_for(Place::InterfaceFiles)?;
            std::fs::create_dir_all(&directory)?;
            let host = RESOLV_CONF.iter().filter_map(|path| std::fs::read_to_string(path).ok()).find(|t| has_server(t));
            write_for_all(&directory.join("resolv.conf"), &resolv_conf(&names, &host.unwrap_or_default()))?;
            write_for_all(&directory.join("hosts"), &hosts(&eni, &names))?;
            write_for_all(&directory.join("hostname"), &format!("{}\n", eni.host_name()))?;
            crash::after(Place::InterfaceFiles);
            Ok(())
        })
        .await
    }

    /// Those that are removed are of sandboxes that went while nobody looked.
    async fn keep(&self, known: BTreeSet<EniId>) -> io::Result<()> {
        let directory = self.directory.clone();
        blocking(move || {
            crash::before(Place::InterfaceFilesStrays);
            let entries = match std::fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let eni = entry.file_name().to_str().and_then(|name| name.parse::<EniId>().ok());
                if eni.is_some_and(|eni| !known.contains(&eni)) {
                    std::fs::remove_dir_all(entry.path())?;
                }
            }
            crash::after(Place::InterfaceFilesStrays);
            Ok(())
        })
        .await
    }

    async fn remove(&self, eni: EniId) -> io::Result<()> {
        let directory = self.of(eni);
        blocking(move || {
            crash::before(Place::InterfaceFilesRemoved);
            match std::fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            crash::after(Place::InterfaceFilesRemoved);
            Ok(())
        })
        .await
    }
}

/// A file that a task's programs read whoever they run as, whatever this process's mask is. One that is right is left
/// as it is: containers have it mounted, so it cannot be replaced by another, and on a full disk it would end up empty.
fn write_for_all(path: &Path, text: &str) -> io::Result<()> {
    if std::fs::read(path).ok().as_deref() != Some(text.as_bytes()) {
        std::fs::write(path, text)?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o644))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// A server that is not on the host itself: a task cannot reach that one.
fn server(line: &str) -> Option<&str> {
    let address = line.strip_prefix("nameserver")?.trim();
    let ip: IpAddr = address.split('%').next()?.parse().ok()?;
    (!ip.is_loopback()).then_some(address)
}

fn has_server(text: &str) -> bool {
    text.lines().any(|line| server(line).is_some())
}

fn resolv_conf(names: &TaskNames, host: &str) -> String {
    let lines = |keyword: &'static str| host.lines().filter(move |line| line.starts_with(keyword));
    let mut text = String::new();
    let mut line = |what: &str| {
        text.push_str(what);
        text.push('\n');
    };
    if names.servers.is_empty() {
        host.lines().filter_map(server).for_each(|address| line(&format!("nameserver {address}")));
    }
    names.servers.iter().for_each(|address| line(&format!("nameserver {address}")));
    if names.search.is_empty() {
        lines("search").for_each(&mut line);
    } else {
        line(&format!("search {}", names.search.join(" ")));
    }
    lines("options").for_each(&mut line);
    text
}

fn hosts(eni: &EniReport, names: &TaskNames) -> String {
    let name = eni.host_name();
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    // A `String` takes everything.
    let _ = writeln!(text, "{}\t{name}", eni.ipv4);
    if let Some(ipv6) = eni.ipv6 {
        let _ = writeln!(text, "{ipv6}\t{name}");
    }
    for entry in &names.hosts {
        if let Some((name, address)) = entry.split_once(':') {
            let _ = writeln!(text, "{address}\t{name}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::Mac;
    use std::net::Ipv4Addr;

    #[test]
    fn a_task_gets_the_hosts_resolver_unless_it_names_one() {
        let host = "# made by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nsearch lab.test\noptions ndots:2\n";
        assert_eq!(
            resolv_conf(&TaskNames::default(), host),
            "nameserver 192.0.2.1\nsearch lab.test\noptions ndots:2\n"
        );
        let names = TaskNames { servers: vec!["10.0.0.2".into()], search: vec!["a".into(), "b".into()], hosts: vec![] };
        assert_eq!(resolv_conf(&names, host), "nameserver 10.0.0.2\nsearch a b\noptions ndots:2\n");
        assert!(!has_server("nameserver 127.0.0.53\nnameserver ::1\n"));
    }

    #[tokio::test]
    async fn files_are_written_and_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = Files::new(dir.path());
        let ipv4 = Ipv4Addr::new(10, 77, 1, 11);
        let ipv6 = "fd77::a4d:10b".parse().ok();
        let eni = EniReport { id: EniId::random(), mac: Mac::of_task(ipv4), ipv4, ipv6, attached: true };
        let names = TaskNames { hosts: vec!["db:2001:db8::1".into()], ..TaskNames::default() };
        files.write(&eni, names).await.expect("written");
        let read = |name: &str| std::fs::read_to_string(files.of(eni.id).join(name)).expect("there");
        assert_eq!(read("hostname"), "ip-10-77-1-11\n");
        for name in ["resolv.conf", "hosts", "hostname"] {
            let mode = std::fs::metadata(files.of(eni.id).join(name)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o644, "{name}: not all of a task's programs run as root");
        }
        let lines: Vec<String> = read("hosts").lines().skip(2).map(str::to_owned).collect();
        assert_eq!(lines, ["10.77.1.11\tip-10-77-1-11", "fd77::a4d:10b\tip-10-77-1-11", "2001:db8::1\tdb"]);
        files.keep([eni.id].into()).await.expect("kept");
        assert!(files.of(eni.id).exists());
        let gone = EniReport { id: EniId::random(), ..eni.clone() };
        files.write(&gone, TaskNames::default()).await.expect("written");
        files.keep([eni.id].into()).await.expect("kept");
        assert!(files.of(eni.id).exists() && !files.of(gone.id).exists());
        for _ in 0..2 {
            files.remove(eni.id).await.expect("absent is fine");
            assert!(!files.of(eni.id).exists());
        }
    }
}
