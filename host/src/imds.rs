//! Who this node is, from the instance metadata service (`IMDSv2` only).
//!
//! In: the service's leaves. Out: [`Facts`]. IMDS lags behind EC2 by seconds, so only what never
//! changes is taken from here, and ranges that only steer routing; which addresses the node has is
//! EC2's to say.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aws_config::imds::Client;
use aws_config::provider_config::ProviderConfig;
use aws_sdk_ec2::config::SharedHttpClient;
use onsen_core::ids::{EniId, Mac, SubnetId};

use crate::text::chain;

/// What the node is.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// `i-0123456789abcdef0`.
    pub(crate) instance: String,
    /// `m5.large`.
    pub(crate) instance_type: String,
    /// `eu-west-1a`.
    pub(crate) zone: String,
    /// `eu-west-1`.
    pub(crate) region: String,
    /// MAC of the primary ENI.
    pub(crate) mac: Mac,
    /// The node's own address.
    pub(crate) address: IpAddr,
    /// The primary ENI.
    pub(crate) primary: EniId,
    /// Its subnet.
    pub(crate) subnet: SubnetId,
    /// The subnet's range.
    pub(crate) subnet_cidr: (IpAddr, u8),
    /// Its VPC.
    pub(crate) vpc: String,
    /// All ranges of the VPC.
    pub(crate) vpc_cidrs: Vec<(IpAddr, u8)>,
    /// Security groups of the primary ENI.
    pub(crate) groups: Vec<String>,
}

/// Why a fact is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImdsError {
    /// The endpoint is no URL.
    #[error("the IMDS endpoint {endpoint:?} cannot be used: {why}")]
    Endpoint {
        /// As set.
        endpoint: String,
        /// The client's words.
        why: String,
    },
    /// No answer, or none that says what was asked for.
    #[error("IMDS does not tell {path}: {why}")]
    Get {
        /// What was asked for.
        path: String,
        /// What came instead.
        why: String,
    },
    /// An answer that makes no sense.
    #[error("IMDS tells {path} = {value:?}, which is not {expected}")]
    Value {
        /// What was asked for.
        path: String,
        /// The answer.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// The service.
#[derive(Debug)]
pub(crate) struct Imds {
    client: Client,
}

impl Imds {
    /// Nothing is sent yet.
    pub(crate) fn new(http: SharedHttpClient, endpoint: Option<&str>) -> Result<Self, ImdsError> {
        // One attempt of the client's own: the caller's patience has no end, and its log lines tell.
        let mut builder = Client::builder()
            .configure(&ProviderConfig::without_region().with_http_client(http))
            .max_attempts(2)
            .operation_timeout(Duration::from_secs(5));
        if let Some(endpoint) = endpoint {
            builder = builder
                .endpoint(endpoint)
                .map_err(|why| ImdsError::Endpoint {
                    endpoint: endpoint.into(),
                    why: why.to_string(),
                })?;
        }
        Ok(Self {
            client: builder.build(),
        })
    }

    /// All facts, read anew.
    pub(crate) async fn facts(&self) -> Result<Facts, ImdsError> {
        let mac_path = "mac";
        let mac_text = self.get(mac_path).await?;
        let mac = Mac::parse(&mac_text)
            .ok_or_else(|| unreadable(mac_path, &mac_text, "a MAC address"))?;
        let leaf = |name: &str| format!("network/interfaces/macs/{mac_text}/{name}");
        let address_path = "local-ipv4";
        let address = self.get(address_path).await?;
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_not_an_address| unreadable(address_path, &address, "an IPv4 address"))?;
        Ok(Facts {
            instance: self.get("instance-id").await?,
            instance_type: self.get("instance-type").await?,
            zone: self.get("placement/availability-zone").await?,
            region: self.get("placement/region").await?,
            mac,
            address: address.into(),
            primary: EniId::new(self.get(&leaf("interface-id")).await?),
            subnet: SubnetId::new(self.get(&leaf("subnet-id")).await?),
            subnet_cidr: self.subnet_cidr(mac).await?,
            vpc_cidrs: self.ranges(&leaf("vpc-ipv4-cidr-blocks")).await?,
            vpc: self.get(&leaf("vpc-id")).await?,
            groups: self.groups(mac).await?,
        })
    }

    /// The security groups of the primary ENI, which an operator may change.
    pub(crate) async fn groups(&self, mac: Mac) -> Result<Vec<String>, ImdsError> {
        let path = format!("network/interfaces/macs/{mac}/security-group-ids");
        Ok(lines(&self.get(&path).await?))
    }

    /// The range of the subnet that an ENI is in.
    pub(crate) async fn subnet_cidr(&self, mac: Mac) -> Result<(IpAddr, u8), ImdsError> {
        let path = format!("network/interfaces/macs/{mac}/subnet-ipv4-cidr-block");
        let ranges = self.ranges(&path).await?;
        ranges
            .first()
            .copied()
            .ok_or_else(|| unreadable(&path, "", "an IPv4 range"))
    }

    /// All ranges of the VPC, which may grow while the node runs.
    pub(crate) async fn vpc_cidrs(&self, mac: Mac) -> Result<Vec<(IpAddr, u8)>, ImdsError> {
        self.ranges(&format!(
            "network/interfaces/macs/{mac}/vpc-ipv4-cidr-blocks"
        ))
        .await
    }

    async fn ranges(&self, path: &str) -> Result<Vec<(IpAddr, u8)>, ImdsError> {
        let text = self.get(path).await?;
        let range = |line: &String| {
            let (address, length) = line.split_once('/')?;
            let address: Ipv4Addr = address.parse().ok()?;
            let length = length.parse().ok().filter(|length| *length <= 32)?;
            Some((IpAddr::V4(address), length))
        };
        lines(&text)
            .iter()
            .map(range)
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| unreadable(path, &text, "a list of IPv4 ranges"))
    }

    async fn get(&self, path: &str) -> Result<String, ImdsError> {
        match self.client.get(format!("/latest/meta-data/{path}")).await {
            Ok(text) => {
                let text: String = text.into();
                Ok(text.trim().to_owned())
            }
            Err(error) => Err(ImdsError::Get {
                path: path.into(),
                why: chain(&error),
            }),
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(Into::into)
        .collect()
}

fn unreadable(path: &str, value: &str, expected: &'static str) -> ImdsError {
    ImdsError::Value {
        path: path.into(),
        value: value.into(),
        expected,
    }
}
