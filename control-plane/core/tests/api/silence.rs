//! Hosts that go silent: which of them are given up, and when.

use crate::fleet::{Fleet, config, healthy, messages, stable};
use crate::world::{facts, new_key};
use longshore_core::{CoreConfig, Losses};
use longshore_ecs_api::Operation as Op;
use longshore_model::{DesiredStatus, TaskId};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

impl Fleet {
    /// A stable service `web` of `count` tasks.
    async fn serving(hosts: usize, count: usize) -> Self {
        let mut fleet = Self::with(hosts, patient()).await;
        fleet.world.definition("one", json!({"memory": 8, "cpu": 8})).await;
        let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": count});
        fleet.world.ok(Op::CreateService, request).await;
        fleet.until("it is stable", healthy, stable(count)).await;
        fleet
    }

    /// Time passes for everybody, while the agents of these hosts are heard.
    pub(crate) async fn pass(&self, time: Duration, heard: &[usize]) {
        const TURN: Duration = Duration::from_millis(100);
        let mut passed = Duration::ZERO;
        while passed < time {
            heard.iter().for_each(|nth| self.world.core.agent_heard(self.agents[*nth].instance));
            self.world.clock.advance(TURN);
            tokio::time::sleep(TURN).await;
            passed += TURN;
        }
    }

    /// What each of these hosts is to run.
    fn wanted(&self, hosts: &[usize]) -> Vec<TaskId> {
        let of = |nth: &usize| self.agents[*nth].assigned().into_iter();
        let wanted = hosts.iter().flat_map(of).filter(|(_, task)| task.desired == DesiredStatus::Running);
        wanted.map(|(id, _)| id).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

fn patient() -> CoreConfig {
    CoreConfig { return_within: 30 * SECOND, ..config() }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn hosts_whose_leases_end_one_after_the_other_are_given_up_together_or_not_at_all() {
    let mut fleet = Fleet::serving(6, 6).await;
    let (cut, others, all) = ([0, 1, 2], [3, 4, 5], [0, 1, 2, 3, 4, 5]);
    let before = fleet.wanted(&all);
    fleet.pass(SECOND, &all).await;
    // Half of the cluster is cut off at once; the first lease ends, and the others within the next second.
    fleet.pass(4 * SECOND, &others).await;
    for nth in cut {
        fleet.agents[nth].disconnect().await;
        fleet.pass(SECOND / 2, &others).await;
        assert_eq!(fleet.wanted(&all), before, "after {} leases", nth + 1);
    }
    fleet.pass(120 * SECOND, &others).await;
    assert_eq!(fleet.wanted(&all), before);
    let service = fleet.service("web").await;
    let said =
        "(service web) does not replace the tasks of silent hosts: 3 of 6 container instances went silent at once";
    let said = messages(&service).into_iter().filter(|message| message.starts_with(said)).count();
    assert_eq!(said, 1, "{service:#}");
    // They were away and are back, each when its agent tries again.
    for nth in cut {
        fleet.agents[nth].connect(Vec::new()).await;
        fleet.pass(10 * SECOND, &others).await;
        assert_eq!(fleet.wanted(&all), before, "after {} are back", nth + 1);
    }
    fleet.pass(SECOND, &all).await;

    // Hosts that were only late while another one went are in nobody's way once they are heard again.
    fleet.pass(4 * SECOND, &others).await;
    fleet.agents[0].disconnect().await;
    fleet.pass(SECOND / 2, &others).await;
    assert_eq!(fleet.wanted(&all), before);
    fleet.pass(4 * SECOND, &[1, 2, 3, 4, 5]).await;
    assert_eq!(fleet.wanted(&[0]), []);
    fleet.until("it is whole again", healthy, stable(6)).await;
}

#[tokio::test(start_paused = true)]
async fn hosts_that_have_been_away_for_long_hold_nothing_up() {
    let mut fleet = Fleet::serving(10, 10).await;
    // Three are retired, and nobody deregisters them.
    for nth in [0, 1, 2] {
        fleet.agents[nth].disconnect().await;
        fleet.pass(90 * SECOND, &[]).await;
        fleet.until("it is whole again", healthy, stable(10)).await;
    }
    // Some join, and their agents have not come yet.
    let token = fleet.world.token(json!({})).await;
    for _ in 0..5 {
        fleet.world.core.register_instance(&token, None, facts(2048, 2048), new_key()).await.unwrap();
    }
    assert_ne!(fleet.wanted(&[3]), []);
    fleet.agents[3].disconnect().await;
    fleet.pass(SECOND, &[]).await;
    assert_eq!(fleet.wanted(&[3]), []);
    fleet.until("it is whole again", healthy, stable(10)).await;
}

#[tokio::test(start_paused = true)]
async fn a_third_of_the_hosts_is_many() {
    for (hosts, cut, held) in [(6, 2, true), (9, 3, true), (7, 2, false)] {
        let fleet = Fleet::serving(hosts, hosts).await;
        let all: Vec<usize> = (0..hosts).collect();
        let before = fleet.wanted(&all);
        fleet.pass(SECOND, &all).await;
        fleet.pass(4 * SECOND, &all[cut..]).await;
        for agent in &fleet.agents[..cut] {
            agent.disconnect().await;
        }
        fleet.pass(60 * SECOND, &all[cut..]).await;
        assert_eq!(fleet.wanted(&all) == before, held, "{cut} of {hosts}");
        assert_eq!(fleet.wanted(&all[..cut]).is_empty(), !held, "{cut} of {hosts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_puts_nothing_off() {
    let losses = Losses { hold: 10 * SECOND, ..Losses::default() };
    let mut fleet = Fleet::with(3, CoreConfig { losses, ..patient() }).await;
    fleet.world.definition("one", json!({"memory": 8, "cpu": 8})).await;
    let request = json!({"serviceName": "web", "taskDefinition": "one", "desiredCount": 3});
    fleet.world.ok(Op::CreateService, request).await;
    fleet.until("it is stable", healthy, stable(3)).await;
    fleet.agents[0].disconnect().await;
    fleet.pass(5 * SECOND, &[1, 2]).await;
    assert_ne!(fleet.wanted(&[0]), []);
    fleet.world.clock.set_back(3600 * SECOND);
    fleet.pass(6 * SECOND, &[1, 2]).await;
    assert_eq!(fleet.wanted(&[0]), []);
    fleet.until("it is whole again", healthy, stable(3)).await;
}

#[tokio::test(start_paused = true)]
async fn hosts_go_silent_at_once_by_the_clock_that_nobody_sets() {
    let fleet = Fleet::serving(6, 6).await;
    let (others, all) = ([3, 4, 5], [0, 1, 2, 3, 4, 5]);
    let before = fleet.wanted(&all);
    fleet.pass(SECOND, &all).await;
    fleet.pass(4 * SECOND, &others).await;
    for nth in [0, 1, 2] {
        fleet.agents[nth].disconnect().await;
        fleet.world.clock.set_ahead(3600 * SECOND);
    }
    fleet.pass(60 * SECOND, &others).await;
    assert_eq!(fleet.wanted(&all), before);

    // By the other one, two of five fell silent together that did not.
    let mut fleet = Fleet::serving(5, 5).await;
    fleet.agents[0].disconnect().await;
    fleet.pass(90 * SECOND, &[]).await;
    fleet.until("it is whole again", healthy, stable(5)).await;
    fleet.world.clock.set_back(90 * SECOND);
    assert_ne!(fleet.wanted(&[1]), []);
    fleet.agents[1].disconnect().await;
    fleet.pass(SECOND, &[]).await;
    assert_eq!(fleet.wanted(&[1]), []);
    fleet.until("it is whole again", healthy, stable(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_deleted_service_says_which_host_it_waits_for() {
    let mut fleet = Fleet::serving(1, 1).await;
    let host = fleet.agents[0].instance;
    fleet.agents[0].disconnect().await;
    fleet.pass(SECOND, &[]).await;
    fleet.world.ok(Op::DeleteService, json!({"service": "web", "force": true})).await;
    let says = format!("1 container instances say nothing: (container-instance {host}).");
    let waits = |service: &serde_json::Value| messages(service).iter().any(|message| message.contains(&says));
    let service = fleet.until("it says so", healthy, waits).await;
    assert_eq!(service["status"], "DRAINING");
    let deregister = json!({"containerInstance": host.to_string(), "force": true});
    fleet.world.ok(Op::DeregisterContainerInstance, deregister).await;
    fleet.until("it is over", healthy, |service| service["status"] == "INACTIVE").await;
}

#[tokio::test(start_paused = true)]
async fn agents_may_take_their_time_to_return_after_the_control_plane_was_away() {
    for hosts in [1, 3] {
        let mut fleet = Fleet::serving(hosts, 3).await;
        let all: Vec<usize> = (0..hosts).collect();
        let before = fleet.wanted(&all);
        fleet.world = fleet.world.reopen_with(patient()).await;
        for nth in 1..hosts {
            let core = fleet.world.core.clone();
            fleet.agents[nth].move_to(&core).await;
        }
        // Longer than a lease, and no longer than an agent may wait between two attempts.
        fleet.pass(25 * SECOND, &[]).await;
        let late = fleet.agents[0].instance;
        assert!(!fleet.world.core.snapshot().host(late).unwrap().record.is_connected());
        let core = fleet.world.core.clone();
        fleet.agents[0].move_to(&core).await;
        fleet.pass(60 * SECOND, &[]).await;
        assert_eq!(fleet.wanted(&all), before, "of {hosts} hosts");
        // One that never returns is given up in the end.
        fleet.world = fleet.world.reopen_with(patient()).await;
        for nth in 1..hosts {
            let core = fleet.world.core.clone();
            fleet.agents[nth].move_to(&core).await;
        }
        fleet.pass(31 * SECOND, &[]).await;
        let state = fleet.world.core.snapshot();
        let wanted = |id: &TaskId| state.task(*id).is_some_and(|task| task.desired == DesiredStatus::Running);
        let kept = before.iter().filter(|id| wanted(id)).count();
        assert_eq!(kept, 3 - 3 / hosts, "those of the other hosts");
    }
}
