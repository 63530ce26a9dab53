//! Files with variables for containers: from the directories of this host that its configuration allows, and from web
//! servers ([`web`]).
//!
//! The format is that of ECS: a variable a line, `NAME=value` with all that stands there, `#` for comments. Values are
//! secrets as far as anybody knows: no error and no log quotes a line.

mod web;

use super::drivers::EnvironmentFiles;
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
        Self { host: HostFiles { directories }, web: web::Web { ca } }
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
}

impl HostFiles {
    fn read_now(&self, source: &str) -> Result<Vec<EnvVar>, Failure> {
        let fail = |why: String| Failure::Lasting(refusal(source, &why));
        let path = source.strip_prefix(SCHEME).map(Path::new).filter(|path| path.is_absolute());
        let path = path.ok_or_else(|| {
            fail("it must be file:///, followed by a path on the host, or a URL of http or https".to_owned())
        })?;
        // Before anything is looked at: whether a file exists elsewhere is nobody's business.
        if !self.allows(path) {
            return Err(fail("no directory of environment_file_dirs in this host's configuration has it".to_owned()));
        }
        let read = |error: &io::Error| match error.kind() {
            io::ErrorKind::NotFound => fail("there is no such file on this host".to_owned()),
            _ => fail(format!("it could not be read: {error}")),
        };
        let real = path.canonicalize().map_err(|error| read(&error))?;
        let allowed: Vec<PathBuf> = self.directories.iter().filter_map(|d| d.canonicalize().ok()).collect();
        if !allowed.iter().any(|directory| real.starts_with(directory)) {
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

    fn allows(&self, path: &Path) -> bool {
        let plain = path.components().all(|part| part != std::path::Component::ParentDir);
        plain && self.directories.iter().any(|directory| path.starts_with(directory))
    }
}

impl HostFiles {
    async fn read(&self, source: &str) -> Result<Vec<EnvVar>, Failure> {
        let (files, owned) = (self.clone(), source.to_owned());
        let reading = tokio::task::spawn_blocking(move || files.read_now(&owned));
        match tokio::time::timeout(READ_TIMEOUT, reading).await {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => Err(Failure::Passing(refusal(source, &format!("reading it failed here: {error}")))),
            Err(_) => {
                let why = format!("it could not be read within {} s", READ_TIMEOUT.as_secs());
                Err(Failure::Passing(refusal(source, &why)))
            }
        }
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
        let files = HostFiles { directories: vec![allowed.clone()] };
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
}
