//! Sessions of agents: which one is an instance's current one, and what its beginning brings.

use crate::agent::{AgentHello, ConnectError, SessionError, SessionId, Unavailable};
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::network::grant_lease;
use crate::commands::report::{Since, take_reports};
use crate::records::{Connection, Instance, Task};
use crate::state::{HostState, State};
use longshore_model::{
    Attribute, EniId, EniReport, HostFacts, InstanceId, MAX_ATTRIBUTE_CHARS, MAX_ATTRIBUTES, MAX_HOST_TEXT_CHARS,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// An agent opens a session; an older one of the same instance ends with it.
pub(crate) struct Connect {
    pub(crate) instance: InstanceId,
    pub(crate) session: SessionId,
    pub(crate) process: uuid::Uuid,
    pub(crate) hello: AgentHello,
    /// The interfaces that tasks have by the whole Hello, of which `hello` may be the first part.
    pub(crate) attached: BTreeSet<EniId>,
    /// See [`CoreConfig::healthy_after`](crate::CoreConfig).
    pub(crate) healthy_after: Duration,
}

impl Command for Connect {
    const NAME: &'static str = "Connect";
    type Reply = ();
    type Error = ConnectError;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), ConnectError> {
        let Self { instance, session, process, hello, attached, healthy_after } = self;
        let host = tx.state().host(instance).ok_or(ConnectError::Unknown(instance))?;
        if !host.record.status.is_registered() {
            return Err(ConnectError::Deregistered(instance));
        }
        let revision = tx.state().revision();
        if hello.applied > revision {
            return Err(ConnectError::Ahead { applied: hello.applied, revision });
        }
        check_facts(&hello.facts).map_err(ConnectError::Facts)?;
        let connection = Connection::Connected { session, process, since: tx.now };
        let record = Instance { connection, facts: hello.facts, ..(*host.record).clone() };
        put(tx, record);
        grant_lease(tx, instance);
        take_reports(tx, instance, &hello.observed, Since::NewSession, healthy_after);
        detach_others(tx, instance, &attached);
        Ok(())
    }
}

/// Ends the interfaces that a Hello does not have: the agent takes them for recorded as ended, and gives their
/// addresses to others, whether or not it still knows their tasks.
fn detach_others(tx: &mut Tx<'_>, instance: InstanceId, attached: &BTreeSet<EniId>) {
    let live = tx.state().host(instance).map(|host| host.live.clone()).unwrap_or_default();
    for task in live {
        let Some(task) = tx.state().task(task) else { continue };
        let Some(eni) = task.eni.as_deref().filter(|eni| eni.attached && !attached.contains(&eni.id)) else { continue };
        let eni = Some(Box::new(EniReport { attached: false, ..eni.clone() }));
        let task = Task { eni, version: task.version + 1, ..(**task).clone() };
        tx.change(Change::Task(Arc::new(task)));
    }
}

/// A session ended. Does nothing when it is not the current one.
pub(crate) struct Disconnect {
    pub(crate) instance: InstanceId,
    pub(crate) session: SessionId,
}

impl Command for Disconnect {
    const NAME: &'static str = "Disconnect";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        let host = tx.state().host(self.instance).filter(|host| host.record.has_session(self.session));
        if let Some(record) = host.map(|host| (*host.record).clone()) {
            disconnect(tx, record);
        }
        Ok(())
    }
}

/// Ends sessions that an earlier process of the control plane held, once its agents had time to return.
pub(crate) struct ExpireSessions {
    /// This process; its own sessions stay.
    pub(crate) process: uuid::Uuid,
    /// Those to look at.
    pub(crate) instances: Vec<InstanceId>,
}

impl ExpireSessions {
    /// The instances whose sessions an earlier process held.
    pub(crate) fn find(state: &State, process: uuid::Uuid) -> Vec<InstanceId> {
        let hosts = state.clusters().flat_map(|cluster| cluster.hosts.values());
        hosts.filter(|host| is_of_another(&host.record, process)).map(|host| host.id()).collect()
    }
}

impl Command for ExpireSessions {
    const NAME: &'static str = "ExpireSessions";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        for id in self.instances {
            let host = tx.state().host(id).filter(|host| is_of_another(&host.record, self.process));
            if let Some(record) = host.map(|host| (*host.record).clone()) {
                tracing::info!(instance = %id, "agent did not return after the control plane's restart");
                disconnect(tx, record);
            }
        }
        Ok(())
    }
}

fn is_of_another(record: &Instance, this: uuid::Uuid) -> bool {
    match record.connection {
        Connection::Connected { process, .. } => process != this,
        Connection::Disconnected { .. } => false,
    }
}

fn disconnect(tx: &mut Tx<'_>, record: Instance) {
    let connection = Connection::Disconnected { since: tx.now };
    put(tx, Instance { connection, ..record });
}

fn put(tx: &mut Tx<'_>, record: Instance) {
    tx.change(Change::Instance(Arc::new(Instance { version: record.version + 1, ..record })));
}

/// Why facts cannot be kept, in words for the host's operator. The limits are those of the protocol, which refuses what
/// is beyond them by its field.
pub(crate) fn check_facts(facts: &HostFacts) -> Result<(), String> {
    if facts.resources.cpu_units == 0 {
        return Err("it offers no CPU".to_owned());
    }
    if facts.resources.memory_mib == 0 {
        return Err("it offers no memory".to_owned());
    }
    if facts.hostname.chars().count() > MAX_HOST_TEXT_CHARS {
        return Err(format!("its hostname has more than {MAX_HOST_TEXT_CHARS} characters"));
    }
    if facts.attributes.len() > MAX_ATTRIBUTES {
        return Err(format!("it has {} attributes, and at most {MAX_ATTRIBUTES} are kept", facts.attributes.len()));
    }
    for Attribute { name, value } in facts.attributes.iter() {
        if !(1..=MAX_ATTRIBUTE_CHARS).contains(&name.chars().count()) {
            return Err(format!("the name of attribute `{name}` must have 1 to {MAX_ATTRIBUTE_CHARS} characters"));
        }
        if value.as_ref().is_some_and(|value| value.chars().count() > MAX_ATTRIBUTE_CHARS) {
            return Err(format!("the value of attribute `{name}` has more than {MAX_ATTRIBUTE_CHARS} characters"));
        }
    }
    Ok(())
}

/// A registered host whose current session this is: only then what is said in it counts.
///
/// # Errors
/// When the host is deregistered, or a newer session has taken over.
pub(crate) fn in_session(
    state: &State,
    instance: InstanceId,
    session: SessionId,
) -> Result<&Arc<HostState>, SessionError> {
    let host = state.host(instance).filter(|host| host.record.status.is_registered());
    let host = host.ok_or(SessionError::Deregistered(instance))?;
    if !host.record.has_session(session) {
        return Err(SessionError::Superseded { instance, session });
    }
    Ok(host)
}
