//! The CNI configuration list that the container runtime reads, `10-aws.conflist`.
//!
//! In: a template, the one of this image or one that an operator mounted over it. Out: the list for
//! this node.
//! Must hold: members that are not ours stay as they are; a value never changes the structure, since it
//! is put into strings of the parsed template, not into its text.

use serde_json::{Map, Value, json};

use crate::settings::Plugin;

/// The file's name in the host's folder; runtimes take the first by name.
pub const NAME: &str = "10-aws.conflist";

/// The plugin that gives pods the other address family. This version does not have it.
const EGRESS: &str = "egress-cni";

/// A template that is none.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Not JSON.
    #[error("the template is no JSON")]
    Json(#[from] serde_json::Error),
    /// JSON of another shape.
    #[error("the template is no network configuration list: it lacks a list of plugins")]
    Shape,
}

/// Renders a template.
pub fn render(template: &str, plugin: &Plugin) -> Result<String, TemplateError> {
    let mut list: Value = serde_json::from_str(template)?;
    let mtu = plugin.mtu.to_string();
    let values = [
        ("__VETHPREFIX__", plugin.veth_prefix.as_str()),
        ("__MTU__", &mtu),
        ("__PODSGENFORCINGMODE__", &plugin.security_group_mode),
        ("__PLUGINLOGFILE__", &plugin.log_file),
        ("__PLUGINLOGLEVEL__", &plugin.log_level),
        ("__RANDOMIZESNAT__", &plugin.randomize_snat),
    ];
    fill(&mut list, &values);
    let plugins = list
        .get_mut("plugins")
        .and_then(Value::as_array_mut)
        .ok_or(TemplateError::Shape)?;
    // Upstream's template has it, switched off; a runtime would execute it all the same.
    plugins.retain(|plugin| plugin.get("type").and_then(Value::as_str) != Some(EGRESS));
    if plugin.bandwidth {
        plugins.push(json!({"type": "bandwidth", "capabilities": {"bandwidth": true}}));
    }
    if plugin.disable_pod_v6 {
        let sysctls: Map<String, Value> = ["all", "default", "lo"]
            .map(|link| (format!("net.ipv6.conf.{link}.disable_ipv6"), json!("1")))
            .into_iter()
            .collect();
        plugins.push(json!({"type": "tuning", "sysctl": sysctls}));
    }
    Ok(format!("{list:#}\n"))
}

fn fill(value: &mut Value, values: &[(&str, &str)]) {
    match value {
        Value::String(text) => {
            for (name, value) in values {
                if text.contains(name) {
                    *text = text.replace(name, value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, values)),
        Value::Object(members) => members.values_mut().for_each(|member| fill(member, values)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../10-aws.conflist");

    fn plugin() -> Plugin {
        Plugin {
            veth_prefix: "eni".into(),
            mtu: 1400,
            security_group_mode: "strict".into(),
            log_file: "/var/log/aws-routed-eni/plugin.log".into(),
            log_level: "DEBUG".into(),
            randomize_snat: "prng".into(),
            bandwidth: false,
            disable_pod_v6: false,
        }
    }

    fn types(list: &str) -> Vec<String> {
        let list: Value = serde_json::from_str(list).unwrap();
        let plugins = list["plugins"].as_array().unwrap();
        plugins
            .iter()
            .map(|plugin| plugin["type"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_shipped_list_has_no_placeholder_left() {
        let text = render(SHIPPED, &plugin()).unwrap();
        assert!(!text.contains("__"), "{text}");
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["name"], "aws-cni");
        assert_eq!(list["cniVersion"], "0.4.0");
        assert_eq!(list["plugins"][0]["mtu"], "1400");
        assert_eq!(types(&text), ["aws-cni", "portmap"]);
    }

    #[test]
    fn plugins_that_were_asked_for_come_last() {
        let wanted = Plugin {
            bandwidth: true,
            disable_pod_v6: true,
            ..plugin()
        };
        let text = render(SHIPPED, &wanted).unwrap();
        assert_eq!(types(&text), ["aws-cni", "portmap", "bandwidth", "tuning"]);
        assert!(text.contains("net.ipv6.conf.lo.disable_ipv6"), "{text}");
    }

    #[test]
    fn an_operators_list_keeps_its_members_and_loses_what_we_do_not_have() {
        let template = r#"{"cniVersion":"1.0.0","name":"aws-cni","mine":[1,null,true],"plugins":[
            {"type":"aws-cni","pluginLogFile":"__PLUGINLOGFILE__"},
            {"type":"egress-cni","enabled":"__EGRESSPLUGINENABLED__"},
            {"type":"chained","note":"mtu __MTU__"}]}"#;
        let text = render(template, &plugin()).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(list["mine"], json!([1, null, true]));
        assert_eq!(types(&text), ["aws-cni", "chained"]);
        assert_eq!(list["plugins"][1]["note"], "mtu 1400");
    }

    #[test]
    fn a_value_cannot_break_out_of_its_string() {
        let evil = Plugin {
            log_file: r#"x","type":"evil"#.into(),
            ..plugin()
        };
        let text = render(SHIPPED, &evil).unwrap();
        assert_eq!(types(&text), ["aws-cni", "portmap"]);
    }

    #[test]
    fn a_template_of_another_shape_is_refused() {
        assert!(matches!(
            render("{", &plugin()),
            Err(TemplateError::Json(_))
        ));
        for other in ["[]", "{}", r#"{"plugins":{}}"#] {
            assert!(matches!(
                render(other, &plugin()),
                Err(TemplateError::Shape)
            ));
        }
    }
}
