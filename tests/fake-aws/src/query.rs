//! The EC2 Query protocol's requests: form parameters into the model's [`Request`]s.
//!
//! Lists are flattened and count from 1 (`Filter.1.Value.2`). A parameter that nothing asks for is refused, so that
//! a client's typo shows. So are parameters the model does not have (IPv6, EFA, ...).

use std::collections::BTreeMap;
use std::str::FromStr;

use onsen_sim::account::{ApiError, Call, CreateEni, Describe, EniChange, Request, Wanted};

/// A request's parameters; decoding takes them out one by one.
pub(crate) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads a form body.
    pub(crate) fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().collect())
    }

    /// All of them, for the log.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The action, when there is one.
    pub(crate) fn action(&self) -> &str {
        self.0.get("Action").map_or("", String::as_str)
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn needed(&mut self, name: &str) -> Result<String, ApiError> {
        self.text(name)
            .ok_or_else(|| ApiError::missing_parameter(name))
    }

    fn value<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        self.text(name).map(|text| parse(name, &text)).transpose()
    }

    fn list(&mut self, name: &str) -> Vec<String> {
        (1..)
            .map_while(|n| self.text(&format!("{name}.{n}")))
            .collect()
    }

    fn values<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, ApiError> {
        parse_all(name, &self.list(name))
    }

    /// How many structures a list has: `name.1.…`, `name.2.…` and so on.
    fn structures(&self, name: &str) -> Vec<String> {
        let prefixes = (1..).map(|n| format!("{name}.{n}"));
        prefixes
            .take_while(|prefix| {
                self.0
                    .keys()
                    .any(|key| key.starts_with(&format!("{prefix}.")))
            })
            .collect()
    }

    fn tags(&mut self, name: &str) -> Result<Vec<(String, String)>, ApiError> {
        let mut tags = Vec::new();
        for prefix in self.structures(name) {
            let key = self.needed(&format!("{prefix}.Key"))?;
            tags.push((
                key,
                self.text(&format!("{prefix}.Value")).unwrap_or_default(),
            ));
        }
        Ok(tags)
    }

    /// What a Describe asks for; `ids` is the name of its list of ids.
    fn describe(&mut self, ids: &str) -> Result<Describe, ApiError> {
        let ids = self.list(ids);
        let mut filters = Vec::new();
        for prefix in self.structures("Filter") {
            filters.push((
                self.needed(&format!("{prefix}.Name"))?,
                self.list(&format!("{prefix}.Value")),
            ));
        }
        Ok(Describe {
            ids,
            filters,
            max_results: self.value("MaxResults")?,
            next_token: self.text("NextToken"),
        })
    }

    /// The addresses or prefixes a request names or counts: one kind at most.
    fn wanted(&mut self, addresses: &[String], prefixes: &[String]) -> Result<Wanted, ApiError> {
        let mut wanted = Vec::new();
        if !addresses.is_empty() {
            wanted.push(Wanted::Addresses(parse_all("PrivateIpAddress", addresses)?));
        }
        if !prefixes.is_empty() {
            wanted.push(Wanted::Prefixes(parse_all("Ipv4Prefix", prefixes)?));
        }
        if let Some(count) = self.value("SecondaryPrivateIpAddressCount")? {
            wanted.push(Wanted::AddressCount(count));
        }
        if let Some(count) = self.value("Ipv4PrefixCount")? {
            wanted.push(Wanted::PrefixCount(count));
        }
        match wanted.len() {
            0 | 1 => Ok(wanted.pop().unwrap_or(Wanted::Nothing)),
            _ => Err(ApiError::invalid_combination(
                "Only one of addresses, prefixes, a count of addresses or a count of prefixes may be specified",
            )),
        }
    }
}

fn parse_all<T: FromStr>(name: &str, texts: &[String]) -> Result<Vec<T>, ApiError> {
    texts.iter().map(|it| parse(name, it)).collect()
}

fn parse<T: FromStr>(name: &str, text: &str) -> Result<T, ApiError> {
    text.parse().map_err(|_ignored| {
        ApiError::invalid_value(format!("Value ({text}) for parameter {name} is invalid."))
    })
}

/// Decodes one request from `node`.
pub(crate) fn decode(mut given: Parameters, node: Option<String>) -> Result<Call, ApiError> {
    let action = given
        .text("Action")
        .ok_or_else(|| ApiError::refused("MissingAction", "No action was supplied"))?;
    let version = given.needed("Version")?;
    if version != "2016-11-15" {
        let message =
            format!("The requested version ({version}) of service AmazonEC2 does not exist");
        return Err(ApiError::refused("NoSuchVersion", message));
    }
    let addresses_action = matches!(
        action.as_str(),
        "AssignPrivateIpAddresses" | "UnassignPrivateIpAddresses"
    );
    let dry_run = !addresses_action && given.value("DryRun")?.unwrap_or(false);
    let request = request(&action, &mut given)?;
    match given.0.first_key_value() {
        Some((unknown, _)) => Err(ApiError::unknown_parameter(unknown)),
        None => Ok(Call {
            node,
            dry_run,
            request,
        }),
    }
}

fn request(action: &str, given: &mut Parameters) -> Result<Request, ApiError> {
    Ok(match action {
        "AssignPrivateIpAddresses" => {
            let (addresses, prefixes) = (given.list("PrivateIpAddress"), given.list("Ipv4Prefix"));
            Request::AssignPrivateIpAddresses {
                eni_id: given.needed("NetworkInterfaceId")?,
                wanted: given.wanted(&addresses, &prefixes)?,
                allow_reassignment: given.value("AllowReassignment")?.unwrap_or(false),
            }
        }
        "AttachNetworkInterface" => Request::AttachNetworkInterface {
            eni_id: given.needed("NetworkInterfaceId")?,
            instance_id: given.needed("InstanceId")?,
            device_index: given
                .value("DeviceIndex")?
                .ok_or_else(|| ApiError::missing_parameter("DeviceIndex"))?,
            network_card: given.value("NetworkCardIndex")?.unwrap_or(0),
        },
        "CreateNetworkInterface" => Request::CreateNetworkInterface(create(given)?),
        "CreateTags" => Request::CreateTags {
            resources: given.list("ResourceId"),
            tags: given.tags("Tag")?,
        },
        "DeleteNetworkInterface" => Request::DeleteNetworkInterface {
            eni_id: given.needed("NetworkInterfaceId")?,
        },
        "DescribeInstanceTypes" => Request::DescribeInstanceTypes(given.describe("InstanceType")?),
        "DescribeInstances" => Request::DescribeInstances(given.describe("InstanceId")?),
        "DescribeNetworkInterfaces" => {
            // No ENI of the model is managed by another service, so there is nothing to include or leave out.
            given.value::<bool>("IncludeManagedResources")?;
            Request::DescribeNetworkInterfaces(given.describe("NetworkInterfaceId")?)
        }
        "DescribeSubnets" => Request::DescribeSubnets(given.describe("SubnetId")?),
        "DetachNetworkInterface" => {
            // The model's detach always ends by itself, so force changes nothing.
            given.value::<bool>("Force")?;
            Request::DetachNetworkInterface {
                attachment_id: given.needed("AttachmentId")?,
            }
        }
        "ModifyNetworkInterfaceAttribute" => Request::ModifyNetworkInterfaceAttribute {
            eni_id: given.needed("NetworkInterfaceId")?,
            change: change(given)?,
        },
        "UnassignPrivateIpAddresses" => Request::UnassignPrivateIpAddresses {
            eni_id: given.needed("NetworkInterfaceId")?,
            addresses: given.values("PrivateIpAddress")?,
            prefixes: given.values("Ipv4Prefix")?,
        },
        _ => return Err(ApiError::invalid_action(action)),
    })
}

fn create(given: &mut Parameters) -> Result<CreateEni, ApiError> {
    let kind = given
        .text("InterfaceType")
        .unwrap_or_else(|| "interface".to_owned());
    if kind != "interface" {
        return Err(ApiError::invalid_value(format!(
            "Value ({kind}) for parameter InterfaceType is invalid."
        )));
    }
    let mut primary = given.value("PrivateIpAddress")?;
    let mut addresses = Vec::new();
    for prefix in given.structures("PrivateIpAddresses") {
        let address = given.needed(&format!("{prefix}.PrivateIpAddress"))?;
        if given.value(&format!("{prefix}.Primary"))?.unwrap_or(false) {
            if primary.is_some() {
                return Err(ApiError::invalid_combination(
                    "Only one primary address may be specified",
                ));
            }
            primary = Some(parse("PrivateIpAddress", &address)?);
        } else {
            addresses.push(address);
        }
    }
    let mut prefixes = Vec::new();
    for prefix in given.structures("Ipv4Prefix") {
        prefixes.push(given.needed(&format!("{prefix}.Ipv4Prefix"))?);
    }
    let mut tags = Vec::new();
    for prefix in given.structures("TagSpecification") {
        let resource = given.needed(&format!("{prefix}.ResourceType"))?;
        if resource != "network-interface" {
            let message =
                format!("'{resource}' is not a valid taggable resource type for this operation.");
            return Err(ApiError::invalid_value(message));
        }
        tags.extend(given.tags(&format!("{prefix}.Tag"))?);
    }
    Ok(CreateEni {
        subnet_id: given.needed("SubnetId")?,
        description: given.text("Description").unwrap_or_default(),
        groups: given.list("SecurityGroupId"),
        tags,
        client_token: given.text("ClientToken"),
        primary,
        wanted: given.wanted(&addresses, &prefixes)?,
    })
}

fn change(given: &mut Parameters) -> Result<EniChange, ApiError> {
    let mut changes = Vec::new();
    let attachment = given.text("Attachment.AttachmentId");
    let value = given.value("Attachment.DeleteOnTermination")?;
    match (attachment, value) {
        (Some(attachment_id), Some(value)) => changes.push(EniChange::DeleteOnTermination {
            attachment_id,
            value,
        }),
        (Some(_), None) => {
            return Err(ApiError::missing_parameter(
                "Attachment.DeleteOnTermination",
            ));
        }
        (None, Some(_)) => return Err(ApiError::missing_parameter("Attachment.AttachmentId")),
        (None, None) => {}
    }
    let groups = given.list("SecurityGroupId");
    if !groups.is_empty() {
        changes.push(EniChange::Groups(groups));
    }
    changes.extend(given.text("Description.Value").map(EniChange::Description));
    match changes.len() {
        0 => Err(ApiError::missing_parameter(
            "Attachment, SecurityGroupId or Description",
        )),
        1 => changes
            .pop()
            .ok_or_else(|| ApiError::missing_parameter("Attachment")),
        _ => Err(ApiError::invalid_combination(
            "Only one attribute may be modified at a time",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn decoded(body: &str) -> Result<Request, ApiError> {
        let body = format!("{body}&Version=2016-11-15");
        decode(Parameters::parse(body.as_bytes()), None).map(|it| it.request)
    }

    fn code(body: &str) -> &'static str {
        decoded(body).unwrap_err().code
    }

    #[test]
    fn create_is_read_with_its_three_spellings_of_lists() {
        let body = "Action=CreateNetworkInterface&SubnetId=subnet-1&Description=aws-K8S-i-1&SecurityGroupId.1=sg-1\
            &SecurityGroupId.2=sg-2&TagSpecification.1.ResourceType=network-interface&TagSpecification.1.Tag.1.Key=a%2Fb\
            &TagSpecification.1.Tag.1.Value=c+d&ClientToken=t&PrivateIpAddresses.1.PrivateIpAddress=10.0.0.9\
            &PrivateIpAddresses.1.Primary=true&Ipv4PrefixCount=2";
        let expected = CreateEni {
            subnet_id: "subnet-1".into(),
            description: "aws-K8S-i-1".into(),
            groups: vec!["sg-1".into(), "sg-2".into()],
            tags: vec![("a/b".into(), "c d".into())],
            client_token: Some("t".into()),
            primary: Some(Ipv4Addr::new(10, 0, 0, 9)),
            wanted: Wanted::PrefixCount(2),
        };
        assert_eq!(decoded(body), Ok(Request::CreateNetworkInterface(expected)));
    }

    #[test]
    fn assign_takes_plain_lists_and_one_kind_only() {
        let wanted = |body: &str| match decoded(&format!(
            "Action=AssignPrivateIpAddresses&NetworkInterfaceId=e&{body}"
        )) {
            Ok(Request::AssignPrivateIpAddresses { wanted, .. }) => Ok(wanted),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code),
        };
        assert_eq!(
            wanted("PrivateIpAddress.1=10.0.0.9"),
            Ok(Wanted::Addresses(vec![Ipv4Addr::new(10, 0, 0, 9)]))
        );
        assert_eq!(
            wanted("Ipv4Prefix.1=10.0.0.16%2F28"),
            Ok(Wanted::Prefixes(vec!["10.0.0.16/28".parse().unwrap()]))
        );
        assert_eq!(
            wanted("SecondaryPrivateIpAddressCount=3"),
            Ok(Wanted::AddressCount(3))
        );
        assert_eq!(
            wanted("Ipv4PrefixCount=1&SecondaryPrivateIpAddressCount=1"),
            Err("InvalidParameterCombination")
        );
        assert_eq!(
            wanted("SecondaryPrivateIpAddressCount=-3"),
            Err("InvalidParameterValue")
        );
        assert_eq!(
            wanted("Ipv4Prefix.1=10.0.0.17%2F28"),
            Err("InvalidParameterValue")
        );
        assert_eq!(wanted("DryRun=true"), Err("UnknownParameter"));
    }

    #[test]
    fn describe_has_filters_with_several_values() {
        let body = "Action=DescribeNetworkInterfaces&Filter.1.Name=attachment.instance-id&Filter.1.Value.1=i-1\
            &Filter.2.Name=status&Filter.2.Value.1=available&Filter.2.Value.2=in-use&MaxResults=1000&NextToken=x";
        let filters = vec![
            ("attachment.instance-id".to_owned(), vec!["i-1".to_owned()]),
            (
                "status".to_owned(),
                vec!["available".to_owned(), "in-use".to_owned()],
            ),
        ];
        let next_token = Some("x".to_owned());
        let expected = Describe {
            ids: Vec::new(),
            filters,
            max_results: Some(1000),
            next_token,
        };
        assert_eq!(
            decoded(body),
            Ok(Request::DescribeNetworkInterfaces(expected))
        );
    }

    #[test]
    fn whatever_is_not_known_or_not_there_is_refused() {
        assert_eq!(code("Action=RunInstances"), "InvalidAction");
        assert_eq!(code(""), "MissingAction");
        assert_eq!(code("Action=DeleteNetworkInterface"), "MissingParameter");
        assert_eq!(
            code("Action=DeleteNetworkInterface&NetworkInterfaceId=e&NetworkInterfaceID=e"),
            "UnknownParameter"
        );
        assert_eq!(
            code("Action=DescribeSubnets&SubnetId.2=s"),
            "UnknownParameter"
        );
        assert_eq!(
            code("Action=CreateNetworkInterface&SubnetId=s&Ipv6AddressCount=1"),
            "UnknownParameter"
        );
        let modify = "Action=ModifyNetworkInterfaceAttribute&NetworkInterfaceId=e";
        assert_eq!(
            code(&format!("{modify}&Attachment.AttachmentId=a")),
            "MissingParameter"
        );
        assert_eq!(
            code(&format!("{modify}&SecurityGroupId.1=s&Description.Value=x")),
            "InvalidParameterCombination"
        );
        assert_eq!(
            decode(Parameters::parse(b"Action=DescribeSubnets&Version=1"), None)
                .unwrap_err()
                .code,
            "NoSuchVersion"
        );
    }
}
