//! Joining, renewing, and who may call what.

use super::fleet::{DEADLINE, Token};
use super::peer::{Credential, Port, hello, patient, request};
use crate::agents::AgentsConfig;
use crate::pki;
use longshore_core::JoinToken;
use longshore_proto::v1;
use longshore_proto::v1::agent_message::Kind;
use longshore_proto::v1::agent_service_client::AgentServiceClient;
use rustls::pki_types::CertificateDer;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic::transport::Channel;

const HOUR: Duration = Duration::from_secs(3600);

fn token(port: &Port, token: Token) -> String {
    let made = JoinToken::random(port.authority.fingerprint());
    port.fleet.change(|state| state.tokens.insert(made.activation.clone(), token));
    made.reveal()
}

fn join(token: String) -> v1::JoinRequest {
    let csr = request().1.into();
    v1::JoinRequest { token, csr, facts: Some(v1::HostFacts::default()), cluster: String::new() }
}

#[tokio::test]
async fn a_token_gives_an_identity_that_sessions_take() {
    let port = Port::start(patient()).await;
    let (key, csr) = request();
    let message = v1::JoinRequest { csr: csr.into(), ..join(token(&port, Token::Uses(1))) };
    let joined = port.dial(None).await.join(message).await.expect("joined").into_inner();
    assert_eq!((joined.cluster.as_str(), joined.region.as_str()), ("default", "lab"));
    assert_eq!(joined.account_id, "123456789012");
    assert!(joined.instance_arn.ends_with(&joined.instance_id));
    let certificate = joined.certificate.expect("one");
    assert_eq!(certificate.authorities, [port.authority.certificate().to_vec()]);
    let leaf = CertificateDer::from(certificate.chain[0].to_vec());
    assert_eq!(pki::instance_of(&leaf).map(|id| id.to_string()), Ok(joined.instance_id));
    // The certificate renews itself, for the same instance and another key.
    let (_, csr) = request();
    let renew = v1::RenewRequest { csr: csr.into() };
    let renewed = port.dial(Some((leaf.clone(), key))).await.renew(renew).await.expect("renewed").into_inner();
    let renewed = CertificateDer::from(renewed.certificate.expect("one").chain[0].to_vec());
    assert_ne!(renewed, leaf);
    assert_eq!(pki::instance_of(&renewed), pki::instance_of(&leaf));
}

#[tokio::test]
async fn a_join_whose_answer_was_lost_is_answered_again() {
    let port = Port::start(patient()).await;
    let message = join(token(&port, Token::Uses(1)));
    let leaf = async |message: v1::JoinRequest| {
        let joined = port.dial(None).await.join(message).await.expect("joined").into_inner();
        let leaf = CertificateDer::from(joined.certificate.expect("one").chain[0].to_vec());
        assert_eq!(pki::instance_of(&leaf).map(|id| id.to_string()), Ok(joined.instance_id.clone()));
        (joined.instance_id, leaf)
    };
    let (first, certificate) = leaf(message.clone()).await;
    let (second, another) = leaf(message.clone()).await;
    assert_eq!(first, second);
    assert_ne!(certificate, another, "a certificate of its own");
    assert_eq!(port.fleet.lock().instances.len(), 1);
    // The token alone is not enough.
    let other = v1::JoinRequest { csr: request().1.into(), ..message };
    let status = port.dial(None).await.join(other).await.expect_err("spent");
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_refused_join_says_why_and_changes_nothing() {
    let port = Port::start(patient()).await;
    let unknown = JoinToken::random(port.authority.fingerprint()).reveal();
    let good = token(&port, Token::Uses(1));
    let facts = v1::HostFacts { reserved_tcp: vec![70_000], ..v1::HostFacts::default() };
    let huge = v1::HostFacts { agent_hash: "x".repeat(300 * 1024), ..v1::HostFacts::default() };
    let cases = [
        (join("nonsense".to_owned()), Code::InvalidArgument, "`token`"),
        (join(unknown), Code::Unauthenticated, "not valid"),
        (join(token(&port, Token::Uses(0))), Code::PermissionDenied, "used by 1"),
        (join(token(&port, Token::Expired)), Code::PermissionDenied, "expired"),
        (join(token(&port, Token::OtherCluster)), Code::FailedPrecondition, "prod"),
        (v1::JoinRequest { csr: b"nonsense".to_vec().into(), ..join(good.clone()) }, Code::InvalidArgument, "`csr`"),
        (v1::JoinRequest { facts: None, ..join(good.clone()) }, Code::InvalidArgument, "`facts`"),
        (v1::JoinRequest { facts: Some(facts), ..join(good.clone()) }, Code::InvalidArgument, "reserved_tcp[0]"),
        (v1::JoinRequest { cluster: "a b".to_owned(), ..join(good.clone()) }, Code::InvalidArgument, "`cluster`"),
        (v1::JoinRequest { facts: Some(huge), ..join(good.clone()) }, Code::ResourceExhausted, "262144"),
    ];
    for (message, code, words) in cases {
        let status = port.dial(None).await.join(message).await.expect_err(words);
        assert_eq!(status.code(), code, "{words}: {status}");
        assert!(status.message().contains(words), "{words}: {status}");
    }
    assert!(port.fleet.lock().instances.is_empty());
    // None of them cost a use of the good token.
    port.dial(None).await.join(join(good)).await.expect("joined");
}

#[tokio::test]
async fn sessions_and_renewals_need_a_certificate_of_ours() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let mut anonymous = port.dial(None).await;
    let renewal = anonymous.renew(v1::RenewRequest::default()).await.expect_err("refused");
    assert_eq!(renewal.code(), Code::Unauthenticated);
    let session = anonymous.session(tokio_stream::empty()).await.expect_err("refused");
    assert_eq!(session.code(), Code::Unauthenticated);

    let elsewhere = Port::start(patient()).await;
    let foreign = elsewhere.credential(instance, HOUR);
    let expired = port.credential(instance, Duration::ZERO);
    // In TLS 1.3 the client hears of the refusal only after it is done itself, so either step may fail.
    let is_refused = async |(certificate, key): &Credential| {
        let Ok(mut client) = port.try_dial(Some((certificate.clone(), key.clone_key()))).await else { return true };
        let refused = client.renew(v1::RenewRequest::default()).await.expect_err("there is no request in it");
        matches!(refused.code(), Code::Unavailable | Code::Unknown | Code::Internal)
    };
    assert!(is_refused(&foreign).await);
    // The last second of a certificate counts as within it.
    let over = async {
        while !is_refused(&expired).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, over).await.expect("it is expired");
    assert!(port.fleet.lock().instances[&instance].hellos.is_empty());
}

#[tokio::test]
async fn a_deregistered_instance_gets_no_new_certificate() {
    let port = Port::start(patient()).await;
    let instance = port.fleet.add_instance();
    let mut client = port.dial(Some(port.credential(instance, HOUR))).await;
    let renew = || v1::RenewRequest { csr: request().1.into() };
    client.renew(renew()).await.expect("renewed");
    // Without a request it is a question.
    let member = client.renew(v1::RenewRequest::default()).await.expect_err("no request");
    assert_eq!(member.code(), Code::InvalidArgument);
    port.fleet.change(|state| state.instances.remove(&instance));
    // The same answer to everything, remembered or forgotten.
    for swept in [false, true] {
        port.fleet.change(|state| state.swept = swept);
        let mut line = port.line(instance).await;
        line.say(Kind::Hello(hello())).await;
        let refusals = [
            client.renew(renew()).await.expect_err("refused"),
            client.renew(v1::RenewRequest::default()).await.expect_err("refused"),
            line.end().await,
        ];
        for refused in refusals {
            assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
            assert!(refused.message().contains("join again with a new token"), "{refused}");
        }
    }
}

#[tokio::test]
async fn hosts_that_join_take_no_place_from_members() {
    let port = Port::start(AgentsConfig { max_agents: 1, max_joining: 2, ..patient() }).await;
    let ask = async |client: &mut AgentServiceClient<Channel>| {
        client.renew(v1::RenewRequest::default()).await.expect_err("no certificate").code()
    };
    let mut idle = [port.dial(None).await, port.dial(None).await];
    for client in &mut idle {
        assert_eq!(ask(client).await, Code::Unauthenticated);
    }
    let (_line, _, _) = port.session(port.fleet.add_instance()).await;
    // There is no more room for joining. TLS was made by then, so either step may fail.
    if let Ok(mut third) = port.try_dial(None).await {
        assert_ne!(ask(&mut third).await, Code::Unauthenticated);
    }
    drop(idle);
    let joined = async {
        loop {
            if let Ok(mut client) = port.try_dial(None).await
                && client.join(join(token(&port, Token::Uses(1)))).await.is_ok()
            {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, joined).await.expect("there is room again");
}

#[tokio::test]
async fn an_agent_takes_one_place_with_all_its_connections() {
    let config = AgentsConfig { max_agents: 1, handshake_timeout: Duration::from_secs(3), ..patient() };
    let port = Port::start(config).await;
    let (one, other) = (port.fleet.add_instance(), port.fleet.add_instance());
    let renew = || v1::RenewRequest { csr: request().1.into() };
    let line = port.session(one).await;
    for _ in 0..3 {
        let mut client = port.dial(Some(port.credential(one, HOUR))).await;
        client.renew(renew()).await.expect("it has a place");
        client.put_logs(v1::LogBatch::default()).await.expect("it has a place");
    }
    // TLS was made by then, so either step may fail.
    if let Ok(mut client) = port.try_dial(Some(port.credential(other, HOUR))).await {
        client.renew(renew()).await.expect_err("there is no second place");
    }
    drop(line);
    let admitted = async {
        loop {
            if let Ok(mut client) = port.try_dial(Some(port.credential(other, HOUR))).await
                && client.renew(renew()).await.is_ok()
            {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, admitted).await.expect("there is room again");
}

#[tokio::test]
async fn whoever_does_not_join_is_not_kept() {
    let patience = Duration::from_secs(3);
    let config = AgentsConfig { join_timeout: patience, handshake_timeout: patience, ..patient() };
    let port = Port::start(config).await;
    // One that never begins TLS, one that talks nonsense, and one that makes TLS and then nothing.
    let mut silent = tokio::net::TcpStream::connect(port.address).await.expect("connected");
    let mut noisy = tokio::net::TcpStream::connect(port.address).await.expect("connected");
    noisy.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    for stream in [&mut silent, &mut noisy] {
        let mut heard = Vec::new();
        let end = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut heard)).await.expect("ended in time");
        assert!(end.is_ok() || end.is_err(), "closed, one way or the other");
    }
    let mut idle = port.dial(None).await;
    let kept = async {
        while idle.renew(v1::RenewRequest::default()).await.expect_err("no certificate").code() == Code::Unauthenticated
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, kept).await.expect("the connection was ended");
    // Others are served all the same.
    let instance = port.fleet.add_instance();
    port.session(instance).await;
}
