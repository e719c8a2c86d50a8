//! EC2's refusals: code, HTTP status and message as EC2 words them.
//!
//! Clients must match on the code, and for `InvalidParameterValue` on the message too.

use std::fmt::Display;

/// A refusal by EC2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} ({status}): {message}")]
pub struct ApiError {
    /// The code clients match on.
    pub code: &'static str,
    /// The HTTP status it travels under.
    pub status: u16,
    /// The text.
    pub message: String,
}

impl ApiError {
    /// A client error (HTTP 400).
    pub fn refused(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            status: 400,
            message: message.into(),
        }
    }

    /// A parameter the action does not have.
    pub fn unknown_parameter(name: &str) -> Self {
        Self::refused(
            "UnknownParameter",
            format!("The parameter {name} is not recognized"),
        )
    }

    /// A parameter the action cannot do without.
    pub fn missing_parameter(name: &str) -> Self {
        Self::refused(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        )
    }

    /// A parameter whose value does not do.
    pub fn invalid_value(message: impl Into<String>) -> Self {
        Self::refused("InvalidParameterValue", message)
    }

    /// Parameters that exclude each other.
    pub fn invalid_combination(message: impl Into<String>) -> Self {
        Self::refused("InvalidParameterCombination", message)
    }

    /// An action the model does not know.
    pub fn invalid_action(name: &str) -> Self {
        Self::refused(
            "InvalidAction",
            format!("The action {name} is not valid for this web service."),
        )
    }

    /// A request without usable credentials.
    pub fn auth_failure() -> Self {
        let message = "AWS was not able to validate the provided access credentials".to_owned();
        Self {
            code: "AuthFailure",
            status: 401,
            message,
        }
    }

    pub(super) fn throttled() -> Self {
        Self {
            code: "RequestLimitExceeded",
            status: 503,
            message: "Request limit exceeded.".to_owned(),
        }
    }

    pub(super) fn internal() -> Self {
        Self {
            code: "InternalError",
            status: 500,
            message: "An internal error has occurred".to_owned(),
        }
    }

    pub(super) fn unavailable() -> Self {
        Self {
            code: "Unavailable",
            status: 503,
            message: "The service is unavailable. Please try again shortly.".to_owned(),
        }
    }

    pub(super) fn index_taken(instance_id: &str, device_index: u32) -> Self {
        Self::invalid_value(format!(
            "Instance '{instance_id}' already has an interface attached at device index '{device_index}'."
        ))
    }

    pub(super) fn too_many_enis(attached: usize, kind: &str) -> Self {
        let message = format!(
            "Interface count {} exceeds the limit for {kind}",
            attached + 1
        );
        Self::refused("AttachmentLimitExceeded", message)
    }

    pub(super) fn in_use(eni_id: &str) -> Self {
        Self::invalid_value(format!("Network interface '{eni_id}' is currently in use."))
    }

    pub(super) fn not_detachable() -> Self {
        let message =
            "The network interface at device index 0 and networkCard index 0 cannot be detached.";
        Self::refused("OperationNotPermitted", message)
    }

    pub(super) fn denied(account: &str, action: &str) -> Self {
        let message = format!(
            "You are not authorized to perform this operation. User: arn:aws:sts::{account}:assumed-role/onsen-node \
             is not authorized to perform: ec2:{action} because no identity-based policy allows the ec2:{action} action"
        );
        Self {
            code: "UnauthorizedOperation",
            status: 403,
            message,
        }
    }

    pub(super) fn dry_run() -> Self {
        let message = "Request would have succeeded, but DryRun flag is set.".to_owned();
        Self {
            code: "DryRunOperation",
            status: 412,
            message,
        }
    }

    pub(super) fn no_eni(id: &str) -> Self {
        let message = format!("The networkInterface ID '{id}' does not exist");
        Self::refused("InvalidNetworkInterfaceID.NotFound", message)
    }

    pub(super) fn no_attachment(id: &str) -> Self {
        let message = format!("The interface attachment '{id}' does not exist.");
        Self::refused("InvalidAttachmentID.NotFound", message)
    }

    pub(super) fn no_instance(id: &str) -> Self {
        Self::refused(
            "InvalidInstanceID.NotFound",
            format!("The instance ID '{id}' does not exist"),
        )
    }

    pub(super) fn no_subnet(id: &str) -> Self {
        Self::refused(
            "InvalidSubnetID.NotFound",
            format!("The subnet ID '{id}' does not exist"),
        )
    }

    pub(super) fn no_group(id: &str) -> Self {
        Self::refused(
            "InvalidGroup.NotFound",
            format!("The security group '{id}' does not exist"),
        )
    }

    pub(super) fn no_free_addresses() -> Self {
        let message =
            "The specified subnet does not have enough free addresses to satisfy the request.";
        Self::refused("InsufficientFreeAddressesInSubnet", message)
    }

    pub(super) fn no_free_prefixes() -> Self {
        let message =
            "The specified subnet does not have enough free cidr blocks to satisfy the request.";
        Self::refused("InsufficientCidrBlocks", message)
    }

    pub(super) fn fewer_than_asked() -> Self {
        Self::invalid_value("There aren't sufficient free Ipv4 addresses or prefixes")
    }

    pub(super) fn too_many_addresses() -> Self {
        Self::refused(
            "PrivateIpAddressLimitExceeded",
            "Number of private addresses will exceed limit.",
        )
    }

    pub(super) fn incorrect_state(what: impl Display) -> Self {
        Self::refused("IncorrectState", format!("{what}"))
    }
}
