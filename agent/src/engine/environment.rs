//! Files with variables for containers: from the directories of this host that its configuration allows, and from web
//! servers ([`web`]).
//!
//! The format is that of ECS: a variable a line, `NAME=value` with all that stands there, `#` for comments. Values are
//! secrets as far as anybody knows: no error and no log quotes a line.

mod web;

use super::docker::chain;
use super::drivers::EnvironmentFiles;
use crate::aside::{Aside, HeldUp};
use async_trait::async_trait;
use longshore_model::EnvVar;
use longshore_plan::Failure;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a source begins with.
const SCHEME: &str = "file://";

/// The largest file.
const MAX_BYTES: u64 = 256 << 10;

/// Longest read: a directory may be on another machine.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Everything that containers may take variables from.
#[derive(Debug, Clone)]
pub struct Sources {
    host: HostFiles,
    web: web::Web,
}

impl Sources {
    /// Files below `directories` of the host, which are absolute, and of web servers whose certificates the system
    /// trusts, or an authority in the file `ca`.
    #[must_use]
    pub fn new(directories: Vec<PathBuf>, ca: Option<PathBuf>) -> Self {
        Self { host: HostFiles { directories, aside: Aside::default() }, web: web::Web { ca } }
    }
}

#[async_trait]
impl EnvironmentFiles for Sources {
    async fn read(&self, source: &str) -> Result<Vec<EnvVar>, Failure> {
        if web::is_url(source) { self.web.read(source).await } else { self.host.read(source).await }
    }
}

/// Files below some directories of the host.
#[derive(Debug, Clone)]
struct HostFiles {
    directories: Vec<PathBuf>,
    /// One that hangs holds up no reads from the others.
    aside: Aside,
}

impl HostFiles {
    /// The path of a file, and the directory of the configuration's that has it.
    fn find<'a>(&'a self, source: &'a str) -> Result<(&'a Path, &'a PathBuf), Failure> {
        let fail = |why: &str| Failure::Lasting(refusal(source, why));
        let path = source.strip_prefix(SCHEME).map(Path::new).filter(|path| path.is_absolute());
        let path =
            path.ok_or_else(|| fail("it must be file:///, followed by a path on the host, or a URL of http or https"))?;
        // Before anything is looked at: whether a file exists elsewhere is nobody's business.
        let plain = path.components().all(|part| part != std::path::Component::ParentDir);
        let found = self.directories.iter().find(|directory| plain && path.starts_with(directory));
        let why = "no directory of environment_file_dirs in this host's configuration has it";
        found.map(|directory| (path, directory)).ok_or_else(|| fail(why))
    }

    /// Reads `path`, which is said to be in `directory`. Blocks, for ever if that directory's file system hangs.
    fn read_now(&self, source: &str, path: &Path, directory: &Path) -> Result<Vec<EnvVar>, Failure> {
        let fail = |why: String| Failure::Lasting(refusal(source, &why));
        let read = |error: &io::Error| match error.kind() {
            io::ErrorKind::NotFound => fail("there is no such file on this host".to_owned()),
            _ => fail(format!("it could not be read: {error}")),
        };
        let real = path.canonicalize().map_err(|error| read(&error))?;
        let has = |directory: &Path| directory.canonicalize().is_ok_and(|directory| real.starts_with(directory));
        // The others are looked at only where this one has a link into them: one of them may hang.
        if !has(directory) && !self.directories.iter().any(|directory| has(directory)) {
            return Err(fail("it is a link to outside of environment_file_dirs".to_owned()));
        }
        if !real.metadata().map_err(|error| read(&error))?.is_file() {
            return Err(fail("it is no file".to_owned()));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&real).map_err(|error| read(&error))?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| read(&error))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(fail(format!("it is larger than {} KiB", MAX_BYTES >> 10)));
        }
        let text = String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8".to_owned()))?;
        parse(&text).map_err(fail)
    }

    async fn read(&self, source: &str) -> Result<Vec<EnvVar>, Failure> {
        let (path, directory) = self.find(source)?;
        let (files, owned) = (self.clone(), (source.to_owned(), path.to_owned(), directory.clone()));
        let reading = move || files.read_now(&owned.0, &owned.1, &owned.2);
        let held = |held: HeldUp| Failure::Passing(refusal(source, &format!("it could not be read: {}", chain(&held))));
        // A server that is away for a minute fails no task: its tries are few.
        self.aside.run_in_turn(directory, READ_TIMEOUT, reading).await.map_err(held)?
    }
}

fn refusal(source: &str, why: &str) -> String {
    format!("ResourceInitializationError: environment file {source}: {why}")
}

/// As ECS's agent reads it: of a name that is there twice the later value, and no line without a name and a value.
fn parse(text: &str) -> Result<Vec<EnvVar>, String> {
    let mut all = BTreeMap::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        if line.contains('\0') {
            return Err(format!("line {} has the character NUL", n + 1));
        }
        if let Some((name, value)) = line.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
        {
            all.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(all.into_iter().map(|(name, value)| EnvVar { name, value }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(variables: &[EnvVar]) -> Vec<(&str, &str)> {
        variables.iter().map(|v| (v.name.as_str(), v.value.as_str())).collect()
    }

    #[test]
    fn a_file_is_read_as_ecs_reads_it() {
        let text = "# a comment\nA=1\nB = two \"words\" # not a comment\n\nnothing\nEMPTY=\n=x\nA=3\r\nURL=a=b\n #C=4";
        let found = parse(text).expect("sound");
        assert_eq!(pairs(&found), [(" #C", "4"), ("A", "3"), ("B ", " two \"words\" # not a comment"), ("URL", "a=b")]);
        assert_eq!(parse("A=1\nB=\0").expect_err("NUL"), "line 2 has the character NUL");
    }

    #[tokio::test]
    async fn only_files_of_the_allowed_directories_are_read_and_no_error_quotes_them() {
        let dir = tempfile::tempdir().expect("a directory");
        let allowed = dir.path().join("env");
        std::fs::create_dir(&allowed).expect("made");
        std::fs::create_dir(allowed.join("d.env")).expect("made");
        let write = |path: PathBuf, text: &[u8]| std::fs::write(path, text).expect("written");
        write(allowed.join("a.env"), b"A=secret\n");
        write(allowed.join("odd.env"), b"A=secret\xff\n");
        write(allowed.join("large.env"), &vec![b'a'; (256 << 10) + 1]);
        write(dir.path().join("outside.env"), b"A=secret\n");
        std::os::unix::fs::symlink(dir.path().join("outside.env"), allowed.join("link.env")).expect("made");
        let files = HostFiles { directories: vec![allowed.clone()], aside: Aside::default() };
        let at = |name: &str| format!("file://{}/{name}", allowed.display());
        assert_eq!(pairs(&files.read(&at("a.env")).await.expect("read")), [("A", "secret")]);
        for (source, why) in [
            (at("../outside.env"), "no directory of environment_file_dirs"),
            ("file:///etc/passwd".to_owned(), "no directory of environment_file_dirs"),
            ("a.env".to_owned(), "it must be file:///"),
            (at("none.env"), "there is no such file"),
            (at("link.env"), "a link to outside"),
            (at("d.env"), "it is no file"),
            (at("large.env"), "larger than 256 KiB"),
            (at("odd.env"), "it is not UTF-8"),
        ] {
            let failure = files.read(&source).await.expect_err("refused");
            let Failure::Lasting(text) = failure else { panic!("{failure:?}") };
            assert!(text.starts_with(&format!("ResourceInitializationError: environment file {source}: ")), "{text}");
            assert!(text.contains(why) && !text.contains("secret"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_directory_that_hangs_holds_up_no_other_and_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let directories = ["ill", "well"].map(|name| dir.path().join(name));
        for directory in &directories {
            std::fs::create_dir(directory).expect("made");
            std::fs::write(directory.join("a.env"), "A=1").expect("written");
        }
        let at = |directory: &Path| format!("file://{}/a.env", directory.display());
        let [ill, well] = &directories;
        let files = HostFiles { directories: directories.to_vec(), aside: Aside::default() };
        let hanging = crate::aside::tests::Hanging::new(dir.path());
        hanging.hold(&files.aside, ill).await;
        let held = tokio::spawn({
            let (files, source) = (files.clone(), at(ill));
            async move { files.read(&source).await }
        });
        assert_eq!(pairs(&files.read(&at(well)).await.expect("read")), [("A", "1")]);
        assert!(!held.is_finished(), "it may have its turn yet");
        tokio::time::pause();
        tokio::time::advance(READ_TIMEOUT).await;
        let waits = async {
            let began = tokio::time::Instant::now();
            let failed = files.read(&at(ill)).await;
            assert!(began.elapsed() >= READ_TIMEOUT, "it has its time each time: {:?}", began.elapsed());
            failed
        };
        for failed in [held.await.expect("no panic"), waits.await] {
            let Err(Failure::Passing(text)) = failed else { panic!("{failed:?}") };
            let named = format!("the file system at {} is still hanging: ", ill.display());
            assert!(text.contains(&named), "{text}");
        }
        tokio::time::resume();
        hanging.answer(&files.aside, ill).await;
        assert_eq!(pairs(&files.read(&at(ill)).await.expect("read")), [("A", "1")]);
    }
}
