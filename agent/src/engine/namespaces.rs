//! Pause containers: what holds the namespaces that containers of one task share by `pidMode` or `ipcMode` `task`.

use super::docker::{chain, plain};
use super::drivers::Namespaces;
use super::{renamed, strays};
use crate::crash::{self, Place};
use crate::pause;
use async_trait::async_trait;
use longshore_docker::{CreateError, Docker, RunState, StartError, pause_config, pause_name};
use longshore_model::TaskId;
use longshore_plan::Failure;

/// The Docker Engine's.
#[derive(Debug)]
pub struct DockerNamespaces {
    docker: Docker,
    image: pause::Image,
}

impl DockerNamespaces {
    /// Pause containers of `docker`.
    #[must_use]
    pub fn new(docker: Docker) -> Self {
        Self { image: pause::Image::new(docker.clone()), docker }
    }

    /// Whether a task's runs. Fails when it does not work and another one cannot take its place: containers of the task
    /// run, which share what this one holds or held.
    async fn runs(&self, task: TaskId) -> Result<bool, Failure> {
        let name = pause_name(task);
        // Before the look at it: it runs before a container that begins in between does.
        let live = self.docker.list_live(task).await.map_err(|e| plain(&e))?;
        let mut found = self.docker.inspect(&name).await.map_err(|e| plain(&e))?;
        if found.is_none() && renamed::pauses(&self.docker).await?.contains(&task) {
            found = self.docker.inspect(&name).await.map_err(|e| plain(&e))?;
        }
        match (found.map(|c| c.state), live.first()) {
            (Some(RunState::Paused), _) => Err(Failure::Passing(format!(
                "somebody paused container `{name}`, which holds the namespaces that the task's containers share: \
                 `docker unpause {name}` lets them go on"
            ))),
            (Some(state), _) if state.has_process() => Ok(true),
            (_, Some(other)) => Err(Failure::Passing(format!(
                "container `{name}`, which held the namespaces that the task's containers share, has ended, and \
                 container `{other}` runs, which would not share those of another one: stop the task, and run it again"
            ))),
            (_, None) => Ok(false),
        }
    }

    /// Removes a task's that does not run, so that the next try has another: a Docker that was killed in the middle of
    /// a start may never start that one again.
    async fn discard(&self, task: TaskId) {
        let name = pause_name(task);
        let left = match strays::end_before_removal(&self.docker, &name).await {
            // Docker itself refuses to remove one that was started meanwhile.
            Ok(_) => self.docker.remove(&name).await.err().map(|e| chain(&e)),
            Err(failure) => Some(failure.text().to_owned()),
        };
        if let Some(error) = left {
            tracing::warn!(%task, error, "a pause container that does not start is still there");
        }
    }
}

#[async_trait]
impl Namespaces for DockerNamespaces {
    async fn ensure(&self, task: TaskId, shared_memory_mib: Option<u32>) -> Result<(), Failure> {
        let image = self.image.ensure().await?;
        match self.docker.create(&pause_config(task, image, shared_memory_mib)).await {
            // Made by a process before this one; nobody else's, since the task's id is in its name.
            Ok(_) | Err(CreateError::NameTaken { .. }) => {}
            Err(error @ CreateError::NoImage { .. }) => return Err(Failure::Passing(chain(&error))),
            Err(CreateError::Engine { source, .. }) => return Err(plain(&source)),
        }
        crash::after(Place::NamespacesCreated);
        // One that runs is left alone.
        let Err(error) = self.docker.start(&pause_name(task)).await else { return Ok(()) };
        let failure = match &error {
            StartError::Engine { source, .. } => plain(source),
            StartError::NotFound { .. } | StartError::PortTaken { .. } | StartError::BadCommand { .. } => {
                Failure::Passing(chain(&error))
            }
        };
        tracing::debug!(%task, error = failure.text(), "a pause container was not started, or its start not confirmed");
        // It may run all the same, and be the first process of all that runs in its namespaces.
        if !self.runs(task).await? {
            self.discard(task).await;
        }
        Err(failure)
    }

    async fn ensure_again(&self, task: TaskId, shared_memory_mib: Option<u32>) -> Result<(), Failure> {
        if self.runs(task).await? { Ok(()) } else { self.ensure(task, shared_memory_mib).await }
    }

    async fn release(&self, task: TaskId) -> Result<(), Failure> {
        if !strays::end_before_removal(&self.docker, &pause_name(task)).await? {
            renamed::pauses(&self.docker).await?;
        }
        self.docker.remove_pause(task).await.map_err(|e| Failure::Passing(chain(&e)))
    }

    async fn list(&self) -> Result<Vec<TaskId>, Failure> {
        renamed::pauses(&self.docker).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, MutexGuard};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    /// What Docker does with a start.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Start {
        Works,
        Fails,
        /// It works, and the answer does not come.
        IsLost,
    }

    /// A Docker with the pause container of one task and another container of it.
    #[derive(Debug)]
    struct Engine {
        /// What the pause container is, while there is one.
        pause: Option<&'static str>,
        /// Whether the other one runs.
        live: bool,
        start: Start,
        /// What was asked for that changes something.
        calls: Vec<&'static str>,
    }

    impl Engine {
        /// The status and the body, unless there is no answer.
        fn answer(&mut self, method: &str, target: &str) -> Option<(&'static str, String)> {
            let refused = |text: &str| format!("{{\"message\":\"{text}\"}}");
            let path = target.split('?').next().unwrap_or_default();
            let last = path.rsplit('/').next().unwrap_or_default();
            Some(match (method, last, self.pause) {
                ("GET", "version", _) => ("200 OK", "{\"ApiVersion\":\"1.41\"}".to_owned()),
                ("GET", "json", _) if path.contains("/images/") => ("200 OK", "{\"Id\":\"sha256:a\"}".to_owned()),
                // By its label it is known under any name.
                ("GET", "json", _) if target.contains("longshore.pause") => ("200 OK", "[]".to_owned()),
                ("GET", "json", _) if path.ends_with("/containers/json") => {
                    assert!(target.contains("longshore.task%3D"), "of this task alone: {target}");
                    let state = if self.live { "running" } else { "exited" };
                    ("200 OK", format!("[{{\"Id\":\"b\",\"Names\":[\"/ls-x-other\"],\"State\":\"{state}\"}}]"))
                }
                ("GET", "json", Some(state)) => {
                    let id = "f".repeat(64);
                    ("200 OK", format!("{{\"Id\":\"{id}\",\"State\":{{\"Status\":\"{state}\"}}}}"))
                }
                ("POST", "create", None) => {
                    self.calls.push("create");
                    self.pause = Some("created");
                    ("201 Created", "{\"Id\":\"a\",\"Warnings\":[]}".to_owned())
                }
                ("POST", "create", Some(_)) => ("409 Conflict", refused("the name is already in use")),
                ("POST", "start", Some("paused")) => ("409 Conflict", refused("cannot start a paused container")),
                ("POST", "start", Some(_)) => {
                    self.calls.push("start");
                    if self.start == Start::Fails {
                        return Some(("500 Internal Server Error", refused("injected")));
                    }
                    self.pause = Some("running");
                    if self.start == Start::IsLost {
                        return None;
                    }
                    ("204 No Content", String::new())
                }
                ("DELETE", _, Some("running" | "paused")) if !target.contains("force=true") => {
                    ("409 Conflict", refused("cannot remove a running container"))
                }
                ("DELETE", _, Some(_)) => {
                    self.calls.push("remove");
                    self.pause = None;
                    ("204 No Content", String::new())
                }
                _ => ("404 Not Found", refused("No such container")),
            })
        }
    }

    async fn serve(mut client: UnixStream, engine: Arc<Mutex<Engine>>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = client.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        client.read_exact(&mut vec![0; length.unwrap_or(0)]).await.expect("a body");
        let mut words = head.split(' ');
        let (method, target) = (words.next().expect("one"), words.next().expect("one"));
        let answer = locked(&engine).answer(&method.to_ascii_uppercase(), &target.replace("%3d", "%3D"));
        let Some((status, body)) = answer else { return };
        let kind = "Content-Type: application/json\r\nConnection: close";
        let text = format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.write_all(text.as_bytes()).await.expect("taken");
    }

    fn locked(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
        engine.lock().expect("no test panics while it holds this")
    }

    /// What comes of it when a task's is to run, and what Docker has and was asked for.
    async fn ensure(engine: Engine, again: bool) -> (Result<(), Failure>, Engine) {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).expect("bound");
        let engine = Arc::new(Mutex::new(engine));
        let for_clients = Arc::clone(&engine);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&for_clients)));
            }
        });
        let docker = Docker::connect(&format!("unix://{}", socket.display())).await.expect("an endpoint");
        let namespaces = DockerNamespaces::new(docker);
        let came = match again {
            true => namespaces.ensure_again(TaskId::random(), None).await,
            false => namespaces.ensure(TaskId::random(), None).await,
        };
        serving.abort();
        let engine = locked(&engine);
        (came, Engine { calls: engine.calls.clone(), ..*engine })
    }

    #[tokio::test]
    async fn what_containers_run_in_is_never_removed_and_never_made_twice() {
        use Start::{Fails, IsLost, Works};
        // What it is, whether a container of the task runs and is started again, and what becomes of a start; what is
        // said, what it is then, and what was asked for.
        type Case = (
            Option<&'static str>,
            bool,
            bool,
            Start,
            Option<&'static str>,
            Option<&'static str>,
            &'static [&'static str],
        );
        let cases: [Case; 13] = [
            (None, false, false, Works, None, Some("running"), &["create", "start"]),
            (Some("exited"), false, true, Works, None, Some("running"), &["start"]),
            (Some("running"), true, true, Fails, None, Some("running"), &[]),
            // Its start fails, and it runs, since before that or by it.
            (Some("running"), true, false, Fails, Some("injected"), Some("running"), &["start"]),
            (Some("created"), true, false, IsLost, Some("lost the connection"), Some("running"), &["start"]),
            (Some("exited"), false, true, IsLost, Some("lost the connection"), Some("running"), &["start"]),
            // Somebody can do something about it.
            (Some("paused"), true, true, Works, Some("docker unpause ls-"), Some("paused"), &[]),
            (Some("paused"), true, false, Works, Some("docker unpause ls-"), Some("paused"), &[]),
            (Some("exited"), true, true, Works, Some("container `ls-x-other` runs"), Some("exited"), &[]),
            (None, true, true, Works, Some("container `ls-x-other` runs"), None, &[]),
            (Some("exited"), true, false, Fails, Some("container `ls-x-other` runs"), Some("exited"), &["start"]),
            // Nothing is in one that never ran, or that ended.
            (Some("created"), false, false, Fails, Some("injected"), None, &["start", "remove"]),
            (Some("exited"), false, true, Fails, Some("injected"), None, &["start", "remove"]),
        ];
        for case in cases {
            let (pause, live, again, start, said, then, asked) = case;
            let (came, engine) = ensure(Engine { pause, live, start, calls: Vec::new() }, again).await;
            assert_eq!((engine.pause, &engine.calls[..]), (then, asked), "{case:?}: {came:?}");
            match (came, said) {
                (Ok(()), None) => {}
                (Err(failure @ (Failure::Passing(_) | Failure::Unknown(_))), Some(said)) => {
                    assert!(failure.text().contains(said), "{case:?}: {failure:?}");
                }
                (came, _) => panic!("{case:?}: {came:?}"),
            }
        }
    }
}
