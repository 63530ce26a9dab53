//! What examples ask of a core, as a client and as agents do.

use longshore_core::{AgentHello, Caller, Core, JoinKey, JoinToken, SessionId};
use longshore_ecs_api::Operation;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_model::{Generation, HostFacts, InstanceId, Region};
use serde_json::{Value, json};

pub(crate) async fn call(core: &Core, op: Operation, request: Value) -> Value {
    let answer = core.call(&caller(core), op, request.to_string().into()).await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

fn caller(core: &Core) -> Caller {
    Caller {
        region: Region::new("lab").unwrap(),
        account: core.account().clone(),
        principal_arn: format!("arn:aws:iam::{}:root", core.account()),
        access_key_id: "AKIAEXAMPLEEXAMPLE12".to_owned(),
        endpoint: String::new(),
    }
}

/// A token with which a thousand hosts can join.
pub(crate) async fn join_token(core: &Core) -> JoinToken {
    let request = json!({"RegistrationLimit": 1000}).to_string();
    let answer = core.ssm(&caller(core), SsmOperation::CreateActivation, request.into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    answer["ActivationCode"].as_str().unwrap().parse().unwrap()
}

/// A host joins and connects. It says its facts anew each time, as an agent does.
pub(crate) async fn join(core: &Core, token: &JoinToken, facts: impl Fn() -> HostFacts) -> (InstanceId, SessionId) {
    let key = JoinKey::of(uuid::Uuid::new_v4().as_bytes());
    let instance = core.register_instance(token, None, facts(), key).await.unwrap().instance;
    let session = SessionId::random();
    let hello = AgentHello { facts: facts(), applied: Generation(0), observed: Vec::new() };
    core.agent_connected(instance, session, hello).await.unwrap();
    (instance, session)
}
