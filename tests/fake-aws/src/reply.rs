//! The EC2 Query protocol's replies: the model's [`Reply`]s as XML, element for element as EC2 names them.

#[cfg(test)]
mod moto;
#[cfg(test)]
mod tests;

use std::fmt::{Display, Write as _};

use onsen_sim::account::{
    ApiError, Eni, InstanceState, InstanceType, InstanceView, Operation, Page, Reply, SubnetView,
    iso8601_ms,
};

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";
const ACCOUNT: &str = "123456789012";

/// The document for a success.
pub(crate) fn success(operation: Operation, request_id: &str, reply: &Reply) -> String {
    let mut xml = Xml(format!(
        "{HEAD}\n<{}Response xmlns=\"{NAMESPACE}\">",
        operation.name()
    ));
    xml.leaf("requestId", request_id);
    match reply {
        Reply::Done => xml.leaf("return", true),
        Reply::Assigned {
            eni_id,
            addresses,
            prefixes,
        } => {
            xml.leaf("networkInterfaceId", eni_id);
            xml.set("assignedPrivateIpAddressesSet", addresses, |xml, it| {
                xml.leaf("privateIpAddress", it);
            });
            xml.set("assignedIpv4PrefixSet", prefixes, |xml, it| {
                xml.leaf("ipv4Prefix", it);
            });
        }
        Reply::Attached {
            attachment_id,
            network_card,
        } => {
            xml.leaf("attachmentId", attachment_id);
            xml.leaf("networkCardIndex", network_card);
        }
        Reply::Created { eni, client_token } => {
            xml.element("networkInterface", |xml| xml.eni(eni));
            xml.leaf("clientToken", client_token);
        }
        Reply::Enis(page) => xml.page("networkInterfaceSet", page, Xml::eni),
        Reply::Instances(page) => xml.page("reservationSet", page, Xml::reservation),
        Reply::InstanceTypes(page) => xml.page("instanceTypeSet", page, Xml::instance_type),
        Reply::Subnets(page) => xml.page("subnetSet", page, Xml::subnet),
    }
    let _ = write!(xml.0, "</{}Response>", operation.name());
    xml.0
}

/// The document for an error.
pub(crate) fn failure(request_id: &str, error: &ApiError) -> String {
    let mut xml = Xml(format!("{HEAD}\n"));
    xml.element("Response", |xml| {
        xml.element("Errors", |xml| {
            xml.element("Error", |xml| {
                xml.leaf("Code", error.code);
                xml.leaf("Message", &error.message);
            });
        });
        xml.leaf("RequestID", request_id);
    });
    xml.0
}

/// A document being written.
struct Xml(String);

impl Xml {
    fn element(&mut self, name: &str, inside: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name}>");
        inside(self);
        let _ = write!(self.0, "</{name}>");
    }

    fn leaf(&mut self, name: &str, value: impl Display) {
        self.element(name, |xml| xml.text(&value.to_string()));
    }

    fn text(&mut self, text: &str) {
        for it in text.chars() {
            match it {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                // Control characters other than these cannot stand in XML 1.0 at all.
                it if it.is_control() && !matches!(it, '\t' | '\n' | '\r') => {
                    self.0.push('\u{fffd}');
                }
                it => self.0.push(it),
            }
        }
    }

    /// A list; an empty one is an empty element.
    fn set<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for it in items {
                xml.element("item", |xml| item(xml, it));
            }
        });
    }

    fn page<T>(&mut self, name: &str, page: &Page<T>, item: impl FnMut(&mut Self, &T)) {
        self.set(name, &page.items, item);
        if let Some(token) = &page.next_token {
            self.leaf("nextToken", token);
        }
    }

    fn tags<'a>(&mut self, tags: impl IntoIterator<Item = (&'a String, &'a String)>) {
        self.set("tagSet", tags, |xml, (key, value)| {
            xml.leaf("key", key);
            xml.leaf("value", value);
        });
    }

    /// What an ENI says of itself both on its own and inside its instance.
    fn eni_basics(&mut self, eni: &Eni) {
        self.leaf("networkInterfaceId", &eni.id);
        self.leaf("subnetId", &eni.subnet_id);
        self.leaf("vpcId", &eni.vpc_id);
        self.leaf("description", &eni.description);
        self.leaf("ownerId", ACCOUNT);
        self.leaf("status", eni.status.name());
        self.leaf("macAddress", &eni.mac);
        self.leaf("privateIpAddress", eni.primary);
        self.leaf("sourceDestCheck", true);
        self.leaf("interfaceType", "interface");
        self.set("groupSet", &eni.groups, |xml, it| xml.leaf("groupId", it));
        let addresses =
            std::iter::once((eni.primary, true)).chain(eni.addresses.iter().map(|it| (*it, false)));
        self.set(
            "privateIpAddressesSet",
            addresses,
            |xml, (address, primary)| {
                xml.leaf("privateIpAddress", address);
                xml.leaf("primary", primary);
            },
        );
        self.set("ipv4PrefixSet", &eni.prefixes, |xml, it| {
            xml.leaf("ipv4Prefix", it);
        });
        self.set("ipv6AddressesSet", [(); 0], |_, ()| {});
        self.set("ipv6PrefixSet", [(); 0], |_, ()| {});
    }

    fn attachment(&mut self, eni: &Eni, alone: bool) {
        // A detached ENI has no such element, not an empty one.
        let Some(it) = &eni.attachment else { return };
        self.element("attachment", |xml| {
            xml.leaf("attachmentId", &it.id);
            if alone {
                xml.leaf("instanceId", &it.instance_id);
                xml.leaf("instanceOwnerId", ACCOUNT);
            }
            xml.leaf("deviceIndex", it.device_index);
            xml.leaf("networkCardIndex", it.network_card);
            xml.leaf("status", it.status.name());
            xml.leaf("attachTime", iso8601_ms(it.attached_at_ms));
            xml.leaf("deleteOnTermination", it.delete_on_termination);
        });
    }

    fn eni(&mut self, eni: &Eni) {
        self.eni_basics(eni);
        self.leaf("availabilityZone", &eni.zone);
        self.leaf("requesterManaged", false);
        self.attachment(eni, true);
        self.tags(&eni.tags);
    }

    fn reservation(&mut self, it: &InstanceView) {
        self.leaf("reservationId", it.instance_id.replacen("i-", "r-", 1));
        self.leaf("ownerId", ACCOUNT);
        self.set("instancesSet", [it], |xml, it| {
            xml.leaf("instanceId", &it.instance_id);
            xml.leaf("instanceType", &it.instance_type);
            let (code, name) = match it.state {
                InstanceState::Running => (16, "running"),
                InstanceState::Terminated => (48, "terminated"),
            };
            xml.element("instanceState", |xml| {
                xml.leaf("code", code);
                xml.leaf("name", name);
            });
            xml.element("placement", |xml| xml.leaf("availabilityZone", &it.zone));
            if let Some(address) = it.private_address {
                xml.leaf("privateIpAddress", address);
                xml.leaf("subnetId", &it.subnet_id);
                xml.leaf("vpcId", &it.vpc_id);
            }
            xml.set("networkInterfaceSet", &it.enis, |xml, eni| {
                xml.eni_basics(eni);
                xml.attachment(eni, false);
            });
            xml.tags(it.tags.iter().map(|(key, value)| (key, value)));
        });
    }

    fn instance_type(&mut self, it: &InstanceType) {
        self.leaf("instanceType", &it.name);
        self.leaf("bareMetal", it.bare_metal);
        if let Some(hypervisor) = &it.hypervisor {
            self.leaf("hypervisor", hypervisor);
        }
        self.element("networkInfo", |xml| {
            // EC2 counts the ENIs of all cards here.
            xml.leaf(
                "maximumNetworkInterfaces",
                it.enis_per_card * it.network_cards,
            );
            xml.leaf("maximumNetworkCards", it.network_cards);
            xml.leaf("defaultNetworkCardIndex", 0);
            xml.set("networkCards", 0..it.network_cards, |xml, card| {
                xml.leaf("networkCardIndex", card);
                xml.leaf("maximumNetworkInterfaces", it.enis_per_card);
            });
            xml.leaf("ipv4AddressesPerInterface", it.ipv4_per_eni);
            xml.leaf("ipv6AddressesPerInterface", it.ipv6_per_eni);
            xml.leaf("ipv6Supported", it.ipv6_per_eni > 0);
        });
    }

    fn subnet(&mut self, it: &SubnetView) {
        self.leaf("subnetId", &it.subnet_id);
        self.leaf("vpcId", &it.vpc_id);
        self.leaf("cidrBlock", it.cidr);
        self.leaf("availableIpAddressCount", it.available_addresses);
        self.leaf("availabilityZone", &it.zone);
        self.leaf("state", "available");
        self.leaf("ownerId", ACCOUNT);
        self.leaf("mapPublicIpOnLaunch", false);
        self.leaf("ipv6Native", false);
        self.tags(it.tags.iter().map(|(key, value)| (key, value)));
    }
}
