//! What the host's own programs may ask: which tasks there are, in the words of ECS's introspection API.
//!
//! Answers on loopback alone, and without a word that is secret: no environment, no log option, no label.

use super::front::{Answer, Front};
use super::render;
use super::server::Head;
use crate::engine::TaskView;
use crate::identity::Identity;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// What of a container is told.
const TOLD: [&str; 10] =
    ["DockerId", "DockerName", "Name", "Image", "ImageID", "CreatedAt", "StartedAt", "Ports", "Networks", "Volumes"];

/// The introspection API.
pub(super) struct Introspection {
    pub(super) front: Arc<Front>,
    /// Who this host is, once it has joined.
    pub(super) identity: watch::Receiver<Option<Arc<Identity>>>,
}

impl Introspection {
    pub(super) fn answer(&self, head: &Head) -> Answer {
        if head.method != Method::GET && head.method != Method::HEAD {
            return Answer::json(StatusCode::METHOD_NOT_ALLOWED, &"the introspection API is only read from");
        }
        match head.path.trim_end_matches('/') {
            "/v1/metadata" => Answer::ok(&self.metadata()),
            "/v1/tasks" => self.tasks(head.query.as_deref().unwrap_or_default()),
            _ => Answer::ok(&json!({"AvailableCommands": ["/v1/metadata", "/v1/tasks"]})),
        }
    }

    fn metadata(&self) -> Value {
        let identity = self.identity.borrow();
        let identity = identity.as_ref();
        json!({
            "Cluster": identity.map(|identity| identity.cluster.to_string()).unwrap_or_default(),
            "ContainerInstanceArn": identity.map(|identity| identity.instance_arn.clone()),
            "Version": format!("Longshore Agent - v{}", env!("CARGO_PKG_VERSION")),
        })
    }

    fn tasks(&self, query: &str) -> Answer {
        let asked = query.split('&').find_map(|pair| pair.split_once('=')).filter(|(_, value)| !value.is_empty());
        let tasks = self.front.tasks();
        let Some((name, value)) = asked else {
            let tasks: Vec<Value> = tasks.iter().map(|view| self.task(view)).collect();
            return Answer::ok(&json!({"Tasks": tasks}));
        };
        // An id may be cut short, as in `docker ps`.
        let has = |view: &&Arc<TaskView>| match name {
            "taskarn" => view.outline.arn == value,
            "dockerid" => view.record.containers.iter().any(|c| c.phase.id().is_some_and(|id| id.starts_with(value))),
            _ => false,
        };
        match tasks.iter().find(has) {
            Some(view) => Answer::ok(&self.task(view)),
            None => Answer::json(StatusCode::NOT_FOUND, &json!({})),
        }
    }

    fn task(&self, view: &TaskView) -> Value {
        let containers: Vec<Value> = (0..view.record.containers.len())
            .map(|index| {
                let whole = self.front.known(view, index);
                TOLD.iter().filter_map(|name| Some(((*name).to_owned(), whole.get(*name)?.clone()))).collect()
            })
            .collect();
        let mut task = json!({
            "Arn": view.outline.arn,
            "DesiredStatus": render::desired(view),
            "KnownStatus": render::known(view),
            "Family": view.outline.family,
            "Version": view.outline.revision.to_string(),
            "Containers": containers,
        });
        // Ours; ECS has no word for it.
        if let Some(what) = &view.waiting_for {
            task["WaitingFor"] = json!(what);
        }
        task
    }
}
