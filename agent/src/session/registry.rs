//! Credentials that task definitions name for their images' registries: asked of the control plane for each pull.
//!
//! Owns: asking, and waiting while the control plane is away. Never: keeps, logs or saves what it is told; the value
//! lives as long as the pull. A call has a connection of its own, since pulls are rare and agents are many.

use super::backoff::Backoff;
use super::chain;
use crate::engine::drivers::{CredentialsOf, OwnCredentials, TaskCredentials};
use crate::identity::{IdentityHandle, dial, standing};
use async_trait::async_trait;
use longshore_docker::{Credentials, registry_of};
use longshore_plan::Failure;
use longshore_proto::v1;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;

/// Longest wait for a connection, and then for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between attempts while the control plane is away: the first wait, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Between two warnings of one wait.
const SAY: Duration = Duration::from_secs(60);

/// The control plane, as credentials are asked of it.
pub(crate) struct RegistryCredentials {
    /// Where to connect; where the host joined when absent.
    control: Option<String>,
    member: watch::Receiver<Option<IdentityHandle>>,
    /// How long the control plane may be away.
    limit: Duration,
}

/// What became of one attempt.
#[derive(Debug)]
enum Attempt {
    Given(v1::RegistryCredentialsResponse),
    /// The task is not this host's any more, as far as the control plane knows.
    NotOurs(String),
    /// Nobody answered. Why, for people.
    Away(String),
}

impl RegistryCredentials {
    /// Asks `control`, for at most `limit` while it is away.
    pub(crate) fn new(
        control: Option<String>,
        member: watch::Receiver<Option<IdentityHandle>>,
        limit: Duration,
    ) -> Self {
        Self { control, member, limit }
    }

    async fn ask(&self, request: v1::RegistryCredentialsRequest) -> Attempt {
        let Some(member) = self.member.borrow().clone() else {
            return Attempt::Away("this host has not joined yet".to_owned());
        };
        let identity = member.current();
        let control = self.control.as_deref().unwrap_or(&identity.control);
        let mut client = match dial::connect(&identity, control, PATIENCE).await {
            Ok(client) => client,
            Err(error) => return Attempt::Away(chain(&error)),
        };
        match tokio::time::timeout(PATIENCE, client.registry_credentials(request)).await {
            Ok(Ok(answer)) => Attempt::Given(answer.into_inner()),
            Ok(Err(status)) if status.code() == Code::PermissionDenied => Attempt::NotOurs(standing::describe(&status)),
            Ok(Err(status)) if status.code() == Code::Unimplemented => {
                Attempt::Away("the control plane is older than this agent and has no credentials to give".to_owned())
            }
            Ok(Err(status)) => Attempt::Away(standing::describe(&status)),
            Err(_) => Attempt::Away(format!("the control plane did not answer within {} s", PATIENCE.as_secs())),
        }
    }
}

#[async_trait]
impl TaskCredentials for RegistryCredentials {
    async fn get(
        &self,
        of: &CredentialsOf,
        image: &str,
        waiting: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OwnCredentials, Failure> {
        let request =
            || v1::RegistryCredentialsRequest { task: of.task.to_string(), container: of.container.to_string() };
        let answer = persist(of, self.limit, waiting, || self.ask(request())).await?;
        let v1::RegistryCredentialsResponse { refused, username, password } = answer;
        if !refused.is_empty() {
            return Err(Failure::Lasting(reason(&refused)));
        }
        let credentials = Credentials {
            registry: registry_of(image).to_owned(),
            username: Some(username),
            password: Some(password),
            identity_token: None,
        };
        Ok(OwnCredentials { parameter: of.parameter.clone(), credentials })
    }
}

/// Asks until there is an answer, or `limit` is over.
async fn persist<F: Future<Output = Attempt> + Send>(
    of: &CredentialsOf,
    limit: Duration,
    waiting: &(dyn Fn(String) + Send + Sync),
    mut ask: impl FnMut() -> F + Send,
) -> Result<v1::RegistryCredentialsResponse, Failure> {
    let CredentialsOf { task, container, parameter } = of;
    let deadline = Instant::now() + limit;
    let mut backoff = Backoff::new(WAITS.0, WAITS.1);
    let mut said: Option<Instant> = None;
    loop {
        let why = match ask().await {
            Attempt::Given(answer) => return Ok(answer),
            Attempt::NotOurs(why) => return Err(Failure::Passing(reason(&unread(parameter, &why)))),
            Attempt::Away(why) => why,
        };
        if said.is_none_or(|at| at.elapsed() >= SAY) {
            tracing::warn!(%task, %container, secret = parameter, why, "no credentials for a registry yet");
            said = Some(Instant::now());
        }
        waiting(format!("waits for the credentials `{parameter}` from the control plane: {why}"));
        let next = Instant::now() + backoff.next();
        if next >= deadline {
            let text = format!("the control plane was away for {} s: {why}", limit.as_secs());
            return Err(Failure::Lasting(reason(&unread(parameter, &text))));
        }
        tokio::time::sleep_until(next).await;
    }
}

fn unread(parameter: &str, why: &str) -> String {
    format!("repositoryCredentials.credentialsParameter `{parameter}`: {why}")
}

/// In the words of ECS's agent.
fn reason(text: &str) -> String {
    format!("ResourceInitializationError: unable to pull secrets or registry auth: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{ContainerName, TaskId};
    use std::sync::Mutex;

    fn of() -> CredentialsOf {
        let container = ContainerName::new("main").expect("a name");
        CredentialsOf { task: TaskId::from_bytes([1; 16]), container, parameter: "team/registry".to_owned() }
    }

    /// Answers with these in turn, and with the last one for ever. Gives what was said meanwhile, too.
    async fn ask(answers: &[fn() -> Attempt], limit: Duration) -> (Result<String, Failure>, Vec<String>) {
        let said = Mutex::new(Vec::new());
        let mut next = 0;
        let next_answer = || {
            let answer = answers[next.min(answers.len() - 1)]();
            next += 1;
            std::future::ready(answer)
        };
        let say = |text| said.lock().expect("not poisoned").push(text);
        let answer = persist(&of(), limit, &say, next_answer).await.map(|answer| answer.username);
        (answer, said.into_inner().expect("not poisoned"))
    }

    fn given() -> Attempt {
        Attempt::Given(v1::RegistryCredentialsResponse { username: "u".to_owned(), ..Default::default() })
    }

    fn away() -> Attempt {
        Attempt::Away("connection refused".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_a_control_plane_that_is_away_and_says_so() {
        let (answer, said) = ask(&[away, away, away, given], Duration::from_secs(60)).await;
        assert_eq!(answer, Ok("u".to_owned()));
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("`team/registry`") && said[0].contains("connection refused"), "{said:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_wait_for_ever() {
        let begun = Instant::now();
        let (answer, said) = ask(&[away], Duration::from_secs(60)).await;
        let Err(Failure::Lasting(text)) = answer else { panic!("{answer:?}") };
        assert!(text.starts_with("ResourceInitializationError: unable to pull secrets or registry auth: "), "{text}");
        assert!(text.contains("`team/registry`") && text.contains("connection refused"), "{text}");
        assert!(begun.elapsed() <= Duration::from_secs(60) && said.len() < 30, "{:?} {}", begun.elapsed(), said.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_of_another_host_is_not_waited_for() {
        let not_ours = || Attempt::NotOurs("not to run here".to_owned());
        let (answer, said) = ask(&[not_ours], Duration::from_secs(60)).await;
        assert!(matches!(&answer, Err(Failure::Passing(text)) if text.contains("not to run here")), "{answer:?}");
        assert!(said.is_empty());
    }
}
