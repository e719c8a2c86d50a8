//! The versions of the contract that this host speaks, and how a policy of each is asked.
//!
//! In: the names that a component exports. Out: the version it is asked in. Must hold: names are
//! compared whole. Left to itself the engine takes any version for a compatible one (1.1 for 1.0),
//! and a record with one more field would show as a puzzle about types.
//!
//! To add a version: a module with its bindings and a [`Guest`], and a row in [`SPOKEN`].

use onsen_core::proposal::Proposal;
use onsen_core::snapshot::{Setting, Snapshot};
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

use crate::bindings::onsen::policy::log;
use crate::bindings::{IpamPolicy, IpamPolicyPre};
use crate::call::{Call, Misfit};
use crate::convert;
use crate::policy::{Metadata, Problem};

#[cfg(test)]
mod tests;

/// One version of the contract.
pub(crate) struct Version {
    /// For instance `0.1.0`.
    pub(crate) number: &'static str,
    /// Offers what its policies may call.
    pub(crate) link: fn(&mut Linker<Call>) -> wasmtime::Result<()>,
    /// Finds the functions that its policies export.
    pub(crate) open: fn(InstancePre<Call>) -> wasmtime::Result<Box<dyn Guest>>,
}

/// The newest first: a component that exports several is asked in the newest.
pub(crate) static SPOKEN: &[Version] = &[Version {
    number: "0.1.0",
    link: |linker| log::add_to_linker::<_, HasSelf<Call>>(linker, |call| call),
    open: |pre| Ok(Box::new(IpamPolicyPre::new(pre)?)),
}];

impl Version {
    /// The interface that its policies export.
    pub(crate) fn interface(&self) -> String {
        format!("onsen:policy/policy@{}", self.number)
    }

    /// The interface that its policies may call.
    pub(crate) fn log(&self) -> String {
        format!("onsen:policy/log@{}", self.number)
    }
}

/// A component that waits for questions, each in an instance of its own.
pub(crate) trait Guest: Send + Sync {
    fn describe(&self, store: &mut Store<Call>) -> wasmtime::Result<Metadata>;

    fn configure(
        &self,
        store: &mut Store<Call>,
        settings: &[Setting],
    ) -> wasmtime::Result<Vec<Problem>>;

    /// The inner error is the policy's own sentence.
    fn decide(
        &self,
        store: &mut Store<Call>,
        snapshot: &Snapshot,
    ) -> wasmtime::Result<Result<Proposal, String>>;
}

impl Guest for IpamPolicyPre<Call> {
    fn describe(&self, store: &mut Store<Call>) -> wasmtime::Result<Metadata> {
        let guest = start(self, store)?;
        let told = guest.onsen_policy_policy().call_describe(store)?;
        Ok(told.into())
    }

    fn configure(
        &self,
        store: &mut Store<Call>,
        settings: &[Setting],
    ) -> wasmtime::Result<Vec<Problem>> {
        let settings: Vec<_> = settings.iter().map(convert::setting).collect();
        let guest = start(self, store)?;
        let answer = guest
            .onsen_policy_policy()
            .call_configure(store, &settings)?;
        let problems = answer.err().unwrap_or_default();
        Ok(problems.into_iter().map(Problem::from).collect())
    }

    fn decide(
        &self,
        store: &mut Store<Call>,
        snapshot: &Snapshot,
    ) -> wasmtime::Result<Result<Proposal, String>> {
        let snapshot = convert::snapshot(snapshot);
        let guest = start(self, store)?;
        let answer = guest.onsen_policy_policy().call_decide(store, &snapshot)?;
        Ok(answer.map(convert::proposal))
    }
}

fn start(pre: &IpamPolicyPre<Call>, store: &mut Store<Call>) -> wasmtime::Result<IpamPolicy> {
    pre.instantiate(store)
        .map_err(|error| error.context(Misfit))
}
