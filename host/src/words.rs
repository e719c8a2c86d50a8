//! Why a pod gets no address, in sentences for people: what happened, why, what to do.
//!
//! In: the core's closed set of reasons. Out: one line `<code>: <sentence>`, which the plugin puts
//! into the pod's event, and its form for gRPC metadata, which is ASCII only.

use std::fmt::Write;

use onsen_core::effect::NoAddress;
use onsen_core::snapshot::Operation;
use onsen_core::time::Millis;

/// The line for people.
pub(crate) fn no_address(why: &NoAddress, now: Millis) -> String {
    let sentence = match why {
        NoAddress::NodeFull {
            assigned,
            cooling,
            enis,
            enis_limit,
        } => format!(
            "all {} addresses this node can have are taken ({assigned} held by pods, {cooling} cooling) and \
             {enis} of {enis_limit} network interfaces are attached; lower the node's max pods, use prefixes \
             (ENABLE_PREFIX_DELEGATION) or a larger instance type",
            assigned + cooling
        ),
        NoAddress::SubnetEmpty { subnet, code } => format!(
            "subnet {subnet} has no free address left (EC2: {code}); free addresses in it or add a larger \
             subnet for this node"
        ),
        NoAddress::Denied { operation, code } => format!(
            "EC2 does not let this node {} ({code}); check the IAM role that the daemon runs with",
            deed(*operation)
        ),
        NoAddress::Throttled { until } => format!(
            "EC2 throttles this node and nothing is sent for another {}; the request is worth repeating after \
             that, see the account's EC2 API limits when it stays",
            seconds(until.saturating_sub(now))
        ),
        NoAddress::WaitedTooLong {
            waited,
            in_flight,
            last_code,
        } => {
            let mut text = format!("no address became free within {}", seconds(*waited));
            // Writing to a String cannot fail.
            let _ = match in_flight {
                0 => write!(text, " and no call to EC2 is under way"),
                1 => write!(text, " while 1 call to EC2 is under way"),
                n => write!(text, " while {n} calls to EC2 are under way"),
            };
            if let Some(code) = last_code {
                let _ = write!(text, "; EC2's last refusal was {code}");
            }
            text.push_str("; the request will be repeated, `onsen status` on the node tells more");
            text
        }
        NoAddress::AddressLost { address } => format!(
            "EC2 has taken {address} away from this node while the sandbox held it; delete the pod, a new one gets \
             another address"
        ),
        NoAddress::Cancelled => {
            "the sandbox was deleted while it waited; nothing is to be done".into()
        }
    };
    format!("{}: {sentence}", why.code())
}

/// A line with the decision that was the newest then, which `onsen explain` tells of.
pub(crate) fn with_decision(mut line: String, decision: Option<u64>) -> String {
    if let Some(decision) = decision {
        // Writing to a String cannot fail.
        let _ = write!(line, " [decision {decision}]");
    }
    line
}

/// The line for people when the address could not be recorded.
pub(crate) fn not_durable(checkpoint: &std::path::Path) -> String {
    format!(
        "not-durable: the address could not be recorded in {} and was taken back; see whether that file system \
         is full or read-only",
        checkpoint.display()
    )
}

/// The line for people when the request names no container, interface or network.
pub(crate) const INCOMPLETE: &str = "incomplete-key: the request lacks the container id, the interface or the network name; the runtime must send all \
     three";

fn deed(operation: Operation) -> &'static str {
    match operation {
        Operation::AttachEni => "create and attach network interfaces",
        Operation::Grow => "assign addresses",
        Operation::Release => "unassign addresses",
        Operation::DetachEni => "detach and delete network interfaces",
    }
}

fn seconds(time: Millis) -> String {
    format!("{}.{} s", time / 1000, time % 1000 / 100)
}

/// Percent-encodes what is not printable ASCII, and the percent sign itself.
pub(crate) fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_node_says_how_full_and_what_helps() {
        let why = NoAddress::NodeFull {
            assigned: 25,
            cooling: 2,
            enis: 3,
            enis_limit: 3,
        };
        let line = no_address(&why, 0);
        assert!(line.starts_with(
            "node-full: all 27 addresses this node can have are taken (25 held by pods, 2 cooling)"
        ));
        assert!(line.contains("3 of 3 network interfaces"));
        assert!(line.contains("ENABLE_PREFIX_DELEGATION"));
    }

    #[test]
    fn every_reason_starts_with_its_code_and_is_one_line() {
        let reasons = [
            NoAddress::SubnetEmpty {
                subnet: onsen_core::ids::SubnetId::new("subnet-1"),
                code: "InsufficientFreeAddressesInSubnet".into(),
            },
            NoAddress::Denied {
                operation: Operation::Grow,
                code: "UnauthorizedOperation".into(),
            },
            NoAddress::Throttled { until: 12_345 },
            NoAddress::WaitedTooLong {
                waited: 10_040,
                in_flight: 1,
                last_code: Some("InternalError".into()),
            },
            NoAddress::AddressLost {
                address: [10, 0, 0, 9].into(),
            },
            NoAddress::Cancelled,
        ];
        for why in reasons {
            let line = no_address(&why, 10_000);
            assert!(line.starts_with(&format!("{}: ", why.code())), "{line}");
            assert!(!line.contains('\n') && !line.contains("  "), "{line}");
        }
    }

    #[test]
    fn times_are_counted_from_now() {
        let line = no_address(&NoAddress::Throttled { until: 12_345 }, 10_000);
        assert!(line.contains("another 2.3 s"), "{line}");
    }

    #[test]
    fn metadata_is_ascii_and_percent_signs_survive() {
        assert_eq!(ascii("50% für\n"), "50%25 f%C3%BCr%0A");
    }
}
