//! Same snapshot, same settings, same answer: the five examples are one policy.

use onsen_core::snapshot::{Setting, Snapshot};
use onsen_policy_build::Language;
use onsen_policy_runner::documents::{self, SnapshotDocument};
use onsen_policy_runner::{Engine, Limits, Policy};
use onsen_sim::account::InstanceType;
use serde_json::{Value, json};

use crate::project::{Project, cache};

/// Snapshots made from one seed.
const SNAPSHOTS: u64 = 300;
const NOW: u64 = 1_800_000_000_000;

fn policy(language: Language) -> Option<Policy> {
    let project = Project::of(language)?;
    let wasm = std::fs::read(project.component()).unwrap();
    let engine = Engine::new(Limits::default(), Some(cache().join("onsen/compiled"))).unwrap();
    Some(engine.load(&wasm).unwrap())
}

/// Holds one language's answers against those of Rust, whose toolchain is always there.
fn decides_like_rust(language: Language) {
    let Some(theirs) = policy(language) else {
        return;
    };
    let rust = policy(Language::Rust).unwrap();
    assert_eq!(theirs.metadata(), rust.metadata());
    let mut acted = 0;
    for seed in 0..SNAPSHOTS {
        let document = document(seed);
        let snapshot = snapshot(&document);
        let expected = rust.decide(&snapshot).unwrap();
        let answer = theirs.decide(&snapshot).unwrap();
        assert_eq!(
            answer.proposal, expected.proposal,
            "{language} and rust differ on snapshot {seed}:\n{document:#}"
        );
        acted += usize::from(!expected.proposal.actions.is_empty());
        let settings = &snapshot.settings;
        assert_eq!(
            theirs.configure(settings).unwrap(),
            rust.configure(settings).unwrap(),
            "problems with {settings:?}"
        );
    }
    // A set in which nothing happens would prove nothing.
    assert!((100..SNAPSHOTS as usize - 50).contains(&acted), "{acted}");
}

#[test]
fn go_decides_like_rust() {
    decides_like_rust(Language::Go);
}

#[test]
fn javascript_decides_like_rust() {
    decides_like_rust(Language::Js);
}

#[test]
fn python_decides_like_rust() {
    decides_like_rust(Language::Python);
}

#[test]
fn c_decides_like_rust() {
    decides_like_rust(Language::C);
}

#[test]
fn numbers_are_read_alike() {
    let texts = [
        "",
        "0",
        "+7",
        "007",
        "1024",
        "1025",
        "4294967297",
        "-1",
        " 5",
        "5 ",
        "1e3",
        "many",
    ];
    let settings = |text: &str| {
        vec![Setting {
            key: "KEEP_FREE".into(),
            value: text.into(),
        }]
    };
    let rust = policy(Language::Rust).unwrap();
    for language in [Language::Go, Language::Js, Language::Python, Language::C] {
        let Some(theirs) = policy(language) else {
            continue;
        };
        for text in texts {
            let mut snapshot = snapshot(&json!({}));
            snapshot.settings = settings(text);
            assert_eq!(
                theirs.decide(&snapshot).unwrap().proposal,
                rust.decide(&snapshot).unwrap().proposal,
                "{language} on {text:?}"
            );
            assert_eq!(
                theirs.configure(&settings(text)).unwrap(),
                rust.configure(&settings(text)).unwrap(),
                "{language} on {text:?}"
            );
        }
    }
}

fn snapshot(document: &Value) -> Snapshot {
    let document: SnapshotDocument = documents::read(&document.to_string()).unwrap();
    document
        .into_snapshot(|name| InstanceType::find(name).map(|kind| kind.limits()))
        .unwrap()
}

/// A made-up node: every field that the policy reads takes every kind of value.
fn document(seed: u64) -> Value {
    let mut dice = fastrand::Rng::with_seed(seed);
    let kind = *dice
        .choice(&["m5.large", "c5.xlarge", "m5.4xlarge", "m5.24xlarge"])
        .unwrap();
    let limits = InstanceType::find(kind).unwrap().limits();
    let unit = if dice.u8(..3) == 0 {
        "prefix"
    } else {
        "address"
    };
    let most = limits.enis.min(5);
    let enis: Vec<Value> = (0..dice.u32(1..=most))
        .map(|place| eni(&mut dice, place, limits.slots_per_eni.min(20)))
        .collect();
    let code = *dice
        .choice(&["", "", "RequestLimitExceeded", "InsufficientCidrBlocks"])
        .unwrap();
    let operation = *dice
        .choice(&["grow", "attach-eni", "release", "detach-eni"])
        .unwrap();
    let outcomes: Vec<Value> = (0..dice.u8(..3))
        .map(|_| json!({"at": NOW - dice.u64(..90_000), "operation": operation, "code": code}))
        .collect();
    let mut waiting: Vec<u64> = if dice.bool() {
        (0..dice.u8(..30)).map(|_| dice.u64(..60_000)).collect()
    } else {
        Vec::new()
    };
    waiting.sort_unstable_by(|a, b| b.cmp(a));
    let mut settings = serde_json::Map::new();
    if dice.bool() {
        let keep = *dice.choice(&["0", "1", "12", "60", "2000", "x"]).unwrap();
        settings.insert("KEEP_FREE".to_owned(), keep.into());
    }
    if dice.bool() {
        let idle = *dice.choice(&["0", "30", "600"]).unwrap();
        settings.insert("IDLE_SECONDS".to_owned(), idle.into());
    }
    json!({
        "now": NOW,
        "node": {
            "instance_type": kind,
            "max_pods": *dice.choice(&[0, 0, 17, 29, 110]).unwrap(),
            "schedulable": dice.u8(..8) > 0,
            "terminating": dice.u8(..20) == 0,
        },
        "unit": unit,
        "enis": enis,
        "demand": {
            "waiting": waiting.iter().map(|age| format!("{age}ms")).collect::<Vec<_>>(),
            "scheduled": if dice.bool() { dice.u32(..12) } else { 0 },
        },
        "subnets": [{
            "no_prefixes_at": if dice.u8(..4) == 0 { NOW - dice.u64(..3_600_000) } else { 0 },
        }],
        "ec2": {
            "grow_budget": dice.u32(..5),
            "release_budget": dice.u32(..5),
            "throttled_until": if dice.u8(..8) == 0 { NOW + dice.u64(..20_000) } else { 0 },
            "outcomes": outcomes,
        },
        "settings": settings,
    })
}

fn eni(dice: &mut fastrand::Rng, place: u32, slots: u32) -> Value {
    let ready = dice.u8(..8) > 0;
    let role = match (place, dice.u8(..12)) {
        (0, _) => "primary",
        (_, 0) => "trunk",
        (_, 1) => "efa",
        _ => "secondary",
    };
    let blocks: Vec<Value> = (0..dice.u32(..=slots))
        .map(|_| {
            let pod = dice.u8(..5) < 2;
            let cooling = !pod && dice.u8(..6) == 0;
            json!({
                "assigned": u32::from(pod),
                "cooling": u32::from(cooling),
                "idle_since": if pod { 0 } else { NOW - dice.u64(..400_000) },
            })
        })
        .collect();
    let mut eni = json!({
        "role": role,
        "state": if ready { "ready" } else { *dice.choice(&["attaching", "detaching"]).unwrap() },
        "excluded": dice.u8(..10) == 0,
        "since": NOW - dice.u64(..900_000),
        "idle_since": NOW - dice.u64(..900_000),
        "in_flight": if dice.u8(..6) == 0 { dice.u32(1..4) } else { 0 },
        "blocks": if ready { blocks } else { Vec::new() },
    });
    if place > 0 && dice.u8(..3) == 0 {
        eni["keep"] = Value::Null;
    }
    eni
}
