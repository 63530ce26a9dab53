//! Services of which something cannot be had any more: what else is asked of them still holds.

use super::lab::Lab;
use crate::agent::Unavailable;
use crate::change::Change;
use crate::command::{Command, Tx};
use crate::commands::{ActionEdit, EditScaling, FireScaling, NewDeployment, ScalingEdit, ServiceEdit, UpdateService};
use crate::records::{DeploymentController, SchedulingStrategy, Service, ServiceKey, Tags};
use longshore_ecs_api::enums::{AvailabilityZoneRebalancing, PlacementConstraintType};
use longshore_ecs_api::types::{
    AwsVpcConfiguration, DeploymentConfiguration, NetworkConfiguration, PlacementConstraint,
};
use std::sync::Arc;
use std::time::Duration;

/// Puts a record there as it is, as an earlier version may have left it.
struct Put(Service);

impl Command for Put {
    const NAME: &'static str = "Put";
    type Reply = ();
    type Error = Unavailable;

    fn apply(self, tx: &mut Tx<'_>) -> Result<(), Unavailable> {
        tx.change(Change::Service(Arc::new(self.0)));
        Ok(())
    }
}

impl Lab {
    /// A service whose count can be set, changed by hand.
    fn odd(&mut self, change: impl FnOnce(&mut Service)) -> ServiceKey {
        let scales = |service: &&Service| {
            service.controller == DeploymentController::Ecs && service.scheduling == SchedulingStrategy::Replica
        };
        let found = self.state.services().map(|(_, service)| &*service.record).find(scales).expect("one that scales");
        let mut service = found.clone();
        change(&mut service);
        let key = service.key.clone();
        assert!(self.run(Put(service)).is_ok());
        key
    }

    fn update(&mut self, key: &ServiceKey, edit: ServiceEdit) -> Result<u32, String> {
        let update = UpdateService { key: key.clone(), edit, new: NewDeployment::random() };
        self.run(update).map(|service| service.desired).map_err(|error| error.message)
    }

    fn service_of(&self, key: &ServiceKey) -> Arc<Service> {
        Arc::clone(&self.state.service(key).expect("it is there").record)
    }
}

#[test]
fn an_update_is_refused_for_what_it_asks_alone() {
    let mut lab = Lab::new();
    let awsvpc = AwsVpcConfiguration {
        subnets: Some(vec!["subnet-0123456789abcdef0".to_owned()]),
        security_groups: Some(vec!["sg-0123456789abcdef0".to_owned()]),
        ..AwsVpcConfiguration::default()
    };
    let network = NetworkConfiguration { awsvpc_configuration: Some(awsvpc) };
    let key = lab.odd(|service| {
        service.desired = 3;
        service.deployments[0].revision.network = Some(Box::new(network));
    });
    let desired = |n| ServiceEdit { desired: Some(n), ..ServiceEdit::default() };
    assert_eq!(lab.update(&key, desired(0)), Ok(0));
    assert_eq!(lab.update(&key, desired(2)), Ok(2));
    let member_of = |expression: &str| PlacementConstraint {
        r#type: Some(PlacementConstraintType::MemberOf),
        expression: Some(expression.to_owned()),
    };
    let placed = |expression| ServiceEdit { constraints: Some(vec![member_of(expression)]), ..ServiceEdit::default() };
    assert_eq!(lab.update(&key, placed("attribute:rack exists")), Ok(2));
    let refused = lab.update(&key, placed("attribute:rack ==="));
    assert!(refused.as_ref().is_err_and(|text| text.contains("expression")), "{refused:?}");
    // A new deployment would be one that cannot have tasks.
    let before = lab.service_of(&key);
    let refused = lab.update(&key, ServiceEdit { force: true, ..desired(5) });
    assert!(refused.as_ref().is_err_and(|text| text.contains("Network Configuration")), "{refused:?}");
    assert_eq!(lab.service_of(&key), before);
}

#[test]
fn rebalancing_that_an_earlier_version_left_where_it_cannot_be_stands_in_nobodys_way() {
    let mut lab = Lab::new();
    let percents = |maximum| DeploymentConfiguration {
        minimum_healthy_percent: Some(50),
        maximum_percent: Some(maximum),
        ..DeploymentConfiguration::default()
    };
    let key = lab.odd(|service| {
        (service.desired, service.configuration) = (3, percents(100));
        service.zone_rebalancing = Some(AvailabilityZoneRebalancing::Enabled);
    });
    let desired = ServiceEdit { desired: Some(2), ..ServiceEdit::default() };
    assert_eq!(lab.update(&key, desired), Ok(2));
    let minimum = DeploymentConfiguration { maximum_percent: None, ..percents(0) };
    let edit = |configuration| ServiceEdit { configuration: Some(configuration), ..ServiceEdit::default() };
    assert_eq!(lab.update(&key, edit(minimum)), Ok(2));
    // What it has may be said again, and what it has not is refused.
    assert_eq!(lab.update(&key, edit(percents(100))), Ok(2));
    assert_eq!(lab.update(&key, edit(percents(150))), Ok(2));
    let before = lab.service_of(&key);
    let refused = lab.update(&key, edit(percents(100)));
    let names = |text: &String| text.contains("availabilityZoneRebalancing") && text.contains("maximumPercent");
    assert!(refused.as_ref().is_err_and(names), "{refused:?}");
    assert_eq!(lab.service_of(&key), before);

    // One that never said anything is not evened out by what it says of other things.
    let key = lab.odd(|service| service.zone_rebalancing = None);
    assert_eq!(lab.update(&key, edit(percents(200))), Ok(2));
    assert_eq!(lab.service_of(&key).zone_rebalancing, None);
}

#[test]
fn an_action_that_cannot_set_the_count_fires_once_and_holds_nothing_up() {
    let mut lab = Lab::new();
    let key = lab.odd(|service| {
        service.desired = 3;
        service.deployments.clear();
    });
    let edit = |edit| EditScaling { key: key.clone(), edit };
    let register = ScalingEdit::Register {
        id: uuid::Uuid::new_v4(),
        min: Some(1),
        max: Some(5),
        suspended: None,
        role_arn: None,
        tags: Tags::new(),
        activity: uuid::Uuid::new_v4(),
        new: NewDeployment::random(),
    };
    assert!(lab.run(edit(register)).is_ok());
    for (name, secs, min) in [("first", 60, 4), ("second", 120, 2)] {
        let at = lab.now.after(Duration::from_secs(secs)).millis() / 1000;
        let action = |schedule, bounds| {
            let action = ActionEdit { id: uuid::Uuid::new_v4(), schedule, zone: None, start: None, end: None, bounds };
            edit(ScalingEdit::PutAction(name.to_owned(), Box::new(action)))
        };
        // Two requests of which each says a part: neither takes back what the other said.
        let at = format!("at({})", utc(at));
        assert!(lab.run(action(Some("rate(1 day)".to_owned()), Some((Some(min), None)))).is_ok());
        assert!(lab.run(action(Some(at.clone()), None)).is_ok());
        assert!(lab.run(action(None, Some((Some(min), Some(5))))).is_ok());
        let put = &lab.state.scaling_target(&key).expect("it is there").actions[name];
        assert_eq!((put.schedule.as_str(), put.min, put.max), (at.as_str(), Some(min), Some(5)));
    }
    lab.now = lab.now.after(Duration::from_secs(180));
    let fire = |lab: &mut Lab| {
        let activities = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        lab.run(FireScaling { key: key.clone(), activities, new: NewDeployment::random() }).expect("it fires")
    };
    let first = fire(&mut lab).expect("one was due");
    assert_eq!((first.name.as_str(), first.to), ("first", None));
    assert!(first.failure.is_some_and(|why| why.contains("no deployment")));
    // The next one has its turn, and nothing is due any more.
    assert_eq!(fire(&mut lab).map(|fired| (fired.name, fired.failure)), Some(("second".to_owned(), None)));
    assert!(fire(&mut lab).is_none());
    let target = Arc::clone(lab.state.scaling_target(&key).expect("it is there"));
    assert_eq!((target.min, target.next_action()), (2, None));
    let failed: Vec<_> = target.activities.iter().filter(|activity| activity.failure.is_some()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].description, "Setting desired count to 4.");
    assert_eq!(lab.service_of(&key).desired, 3);
}

/// Seconds since the epoch, within its first day, as `at()` takes them.
fn utc(second: i64) -> String {
    assert!((0..86_400).contains(&second));
    format!("1970-01-01T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}
