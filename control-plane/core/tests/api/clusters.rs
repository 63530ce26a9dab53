//! Clusters, through the public interface.

use crate::world::{self, World, facts, new_key};
use longshore_ecs_api::Operation as Op;
use longshore_ecs_api::ssm::SsmOperation;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn creating_twice_answers_the_same_cluster() {
    let world = World::new().await;
    let first = world.ok(Op::CreateCluster, json!({"clusterName": "prod", "tags": [{"key": "a", "value": "b"}]})).await;
    let cluster = &first["cluster"];
    assert_eq!(cluster["clusterArn"], "arn:aws:ecs:lab:123456789012:cluster/prod");
    assert_eq!(cluster["status"], "ACTIVE");
    assert_eq!(cluster["settings"], json!([{"name": "containerInsights", "value": "disabled"}]));
    assert_eq!(cluster["tags"], json!([{"key": "a", "value": "b"}]));
    assert_eq!(cluster["registeredContainerInstancesCount"], 0);
    assert_eq!(cluster.get("configuration"), None);
    let second = world.ok(Op::CreateCluster, json!({"clusterName": "prod"})).await;
    assert_eq!(second, first);
    let default = world.ok(Op::CreateCluster, json!({})).await;
    assert_eq!(default["cluster"]["clusterName"], "default");
}

#[tokio::test]
async fn the_same_name_in_two_regions_is_two_clusters() {
    let world = World::new().await;
    world.cluster("prod").await;
    let arn = "arn:aws:ecs:lab:123456789012:cluster/prod";
    for (region, name) in [("eu", "prod"), ("eu", arn)] {
        let answer = world.call_in(region, Op::DescribeClusters, json!({"clusters": [name]})).await.expect("answers");
        assert_eq!(answer["clusters"], json!([]), "{name}");
        assert_eq!(answer["failures"][0]["reason"], "MISSING");
    }
    let answer = world.call_in("eu", Op::ListClusters, json!({})).await.expect("answers");
    assert_eq!(answer, json!({"clusterArns": []}));
    world.call_in("eu", Op::CreateCluster, json!({"clusterName": "prod"})).await.expect("creates");
    world.ok(Op::DeleteCluster, json!({"cluster": arn})).await;
    let answer = world.call_in("eu", Op::DescribeClusters, json!({"clusters": ["prod"]})).await.expect("answers");
    assert_eq!(answer["clusters"][0]["status"], "ACTIVE");
    assert_eq!(answer["clusters"][0]["clusterArn"], "arn:aws:ecs:eu:123456789012:cluster/prod");
}

#[tokio::test]
async fn another_accounts_arn_does_not_count_by_its_tail() {
    let world = World::new().await;
    world.cluster("prod").await;
    for arn in ["arn:aws:ecs:lab:999999999999:cluster/prod", "arn:aws:ecs:lab:123456789012:service/prod/prod"] {
        let text = world.err(Op::ListTasks, json!({"cluster": arn})).await;
        assert_eq!(text, "ClusterNotFoundException: Cluster not found.", "{arn}");
    }
    let text = world.err(Op::ListTasks, json!({"cluster": "no such name"})).await;
    assert!(text.starts_with("InvalidParameterException"), "{text}");
}

#[tokio::test]
async fn a_deleted_cluster_stays_describable_for_a_while_and_can_be_made_again() {
    let world = World::new().await;
    world.cluster("prod").await;
    let deleted = world.ok(Op::DeleteCluster, json!({"cluster": "prod"})).await;
    assert_eq!(deleted["cluster"]["status"], "INACTIVE");
    let answer = world.ok(Op::DescribeClusters, json!({"clusters": ["prod", "other"]})).await;
    assert_eq!(answer["clusters"][0]["status"], "INACTIVE");
    assert_eq!(answer["failures"], json!([{"arn": "arn:aws:ecs:lab:123456789012:cluster/other", "reason": "MISSING"}]));
    assert_eq!(world.ok(Op::ListClusters, json!({})).await["clusterArns"], json!([]));
    for op in [Op::DeleteCluster, Op::UpdateCluster] {
        let text = world.err(op, json!({"cluster": "prod"})).await;
        assert_eq!(text, "ClusterNotFoundException: Cluster not found.");
    }
    let again = world.ok(Op::CreateCluster, json!({"clusterName": "prod"})).await;
    assert_eq!(again["cluster"]["status"], "ACTIVE");

    world.ok(Op::DeleteCluster, json!({"cluster": "prod"})).await;
    world.clock.advance(Duration::from_secs(2 * 3600));
    let world = world.reopen().await;
    world::until("the deleted cluster is forgotten", || world.core.snapshot().clusters().count() == 0).await;
}

#[tokio::test]
async fn a_cluster_in_use_is_not_deleted() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut agent = world.host("default", facts(1024, 1024)).await;
    let text = world.err(Op::DeleteCluster, json!({"cluster": "default"})).await;
    assert_eq!(
        text,
        "ClusterContainsContainerInstancesException: The Cluster cannot be deleted while Container Instances are \
         active or draining."
    );
    world.definition("web", json!({})).await;
    let task = world::task_id(&world.run(json!({"taskDefinition": "web"})).await);
    let counts = |answer: &Value| {
        let c = &answer["clusters"][0];
        (c["registeredContainerInstancesCount"].clone(), c["runningTasksCount"].clone(), c["pendingTasksCount"].clone())
    };
    let describe = || world.ok(Op::DescribeClusters, json!({"include": ["STATISTICS"]}));
    let answer = describe().await;
    assert_eq!(counts(&answer), (json!(1), json!(0), json!(1)));
    agent.is(task, longshore_model::TaskStatus::Running).await;
    let answer = describe().await;
    assert_eq!(counts(&answer), (json!(1), json!(1), json!(0)));
    let statistics = answer["clusters"][0]["statistics"].as_array().expect("statistics");
    assert!(statistics.contains(&json!({"name": "runningEC2TasksCount", "value": "1"})), "{statistics:?}");
}

#[tokio::test]
async fn lists_go_on_page_by_page() {
    let world = World::new().await;
    let names: Vec<String> = (0..25).map(|n| format!("c-{n:02}")).collect();
    for name in &names {
        world.cluster(name).await;
    }
    world.call_in("eu", Op::CreateCluster, json!({"clusterName": "c-00"})).await.expect("creates");
    let mut found = Vec::new();
    let mut token = Value::Null;
    loop {
        let answer = world.ok(Op::ListClusters, json!({"maxResults": 10, "nextToken": token})).await;
        found.extend(answer["clusterArns"].as_array().expect("a list").clone());
        match answer.get("nextToken") {
            Some(next) => token = next.clone(),
            None => break,
        }
    }
    let expected: Vec<Value> =
        names.iter().map(|name| json!(format!("arn:aws:ecs:lab:123456789012:cluster/{name}"))).collect();
    assert_eq!(found, expected);
    for request in [json!({"nextToken": "nonsense"}), json!({"maxResults": 0}), json!({"maxResults": 101})] {
        let text = world.err(Op::ListClusters, request).await;
        assert!(text.starts_with("InvalidParameterException"), "{text}");
    }
    let answer = world.call_in("eu", Op::ListClusters, json!({"nextToken": token})).await;
    assert!(answer.is_err(), "a token of another region is not taken");
}

#[tokio::test]
async fn settings_and_configuration_are_kept_and_echoed() {
    let world = World::new().await;
    world.cluster("prod").await;
    let request = json!({
        "cluster": "prod",
        "settings": [{"name": "containerInsights", "value": "enabled"}],
        "configuration": {"executeCommandConfiguration": {"logging": "DEFAULT"}},
        "serviceConnectDefaults": {"namespace": "lab"},
    });
    world.ok(Op::UpdateCluster, request).await;
    let include = json!({"clusters": ["prod"], "include": ["SETTINGS", "CONFIGURATIONS", "TAGS"]});
    let answer = world.ok(Op::DescribeClusters, include).await;
    let cluster = &answer["clusters"][0];
    assert_eq!(cluster["settings"], json!([{"name": "containerInsights", "value": "enabled"}]));
    assert_eq!(cluster["configuration"], json!({"executeCommandConfiguration": {"logging": "DEFAULT"}}));
    assert_eq!(cluster["serviceConnectDefaults"], json!({"namespace": "lab"}));
    let off = json!({"cluster": "prod", "settings": [{"name": "containerInsights", "value": "disabled"}]});
    let answer = world.ok(Op::UpdateClusterSettings, off).await;
    assert_eq!(answer["cluster"]["settings"], json!([{"name": "containerInsights", "value": "disabled"}]));
    for bad in [json!([{"name": "x", "value": "y"}]), json!([{"name": "containerInsights", "value": "perhaps"}])] {
        let text = world.err(Op::UpdateClusterSettings, json!({"cluster": "prod", "settings": bad})).await;
        assert!(text.starts_with("InvalidParameterException: settings: "), "{text}");
    }
}

#[tokio::test]
async fn tags_of_every_kind_of_resource() {
    let world = World::new().await;
    world.cluster("default").await;
    let agent = world.host("default", facts(1024, 1024)).await;
    let definition = world.definition("web", json!({})).await;
    let task = world.run(json!({"taskDefinition": "web"})).await;
    let arns = [
        "arn:aws:ecs:lab:123456789012:cluster/default".to_owned(),
        agent.arn.clone(),
        definition,
        task["taskArn"].as_str().expect("an ARN").to_owned(),
    ];
    for arn in &arns {
        let tags = json!([{"key": "team", "value": "a"}, {"key": "stage", "value": "lab"}]);
        world.ok(Op::TagResource, json!({"resourceArn": arn, "tags": tags})).await;
        world.ok(Op::UntagResource, json!({"resourceArn": arn, "tagKeys": ["stage"]})).await;
        let answer = world.ok(Op::ListTagsForResource, json!({"resourceArn": arn})).await;
        assert_eq!(answer, json!({"tags": [{"key": "team", "value": "a"}]}), "{arn}");
        let text = world.err(Op::TagResource, json!({"resourceArn": arn, "tags": [{"key": "aws:x"}]})).await;
        assert!(text.contains("`aws:x`"), "{text}");
    }
    for arn in [
        "web",
        "arn:aws:ecs:lab:999999999999:cluster/default",
        "arn:aws:ecs:lab:123456789012:cluster/other",
        "arn:aws:ecs:lab:123456789012:task/other/0123456789abcdef0123456789abcdef",
    ] {
        let text = world.err(Op::ListTagsForResource, json!({"resourceArn": arn})).await;
        assert!(text.starts_with("InvalidParameterException"), "{text}");
    }
    let many: Vec<Value> = (0..51).map(|n| json!({"key": format!("k{n}"), "value": ""})).collect();
    world.err(Op::TagResource, json!({"resourceArn": arns[0], "tags": many})).await;
    let many: Vec<Value> = (0..50).map(|n| json!({"key": format!("k{n}"), "value": ""})).collect();
    let text = world.err(Op::TagResource, json!({"resourceArn": arns[0], "tags": many})).await;
    assert!(text.contains("50 tags"), "{text}");
}

#[tokio::test]
async fn account_settings_are_kept_and_echoed() {
    let world = World::new().await;
    let put = world.ok(Op::PutAccountSetting, json!({"name": "containerInsights", "value": "enabled"})).await;
    let root = "arn:aws:iam::123456789012:root";
    let setting = json!({"name": "containerInsights", "value": "enabled", "principalArn": root, "type": "user"});
    assert_eq!(put, json!({"setting": setting}));
    assert_eq!(world.ok(Op::ListAccountSettings, json!({})).await, json!({"settings": [setting]}));
    world.ok(Op::PutAccountSettingDefault, json!({"name": "awsvpcTrunking", "value": "enabled"})).await;
    let request = json!({"effectiveSettings": true, "name": "awsvpcTrunking"});
    let answer = world.ok(Op::ListAccountSettings, request).await;
    assert_eq!(answer["settings"][0]["value"], "enabled");
    let world = world.reopen().await;
    world.ok(Op::DeleteAccountSetting, json!({"name": "containerInsights"})).await;
    assert_eq!(world.ok(Op::ListAccountSettings, json!({})).await, json!({"settings": []}));
    let text = world.err(Op::PutAccountSetting, json!({"name": "nonsense", "value": "x"})).await;
    assert!(text.starts_with("InvalidParameterException"), "{text}");
}

#[tokio::test]
async fn what_there_is_not_is_told_without_a_fault() {
    let world = World::new().await;
    world.cluster("default").await;
    let mut unsupported = 0;
    for op in Op::ALL {
        match world.call(*op, json!({})).await {
            Err((code, _)) if code == "UnsupportedFeatureException" => unsupported += 1,
            Err((code, text)) => assert_ne!(code, "ServerException", "{}: {text}", op.name()),
            Ok(_) => {}
        }
    }
    assert_eq!(unsupported, Op::ALL.len() - 53, "operations that there are not");
    let answer = world.ok(Op::DescribeServices, json!({"services": ["web"]})).await;
    assert_eq!(answer["failures"][0]["reason"], "MISSING");
    assert_eq!(world.ok(Op::ListServices, json!({})).await, json!({"serviceArns": []}));
}

#[tokio::test]
async fn activations_are_listed_without_their_secrets_and_deleted() {
    let world = World::new().await;
    let token =
        world.token(json!({"Description": "rack 1", "Tags": [{"Key": "longshore:cluster", "Value": "lab"}]})).await;
    let list = world.ssm(SsmOperation::DescribeActivations, json!({})).await;
    let activation = &list["ActivationList"][0];
    assert_eq!(activation["ActivationId"], token.activation.as_str());
    assert_eq!(activation["RegistrationLimit"], 1000);
    assert_eq!(activation["Expired"], false);
    assert_eq!(activation["Tags"], json!([{"Key": "longshore:cluster", "Value": "lab"}]));
    assert!(!list.to_string().contains("lsj1"), "{list}");
    world.ssm(SsmOperation::DeleteActivation, json!({"ActivationId": token.activation})).await;
    let list = world.ssm(SsmOperation::DescribeActivations, json!({})).await;
    assert_eq!(list, json!({"ActivationList": []}));
    let joined = world.core.register_instance(&token, None, facts(1024, 1024), new_key()).await;
    assert!(matches!(joined, Err(longshore_core::JoinError::UnknownToken)), "{joined:?}");
}
