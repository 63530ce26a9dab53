use super::checks::{ledger, runtime};
use super::*;
use crate::engine::status::Health;
use async_trait::async_trait;
use longshore_model::Timestamp;
use longshore_model::health::{CONTAINER_RUNTIME, LEDGER};
use std::collections::VecDeque;
use std::sync::Mutex;
use tokio::time::Instant;

/// Scripted rounds; the last is found again and again.
struct Rounds(Mutex<VecDeque<Vec<Finding>>>);

#[async_trait]
impl Look for Rounds {
    async fn all(&self) -> Vec<Finding> {
        let mut rounds = self.0.lock().expect("no test panics with it");
        if rounds.len() > 1 { rounds.pop_front().expect("more than one") } else { rounds[0].clone() }
    }
}

struct Ticks(Instant);

impl Clock for Ticks {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_000).after(self.0.elapsed())
    }
}

fn found(status: CheckStatus, reason: Option<&str>) -> Finding {
    Finding { check: CONTAINER_RUNTIME, status, reason: reason.map(str::to_owned) }
}

#[tokio::test(start_paused = true)]
async fn times_tell_when_it_was_looked_and_when_it_changed() {
    use CheckStatus::{Impaired, Ok};
    let rounds = vec![
        vec![found(Ok, None)],
        vec![found(Ok, None)],
        vec![found(Impaired, Some("a"))],
        vec![found(Impaired, Some("b"))],
        vec![found(Ok, None)],
    ];
    let rounds = Rounds(Mutex::new(rounds.into()));
    let (doctor, mut health) = Doctor::new(Box::new(rounds), Arc::new(Ticks(Instant::now())));
    assert_eq!(*health.borrow_and_update(), InstanceHealth::default(), "nothing is claimed before the first look");
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(doctor.run(shutdown.clone()));
    let mut told = Vec::new();
    for _ in 0..5 {
        health.changed().await.expect("it looks");
        let check = health.borrow_and_update().checks[0].clone();
        told.push((check.status, check.reason, check.checked_at.millis(), check.changed_at.millis()));
    }
    let secs = |s: i64| 1_000 + s * 1_000;
    let text = |s: &str| Some(s.to_owned());
    assert_eq!(
        told,
        [
            (Ok, None, secs(0), secs(0)),
            (Ok, None, secs(10), secs(0)),
            (Impaired, text("a"), secs(20), secs(20)),
            (Impaired, text("b"), secs(23), secs(20)),
            (Ok, None, secs(26), secs(26)),
        ]
    );
    shutdown.cancel();
    task.await.expect("it ends");
}

#[test]
fn an_engine_that_answers_pings_alone_is_not_well() {
    let well = Health { ok: true, why: None };
    let hangs = Health { ok: false, why: Some("a listing takes 7 s".to_owned()) };
    let status = |finding: Finding| (finding.status, finding.reason);
    assert_eq!(status(runtime(Ok(()), Some(&well))), (CheckStatus::Ok, None));
    let (found, why) = status(runtime(Ok(()), Some(&hangs)));
    assert!(found == CheckStatus::Impaired && why.is_some_and(|why| why.ends_with("a listing takes 7 s")));
    let (found, why) = status(runtime(Err("no such file".to_owned()), Some(&well)));
    assert!(found == CheckStatus::Impaired && why.is_some_and(|why| why.ends_with("no such file")));
    assert_eq!(runtime(Ok(()), None).status, CheckStatus::InsufficientData);
    assert_eq!(ledger(Some(&well)), Finding { check: LEDGER, status: CheckStatus::Ok, reason: None });
    assert_eq!(ledger(Some(&hangs)).status, CheckStatus::Impaired);
    assert_eq!(ledger(None).status, CheckStatus::InsufficientData);
}
