//! Asks and changes the kernel: links, addresses, routes, rules, firewall, namespaces.
//!
//! In: wiring, as `onsen-wiring` describes it. Out: a kernel that carries it. Everything reads first and
//! changes only what differs, because a daemon that restarts must not disturb running pods. An
//! errno is never guessed at: *absent* and *present* are the errnos the kernel uses for exactly that.
//!
//! Netlink messages are built by hand on rtnetlink's socket. Its builders choose a protocol, a scope
//! and a broadcast address of their own, and then neither upstream's daemon nor we could delete what
//! the other made.
//!
//! Deliberately absent: branch ENIs (VLAN links), rules that strict security groups need, the
//! numbering of ENI tables by rules that the machine image made on further network cards.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")
)]

mod address;
mod eni;
mod error;
mod firewall;
mod link;
mod namespace;
mod node;
mod pod;
mod route;
mod rule;
mod socket;

pub use error::{Mac, NetError};
pub use link::Link;
pub use namespace::Namespace;
pub use pod::{check_pod, wire_pod};

use socket::Socket;

/// The network of one namespace: a netlink socket opened in it.
///
/// The socket stays in the namespace it was opened in, whichever thread uses it.
#[derive(Debug, Clone)]
pub struct Net {
    socket: Socket,
}

impl Net {
    /// Opens the network namespace of the calling thread.
    ///
    /// Must be called inside a tokio runtime, which then drives the socket.
    pub fn open() -> Result<Self, NetError> {
        Ok(Self {
            socket: Socket::open()?,
        })
    }

    /// Opens another network namespace. Must be called inside a tokio runtime.
    pub fn open_in(namespace: &Namespace) -> Result<Self, NetError> {
        let runtime = tokio::runtime::Handle::current();
        namespace.run(|| {
            let _runtime = runtime.enter();
            Self::open()
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A daemon runs these as tasks of their own, on threads that change.
    #[test]
    fn operations_can_be_spawned() {
        fn check<W: 'static, T: Send>(_: impl FnOnce(&'static Net, &'static W) -> T) {}
        check(Net::set_up_node);
        check(Net::set_up_eni);
        check(Net::forget_eni);
    }
}
