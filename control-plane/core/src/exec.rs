//! Sessions of ExecuteCommand: from the call that is answered with a token, over the client that comes with it and the
//! agent that answers, to the end.
//!
//! Owns who may be joined with whom, once, and how many there are. Keeps nothing: sessions end with this process. What
//! goes to and fro passes through bounded queues that [`ClientEnd`] and [`AgentEnd`] are the two sides of; the fronts
//! for clients and for agents carry it on.

use crate::caller::Caller;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use longshore_model::{
    ClusterKey, ContainerName, ExecId, ExecInput, ExecOrder, ExecOutput, ExecWhat, InstanceId, TaskId, TerminalSize,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a token is good for: a client comes with it at once.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60);
/// How long an agent may take to answer an order.
const ANSWER: Duration = Duration::from_secs(15);
/// Sessions at once here, with those whose client has not come yet. Each holds at most a few hundred KiB.
const SESSIONS: usize = 512;
/// The same of one host, whose agent makes a connection for each.
pub const SESSIONS_OF_INSTANCE: usize = 16;
/// Orders that wait for one agent's session to send them: as many as there can be sessions.
const ORDERS: usize = SESSIONS_OF_INSTANCE;
/// Messages that wait, each way: enough to keep a line busy, of at most 32 KiB each.
const MESSAGES: usize = 4;

/// How sessions behave.
#[derive(Debug, Clone)]
pub struct ExecConfig {
    /// A session in which nothing goes to or fro for that long is ended. ECS: 20 minutes.
    pub idle: Duration,
    /// Whether logs and histories have the arguments of commands. They may be secret; the program is always there.
    pub log_arguments: bool,
}

impl Default for ExecConfig {
    fn default() -> Self {
        Self { idle: Duration::from_secs(20 * 60), log_arguments: false }
    }
}

/// What somebody was allowed to do.
#[derive(Debug, Clone)]
pub struct ExecSession {
    /// Its id.
    pub id: ExecId,
    /// The task's cluster.
    pub cluster: ClusterKey,
    /// The task.
    pub task: TaskId,
    /// Its container.
    pub container: ContainerName,
    /// The host that it is on.
    pub instance: InstanceId,
    /// What to do.
    pub what: ExecWhat,
    /// What, for logs: the program and how many arguments it has, or the whole command where that is configured.
    pub label: String,
    /// Who asked.
    pub caller: Caller,
}

/// What the client decides when it comes.
#[derive(Debug, Clone, Default)]
pub struct ExecStart {
    /// Whether it will send input.
    pub stdin: bool,
    /// The terminal that it wants, or has.
    pub terminal: Option<TerminalSize>,
    /// The user of a command.
    pub user: Option<String>,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// No such session, another token, or one that was used or is too old; which is not told.
    #[error("the session does not exist, or its token is wrong, used or too old; call ExecuteCommand again")]
    Token,
    /// The host has no session with this control plane.
    #[error("the host's agent is not connected")]
    Away,
    /// As many as there may be.
    #[error("the host has {SESSIONS_OF_INSTANCE} sessions of ExecuteCommand, which is as many as it may; end some")]
    Crowded,
    /// As many as there may be.
    #[error("there are {SESSIONS} sessions of ExecuteCommand, which is as many as there may be; end some")]
    Full,
    /// The agent did not answer.
    #[error("the host's agent did not answer within {} s; see its log", ANSWER.as_secs())]
    NoAnswer,
}

/// The sessions. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Execs(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    /// Asked for; their clients have not come.
    asked: HashMap<ExecId, Asked>,
    /// Their clients are here, their agents are not yet.
    offered: HashMap<ExecId, (InstanceId, oneshot::Sender<()>, AgentEnd)>,
    /// Sessions of each host whose client is here.
    running: HashMap<InstanceId, usize>,
    /// The newest session of each agent, and maybe some that are over.
    lines: HashMap<InstanceId, Line>,
    /// With how many of them those that are over are looked for: twice as many as were left the last time.
    sweep_at: usize,
}

/// Orders for one session. In boxes, since the queue takes room for dozens at once, and most hosts never see one.
type Line = mpsc::Sender<Box<ExecOrder>>;

#[derive(Debug)]
struct Asked {
    session: ExecSession,
    token: Vec<u8>,
    until: Instant,
}

/// A session whose client is here. Its end gives its place back.
#[derive(Debug)]
pub struct Claimed {
    /// What it is.
    pub session: ExecSession,
    execs: Execs,
}

/// The client's side. When it is dropped, the agent ends the command.
#[derive(Debug)]
pub struct ClientEnd {
    /// To the process.
    pub input: mpsc::Sender<ExecInput>,
    /// From the process; ends without `Exit` or `Failed` when the agent is lost.
    pub output: mpsc::Receiver<ExecOutput>,
}

/// The agent's side.
#[derive(Debug)]
pub struct AgentEnd {
    /// From the client; ends with the client.
    pub input: mpsc::Receiver<ExecInput>,
    /// To the client.
    pub output: mpsc::Sender<ExecOutput>,
}

impl Execs {
    /// The lock guards look-ups only and is never held across an await; a poisoned one holds whole values.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a host's agent could be told of a session.
    pub(crate) fn reaches(&self, instance: InstanceId) -> bool {
        self.table().lines.get(&instance).is_some_and(|line| !line.is_closed())
    }

    /// Lets a client come for `session`, once and soon, with the token that this answers.
    ///
    /// # Errors
    /// When there are too many.
    pub(crate) fn ask(&self, session: ExecSession) -> Result<String, ExecError> {
        let mut secret = [0u8; 32];
        aws_lc_rs::rand::fill(&mut secret).expect("the operating system gives random bytes");
        let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
        let mut table = self.table();
        let now = Instant::now();
        table.asked.retain(|_, asked| asked.until > now);
        table.check(session.instance)?;
        let hash = digest(&SHA256, token.as_bytes()).as_ref().to_vec();
        table.asked.insert(session.id, Asked { session, token: hash, until: now + TOKEN_LIFETIME });
        Ok(token)
    }

    /// Takes the session that a client came for.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub fn claim(&self, id: ExecId, token: &str) -> Result<Claimed, ExecError> {
        let mut table = self.table();
        let asked = table.asked.get(&id).ok_or(ExecError::Token)?;
        let hash = digest(&SHA256, token.as_bytes());
        if verify_slices_are_equal(hash.as_ref(), &asked.token).is_err() || asked.until <= Instant::now() {
            return Err(ExecError::Token);
        }
        let Asked { session, .. } = table.asked.remove(&id).expect("it was just looked at");
        *table.running.entry(session.instance).or_default() += 1;
        Ok(Claimed { session, execs: self.clone() })
    }

    /// The orders for an agent's session, which is the newest of its instance from here on.
    #[must_use]
    pub fn line(&self, instance: InstanceId) -> mpsc::Receiver<Box<ExecOrder>> {
        let (orders, line) = mpsc::channel(ORDERS);
        let mut table = self.table();
        if table.lines.len() >= table.sweep_at {
            // Not each time: a fleet of thousands that comes back at once would be looked through thousands of times.
            table.lines.retain(|_, line| !line.is_closed());
            table.sweep_at = table.lines.len() * 2 + 64;
        }
        table.lines.insert(instance, orders);
        line
    }

    /// The agent's side of a session that this instance's agent was told of; `None` when there is no such session, or
    /// not any more, or it is another's.
    #[must_use]
    pub fn answer(&self, instance: InstanceId, id: ExecId) -> Option<AgentEnd> {
        let mut table = self.table();
        if table.offered.get(&id)?.0 != instance {
            return None;
        }
        let (_, told, end) = table.offered.remove(&id)?;
        // A client that left in this moment is found closed.
        let _ = told.send(());
        Some(end)
    }
}

impl Table {
    fn check(&self, instance: InstanceId) -> Result<(), ExecError> {
        let asked = self.asked.values().filter(|asked| asked.session.instance == instance).count();
        if asked + self.running.get(&instance).copied().unwrap_or(0) >= SESSIONS_OF_INSTANCE {
            return Err(ExecError::Crowded);
        }
        if self.asked.len() + self.running.values().sum::<usize>() >= SESSIONS {
            return Err(ExecError::Full);
        }
        Ok(())
    }
}

impl Claimed {
    /// Tells the agent, and waits until it answers.
    ///
    /// # Errors
    /// When it is away or does not answer.
    pub async fn start(&self, start: ExecStart) -> Result<ClientEnd, ExecError> {
        let ExecSession { id, task, container, instance, what, .. } = self.session.clone();
        let what = match what {
            ExecWhat::Command { argv, user } => ExecWhat::Command { argv, user: start.user.or(user) },
            ExecWhat::Attach => ExecWhat::Attach,
        };
        let order = ExecOrder { id, task, container, what, stdin: start.stdin, terminal: start.terminal };
        let (input, from_client) = mpsc::channel(MESSAGES);
        let (to_client, output) = mpsc::channel(MESSAGES);
        let (told, answered) = oneshot::channel();
        let agent = AgentEnd { input: from_client, output: to_client };
        {
            let mut table = self.execs.table();
            let line = table.lines.get(&instance).cloned().ok_or(ExecError::Away)?;
            // The queue has room for as many as there may be.
            line.try_send(Box::new(order)).map_err(|_| ExecError::Away)?;
            table.offered.insert(id, (instance, told, agent));
        }
        match tokio::time::timeout(ANSWER, answered).await {
            Ok(Ok(())) => Ok(ClientEnd { input, output }),
            Ok(Err(_)) | Err(_) => Err(ExecError::NoAnswer),
        }
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut table = self.execs.table();
        table.offered.remove(&self.session.id);
        if let Some(running) = table.running.get_mut(&self.session.instance) {
            *running -= 1;
            if *running == 0 {
                table.running.remove(&self.session.instance);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_model::{AccountId, ClusterName, Region};

    fn session(instance: u8) -> ExecSession {
        let region = Region::new("lab").expect("a region");
        ExecSession {
            id: ExecId::random(),
            cluster: ClusterKey { region: region.clone(), name: ClusterName::new("c").expect("a name") },
            task: TaskId::random(),
            container: ContainerName::new("main").expect("a name"),
            instance: InstanceId::from_bytes([instance; 16]),
            what: ExecWhat::Command { argv: vec!["id".to_owned()], user: None },
            label: "id".to_owned(),
            caller: Caller {
                region,
                account: AccountId::new("123456789012").expect("an account"),
                principal_arn: "arn".to_owned(),
                access_key_id: "key".to_owned(),
                endpoint: String::new(),
            },
        }
    }

    #[test]
    fn a_token_is_good_once_and_for_its_session_alone() {
        let execs = Execs::default();
        let (first, second) = (session(1), session(1));
        let token = execs.ask(first.clone()).expect("room");
        let other = execs.ask(second).expect("room");
        assert_eq!(execs.claim(first.id, &other).map(drop), Err(ExecError::Token));
        assert_eq!(execs.claim(ExecId::random(), &token).map(drop), Err(ExecError::Token));
        let claimed = execs.claim(first.id, &token).expect("the right one");
        assert_eq!(execs.claim(first.id, &token).map(drop), Err(ExecError::Token));
        drop(claimed);
        assert!(execs.table().running.is_empty());
    }

    #[test]
    fn a_host_has_so_many_and_places_come_back() {
        let execs = Execs::default();
        let ask = |instance| {
            let session = session(instance);
            execs.ask(session.clone()).map(|token| execs.claim(session.id, &token).expect("asked for"))
        };
        let held: Vec<_> = (0..SESSIONS_OF_INSTANCE).map(|_| ask(1).expect("room")).collect();
        assert_eq!(ask(1).map(drop), Err(ExecError::Crowded));
        ask(2).expect("another host has room");
        drop(held);
        ask(1).expect("room again");
    }

    #[tokio::test]
    async fn only_the_host_that_was_asked_answers_and_both_sides_hear_of_each_others_end() {
        let execs = Execs::default();
        let asked = session(1);
        let token = execs.ask(asked.clone()).expect("room");
        let claimed = execs.claim(asked.id, &token).expect("asked for");
        assert_eq!(claimed.start(ExecStart::default()).await.map(drop), Err(ExecError::Away));
        let mut line = execs.line(asked.instance);
        let agent = async {
            let order = line.recv().await.expect("an order");
            assert!(execs.answer(InstanceId::from_bytes([2; 16]), order.id).is_none());
            let end = execs.answer(asked.instance, order.id).expect("it was asked");
            assert!(execs.answer(asked.instance, order.id).is_none());
            end
        };
        let (client, mut agent) = tokio::join!(claimed.start(ExecStart::default()), agent);
        let mut client = client.expect("answered");
        client.input.send(ExecInput::End).await.expect("taken");
        assert_eq!(agent.input.recv().await, Some(ExecInput::End));
        agent.output.send(ExecOutput::Exit(7)).await.expect("taken");
        assert_eq!(client.output.recv().await, Some(ExecOutput::Exit(7)));
        drop(client);
        assert_eq!(agent.input.recv().await, None);
        agent.output.closed().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_does_not_answer_is_not_waited_for() {
        let execs = Execs::default();
        let asked = session(1);
        let token = execs.ask(asked.clone()).expect("room");
        let claimed = execs.claim(asked.id, &token).expect("asked for");
        let _line = execs.line(asked.instance);
        assert_eq!(claimed.start(ExecStart::default()).await.map(drop), Err(ExecError::NoAnswer));
        drop(claimed);
        assert!(execs.answer(asked.instance, asked.id).is_none(), "it is too late");
    }

    #[test]
    fn lines_of_sessions_that_are_over_do_not_pile_up() {
        let execs = Execs::default();
        let held: Vec<_> = (0..100).map(|n| execs.line(InstanceId::from_bytes([n; 16]))).collect();
        for _ in 0..10_000 {
            drop(execs.line(InstanceId::random()));
        }
        assert!(execs.table().lines.len() <= 2 * held.len() + 64);
        assert!((0..100).all(|n| execs.reaches(InstanceId::from_bytes([n; 16]))), "those that go on are kept");
    }
}
