//! `onsen max-pods`: the number for kubelet, with the arithmetic that leads to it.

use std::fmt::Write as _;

use clap::Args;
use onsen_sim::account::InstanceType;
use onsen_sim::max_pods::{self, MaxPods, Mode};

use crate::error::CliError;
use crate::table::pairs;

#[derive(Args)]
#[command(after_help = "\
Examples:
  onsen max-pods --instance-type m5.large
  onsen max-pods --instance-type m5.large --prefix-delegation --format json")]
pub(crate) struct Arguments {
    /// Such as m5.large
    #[arg(long)]
    instance_type: String,
    #[arg(long, help = "Slots hold /28 prefixes (ENABLE_PREFIX_DELEGATION)")]
    prefix_delegation: bool,
    #[arg(
        long,
        help = "Pods get no address of the primary ENI (AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG)"
    )]
    custom_networking: bool,
    #[arg(long, help = "Pods get IPv6 addresses (ENABLE_IPv6)")]
    ipv6: bool,
}

/// The number, for people or as JSON.
pub(crate) fn max_pods(arguments: &Arguments, as_json: bool) -> Result<String, CliError> {
    let name = &arguments.instance_type;
    let kind = InstanceType::find(name).ok_or_else(|| CliError::InstanceType(name.clone()))?;
    let mode = Mode {
        prefix_delegation: arguments.prefix_delegation,
        custom_networking: arguments.custom_networking,
        ipv6: arguments.ipv6,
    };
    let result = max_pods::max_pods(&kind, mode)?;
    if as_json {
        return onsen_policy_runner::documents::write(&result).map_err(CliError::Document);
    }
    Ok(for_people(&result))
}

fn for_people(result: &MaxPods) -> String {
    let vcpus = match result.vcpus {
        Some(1) => "1 vCPU".to_owned(),
        Some(vcpus) => format!("{vcpus} vCPUs"),
        None => "vCPUs not known".to_owned(),
    };
    let mut text = format!(
        "{}: {} ENIs with {} IPv4 addresses each, {vcpus}\n",
        result.instance_type, result.enis, result.addresses_per_eni
    );
    for step in &result.steps {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {step}");
    }
    text.push('\n');
    text.push_str(&pairs(&[
        ("max pods", result.max_pods.to_string()),
        (
            "cap",
            format!("{} (what EKS advises for this many vCPUs)", result.cap),
        ),
        ("recommended", result.recommended.to_string()),
    ]));
    for note in &result.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(instance_type: &str) -> Arguments {
        Arguments {
            instance_type: instance_type.to_owned(),
            prefix_delegation: true,
            custom_networking: false,
            ipv6: false,
        }
    }

    #[test]
    fn the_arithmetic_is_shown_and_the_cap_beside_it() {
        let text = max_pods(&arguments("m5.large"), false).unwrap();
        assert!(
            text.contains("3 ENIs x 9 slots x 16 addresses of a /28 = 432 addresses"),
            "{text}"
        );
        assert!(text.contains("max pods     434\n"), "{text}");
        assert!(text.contains("recommended  110\n"), "{text}");
        let json = max_pods(&arguments("m5.large"), true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&json["max_pods"], &json["cap"], &json["recommended"]),
            (&434.into(), &110.into(), &110.into())
        );
    }

    #[test]
    fn an_unknown_type_is_told_with_its_relatives() {
        let why = max_pods(&arguments("m5.colossal"), false)
            .unwrap_err()
            .chain();
        assert!(
            why.contains("`m5.colossal`") && why.contains("m5.large"),
            "{why}"
        );
    }
}
