//! What is counted and measured, in Prometheus' text form.
//!
//! In: what the ledger and the EC2 client see pass by; at each scrape, the pool as it stands. Out: one text.
//! Names that start with `awscni_` are those of the Amazon VPC CNI, kept for the dashboards that people have;
//! `onsen_` is our own. The library is `prometheus` and not `prometheus-client`: the latter puts `_total` behind
//! every counter, which would rename upstream's.
//!
//! Must hold: the number of series is bounded by the node (ENIs, blocks) and by closed sets of words; a
//! policy's own text is never a label, but for its name, of which there is one at a time.

mod make;

use std::time::Duration;

use onsen_core::effect::{Ec2Request, Severity};
use onsen_core::snapshot::Operation;
use onsen_core::status::{EniStatus, Summary};
use onsen_policy_runner::Limits;
use onsen_policy_runner::recording::{Decider, Decision, PolicyName};
use prometheus::{
    Encoder, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use make::Maker;

use crate::clock::millis;
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
    component: IntGauge,
    load: IntGauge,
    shadow: IntCounterVec,
    pressure: IntGauge,
    pool: IntGaugeVec,
    waiting: IntGauge,
    waits: HistogramVec,
    refused: IntCounterVec,
    reports: IntCounterVec,
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
        let bounds = make.gauges(
            "onsen_policy_limit",
            "What one decision, or one component, may use at most",
            &["of"],
        )?;
        for (of, bound) in bounds_of(&Limits::default()) {
            bounds.with_label_values(&[of]).set(whole(bound));
        }
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
            component: make.gauge(
                "onsen_policy_component_bytes",
                "Size of the component that decides",
            )?,
            load: make.gauge(
                "onsen_policy_load_ms",
                "Time that compiling and loading it took, 0 when it was loaded already",
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
        self.component.set(whole(status.component_bytes));
        self.load.set(whole(status.load_ms));
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

/// A limit by the name of what it bounds, in the unit that is part of the name.
fn bounds_of(limits: &Limits) -> [(&'static str, u64); 9] {
    [
        ("fuel", limits.fuel),
        ("memory-bytes", limits.memory_bytes as u64),
        ("deadline-ms", millis(limits.deadline)),
        ("output-bytes", limits.output_bytes as u64),
        ("memo-bytes", limits.memo_bytes as u64),
        ("log-lines", limits.log_lines as u64),
        ("log-line-bytes", limits.log_line_bytes as u64),
        ("component-bytes", limits.component_bytes as u64),
        ("compile-ms", millis(limits.compile_time)),
    ]
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn labels(policy: &PolicyName) -> (&str, &str) {
    (&policy.name, short(&policy.digest))
}

fn short(digest: &str) -> &str {
    let digits = digest.trim_start_matches("sha256:");
    digits.get(..DIGEST).unwrap_or(digits)
}

#[cfg(test)]
mod tests;
