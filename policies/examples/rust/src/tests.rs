//! The policy on a toy pool: no host, no Wasm.
use onsen_policy_sdk::testing::Pool as Node;
use onsen_policy_sdk::{Request, SECOND, Unit};

use super::*;

/// A node with 3 ENIs of 9 slots, as an m5.large has.
fn node() -> Node {
    Node::new(3, 9, Unit::Address)
}

#[test]
fn an_empty_node_gets_what_is_to_be_kept_free_in_one_step() {
    let node = node().with("KEEP_FREE", 5);
    let decision = decide(&View::new(&node.snapshot()));
    assert_eq!(decision.actions.len(), 1);
    assert!(matches!(&decision.actions[0].request, Request::Grow(grow) if grow.count == 5));
}

#[test]
fn waiting_pods_are_covered_with_a_new_eni_when_the_first_is_full() {
    let mut node = node();
    for _ in 0..12 {
        node.add_pod();
    }
    node.rest(|view| Ok(decide(view)));
    assert_eq!((node.waiting, node.assigned(), node.free()), (0, 12, 4));
    assert_eq!(node.enis.len(), 2);
}

#[test]
fn what_is_idle_goes_back_and_the_pool_comes_to_rest() {
    let mut node = node();
    for _ in 0..20 {
        node.add_pod();
    }
    node.rest(|view| Ok(decide(view)));
    for _ in 0..20 {
        node.delete_pod();
    }
    node.rest(|view| Ok(decide(view)));
    assert_eq!((node.enis.len(), node.free()), (1, 4));
}

#[test]
fn a_refusal_is_waited_out() {
    let mut node = node();
    node.no_addresses = true;
    node.round(|view| Ok(decide(view)));
    let decision = decide(&View::new(&node.snapshot()));
    assert!(decision.actions.is_empty(), "{decision:?}");
    assert_eq!(decision.wake_after, Some(25 * SECOND));
}

#[test]
fn a_node_that_shuts_down_is_left_alone() {
    let mut snapshot = node().snapshot();
    snapshot.node.terminating = true;
    assert!(decide(&View::new(&snapshot)).actions.is_empty());
}
