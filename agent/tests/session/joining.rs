//! Joining, renewing, and what stands in the way.

use crate::control::{Control, DEADLINE, eventually, foreign_token, patient};
use crate::host::{Host, facts, identity_file, joined, options, quick};
use longshore_agent::config::{Config, Layer};
use longshore_agent::identity::{DialError, IdentityFileError, IdentityHandle, JoinError, Renewal, join};
use longshore_agent::membership::{MembershipError, may_join};
use longshore_agent::session::SessionState;
use longshore_control::agents::AgentsConfig;
use longshore_ecs_api::Operation;
use longshore_model::{Attribute, ClusterName, MAX_ATTRIBUTE_CHARS, MAX_ATTRIBUTES, MAX_HOST_TEXT_CHARS};
use serde_json::json;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_host_joins_once_and_keeps_its_identity_to_itself() {
    let control = Control::start(patient()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let identity = joined(&control, dir.path()).await.expect("joined");
    assert_eq!((identity.cluster.as_str(), identity.region.as_str()), ("default", "lab"));
    assert_eq!(identity.control, control.address.to_string());
    let file = identity_file(dir.path());
    assert_eq!(std::fs::metadata(&file.0).expect("there").mode() & 0o777, 0o600);
    assert!(!format!("{identity:?}").contains("PRIVATE"), "the key is not shown");
    let mut host = Host::start(IdentityHandle::new(identity), quick());
    host.connected().await;
    host.stop().await;

    std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o640)).expect("set");
    assert!(matches!(file.load(), Err(IdentityFileError::Exposed { mode: 0o640, .. })));
    std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o600)).expect("set");
    let text = std::fs::read_to_string(&file.0).expect("readable");
    for damaged in [text[..text.len() / 2].to_owned(), text.replace("\"format\": 1", "\"format\": 9"), "{}".to_owned()]
    {
        std::fs::write(&file.0, damaged).expect("written");
        let error = file.load().expect_err("refused").to_string();
        assert!(error.contains("identity.json") && !error.contains("PRIVATE"), "{error}");
    }
}

#[tokio::test]
async fn wrong_spent_and_expired_tokens_are_told_apart() {
    let control = Control::start(patient()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = identity_file(dir.path());
    let spent = control.token(1).await;
    join(&file, options(control.address, spent.clone()), facts()).await.expect("joined");
    std::fs::remove_file(&file.0).expect("removed");
    let good = control.token(1).await;
    let mut wrong = good.clone();
    let secret = wrong.len() - 64 - 10;
    wrong.replace_range(secret..=secret, if &wrong[secret..=secret] == "0" { "1" } else { "0" });
    for (token, words) in [(wrong, "not valid"), (spent, "used by 1")] {
        let error = join(&file, options(control.address, token), facts()).await.expect_err(words);
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(matches!(error, JoinError::Refused { .. }) && error.exit_code() == 3);
        assert!(!file.0.exists(), "nothing is written");
    }
    let expired = control.token(1).await;
    control.advance(Duration::from_secs(2 * 86_400));
    let error = join(&file, options(control.address, expired), facts()).await.expect_err("refused");
    assert!(error.to_string().contains("expired") && error.exit_code() == 3, "{error}");
    let good = control.token(1).await;
    let mut elsewhere = options(control.address, good.clone());
    elsewhere.cluster = Some(ClusterName::new("nowhere").expect("a name"));
    let error = join(&file, elsewhere, facts()).await.expect_err("refused").to_string();
    assert!(error.contains("nowhere"), "{error}");
    // None of them cost a use of the good token.
    join(&file, options(control.address, good), facts()).await.expect("joined");
}

#[tokio::test]
async fn an_answer_that_was_lost_costs_no_use_of_the_token() {
    let control = Control::start(patient()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = identity_file(dir.path());
    let token = control.token(1).await;
    // What stands there cannot be replaced by a file, so the answer is lost as soon as it came.
    std::fs::create_dir_all(&file.0).expect("made");
    let error = join(&file, options(control.address, token.clone()), facts()).await.expect_err("it cannot be kept");
    let JoinError::Save { instance, .. } = &error else { panic!("{error}") };
    assert!(error.may_pass() && error.exit_code() == 1, "{error}");
    let key = file.0.with_file_name("joining-key.pem");
    assert_eq!(std::fs::metadata(&key).expect("kept for the next try").mode() & 0o777, 0o600);
    std::fs::remove_dir(&file.0).expect("empty");
    let joined = join(&file, options(control.address, token.clone()), facts()).await.expect("joined");
    assert_eq!(joined.instance.to_string(), *instance);
    assert!(!key.exists(), "it is in the identity now");
    let mut host = Host::start(IdentityHandle::new(joined), quick());
    host.connected().await;
    let list = control.ecs(Operation::ListContainerInstances, json!({})).await;
    assert_eq!(list["containerInstanceArns"].as_array().map(Vec::len), Some(1), "{list}");
    // Joining anew takes a new key, and that another use. A key that others can read is not used, nor is a damaged one.
    let spent = async || {
        let error = join(&file, options(control.address, token.clone()), facts()).await.expect_err("spent");
        assert!(error.to_string().contains("used by 1"), "{error}");
        std::fs::read_to_string(&key).expect("kept for the next try")
    };
    let first = spent().await;
    assert_eq!(spent().await, first);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("set");
    assert_ne!(spent().await, first);
    std::fs::write(&key, "nonsense").expect("written");
    assert!(spent().await.contains("PRIVATE KEY"));
}

#[tokio::test]
async fn as_much_as_a_host_may_say_of_itself_is_taken() {
    let control = Control::start(patient()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = identity_file(dir.path());
    let mut most = facts();
    most.hostname = "é".repeat(MAX_HOST_TEXT_CHARS);
    most.attributes = (0..MAX_ATTRIBUTES)
        .map(|n| Attribute { name: format!("{n:0128}"), value: Some("é".repeat(MAX_ATTRIBUTE_CHARS)) })
        .collect();
    join(&file, options(control.address, control.token(1).await), most.clone()).await.expect("joined");
    let more = Attribute { name: "more".to_owned(), value: None };
    most.attributes = most.attributes.iter().cloned().chain([more]).collect();
    let error = join(&file, options(control.address, control.token(1).await), most).await.expect_err("refused");
    assert!(error.to_string().contains("`attributes`"), "{error}");
}

#[tokio::test]
async fn a_token_is_shown_to_nobody_but_its_own_control_plane() {
    let control = Control::start(patient()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = identity_file(dir.path());
    let error = join(&file, options(control.address, foreign_token()), facts()).await.expect_err("refused");
    assert!(matches!(error, JoinError::Dial(DialError::WrongAuthority { .. })), "{error}");
    assert_eq!(error.exit_code(), 3);
    for (text, address) in [("lsj1.a.b", control.address.to_string()), (&foreign_token(), "nonsense".to_owned())] {
        let error = join(&file, options(address, text.to_owned()), facts()).await.expect_err("refused");
        assert!(!error.may_pass() && !error.to_string().contains(text), "{error}");
    }
    // Nobody there is worth another try.
    let error = join(&file, options("127.0.0.1:1", foreign_token()), facts()).await.expect_err("refused");
    assert!(error.may_pass() && error.exit_code() == 1, "{error}");
}

#[tokio::test]
async fn certificates_of_seconds_renew_themselves_and_serve_the_next_connection() {
    let config = AgentsConfig { agent_certificate: Duration::from_secs(8), ..patient() };
    let mut control = Control::start(config).await;
    let dir = tempfile::tempdir().expect("a directory");
    let handle = IdentityHandle::new(joined(&control, dir.path()).await.expect("joined"));
    let first = handle.current().expires();
    let shutdown = CancellationToken::new();
    let renewal = tokio::spawn(Renewal::new(identity_file(dir.path()), handle.clone()).run(shutdown.clone()));
    let mut host = Host::start(handle.clone(), quick());
    host.connected().await;
    // Beyond the first certificate's life, and the second's.
    eventually("renewed", || async { handle.current().expires() > first + Duration::from_secs(6) }).await;
    eventually("over", || async { std::time::SystemTime::now() > first }).await;
    assert!(matches!(*host.state.borrow(), SessionState::Connected { .. }), "a renewal does not cut the stream");
    control.stop().await;
    host.until("cut", |state| !matches!(state, SessionState::Connected { .. })).await;
    control.restart().await;
    host.connected().await;
    let kept = identity_file(dir.path()).load().expect("readable").expect("there");
    assert!(kept.expires() > first, "a restart of the agent has the renewed one");
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, renewal).await.expect("ends").expect("no panic");
}

#[tokio::test]
async fn a_certificate_that_ran_out_needs_a_person() {
    let control = Control::start(AgentsConfig { agent_certificate: Duration::from_secs(1), ..patient() }).await;
    let dir = tempfile::tempdir().expect("a directory");
    let identity = joined(&control, dir.path()).await.expect("joined");
    let over = identity.expires() + Duration::from_millis(1100);
    eventually("over", || async { std::time::SystemTime::now() > over }).await;
    let mut host = Host::start(IdentityHandle::new(identity), quick());
    let refused = host.until("refused", |state| matches!(state, SessionState::Refused { .. })).await;
    assert!(format!("{refused:?}").contains("join again"), "{refused:?}");
}

#[tokio::test]
async fn a_member_joins_again_only_when_it_is_none_any_more_or_somebody_insists() {
    let mut control = Control::start(patient()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let config = Config::from_layer(Layer { data_dir: Some(dir.path().join("agent")), ..Layer::default() });
    let config = config.expect("usable");
    may_join(&config, false).await.expect("it has not joined");
    let identity = joined(&control, dir.path()).await.expect("joined");
    let instance = identity.instance;
    let mut host = Host::start(IdentityHandle::new(identity), quick());
    host.connected().await;

    let member = may_join(&config, false).await.expect_err("a member");
    assert!(matches!(&member, MembershipError::Already { instance: named, .. } if *named == instance), "{member}");
    let text = member.to_string();
    assert!(text.contains("already joined cluster `default`") && text.contains(&instance.to_string()), "{text}");
    assert!(text.contains("--again") && member.exit_code() == 3, "{text}");
    may_join(&config, true).await.expect("somebody insists");
    assert!(matches!(*host.state.borrow(), SessionState::Connected { .. }), "asking cuts no session");
    control.stop().await;
    let unasked = may_join(&config, false).await.expect_err("nobody says");
    assert!(matches!(unasked, MembershipError::Unasked { .. }) && unasked.exit_code() == 1, "{unasked}");
    control.restart().await;

    let request = json!({"containerInstance": instance.to_string(), "force": true});
    control.ecs(Operation::DeregisterContainerInstance, request).await;
    may_join(&config, false).await.expect("it was deregistered");
    assert_ne!(joined(&control, dir.path()).await.expect("joined").instance, instance);
}
