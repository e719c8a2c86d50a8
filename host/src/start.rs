//! From nothing to a node that is ready: who are we, what has EC2 for us, who holds what.
//!
//! In: the settings. Out: a [`Beginning`] for the loop, and what the doors need.
//! Must hold: whatever does not answer is asked again, with a line that says what and why, for as
//! long as it takes; nothing is served before all of it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ec2::config::SharedHttpClient;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use onsen_core::config::{Config, StartFacts, Times};
use onsen_core::event::Observation;
use onsen_core::ids::SandboxKey;
use onsen_core::node::Node;
use onsen_core::snapshot::{Limits, NodeFacts};
use onsen_net::Net;
use onsen_policy_runner::builtin;
use onsen_policy_runner::recording::Header;
use onsen_wiring::{EniWiring, Family, NodeWiring};
use tokio::sync::watch;

use crate::checkpoint::{self, Found};
use crate::clock::{self, Clock, millis};
use crate::daemon::{Beginning, Nameplate, Tools};
use crate::ec2::{Birthmarks, Ec2, Owner, Place};
use crate::imds::{Facts, Imds};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::policies::{self, Cluster, Life, Sources, Watcher};
use crate::recover::{self, PodLink, Recovered};
use crate::requests::Mailbox;
use crate::rpc_server::Constants;
use crate::settings::Settings;
use crate::text::chain;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A node that is ready.
pub(crate) struct Ready {
    /// For the loop.
    pub(crate) beginning: Beginning,
    /// For the gRPC door.
    pub(crate) constants: Constants,
    /// Follows the VPC's ranges.
    pub(crate) vpc_cidrs: watch::Receiver<Vec<(IpAddr, u8)>>,
    /// Follows the operator's choice of policy.
    pub(crate) watcher: Watcher,
}

/// Starts. Comes back with an error only where trying again cannot help.
pub(crate) async fn start(
    settings: &Settings,
    clock: Clock,
    mailbox: Mailbox,
    cluster: Option<Cluster>,
) -> Result<Ready, String> {
    // A build without the policies says so at once, and not after EC2 has answered.
    builtin::get(policies::DEFAULT).map_err(|absent| absent.to_string())?;
    let policy = tokio::spawn(first_policy(settings.clone(), cluster, clock));
    let net = Net::open().map_err(|error| chain(&error))?;
    let http = http_client(settings);
    let imds = Imds::new(http.clone(), settings.imds_endpoint.as_deref())
        .map_err(|error| chain(&error))?;

    let facts = patiently("read the node's facts from IMDS", async || {
        imds.facts().await
    })
    .await;
    tracing::info!(
        instance = facts.instance,
        instance_type = facts.instance_type,
        zone = facts.zone,
        address = %facts.address,
        primary = %facts.primary,
        "this node"
    );
    // Before the first connection to EC2: one that is open when source NAT comes to the node is cut
    // off, since its packets get another port.
    let node_wiring = node_wiring(settings, &facts);
    patiently("set up the host's network", async || {
        net.set_up_node(&node_wiring)
            .await
            .map_err(|error| chain(&error))
    })
    .await;
    warn_of_forwarding();
    let metrics = Metrics::new().map_err(|error| format!("the metrics do not start: {error}"))?;
    let ec2 = Ec2::new(
        &aws_config(settings, &facts, http).await,
        settings.ec2_endpoint.as_deref(),
        Owner {
            instance: facts.instance.clone(),
            primary: facts.primary.clone(),
            manage_untagged: settings.manage_untagged,
        },
        Place {
            subnet: facts.subnet.clone(),
            vpc: facts.vpc.clone(),
            zone: facts.zone.clone(),
            discovery: settings.subnet_discovery,
        },
        facts.groups.clone(),
        Birthmarks {
            cluster: settings.cluster_name.clone(),
            tags: settings.eni_tags.clone(),
            life: clock::chance(),
        },
        settings.ec2_timeout,
        metrics.clone(),
    );
    let mut limits = patiently("read the instance type's limits from EC2", async || {
        ec2.limits(&facts.instance_type).await
    })
    .await;
    limits.enis = settings
        .max_eni
        .map_or(limits.enis, |max| max.min(limits.enis));
    let observation = patiently("read the node's network interfaces from EC2", async || {
        ec2.look().await
    })
    .await;

    let recovered = patiently("find out which pods hold which addresses", async || {
        recovered(settings, &net, clock).await
    })
    .await;
    lead_pods(&net, &recovered, &observation).await;

    let (watcher, life) = policy
        .await
        .map_err(|panicked| format!("loading the policy failed: {panicked}"))??;
    let now = clock.now();
    let opened = Ledger::open(Some(&settings.ledger_dir), &header(settings), metrics)
        .map_err(|error| format!("the ledger of decisions does not start: {error}"))?;
    let mut config = config(
        settings,
        &facts,
        life.in_force().unit(limits.prefixes),
        limits,
        life.in_force().settings(),
    );
    config.node.labels = watcher.labels();
    config.last_decision = opened.last_decision;
    let (node, effects) = Node::start(
        config,
        StartFacts {
            saved: recovered.saved,
            gone: recovered.gone,
            observation,
            remarks: recovered.remarks,
            forgotten: recovered.forgotten,
        },
        now,
    );

    let (vpc, vpc_cidrs) = watch::channel(facts.vpc_cidrs.clone());
    let (imds, ec2) = (Arc::new(imds), Arc::new(ec2));
    tokio::spawn(follow_vpc(
        Arc::clone(&imds),
        net.clone(),
        node_wiring,
        vpc,
        facts.clone(),
        settings.imds_period,
    ));
    tokio::spawn(follow_groups(
        Arc::clone(&imds),
        Arc::clone(&ec2),
        facts.clone(),
        settings.imds_period,
    ));
    Ok(Ready {
        constants: constants(settings, &facts),
        beginning: Beginning {
            node,
            effects,
            nameplate: Nameplate {
                name: settings.node_name.clone(),
                instance: facts.instance.clone(),
                instance_type: facts.instance_type.clone(),
                zone: facts.zone.clone(),
                address: facts.address,
                cooldown: millis(settings.cooldown),
            },
            life,
            add_wait: settings.add_wait,
            ledger: opened.ledger,
            mailbox,
            tools: Tools {
                clock,
                ec2,
                imds,
                net,
                checkpoint: settings.checkpoint.clone(),
                mtu: settings.mtu,
                link_wait: settings.link_wait,
                own_subnet: (facts.subnet, facts.subnet_cidr),
            },
        },
        vpc_cidrs,
        watcher,
    })
}

/// Compiles the built-in default and what runs first, while the rest of the node is found out.
async fn first_policy(
    settings: Settings,
    cluster: Option<Cluster>,
    clock: Clock,
) -> Result<(Watcher, Life), String> {
    let sources = Sources::new(&settings, cluster);
    let watcher = tokio::task::spawn_blocking(move || Watcher::new(&settings, sources));
    let watcher = watcher.await.map_err(|panicked| panicked.to_string())??;
    watcher.first(clock.now()).await
}

/// Tries until it works, and says each time why it did not.
async fn patiently<T, E: Display>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(why) => tracing::error!(
                "cannot {what}: {why}; trying again in {:.1} s",
                pause.as_secs_f64()
            ),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One client for all of AWS. Where EC2 is plain HTTP, as in a test bed, it needs no root certificates,
/// which such a machine may lack.
fn http_client(settings: &Settings) -> SharedHttpClient {
    let plain = |endpoint: &Option<String>| endpoint.as_ref().map(|url| url.starts_with("http://"));
    let builder = aws_smithy_http_client::Builder::new();
    // IMDS is plain unless an endpoint says otherwise.
    if plain(&settings.ec2_endpoint) == Some(true) && plain(&settings.imds_endpoint) != Some(false)
    {
        builder.build_http()
    } else {
        builder
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .build_https()
    }
}

async fn aws_config(settings: &Settings, facts: &Facts, http: SharedHttpClient) -> SdkConfig {
    let region = settings
        .region
        .clone()
        .unwrap_or_else(|| facts.region.clone());
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .region(Region::new(region))
        .load()
        .await
}

fn node_wiring(settings: &Settings, facts: &Facts) -> NodeWiring {
    NodeWiring {
        primary_mac: facts.mac.0,
        primary_address: facts.address,
        vpc_cidrs: facts.vpc_cidrs.clone(),
        excluded_snat_cidrs: settings.excluded_snat_cidrs.clone(),
        mtu: settings.mtu,
        veth_prefix: settings.veth_prefix.clone(),
        external_snat: settings.external_snat,
        node_port: settings.node_port,
        connmark: settings.connmark,
        randomize_snat: settings.randomize_snat,
        external_service_cidrs: settings.external_service_cidrs.clone(),
    }
}

fn constants(settings: &Settings, facts: &Facts) -> Constants {
    Constants {
        network_policy_mode: settings.network_policy_mode.clone(),
        external_snat: settings.external_snat,
        excluded_snat_cidrs: settings.excluded_snat_cidrs.clone(),
        node_address: facts.address,
        instance: facts.instance.clone(),
        region: facts.region.clone(),
        checkpoint: settings.checkpoint.clone(),
    }
}

/// What every recording of this node starts with.
fn header(settings: &Settings) -> Header {
    let cooldown = settings.cooldown.as_secs().to_string();
    Header::new(
        env!("CARGO_PKG_VERSION"),
        &settings.node_name,
        BTreeMap::from([("IP_COOLDOWN_PERIOD".to_owned(), cooldown)]),
    )
}

fn config(
    settings: &Settings,
    facts: &Facts,
    unit: onsen_core::cidr::Unit,
    limits: Limits,
    policy_settings: Vec<onsen_core::snapshot::Setting>,
) -> Config {
    Config {
        node: NodeFacts {
            instance_type: facts.instance_type.clone(),
            zone: facts.zone.clone(),
            // Unknown until the API server tells it, and 0 says so.
            max_pods: 0,
            schedulable: true,
            ..NodeFacts::default()
        },
        limits,
        own_subnet: facts.subnet.clone(),
        unit,
        settings: policy_settings,
        utc_offset: 0,
        times: Times {
            cooldown: millis(settings.cooldown),
            min_eni_age: millis(settings.min_eni_age),
            consistency: millis(settings.consistency),
            // 5 s of the default 30: nearly all reads are newer than that.
            settle: millis(settings.consistency) / 6,
            look_period: millis(settings.look_period),
            ..Times::default()
        },
        seed: settings.seed,
        ..Config::default()
    }
}

/// Holds the checkpoint against the kernel, and clears what vanished pods left in it.
async fn recovered(settings: &Settings, net: &Net, clock: Clock) -> Result<Recovered, String> {
    let path = &settings.checkpoint;
    let links = net.links().await.map_err(|error| chain(&error))?;
    let links: BTreeSet<String> = links.into_iter().map(|link| link.name).collect();
    let pods = net.pods(Family::V4).await.map_err(|error| chain(&error))?;
    let pods: Vec<PodLink> = pods
        .into_iter()
        .map(|(address, link)| PodLink { address, link })
        .collect();
    let found = checkpoint::load(path).map_err(|error| error.to_string())?;
    let cooling_known = checkpoint::knows_cooling(path).map_err(|error| error.to_string())?;
    let mut aside = None;
    if let Found::Bad(_) = found {
        aside = Some(checkpoint::set_aside(path, clock.now()).map_err(|error| error.to_string())?);
    }
    let mut recovered = recover::recover(found, cooling_known, &links, &pods, clock.now());
    if let Some(aside) = aside {
        recovered
            .remarks
            .push(format!("the bad checkpoint is kept as {}", aside.display()));
    }
    if recovered.forgotten {
        // Until the core has written what it lets cool, no start must trust the old file.
        checkpoint::forget_beside(path).map_err(|error| error.to_string())?;
    }
    if recovered.rebuilt {
        // From now on the file has them; the core writes it only when something changes.
        checkpoint::store(path, &recovered.saved, false).map_err(|error| error.to_string())?;
    }
    Ok(recovered)
}

/// Takes away what leads to vanished pods, and makes each other pod send by its address's ENI.
async fn lead_pods(net: &Net, recovered: &Recovered, observation: &Observation) {
    let complain = |address: IpAddr, error| {
        tracing::error!(%address, "the routing rules of a pod may be wrong: {}", chain(&error));
    };
    for address in &recovered.stale {
        if let Err(error) = net.forget_pod(*address).await {
            complain(*address, error);
        }
    }
    for allocation in &recovered.saved.allocations {
        let address = allocation.address;
        let led = if recovered.gone.contains::<SandboxKey>(&allocation.key) {
            net.forget_pod(address).await
        } else {
            let attachment = (observation.attached.iter())
                .find(|eni| eni.blocks.iter().any(|block| block.contains(address)))
                .and_then(|eni| eni.attachment.as_ref());
            match attachment {
                Some(at) => {
                    net.point_pod(address, EniWiring::table_of(at.card, at.device_index))
                        .await
                }
                // EC2 took it away; the core says so.
                None => Ok(()),
            }
        };
        if let Err(error) = led {
            complain(address, error);
        }
    }
}

/// The daemon cannot set it: that is the init container's work.
fn warn_of_forwarding() {
    let path = "/proc/sys/net/ipv4/ip_forward";
    match std::fs::read_to_string(path) {
        Ok(value) if value.trim() == "1" => {}
        Ok(value) => tracing::warn!(
            "net.ipv4.ip_forward is {}: pods reach nobody until it is 1; the machine image or the init \
             container must set it",
            value.trim()
        ),
        Err(error) => tracing::warn!("cannot read {path}: {error}"),
    }
}

/// Keeps the host's network in step with the ranges of the VPC. A change that fails is tried again.
async fn follow_vpc(
    imds: Arc<Imds>,
    net: Net,
    mut wiring: NodeWiring,
    told: watch::Sender<Vec<(IpAddr, u8)>>,
    facts: Facts,
    period: Duration,
) {
    loop {
        tokio::time::sleep(period).await;
        let ranges = match imds.vpc_cidrs(facts.mac).await {
            Ok(ranges) => ranges,
            Err(error) => {
                tracing::warn!("{}", chain(&error));
                continue;
            }
        };
        if *told.borrow() == ranges {
            continue;
        }
        tracing::info!(?ranges, "the VPC's ranges changed");
        wiring.vpc_cidrs.clone_from(&ranges);
        match net.set_up_node(&wiring).await {
            Ok(()) => {
                told.send_replace(ranges);
            }
            Err(error) => {
                tracing::error!("cannot set up the host's network anew: {}", chain(&error));
            }
        }
    }
}

/// Has this node's ENIs follow the security groups of its primary one. A change that fails is tried again.
async fn follow_groups(imds: Arc<Imds>, ec2: Arc<Ec2>, facts: Facts, period: Duration) {
    let mut followed = facts.groups;
    loop {
        tokio::time::sleep(period).await;
        let groups = match imds.groups(facts.mac).await {
            Ok(groups) => groups,
            Err(error) => {
                tracing::warn!("{}", chain(&error));
                continue;
            }
        };
        // An ENI has at least one group: an empty list is no list.
        if groups.is_empty() || groups == followed {
            continue;
        }
        match ec2.follow_groups(&groups).await {
            Ok(()) => followed = groups,
            Err(why) => {
                tracing::warn!("an ENI does not have the primary's security groups yet: {why}");
            }
        }
    }
}
