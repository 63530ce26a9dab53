//! What a crash leaves behind, and that it goes.

use crate::world::{Host, Place, Task, group, network, rule, sh, v4, world};
use longshore_model::network::{Bandwidth, GroupId, Traffic};
use longshore_net::{AdmitError, DismissError, Observed, Step, Steps, UnwireError, WireError};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

/// Carries a task through its life until it is cut.
async fn live(host: &Host, task: &Task) {
    let fabric = &host.fabric;
    match fabric.wire(&task.wire, &task.pause()).await {
        Err(WireError::Cut(_)) => return,
        wired => wired.expect("wired"),
    };
    let limits = Bandwidth { ingress_bps: Some(1_000_000), egress_bps: Some(1_000_000) };
    fabric.set_limits(task.eni(), limits).await.expect("limited");
    match fabric.admit(&task.claim).await {
        Err(AdmitError::Cut(_)) => return,
        admitted => admitted.expect("admitted"),
    }
    match fabric.dismiss(&task.claim).await {
        Err(DismissError::Cut(_)) => return,
        dismissed => dismissed.expect("dismissed"),
    }
    match fabric.unwire(task.eni()).await {
        Err(UnwireError::Cut(_)) => {}
        unwired => unwired.expect("unwired"),
    }
}

/// Steps that are cut where the first says.
fn cuttable() -> (Arc<Mutex<Option<Step>>>, Steps) {
    let cut_at: Arc<Mutex<Option<Step>>> = Arc::default();
    let told = cut_at.clone();
    let steps = Steps::told(move |step| match *told.lock().expect("a lock") {
        Some(cut) if cut == step => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    (cut_at, steps)
}

#[test]
fn whatever_step_is_the_last_nothing_stays() {
    world(async || {
        let (cut_at, steps) = cuttable();
        let host = Host::made(network(), 1, &Place::Here, |config| config.steps = steps).await;
        let (all, member) = (GroupId::random(), GroupId::random());
        let groups = BTreeMap::from([(all, group(&[rule(Traffic::All, v4("0.0.0.0/0"))])), (member, group(&[]))]);
        host.fabric.set_groups(&groups).await.expect("groups");
        let bystander = host.task(200, &[all]).await;
        bystander.listen(80).await;
        let known = BTreeSet::from([bystander.eni()]);
        // Names that look like ours a little.
        sh("touch /run/netns/ls-notours /run/netns/cni-0123456789abcd; \
             ip link add t0123456789abcd type veth peer name p0");
        let before = host.fabric.observe().await.expect("observed");
        // Chains are listed in the order in which they were made.
        let table = || host.fabric_sh("nft list table inet ls_fab | sed 's/packets [0-9]* bytes [0-9]*//' | sort");
        let table_before = table();

        for (step, last) in Step::ALL.into_iter().zip(31..) {
            *cut_at.lock().expect("a lock") = Some(step);
            let mut task = Task::new(&host.lease, last);
            task.claim.groups = [all, member].into();
            live(&host, &task).await;
            *cut_at.lock().expect("a lock") = None;
            // The agent ends with its memory; another one finds what is there. The pause container may be gone or not.
            if last % 2 == 0 {
                task.end();
            }
            let again = longshore_net::Fabric::open(host.config.clone()).await.expect("taken over");
            again.remove_strays(&known).await.expect("removed");
            assert_eq!(again.remove_strays(&known).await.expect("removed"), [], "{step:?}: the second pass");
            again.set_groups(&groups).await.expect("groups");
            assert_eq!(again.observe().await.expect("observed"), before, "{step:?}");
            assert_eq!(table(), table_before, "{step:?}");
            let links = host.fabric_sh("ip -o link; ip route; ip neigh");
            assert!(
                !links.contains(&task.eni().digits()[..14]) && !links.contains(&task.ip().to_string()),
                "{step:?}: {links}"
            );
            assert!(!host.fabric.names().sandbox_netns(task.eni()).exists(), "{step:?}");
        }
        // Each of them, done again from where it was cut, ends well.
        for (step, last) in Step::ALL.into_iter().zip(51..) {
            *cut_at.lock().expect("a lock") = Some(step);
            let mut task = Task::new(&host.lease, last);
            task.claim.groups = [all].into();
            live(&host, &task).await;
            *cut_at.lock().expect("a lock") = None;
            live(&host, &task).await;
            assert_eq!(host.fabric.observe().await.expect("observed"), before, "{step:?}");
        }
        bystander.sh("ip addr show eth0");
        crate::world::reaches(&crate::world::here(), bystander.ip(), 80).await;
        sh("test -e /run/netns/ls-notours; test -e /run/netns/cni-0123456789abcd; ip link show t0123456789abcd");
    });
}

/// A link tells whether both of its sides were set up, and a wiring that goes on from there sets them up.
#[test]
fn a_link_that_is_half_set_up_is_not_known_as_its_interfaces() {
    world(async || {
        let (cut_at, steps) = cuttable();
        let host = Host::made(network(), 1, &Place::Here, |config| config.steps = steps).await;
        let cases = [(Step::Linked, false), (Step::SandboxSet, false), (Step::FabricSet, true)];
        for ((step, known), last) in cases.into_iter().zip(11..) {
            let task = Task::new(&host.lease, last);
            *cut_at.lock().expect("a lock") = Some(step);
            let cut = host.fabric.wire(&task.wire, &task.pause()).await.expect_err("cut");
            assert!(matches!(cut, WireError::Cut(_)), "{cut:?}");
            *cut_at.lock().expect("a lock") = None;
            let said = async || {
                let observed = host.fabric.observe().await.expect("observed");
                observed.links[&task.eni().into()].iter().map(|link| link.eni).collect::<Vec<_>>()
            };
            assert_eq!(said().await, [known.then_some(task.eni())], "{step:?}");
            host.fabric.wire(&task.wire, &task.pause()).await.expect("wired");
            assert_eq!(said().await, [Some(task.eni())], "{step:?}");
        }
    });
}

#[test]
fn strays_are_removed_in_order_and_named() {
    world(async || {
        let host = Host::here().await;
        let all = crate::world::open_group(&host).await;
        let (a, b) = (host.task(11, &[all]).await, host.task(12, &[all]).await);
        let pooled = host.wired(13).await;
        b.listen(80).await;
        let observed = host.fabric.observe().await.expect("observed");
        assert_eq!((observed.sandboxes.len(), observed.links.len(), observed.elements.len()), (3, 3, 2));
        let of_a = &observed.elements[&a.eni().into()];
        assert_eq!((&of_a.ipv4, of_a.receives, of_a.sends), (&BTreeSet::from([a.ip()]), true, true));
        assert_eq!(observed.links[&pooled.eni().into()][0].eni, Some(pooled.eni()));
        let gone = host.fabric.remove_strays(&BTreeSet::from([b.eni(), pooled.eni()])).await.expect("removed");
        let gone: Vec<String> = gone.iter().map(|stray| format!("{stray:?}")).collect();
        let stem = longshore_net::EniStem::from(a.eni());
        assert_eq!(gone, [format!("Elements({stem})"), format!("Sandbox({stem})"), format!("Link(\"t{stem}\")")]);
        // Its repair does not bring it back.
        assert_eq!(host.fabric.repair().await.expect("repaired"), []);
        let members = host.fabric_sh(&format!("nft list set inet ls_fab m4_{}", all.digits()));
        assert!(!members.contains("10.77.1.11") && members.contains("10.77.1.12"), "{members}");
        assert_eq!(host.fabric.remove_strays(&BTreeSet::new()).await.expect("removed").len(), 7);
        assert_eq!(host.fabric.observe().await.expect("observed"), Observed::default());
        assert_eq!(host.fabric.remove_strays(&BTreeSet::new()).await.expect("removed"), []);
    });
}
