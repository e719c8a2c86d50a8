//! What is counted and measured, in Prometheus' text form.
//!
//! In: what the ledger and the EC2 client see pass by; at each scrape, the pool as it stands. Out: one text.
//! Names that start with `awscni_` are those of the Amazon VPC CNI, kept for the dashboards that people have;
//! `onsen_` is our own. The library is `prometheus` and not `prometheus-client`: the latter puts `_total` behind
//! every counter, which would rename upstream's.
//!
//! Must hold: the number of series is bounded by the node (ENIs, blocks) and by closed sets of words; a
//! policy's own text is never a label, but for its name, of which there is one at a time.

use std::time::Duration;

use onsen_core::effect::{Ec2Request, Severity};
use onsen_core::snapshot::Operation;
use onsen_core::status::{EniStatus, Summary};
use onsen_policy_runner::recording::{Decider, Decision, PolicyName};
use prometheus::core::Collector;
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use crate::policies::{Figures, PolicyStatus};

/// Hexadecimal digits of a policy's digest that tell it apart.
const DIGEST: usize = 12;

/// All series. Cheap to clone: the clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Registry,

    adds: IntCounter,
    dels: IntCounterVec,
    no_address: IntCounter,
    api_latency: HistogramVec,
    api_errors: IntCounterVec,
    ec2_requests: IntCounterVec,
    ec2_errors: IntCounterVec,
    ipamd_errors: IntCounterVec,
    in_progress: IntGaugeVec,
    enis: IntGauge,
    enis_max: IntGauge,
    addresses: IntGauge,
    addresses_max: IntGauge,
    assigned: IntGauge,
    prefixes: IntGauge,
    assigned_of_cidr: IntGaugeVec,
    assigned_of_eni: IntGaugeVec,

    decisions: IntCounterVec,
    actions: IntCounterVec,
    dropped: IntCounterVec,
    failures: IntCounterVec,
    fuel: HistogramVec,
    seconds: HistogramVec,
    changes: IntCounterVec,
    in_force: IntGaugeVec,
    probation: IntGauge,
    shadow: IntCounterVec,
    pressure: IntGauge,
    pool: IntGaugeVec,
    waiting: IntGauge,
    waits: HistogramVec,
    refused: IntCounterVec,
    reports: IntCounterVec,
}

/// Makes series and registers them.
struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn add<C: Collector + Clone + 'static>(&self, made: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.add(IntCounter::new(name, help)?)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets);
        self.add(HistogramVec::new(options, labels)?)
    }
}

impl Metrics {
    /// All series at zero.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let policy = ["policy", "digest"];
        let of_policy = |label| ["policy", "digest", label];
        let build = make.gauges(
            "awscni_build_info",
            "1, labelled by version",
            &["version", "goversion"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), ""])
            .set(1);
        Ok(Self {
            adds: make.counter(
                "awscni_add_ip_req_count",
                "Requests of sandboxes for an address",
            )?,
            dels: make.counters(
                "awscni_del_ip_req_count",
                "Addresses that sandboxes gave back",
                &["reason"],
            )?,
            no_address: make.counter(
                "awscni_no_available_ip_addresses",
                "Requests that were refused an address",
            )?,
            api_latency: make.histograms(
                "awscni_aws_api_latency_ms",
                "Time of EC2 calls in milliseconds",
                &["api", "error", "status"],
                vec![
                    50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0,
                ],
            )?,
            api_errors: make.counters(
                "awscni_aws_api_error_count",
                "EC2 calls that failed, by EC2's code; `unknown` without a usable answer",
                &["api", "error"],
            )?,
            ec2_requests: make.counters("awscni_ec2api_req_count", "EC2 calls", &["fn"])?,
            ec2_errors: make.counters(
                "awscni_ec2api_error_count",
                "EC2 calls that failed",
                &["fn"],
            )?,
            ipamd_errors: make.counters(
                "awscni_ipamd_error_count",
                "Errors that the daemon reported, by the report's code",
                &["fn"],
            )?,
            in_progress: make.gauges(
                "awscni_ipamd_action_inprogress",
                "EC2 calls under way that change the pool",
                &["fn"],
            )?,
            enis: make.gauge("awscni_eni_allocated", "ENIs of the pool")?,
            enis_max: make.gauge("awscni_eni_max", "ENIs that the node may have")?,
            addresses: make.gauge("awscni_total_ip_addresses", "Addresses of the pool")?,
            addresses_max: make.gauge("awscni_ip_max", "Addresses that the node may have")?,
            assigned: make.gauge("awscni_assigned_ip_addresses", "Addresses that pods hold")?,
            prefixes: make.gauge("awscni_total_ipv4_prefixes", "Prefixes of the pool")?,
            assigned_of_cidr: make.gauges(
                "awscni_assigned_ip_per_cidr",
                "Addresses that pods hold, by block",
                &["cidr"],
            )?,
            assigned_of_eni: make.gauges(
                "awscni_assigned_ip_per_eni",
                "Addresses that pods hold, by ENI",
                &["eni"],
            )?,
            decisions: make.counters(
                "onsen_policy_decisions_total",
                "Questions to policies",
                &["policy", "digest", "decider", "trigger"],
            )?,
            actions: make.counters(
                "onsen_policy_actions_total",
                "Actions of policies that were sent on their way",
                &of_policy("action"),
            )?,
            dropped: make.counters(
                "onsen_policy_dropped_total",
                "Actions of policies that were dropped",
                &of_policy("reason"),
            )?,
            failures: make.counters(
                "onsen_policy_failures_total",
                "Questions to which a policy gave no answer",
                &of_policy("kind"),
            )?,
            fuel: make.histograms(
                "onsen_policy_fuel",
                "Fuel that an answer took",
                &policy,
                prometheus::exponential_buckets(10_000.0, 4.0, 10)?,
            )?,
            seconds: make.histograms(
                "onsen_policy_seconds",
                "Time that an answer took, the way to the thread and back included",
                &policy,
                prometheus::exponential_buckets(0.000_05, 4.0, 9)?,
            )?,
            changes: make.counters(
                "onsen_policy_changes_total",
                "Changes of policy or settings since the daemon started",
                &["result"],
            )?,
            in_force: make.gauges(
                "onsen_policy_in_force",
                "1 for the policy that decides",
                &["policy", "version", "digest", "reference"],
            )?,
            probation: make.gauge(
                "onsen_policy_on_probation",
                "1 while the policy in force has yet to prove good",
            )?,
            shadow: make.counters(
                "onsen_shadow_decisions_total",
                "Decisions of the shadow, beside those of the policy in force",
                &of_policy("result"),
            )?,
            pressure: make.gauge(
                "onsen_policy_pressure",
                "What the policy says of the pool, 0 at ease to 100",
            )?,
            pool: make.gauges("onsen_pool_addresses", "Addresses by state", &["state"])?,
            waiting: make.gauge("onsen_pool_waiting", "Requests that wait for an address")?,
            waits: make.histograms(
                "onsen_pod_wait_seconds",
                "Time from a request for an address to its answer",
                &["result"],
                vec![0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0],
            )?,
            refused: make.counters(
                "onsen_pod_refused_total",
                "Requests that were refused an address, by reason",
                &["reason"],
            )?,
            reports: make.counters(
                "onsen_reports_total",
                "Reports of the daemon, by code",
                &["severity", "code"],
            )?,
            registry,
        })
    }

    /// An EC2 call has ended; `code` tells how when it failed.
    pub(crate) fn ec2(&self, action: &str, code: Option<&str>, took: Duration) {
        self.ec2_requests.with_label_values(&[action]).inc();
        let failed = if code.is_some() { "true" } else { "false" };
        self.api_latency
            .with_label_values(&[action, failed, code.unwrap_or("200")])
            .observe(took.as_secs_f64() * 1_000.0);
        if let Some(code) = code {
            self.ec2_errors.with_label_values(&[action]).inc();
            self.api_errors.with_label_values(&[action, code]).inc();
        }
    }

    /// A policy has answered, or failed; what of the answer was sent on its way comes by itself.
    pub(crate) fn decision(&self, decision: &Decision) {
        let (name, digest) = labels(&decision.policy);
        let decider = match decision.decider {
            Decider::Chosen => "chosen",
            Decider::BuiltIn => "built-in",
        };
        self.decisions
            .with_label_values(&[name, digest, decider, &decision.trigger])
            .inc();
        self.seconds
            .with_label_values(&[name, digest])
            .observe(Duration::from_micros(decision.micros).as_secs_f64());
        if let Some(failure) = &decision.failure {
            self.failures
                .with_label_values(&[name, digest, &failure.kind])
                .inc();
            return;
        }
        self.fuel
            .with_label_values(&[name, digest])
            .observe(decision.fuel as f64);
        for dropped in &decision.dropped {
            self.dropped
                .with_label_values(&[name, digest, &dropped.why])
                .inc();
        }
        self.pressure.set(decision.pressure.into());
    }

    /// An action was sent on its way.
    pub(crate) fn action(&self, policy: &PolicyName, operation: Operation) {
        let (name, digest) = labels(policy);
        self.actions
            .with_label_values(&[name, digest, operation.word()])
            .inc();
    }

    /// A request for an address was answered; `refused` is the reason's word.
    pub(crate) fn add(&self, waited: Duration, refused: Option<&str>) {
        self.adds.inc();
        let result = if refused.is_some() {
            "refused"
        } else {
            "assigned"
        };
        self.waits
            .with_label_values(&[result])
            .observe(waited.as_secs_f64());
        if let Some(reason) = refused {
            self.no_address.inc();
            self.refused.with_label_values(&[reason]).inc();
        }
    }

    /// An address was given back.
    pub(crate) fn del(&self) {
        self.dels.with_label_values(&["PodDeleted"]).inc();
    }

    /// The daemon told people something.
    pub(crate) fn report(&self, severity: Severity, word: &str, code: &str) {
        self.reports.with_label_values(&[word, code]).inc();
        if severity == Severity::Error {
            self.ipamd_errors.with_label_values(&[code]).inc();
        }
    }

    /// A policy or settings were put in force.
    pub(crate) fn put_in_force(&self, policy: &PolicyName, reference: &str) {
        let (name, digest) = labels(policy);
        self.in_force.reset();
        self.in_force
            .with_label_values(&[name, &policy.version, digest, reference])
            .set(1);
    }

    /// How the life of policies went so far.
    pub(crate) fn life(&self, status: &PolicyStatus, shadow: &Figures) {
        // The life counts; what is shown here is what it says.
        self.changes.reset();
        for (result, count) in [
            ("swapped", status.swaps),
            ("refused", status.refusals),
            ("rolled-back", status.rollbacks),
        ] {
            self.changes.with_label_values(&[result]).inc_by(count);
        }
        self.probation.set(status.on_probation.into());
        self.shadow.reset();
        let Some(named) = &status.shadow else { return };
        let digest = short(&named.digest);
        for (result, count) in [
            ("alike", shadow.compared.saturating_sub(shadow.differed)),
            ("different", shadow.differed),
            ("failed", shadow.failed),
            ("missed", shadow.missed),
        ] {
            self.shadow
                .with_label_values(&[&named.name, digest, result])
                .inc_by(count);
        }
    }

    /// The pool as it stands.
    pub(crate) fn pool<'a>(
        &self,
        summary: &Summary,
        enis: &[EniStatus],
        addresses_per_slot: u32,
        calls: impl Iterator<Item = &'a Ec2Request>,
    ) {
        let limits = &summary.limits;
        let most = limits.enis * limits.slots_per_eni * addresses_per_slot;
        for (gauge, value) in [
            (&self.enis, summary.enis),
            (&self.enis_max, limits.enis),
            (&self.addresses, summary.addresses),
            (&self.addresses_max, most),
            (&self.assigned, summary.assigned),
            (&self.prefixes, summary.prefixes),
            (&self.waiting, summary.waiting),
        ] {
            gauge.set(value.into());
        }
        for (state, value) in [
            ("assigned", summary.assigned),
            ("cooling", summary.cooling),
            ("warm", summary.warm),
        ] {
            self.pool.with_label_values(&[state]).set(value.into());
        }
        // ENIs and blocks that are gone must not stay.
        self.assigned_of_cidr.reset();
        self.assigned_of_eni.reset();
        for eni in enis {
            let mut held = 0;
            for block in &eni.blocks {
                held += block.assigned;
                self.assigned_of_cidr
                    .with_label_values(&[&block.cidr.to_string()])
                    .set(block.assigned.into());
            }
            self.assigned_of_eni
                .with_label_values(&[eni.id.as_str()])
                .set(held.into());
        }
        let (mut more, mut less) = (0, 0);
        for call in calls {
            match call {
                Ec2Request::CreateEni { .. }
                | Ec2Request::AttachEni { .. }
                | Ec2Request::SetDeleteOnTermination { .. }
                | Ec2Request::Assign { .. } => more += 1,
                Ec2Request::DetachEni { .. }
                | Ec2Request::DeleteEni { .. }
                | Ec2Request::Unassign { .. } => less += 1,
            }
        }
        for (name, value) in [
            ("increaseDatastorePool", more),
            ("decreaseDatastorePool", less),
        ] {
            self.in_progress.with_label_values(&[name]).set(value);
        }
    }

    /// All series as text.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn labels(policy: &PolicyName) -> (&str, &str) {
    (&policy.name, short(&policy.digest))
}

fn short(digest: &str) -> &str {
    let digits = digest.trim_start_matches("sha256:");
    digits.get(..DIGEST).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onsen_policy_runner::recording::{Dropped, Failure};

    fn policy() -> PolicyName {
        PolicyName {
            name: "p".into(),
            version: "1".into(),
            digest: format!("sha256:{}", "ab".repeat(32)),
        }
    }

    fn has(metrics: &Metrics, lines: &[&str]) {
        let text = metrics.text().unwrap();
        for line in lines {
            assert!(
                text.lines().any(|it| it == *line),
                "{line} is not in\n{text}"
            );
        }
    }

    #[test]
    fn what_policies_do_is_counted_under_their_name_and_short_digest() {
        let metrics = Metrics::new().unwrap();
        let decision = Decision {
            trigger: "demand".into(),
            policy: policy(),
            dropped: vec![Dropped {
                action: "detach eni-1".into(),
                why: "assigned".into(),
            }],
            pressure: 40,
            micros: 80,
            fuel: 30_000,
            ..Decision::default()
        };
        metrics.decision(&decision);
        metrics.action(&policy(), Operation::Grow);
        metrics.decision(&Decision {
            failure: Some(Failure {
                kind: "trap".into(),
                message: "it trapped".into(),
            }),
            ..decision
        });
        metrics.put_in_force(&policy(), "file:p.wasm");
        has(
            &metrics,
            &[
                r#"onsen_policy_decisions_total{decider="chosen",digest="abababababab",policy="p",trigger="demand"} 2"#,
                r#"onsen_policy_actions_total{action="grow",digest="abababababab",policy="p"} 1"#,
                r#"onsen_policy_dropped_total{digest="abababababab",policy="p",reason="assigned"} 1"#,
                r#"onsen_policy_failures_total{digest="abababababab",kind="trap",policy="p"} 1"#,
                r#"onsen_policy_fuel_bucket{digest="abababababab",policy="p",le="40000"} 1"#,
                r#"onsen_policy_seconds_count{digest="abababababab",policy="p"} 2"#,
                r#"onsen_policy_in_force{digest="abababababab",policy="p",reference="file:p.wasm",version="1"} 1"#,
                "onsen_policy_pressure 40",
            ],
        );
    }

    #[test]
    fn upstreams_names_are_upstreams() {
        let metrics = Metrics::new().unwrap();
        metrics.add(Duration::from_millis(3), None);
        metrics.add(Duration::from_secs(10), Some("node-full"));
        metrics.del();
        metrics.ec2("AssignPrivateIpAddresses", None, Duration::from_millis(300));
        let code = Some("RequestLimitExceeded");
        metrics.ec2("AssignPrivateIpAddresses", code, Duration::from_millis(9));
        has(
            &metrics,
            &[
                "# TYPE awscni_add_ip_req_count counter",
                "awscni_add_ip_req_count 2",
                r#"awscni_del_ip_req_count{reason="PodDeleted"} 1"#,
                "awscni_no_available_ip_addresses 1",
                r#"awscni_ec2api_req_count{fn="AssignPrivateIpAddresses"} 2"#,
                r#"awscni_aws_api_error_count{api="AssignPrivateIpAddresses",error="RequestLimitExceeded"} 1"#,
                r#"awscni_aws_api_latency_ms_sum{api="AssignPrivateIpAddresses",error="false",status="200"} 300"#,
            ],
        );
    }

    #[test]
    fn the_life_of_policies_and_the_shadow_are_told_as_they_stand() {
        let metrics = Metrics::new().unwrap();
        let status = PolicyStatus {
            swaps: 3,
            rollbacks: 1,
            shadow: Some(crate::policies::Named {
                name: "q".into(),
                reference: "builtin:q".into(),
                digest: format!("sha256:{}", "cd".repeat(32)),
            }),
            ..PolicyStatus::default()
        };
        let figures = Figures {
            compared: 9,
            differed: 2,
            ..Figures::default()
        };
        // A second scrape does not count twice.
        metrics.life(&status, &figures);
        metrics.life(&status, &figures);
        has(
            &metrics,
            &[
                r#"onsen_policy_changes_total{result="swapped"} 3"#,
                r#"onsen_policy_changes_total{result="rolled-back"} 1"#,
                r#"onsen_shadow_decisions_total{digest="cdcdcdcdcdcd",policy="q",result="different"} 2"#,
                r#"onsen_shadow_decisions_total{digest="cdcdcdcdcdcd",policy="q",result="alike"} 7"#,
            ],
        );
    }

    #[test]
    fn a_block_that_is_gone_leaves_no_series() {
        let metrics = Metrics::new().unwrap();
        let block = |cidr: &str| onsen_core::status::BlockStatus {
            cidr: onsen_core::cidr::Cidr::parse(cidr).unwrap(),
            assigned: 3,
            cooling: 0,
            free: 13,
            hold: String::new(),
        };
        let eni = |cidr: &str| EniStatus {
            id: onsen_core::ids::EniId::new("eni-1"),
            mac: onsen_core::ids::Mac::default(),
            primary: [10, 0, 0, 9].into(),
            subnet: onsen_core::ids::SubnetId::new("subnet-1"),
            role: onsen_core::snapshot::Role::Primary,
            phase: onsen_core::snapshot::EniPhase::Ready,
            card: 0,
            device_index: 0,
            since: 0,
            free_slots: 0,
            keep: None,
            kept_until: None,
            excluded: false,
            blocks: vec![block(cidr)],
        };
        let summary = Summary {
            assigned: 3,
            ..Summary::default()
        };
        metrics.pool(&summary, &[eni("10.0.0.16/28")], 16, std::iter::empty());
        metrics.pool(&summary, &[eni("10.0.0.32/28")], 16, std::iter::empty());
        has(
            &metrics,
            &[
                r#"awscni_assigned_ip_per_cidr{cidr="10.0.0.32/28"} 3"#,
                r#"awscni_assigned_ip_per_eni{eni="eni-1"} 3"#,
                r#"onsen_pool_addresses{state="assigned"} 3"#,
            ],
        );
        assert!(!metrics.text().unwrap().contains("10.0.0.16/28"));
    }
}
