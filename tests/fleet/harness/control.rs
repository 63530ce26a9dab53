//! The control plane as a process: the real core, controller and session front on the simulated disk, which dies at any
//! await and is started again.

use crate::mortal::{Fuse, Mortal};
use crate::world::World;
use longshore_control::agents::{AgentsConfig, SessionFront};
use longshore_core::{
    Caller, Controller, Core, CoreConfig, Courier, Dispatcher, Ec2Operation, FirstStart, LogGroup, OwnerError,
    OwnerTask, ScheduleEngine, SealingKey, Undelivered, WebhookRequest,
};
use longshore_ecs_api::Operation;
use longshore_ecs_api::events::EventsOperation;
use longshore_ecs_api::scheduler::SchedulerOperation;
use longshore_ecs_api::ssm::SsmOperation;
use longshore_model::{AccountId, Region, Timestamp};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(crate) const ACCOUNT: &str = "123456789012";

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// One run of the control plane.
pub(crate) struct Process {
    pub(crate) number: u32,
    pub(crate) core: Core,
    pub(crate) front: SessionFront<Core>,
    /// Burns down to its end.
    pub(crate) fuse: Fuse,
    /// Cancelled at its end.
    pub(crate) over: CancellationToken,
}

/// No rule of the simulation has a target beyond the fleet.
struct Nowhere;

impl Courier for Nowhere {
    async fn post(&self, _: WebhookRequest) -> Result<(), Undelivered> {
        Err(Undelivered::Final("there is no network".to_owned()))
    }

    async fn log(&self, _: LogGroup, _: Vec<(Timestamp, String)>) -> Result<(), Undelivered> {
        Err(Undelivered::Final("there is no log group".to_owned()))
    }
}

/// An operation, of whichever service.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Ecs(Operation),
    Scheduler(SchedulerOperation),
    Events(EventsOperation),
}

impl From<Operation> for Op {
    fn from(op: Operation) -> Self {
        Self::Ecs(op)
    }
}

impl From<SchedulerOperation> for Op {
    fn from(op: SchedulerOperation) -> Self {
        Self::Scheduler(op)
    }
}

impl From<EventsOperation> for Op {
    fn from(op: EventsOperation) -> Self {
        Self::Events(op)
    }
}

/// What became of a client's request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Done, and this was said.
    Done(Value),
    /// Refused, for this reason; nothing was changed.
    Refused(String),
    /// Nobody answered, or without knowing: it may have been done.
    Unknown,
}

impl Process {
    async fn open(world: &World, number: u32) -> Result<(Arc<Self>, OwnerTask), String> {
        let mut config = CoreConfig { healthy_after: world.plan.healthy_after, ..CoreConfig::default() };
        if world.plan.network {
            // Parts of few addresses, so that hosts get more of them and give addresses again; all have room for as
            // many as they may get.
            config.network.v4 = "10.77.0.0/22".parse().map_err(|_| "the task network's range is none")?;
            config.network.lease_length = 28;
        }
        let account = AccountId::new(ACCOUNT).map_err(|error| error.to_string())?;
        let first = FirstStart { account_id: Some(account), root_access_key: None };
        let key = SealingKey::from_bytes(&[7; 32]);
        let store = Arc::clone(&world.store);
        let opened = Core::open_with_clock(config, store, key, first, Arc::new(world.wall.clone())).await;
        let (core, owner) = opened.map_err(|error| format!("{error:?}"))?;
        let over = CancellationToken::new();
        let front = SessionFront::new(Arc::new(core.clone()), AgentsConfig::default(), over.clone());
        Ok((Arc::new(Self { number, core, front, fuse: Fuse::default(), over }), owner))
    }

    /// One life, until its end.
    async fn live(self: Arc<Self>, owner: OwnerTask) -> Option<Result<(), OwnerError>> {
        let controller = Controller::new(self.core.clone()).run(self.over.clone().cancelled_owned());
        let schedules = ScheduleEngine::new(self.core.clone()).run(self.over.clone().cancelled_owned());
        let dispatcher = Dispatcher::new(self.core.clone(), Nowhere).run(self.over.clone().cancelled_owned());
        let parts = [tokio::spawn(controller), tokio::spawn(schedules), tokio::spawn(dispatcher)];
        let ended = Mortal::new(owner.run(std::future::pending()), self.fuse.clone()).await;
        parts.iter().for_each(tokio::task::JoinHandle::abort);
        self.over.cancel();
        ended
    }
}

/// Starts the control plane again each time that it ended, as systemd does. Runs for as long as the run.
pub(crate) async fn keep_up(world: Arc<World>) {
    for number in 1.. {
        match Process::open(&world, number).await {
            Err(why) => world.trace.say(format_args!("control {number}: did not start: {why}")),
            Ok((process, owner)) => {
                world.trace.say(format_args!("control {number}: started"));
                world.reopened(&process.core);
                world.set_control(Some(Arc::clone(&process)));
                let ended = process.live(owner).await;
                world.set_control(None);
                for host in &world.hosts {
                    host.link.process_ended(number);
                }
                world.trace.say(format_args!("control {number}: ended: {ended:?}"));
            }
        }
        if !world.healing() && world.dice.chance(200) {
            world.trace.say("the control plane's machine is booted");
            world.wall.boot_again();
        }
        let wait = if world.healing() { world.dice.millis(100, 500) } else { world.dice.millis(100, 8000) };
        tokio::time::sleep(wait).await;
    }
}

fn caller() -> Option<Caller> {
    Some(Caller {
        region: Region::new("lab").ok()?,
        account: AccountId::new(ACCOUNT).ok()?,
        principal_arn: format!("arn:aws:iam::{ACCOUNT}:root"),
        access_key_id: "AKIATEST".to_owned(),
        endpoint: String::new(),
    })
}

impl World {
    /// A client's request over an unreliable line. What is answered is to stay so.
    pub(crate) async fn call(&self, op: impl Into<Op>, request: &Value) -> Answer {
        let op = op.into();
        let asked = self.promised().ask(op, request);
        let answer = self.send(op, request).await;
        if let Answer::Done(done) = &answer {
            self.promised().done(op, request, asked, done);
        }
        answer
    }

    async fn send(&self, op: Op, request: &Value) -> Answer {
        let (Some(process), Some(caller)) = (self.control(), caller()) else { return Answer::Unknown };
        tokio::time::sleep(self.dice.millis(0, 30)).await;
        let lost = !self.healing() && self.dice.chance(20);
        let body = request.to_string().into();
        let call = async {
            match op {
                Op::Ecs(op) => process.core.call(&caller, op, body).await,
                Op::Scheduler(op) => process.core.scheduler(&caller, op, body).await,
                Op::Events(op) => process.core.events(&caller, op, body).await,
            }
        };
        let answered = tokio::time::timeout(PATIENCE, Box::pin(call)).await;
        tokio::time::sleep(self.dice.millis(0, 30)).await;
        // The process may have died after it did what was asked, or the answer got lost.
        if lost || process.over.is_cancelled() {
            return Answer::Unknown;
        }
        match answered {
            Ok(Ok(body)) => Answer::Done(serde_json::from_slice(&body).unwrap_or_default()),
            Ok(Err(error)) if error.code.as_str() == "ServerException" => Answer::Unknown,
            Ok(Err(error)) => Answer::Refused(format!("{}: {}", error.code.as_str(), error.message)),
            Err(_) => Answer::Unknown,
        }
    }

    /// The same until there is an answer.
    pub(crate) async fn insist(&self, op: impl Into<Op>, request: &Value) -> Result<Value, String> {
        let op = op.into();
        for _ in 0..200 {
            match self.call(op, request).await {
                Answer::Done(answer) => return Ok(answer),
                Answer::Refused(why) => return Err(why),
                Answer::Unknown => tokio::time::sleep(Duration::from_millis(300)).await,
            }
        }
        Err("nobody answers".to_owned())
    }

    /// A request of EC2's, until there is an answer.
    pub(crate) async fn ec2(&self, op: Ec2Operation, params: &[(&str, &str)]) -> Result<String, String> {
        for _ in 0..200 {
            if let (Some(process), Some(caller)) = (self.control(), caller()) {
                let form = params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
                return process.core.ec2(&caller, op, form, "id").await.map_err(|error| error.to_string());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Err("nobody answers".to_owned())
    }

    /// A join token that every host can use.
    pub(crate) async fn token(&self) -> Option<longshore_core::JoinToken> {
        let request = serde_json::json!({"IamRole": "lab", "RegistrationLimit": 1000}).to_string();
        let process = self.control()?;
        let answer = process.core.ssm(&caller()?, SsmOperation::CreateActivation, request.into()).await.ok()?;
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        answer["ActivationCode"].as_str()?.parse().ok()
    }
}
