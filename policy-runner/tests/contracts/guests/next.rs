//! A policy for the next version: asks for nothing, and tells the fact that is new.
#![no_std]
extern crate alloc;

use alloc::{format, string::String, vec::Vec};

use exports::onsen::policy::policy::Guest;
use onsen::policy::log;
use onsen::policy::types::*;

mod runtime;

wit_bindgen::generate!({ path: "wit", world: "ipam-policy" });

struct Policy;

impl Guest for Policy {
    fn describe() -> Metadata {
        Metadata {
            name: "next".into(),
            version: "1.0.0".into(),
            doc: "Made for 0.2.0.".into(),
            settings: Vec::new(),
        }
    }

    fn configure(_: Vec<Setting>) -> Result<(), Vec<Problem>> {
        Ok(())
    }

    fn decide(snapshot: Snapshot) -> Result<Decision, String> {
        log::write(log::Level::Info, "asked");
        Ok(Decision {
            actions: Vec::new(),
            reason: format!("{} pods have an address", snapshot.node.pods),
            wake_after: None,
            memo: Vec::new(),
            placement: Placement::Pack,
            pressure: 0,
        })
    }
}

export!(Policy);
