//! A policy as somebody wrote it for 0.1.0: an address for each pod that waits.
#![no_std]
extern crate alloc;

use alloc::{format, string::String, vec, vec::Vec};

use exports::onsen::policy::policy::Guest;
use onsen::policy::log;
use onsen::policy::types::*;

mod runtime;

wit_bindgen::generate!({ path: "wit", world: "ipam-policy" });

struct Policy;

impl Guest for Policy {
    fn describe() -> Metadata {
        Metadata {
            name: "first".into(),
            version: "1.0.0".into(),
            doc: "Made for 0.1.0.".into(),
            settings: Vec::new(),
        }
    }

    fn configure(settings: Vec<Setting>) -> Result<(), Vec<Problem>> {
        let unknown = |it: Setting| Problem { key: it.key, message: "is not read".into() };
        let problems: Vec<Problem> = settings.into_iter().map(unknown).collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn decide(snapshot: Snapshot) -> Result<Decision, String> {
        let waiting = snapshot.demand.waiting.len() as u32;
        log::write(log::Level::Info, "asked");
        let grow = Grow { eni: 0, unit: snapshot.unit, count: waiting };
        Ok(Decision {
            actions: vec![Action { request: Request::Grow(grow), reason: "for them".into() }],
            reason: format!("{waiting} pods wait"),
            wake_after: None,
            memo: snapshot.memo,
            placement: Placement::Pack,
            pressure: 0,
        })
    }
}

export!(Policy);
