//! Names of things, as types: an ENI id cannot be passed where a subnet id is meant.
//!
//! In: text from EC2, from the container runtime and from the checkpoint. Out: ordered values.

use alloc::string::String;
use core::fmt;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub String);

        impl $name {
            /// Wraps the text as it came.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text as it came.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// EC2's id of an ENI, `eni-0123456789abcdef0`.
    EniId
);
text_id!(
    /// EC2's id of a subnet.
    SubnetId
);
text_id!(
    /// EC2's id of the attachment of an ENI to an instance.
    AttachmentId
);

/// A hardware address, the one fact by which an ENI's link is found on the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Reads `0a:1b:2c:3d:4e:5f`, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

/// What an allocation is made for: one interface of one sandbox in one network. A repeated ADD
/// carries the same key and gets the same address.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SandboxKey {
    /// Name of the CNI network, `aws-cni`.
    pub network: String,
    /// The runtime's id of the sandbox.
    pub container: String,
    /// Interface in the sandbox, `eth0`.
    pub interface: String,
}

impl SandboxKey {
    /// True when all three parts are present; nothing else is given an address.
    pub fn is_complete(&self) -> bool {
        !self.network.is_empty() && !self.container.is_empty() && !self.interface.is_empty()
    }

    /// The key under which releases before the CRI times recorded this container.
    #[must_use]
    pub fn migrated(&self) -> Self {
        Self {
            network: "_migrated-from-cri".into(),
            container: self.container.clone(),
            interface: "unknown".into(),
        }
    }
}

/// Whose pod it is, for people and for the checkpoint. Either part may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodName {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name within it.
    pub name: String,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Ties a request from the plugin to its one reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Ties what was asked of EC2 to how it ended. Never used twice by one daemon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentId(pub u64);

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
