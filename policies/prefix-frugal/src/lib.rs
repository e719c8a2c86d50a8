#![cfg_attr(target_arch = "wasm32", no_std)]
//! tmp
extern crate alloc;
use onsen_policy_sdk::*;
/// x
pub struct P;
impl Policy for P {
 fn metadata() -> Metadata { Metadata{name:"x".into(),version:"0".into(),doc:"".into(),settings:alloc::vec::Vec::new()} }
 fn decide(v:&View<'_>) -> Result<Decision, alloc::string::String> { let d = Draft::default(); Ok(d.finish(Placement::Pack, alloc::format!("{}", v.waiting()))) }
}
onsen_policy_sdk::export_policy!(P);
