//! A policy that misbehaves as its setting `MISBEHAVE` says, so that tests can see what the host
//! does about it.
//!
//! In: a snapshot. Out: whatever is wrong with policies, one thing at a time; without the setting,
//! a decision to do nothing.
#![cfg_attr(target_arch = "wasm32", no_std)]
extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hint::black_box;

use onsen_policy_sdk::log::{Level, write};
use onsen_policy_sdk::{
    Action, Decision, Draft, Metadata, Placement, Policy, Request, SettingKind, SettingSpec, View,
};

/// The setting.
pub const KEY: &str = "MISBEHAVE";

/// The policy.
pub struct Misbehave;

impl Policy for Misbehave {
    fn metadata() -> Metadata {
        Metadata {
            name: "misbehave".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            doc: "Misbehaves as its setting says.".into(),
            settings: Vec::from([SettingSpec {
                key: KEY.into(),
                kind: SettingKind::Text,
                default: String::new(),
                min: None,
                max: None,
                doc: "loop, recurse, memory, panic, refuse, chatter, huge or nonsense".into(),
            }]),
        }
    }

    fn decide(view: &View<'_>) -> Result<Decision, String> {
        let setting = view.settings().iter().find(|setting| setting.key == KEY);
        let way = setting.map_or("", |setting| setting.value.as_str());
        let mut reason = String::from("nothing to do");
        match way {
            "loop" => spin(),
            "recurse" => reason = format!("{}", recurse(1)),
            "memory" => hoard(),
            #[expect(clippy::panic, reason = "that is what is asked for")]
            "panic" => panic!("asked to panic"),
            "refuse" => return Err("asked to refuse".into()),
            "chatter" => {
                for line in 0..10_000 {
                    write(Level::Info, &format!("line {line}"));
                }
            }
            "huge" => reason = "x".repeat(8 << 20),
            _ => {}
        }
        let mut decision = Draft::default().finish(Placement::Pack, reason);
        if way == "nonsense" {
            decision.actions = nonsense();
        }
        Ok(decision)
    }
}

onsen_policy_sdk::export_policy!(Misbehave);

fn spin() {
    let mut turn = 0u64;
    loop {
        turn = black_box(turn.wrapping_add(1));
        if turn == u64::MAX {
            return;
        }
    }
}

fn recurse(depth: u64) -> u64 {
    let deeper = if black_box(depth) == u64::MAX {
        0
    } else {
        recurse(depth + 1)
    };
    black_box(deeper) + depth
}

fn hoard() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(Vec::with_capacity(1 << 20));
        if black_box(&hoard).len() == usize::MAX {
            return;
        }
    }
}

/// Indexes that point nowhere, counts that fit nowhere.
fn nonsense() -> Vec<Action> {
    let detach = Request::DetachEni(u32::MAX);
    (0..1_000)
        .map(|_| Action {
            request: detach.clone(),
            reason: "nonsense".into(),
        })
        .collect()
}
