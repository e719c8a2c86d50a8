//! Sentences about a node that is written down here.

use super::*;

fn facts() -> Facts {
    let status = include_str!("../../testdata/status.json");
    let enis = r#"[
      {"id":"eni-1","role":"primary","phase":"ready","card":0,"device_index":0,"subnet":"subnet-1","mac":"02:00:00:00:00:01",
       "primary_address":"10.0.0.10","since":1000000,"free_slots":0,"keep":"primary","kept_until":null,"blocks":[
        {"cidr":"10.0.0.16/28","assigned":1,"cooling":1,"free":14,"hold":"","cools":[{"address":"10.0.0.18","until":1094500}]}]},
      {"id":"eni-2","role":"secondary","phase":"ready","card":0,"device_index":1,"subnet":"subnet-1","mac":"02:00:00:00:00:02",
       "primary_address":"10.0.0.11","since":1080000,"free_slots":1,"keep":"too-young","kept_until":1140000,"blocks":[
        {"cidr":"10.0.0.40/32","assigned":0,"cooling":0,"free":0,"hold":"leaving","cools":[]}]},
      {"id":"eni-3","role":"secondary","phase":"ready","card":0,"device_index":2,"subnet":"subnet-1","mac":"02:00:00:00:00:03",
       "primary_address":"10.0.0.12","since":1000000,"free_slots":9,"keep":null,"kept_until":null,"blocks":[]}]"#;
    let pods = r#"[{"namespace":"default","name":"web","container":"c","address":"10.0.0.17","eni":"eni-1","since":1084200}]"#;
    let ledger = r#"{"format":"onsen-recording","version":1,"contract":"c","daemon":"0.1.0"}
{"seq":1,"at":1000000,"kind":"start","daemon":"0.1.0"}
{"seq":2,"at":1083000,"kind":"decision","id":4,"trigger":"demand","decider":"chosen","policy":{"name":"p","version":"1","digest":"sha256:ab"},"snapshot_digest":"sha256:cd","reason":"a pod waits","accepted":["attach an ENI with 1 address in subnet-1: the others are full"],"dropped":[{"action":"detach eni-1","why":"primary"}],"micros":40,"fuel":900}
{"seq":3,"at":1084000,"kind":"call","decision":4,"action":"CreateNetworkInterface","eni":"eni-2","request":"a new ENI with 1 address in subnet-1","gave":"eni-2 with 1 blocks","code":null,"millis":900}
{"seq":4,"at":1084200,"kind":"add","pod":"default/web","waited":1300,"address":"10.0.0.17","eni":"eni-1","refused":null,"decision":4}
{"seq":5,"at":1085000,"kind":"del","pod":"default/old","address":"10.0.0.18"}
{"seq":6,"at":1086000,"kind":"add","pod":"default/late","waited":10000,"address":null,"eni":null,"refused":"node-full","message":"node-full: all 27 addresses are taken","decision":4}
{"seq":7,"at":1086500,"kind":"decision","id":5,"trigger":"timer","decider":"chosen","policy":{"name":"p","version":"1","digest":"sha256:ab"},"snapshot_digest":"sha256:ce","failure":{"kind":"trap","message":"the policy trapped"},"micros":40,"fuel":0}
{"seq":8,"at":1086600,"kind":"call","decision":4,"action":"DeleteNetworkInterface","eni":"eni-9","request":"eni-9","gave":"done","code":null,"millis":100}
"#;
    Facts {
        status: serde_json::from_str(status).unwrap(),
        enis: serde_json::from_str(enis).unwrap(),
        pods: serde_json::from_str(pods).unwrap(),
        records: recording::read(ledger).unwrap().records,
    }
}

fn holds(sentences: &[String], parts: &[&str]) {
    let text = sentences.join("\n");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_pod_that_waited_is_told_with_what_happened_meanwhile() {
    holds(
        &pod::explain(&facts(), "web"),
        &[
            "Pod default/web has had 10.0.0.17 on eni-1 for 5 s.",
            "It waited 1.3 s for its address",
            "Decision 4, 7 s ago, by p (a pod waited, or an address was taken or given back), did: attach an ENI",
            "EC2, 6 s ago: CreateNetworkInterface a new ENI with 1 address in subnet-1: eni-2 with 1 blocks in 0.9 s.",
        ],
    );
}

#[test]
fn a_pod_that_got_nothing_is_told_the_reason() {
    holds(
        &pod::explain(&facts(), "default/late"),
        &[
            "Pod default/late holds no address.",
            "It was refused 4 s ago after 10.0 s: node-full: all 27 addresses are taken.",
            "Decision 4",
        ],
    );
    holds(
        &pod::explain(&facts(), "kube-system/nobody"),
        &[
            "No sandbox of pod kube-system/nobody has asked",
            "begins 1 min ago",
        ],
    );
}

#[test]
fn an_eni_says_why_it_stays_and_when_it_may_go() {
    let facts = facts();
    holds(
        &eni::explain(&facts, "eni-1"),
        &[
            "never goes",
            "1 address held by pods, 1 cooling, 14 warm; 0 slots are empty",
        ],
    );
    holds(
        &eni::explain(&facts, "eni-2"),
        &[
            "It was made for this: Decision 4",
            "too young to be detached; it may go in 50.0 s.",
        ],
    );
    holds(
        &eni::explain(&facts, "eni-3"),
        &[
            "Nothing forbids to detach it: the policy keeps it. Decision 4, its newest, says: a pod waits.",
        ],
    );
    holds(
        &eni::explain(&facts, "eni-9"),
        &[
            "not an ENI of this node's pool",
            "DeleteNetworkInterface eni-9: done in 0.1 s",
        ],
    );
}

#[test]
fn an_address_says_who_has_it_or_when_it_is_free() {
    let facts = facts();
    let told = |address: &str| eni::explain_address(&facts, address.parse().unwrap());
    holds(
        &told("10.0.0.17"),
        &[
            "held by pod default/web, for 5 s now",
            "block 10.0.0.16/28 on eni-1",
        ],
    );
    holds(
        &told("10.0.0.18"),
        &[
            "no pod gets it before that ends, in 4.5 s.",
            "Pod default/old gave it back 5 s ago.",
        ],
    );
    holds(&told("10.0.0.19"), &["is warm"]);
    holds(&told("10.0.0.11"), &["own address of eni-2"]);
    holds(&told("10.0.0.40"), &["given back to the subnet"]);
    holds(&told("10.9.9.9"), &["on no ENI of this node"]);
}

#[test]
fn a_decision_is_told_with_what_was_done_dropped_and_answered() {
    let facts = facts();
    holds(
        &decision::explain(&facts, 4),
        &[
            "Decision 4 was put 7 s ago to the chosen policy, p 1",
            "Its reason: a pod waits.",
            "Done: attach an ENI",
            "Dropped: detach eni-1 (primary): the primary ENI is never detached.",
            "EC2, 6 s ago: CreateNetworkInterface",
            "40 us and 900 units of fuel",
        ],
    );
    holds(
        &decision::explain(&facts, 5),
        &["gave no answer (trap): the policy trapped."],
    );
    holds(
        &decision::explain(&facts, 99),
        &["Decision 99 is not known here"],
    );
}

#[test]
fn lists_are_cut() {
    let names: Vec<String> = ["a", "b", "c", "d"].map(String::from).into();
    assert_eq!(listed(&names[..1], 3), "a");
    assert_eq!(listed(&names[..2], 3), "a and b");
    assert_eq!(listed(&names, 2), "a, b and 2 more");
}
