//! What the account promises: one promise of EC2 per test, and what must hold under random calls (`random`).

mod addresses;
mod calls;
mod enis;
mod faults;
mod random;
mod views;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::{
    Account, Answer, ApiError, Call, Cidr, Config, CreateEni, Describe, Eni, NodeConfig, Page,
    Reply, Request, SubnetConfig, Wanted,
};

/// An account and its clock.
struct World {
    account: Account,
    now_ms: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::with(seed, "m5.large", "10.0.0.0/24")
    }

    fn with(seed: u64, instance_type: &str, subnet: &str) -> Self {
        let account = Account::new(config(instance_type, subnet), seed, 0).unwrap();
        Self { account, now_ms: 0 }
    }

    fn ask(&mut self, request: Request) -> Answer {
        self.account.call(
            self.now_ms,
            &Call {
                node: None,
                dry_run: false,
                request,
            },
        )
    }

    fn try_call(&mut self, request: Request) -> Result<Reply, ApiError> {
        self.ask(request).result
    }

    fn code(&mut self, request: Request) -> &'static str {
        self.try_call(request).unwrap_err().code
    }

    fn create(&mut self, wanted: Wanted) -> Eni {
        match self.try_call(create(&self.account, wanted)).unwrap() {
            Reply::Created { eni, .. } => *eni,
            other => panic!("{other:?}"),
        }
    }

    fn attach(&mut self, eni: &Eni, device_index: u32) -> Result<String, ApiError> {
        let instance_id = self.instance(0);
        match self.try_call(attach(&eni.id, &instance_id, device_index, 0))? {
            Reply::Attached { attachment_id, .. } => Ok(attachment_id),
            other => panic!("{other:?}"),
        }
    }

    fn assign(&mut self, eni_id: &str, wanted: Wanted) -> Result<Reply, ApiError> {
        self.try_call(assign(eni_id, wanted))
    }

    fn eni(&self, id: &str) -> Eni {
        self.account.enis().find(|it| it.id == id).unwrap().clone()
    }

    /// The id of the `at`th node's instance.
    fn instance(&self, at: usize) -> String {
        let name = format!("node-{at}");
        self.account
            .instances()
            .find(|it| it.name == name)
            .unwrap()
            .instance_id
    }

    /// The primary ENI of the `at`th node.
    fn primary(&self, at: usize) -> Eni {
        let id = self.instance(at);
        let primary =
            |it: &&Eni| it.is_on(&id) && it.attachment.as_ref().unwrap().device_index == 0;
        self.account.enis().find(primary).unwrap().clone()
    }

    fn sleep(&mut self, ms: u64) -> Vec<super::FabricEvent> {
        self.now_ms += ms;
        self.account.advance(self.now_ms)
    }
}

fn config(instance_type: &str, subnet: &str) -> Config {
    let node = |at: usize| NodeConfig {
        name: format!("node-{at}"),
        instance_type: instance_type.into(),
        subnet: 0,
    };
    Config {
        region: "eu-west-1".into(),
        zone: "eu-west-1a".into(),
        vpc_cidr: "10.0.0.0/16".parse().unwrap(),
        subnets: vec![SubnetConfig {
            cidr: subnet.parse().unwrap(),
            zone: None,
            tags: BTreeMap::new(),
            reservations: Vec::new(),
        }],
        nodes: vec![node(0), node(1)],
        latency_scale: 1.0,
        read_lag_scale: 0.0,
    }
}

fn create(account: &Account, wanted: Wanted) -> Request {
    Request::CreateNetworkInterface(CreateEni {
        subnet_id: account.subnets().next().unwrap().subnet_id,
        description: "aws-K8S-test".into(),
        groups: Vec::new(),
        tags: vec![("owner".into(), "test".into())],
        client_token: None,
        primary: None,
        wanted,
    })
}

fn attach(eni_id: &str, instance_id: &str, device_index: u32, network_card: u32) -> Request {
    let (eni_id, instance_id) = (eni_id.to_owned(), instance_id.to_owned());
    Request::AttachNetworkInterface {
        eni_id,
        instance_id,
        device_index,
        network_card,
    }
}

fn assign(eni_id: &str, wanted: Wanted) -> Request {
    Request::AssignPrivateIpAddresses {
        eni_id: eni_id.to_owned(),
        wanted,
        allow_reassignment: false,
    }
}

fn detach(attachment_id: &str) -> Request {
    Request::DetachNetworkInterface {
        attachment_id: attachment_id.to_owned(),
    }
}

fn delete(eni_id: &str) -> Request {
    Request::DeleteNetworkInterface {
        eni_id: eni_id.to_owned(),
    }
}

fn unassign(eni_id: &str, addresses: Vec<Ipv4Addr>, prefixes: Vec<Cidr>) -> Request {
    Request::UnassignPrivateIpAddresses {
        eni_id: eni_id.to_owned(),
        addresses,
        prefixes,
    }
}

fn assigned(reply: Reply) -> (Vec<Ipv4Addr>, Vec<Cidr>) {
    match reply {
        Reply::Assigned {
            addresses,
            prefixes,
            ..
        } => (addresses, prefixes),
        other => panic!("{other:?}"),
    }
}

fn enis(reply: Reply) -> (Vec<String>, Option<String>) {
    match reply {
        Reply::Enis(Page { items, next_token }) => {
            (items.into_iter().map(|it| it.id).collect(), next_token)
        }
        other => panic!("{other:?}"),
    }
}

fn filter(name: &str, value: &str) -> Describe {
    Describe {
        filters: vec![(name.to_owned(), vec![value.to_owned()])],
        ..Describe::default()
    }
}
