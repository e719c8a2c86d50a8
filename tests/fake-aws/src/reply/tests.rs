//! The exact document for each operation. Names and nesting are what the SDKs parse; see the EC2 API reference.

use std::net::Ipv4Addr;

use onsen_sim::account::{
    ApiError, Attachment, AttachmentStatus, Eni, EniStatus, InstanceState, InstanceType,
    InstanceView, Operation, Page, Reply, SubnetView,
};

use super::{failure, success};

/// Checks the document against `inside`, in which line ends and the spaces after them do not count.
fn check(operation: Operation, reply: &Reply, inside: &str) {
    let name = operation.name();
    let inside: String = inside.lines().map(str::trim).collect();
    let expected = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{name}Response \
         xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>r-1</requestId>{inside}</{name}Response>"
    );
    assert_eq!(success(operation, "r-1", reply), expected);
}

fn eni() -> Eni {
    Eni {
        id: "eni-01".into(),
        description: "a<b".into(),
        subnet_id: "subnet-01".into(),
        vpc_id: "vpc-01".into(),
        zone: "eu-west-1a".into(),
        mac: "02:00:00:00:00:01".into(),
        primary: Ipv4Addr::new(10, 0, 0, 9),
        addresses: [Ipv4Addr::new(10, 0, 0, 10)].into(),
        prefixes: ["10.0.0.16/28".parse().unwrap()].into(),
        groups: vec!["sg-01".into()],
        tags: [("k".to_owned(), "v".to_owned())].into(),
        status: EniStatus::InUse,
        attachment: Some(Attachment {
            id: "eni-attach-01".into(),
            instance_id: "i-01".into(),
            device_index: 1,
            network_card: 0,
            status: AttachmentStatus::Attached,
            delete_on_termination: true,
            attached_at_ms: 1_767_323_045_006,
        }),
    }
}

const BASICS: &str = "<networkInterfaceId>eni-01</networkInterfaceId><subnetId>subnet-01</subnetId><vpcId>vpc-01</vpcId>
    <description>a&lt;b</description><ownerId>123456789012</ownerId><status>in-use</status>
    <macAddress>02:00:00:00:00:01</macAddress><privateIpAddress>10.0.0.9</privateIpAddress>
    <sourceDestCheck>true</sourceDestCheck><interfaceType>interface</interfaceType>
    <groupSet><item><groupId>sg-01</groupId></item></groupSet>
    <privateIpAddressesSet>
        <item><privateIpAddress>10.0.0.9</privateIpAddress><primary>true</primary></item>
        <item><privateIpAddress>10.0.0.10</privateIpAddress><primary>false</primary></item>
    </privateIpAddressesSet>
    <ipv4PrefixSet><item><ipv4Prefix>10.0.0.16/28</ipv4Prefix></item></ipv4PrefixSet>
    <ipv6AddressesSet></ipv6AddressesSet><ipv6PrefixSet></ipv6PrefixSet>";
const WHERE: &str =
    "<availabilityZone>eu-west-1a</availabilityZone><requesterManaged>false</requesterManaged>";
const ATTACHMENT: &str = "<attachment><attachmentId>eni-attach-01</attachmentId><instanceId>i-01</instanceId>
    <instanceOwnerId>123456789012</instanceOwnerId><deviceIndex>1</deviceIndex>
    <networkCardIndex>0</networkCardIndex><status>attached</status>
    <attachTime>2026-01-02T03:04:05.006Z</attachTime><deleteOnTermination>true</deleteOnTermination></attachment>";
const TAGS: &str = "<tagSet><item><key>k</key><value>v</value></item></tagSet>";

#[test]
fn operations_without_a_payload_return_true() {
    for operation in [
        Operation::CreateTags,
        Operation::DeleteNetworkInterface,
        Operation::DetachNetworkInterface,
        Operation::ModifyNetworkInterfaceAttribute,
        Operation::UnassignPrivateIpAddresses,
    ] {
        check(operation, &Reply::Done, "<return>true</return>");
    }
}

#[test]
fn assign_lists_what_it_added() {
    let reply = Reply::Assigned {
        eni_id: "eni-01".into(),
        addresses: vec![Ipv4Addr::new(10, 0, 0, 9)],
        prefixes: vec!["10.0.0.16/28".parse().unwrap()],
    };
    check(
        Operation::AssignPrivateIpAddresses,
        &reply,
        "<networkInterfaceId>eni-01</networkInterfaceId>
        <assignedPrivateIpAddressesSet><item><privateIpAddress>10.0.0.9</privateIpAddress></item></assignedPrivateIpAddressesSet>
        <assignedIpv4PrefixSet><item><ipv4Prefix>10.0.0.16/28</ipv4Prefix></item></assignedIpv4PrefixSet>",
    );
}

#[test]
fn attach_gives_the_attachment() {
    let reply = Reply::Attached {
        attachment_id: "eni-attach-01".into(),
        network_card: 0,
    };
    let inside = "<attachmentId>eni-attach-01</attachmentId><networkCardIndex>0</networkCardIndex>";
    check(Operation::AttachNetworkInterface, &reply, inside);
}

#[test]
fn create_gives_a_detached_eni_without_an_attachment_element() {
    let eni = Eni {
        attachment: None,
        status: EniStatus::Pending,
        ..eni()
    };
    let basics = BASICS.replace("in-use", "pending");
    let reply = Reply::Created {
        eni: Box::new(eni),
        client_token: "t".into(),
    };
    let inside = format!(
        "<networkInterface>{basics}{WHERE}{TAGS}</networkInterface><clientToken>t</clientToken>"
    );
    check(Operation::CreateNetworkInterface, &reply, &inside);
}

#[test]
fn describe_network_interfaces_gives_items_and_the_token_of_the_next_page() {
    let page = Page {
        items: vec![eni()],
        next_token: Some("n".into()),
    };
    let inside = format!(
        "<networkInterfaceSet><item>{BASICS}{WHERE}{ATTACHMENT}{TAGS}</item></networkInterfaceSet><nextToken>n</nextToken>"
    );
    check(
        Operation::DescribeNetworkInterfaces,
        &Reply::Enis(page),
        &inside,
    );
    let empty = Page {
        items: Vec::new(),
        next_token: None,
    };
    let inside = "<networkInterfaceSet></networkInterfaceSet>";
    check(
        Operation::DescribeNetworkInterfaces,
        &Reply::Enis(empty),
        inside,
    );
}

#[test]
fn describe_instances_gives_reservations_with_instances_with_enis() {
    let instance = InstanceView {
        instance_id: "i-01".into(),
        name: "node-1".into(),
        instance_type: "m5.large".into(),
        state: InstanceState::Running,
        zone: "eu-west-1a".into(),
        subnet_id: "subnet-01".into(),
        vpc_id: "vpc-01".into(),
        private_address: Some(Ipv4Addr::new(10, 0, 0, 9)),
        tags: vec![("k".into(), "v".into())],
        enis: vec![eni()],
    };
    let attachment = ATTACHMENT
        .replace("<instanceId>i-01</instanceId>", "")
        .replace("<instanceOwnerId>123456789012</instanceOwnerId>", "");
    let inside = format!(
        "<reservationSet><item><reservationId>r-01</reservationId><ownerId>123456789012</ownerId>
        <instancesSet><item><instanceId>i-01</instanceId><instanceType>m5.large</instanceType>
        <instanceState><code>16</code><name>running</name></instanceState>
        <placement><availabilityZone>eu-west-1a</availabilityZone></placement>
        <privateIpAddress>10.0.0.9</privateIpAddress><subnetId>subnet-01</subnetId><vpcId>vpc-01</vpcId>
        <networkInterfaceSet><item>{BASICS}{attachment}</item></networkInterfaceSet>{TAGS}
        </item></instancesSet></item></reservationSet>"
    );
    let page = Page {
        items: vec![instance],
        next_token: None,
    };
    check(
        Operation::DescribeInstances,
        &Reply::Instances(page),
        &inside,
    );
}

#[test]
fn describe_instance_types_counts_the_enis_of_all_cards() {
    let kind = InstanceType {
        name: "c6in.32xlarge".into(),
        network_cards: 2,
        enis_per_card: 8,
        ipv4_per_eni: 50,
        ipv6_per_eni: 50,
        hypervisor: Some("nitro".into()),
        bare_metal: false,
        vcpus: Some(128),
        trunk: Some(true),
    };
    let card = |n: u8| {
        format!(
            "<item><networkCardIndex>{n}</networkCardIndex><maximumNetworkInterfaces>8</maximumNetworkInterfaces></item>"
        )
    };
    let inside = format!(
        "<instanceTypeSet><item><instanceType>c6in.32xlarge</instanceType><bareMetal>false</bareMetal>
        <hypervisor>nitro</hypervisor><networkInfo><maximumNetworkInterfaces>16</maximumNetworkInterfaces>
        <maximumNetworkCards>2</maximumNetworkCards><defaultNetworkCardIndex>0</defaultNetworkCardIndex>
        <networkCards>{}{}</networkCards><ipv4AddressesPerInterface>50</ipv4AddressesPerInterface>
        <ipv6AddressesPerInterface>50</ipv6AddressesPerInterface><ipv6Supported>true</ipv6Supported>
        </networkInfo></item></instanceTypeSet>",
        card(0),
        card(1)
    );
    let page = Page {
        items: vec![kind],
        next_token: None,
    };
    check(
        Operation::DescribeInstanceTypes,
        &Reply::InstanceTypes(page),
        &inside,
    );
}

#[test]
fn describe_subnets_gives_free_addresses_and_tags() {
    let subnet = SubnetView {
        subnet_id: "subnet-01".into(),
        vpc_id: "vpc-01".into(),
        cidr: "10.0.0.0/24".parse().unwrap(),
        zone: "eu-west-1a".into(),
        available_addresses: 251,
        available_prefixes: 14,
        tags: vec![("k".into(), "v".into())],
    };
    let inside = format!(
        "<subnetSet><item><subnetId>subnet-01</subnetId><vpcId>vpc-01</vpcId><cidrBlock>10.0.0.0/24</cidrBlock>
        <availableIpAddressCount>251</availableIpAddressCount><availabilityZone>eu-west-1a</availabilityZone>
        <state>available</state><ownerId>123456789012</ownerId><mapPublicIpOnLaunch>false</mapPublicIpOnLaunch>
        <ipv6Native>false</ipv6Native>{TAGS}</item></subnetSet>"
    );
    let page = Page {
        items: vec![subnet],
        next_token: None,
    };
    check(Operation::DescribeSubnets, &Reply::Subnets(page), &inside);
}

#[test]
fn an_error_names_its_code_and_escapes_its_message() {
    let error = ApiError::refused("InvalidParameterValue", "a<b & \u{1}c");
    let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
        <Code>InvalidParameterValue</Code><Message>a&lt;b &amp; \u{fffd}c</Message></Error></Errors>\
        <RequestID>r-1</RequestID></Response>";
    assert_eq!(failure("r-1", &error), expected);
}
