//! From generators to arrivals and departures.
#![expect(
    clippy::cast_sign_loss,
    reason = "numbers of pods and lengths of time: none is negative"
)]

use std::collections::BTreeSet;

use onsen_core::time::{Millis, SECOND};

use super::format::{Load, Workload};
use crate::rng::Rng;

/// A wave is followed in steps of this length.
const WAVE_STEP: Millis = 30 * SECOND;

/// `aws-node` and `kube-proxy` count against max-pods and use the node's own address.
const HOST_NETWORK: u32 = 2;

/// Whether a pod comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A pod leaves.
    Leave,
    /// A pod arrives.
    Arrive,
}

/// One thing that happens to one pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Milliseconds after the start.
    pub at: Millis,
    /// What. Of two that happen at once, departures come first.
    pub change: Change,
    /// Number of the pod, in the order in which the generators made it.
    pub pod: u32,
}

/// When pods come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of time.
    pub steps: Vec<Step>,
    /// Pods that the node has no room for, by `max_pods`: the scheduler places them elsewhere.
    pub elsewhere: u32,
    /// When the last pod has come or gone, or when the workload ends.
    pub duration: Millis,
}

/// Pods and their lives, while they are drawn.
struct Draft {
    end: Millis,
    rng: Rng,
    lives: Vec<(Millis, Millis)>,
}

impl Workload {
    /// Draws the plan for a node that runs at most `max_pods`, 0 for any number.
    pub fn plan(&self, seed: u64, max_pods: u32) -> Plan {
        let mut draft = Draft {
            end: self.duration.0,
            rng: Rng::new(seed),
            lives: Vec::new(),
        };
        for load in &self.loads {
            draft.load(load);
        }
        let mut steps = Vec::new();
        for (pod, (from, until)) in (0..).zip(&draft.lives) {
            let step = |at, change| Step { at, change, pod };
            steps.push(step(*from, Change::Arrive));
            // Who would go at the end stays: the end is when one stops looking.
            if *until < draft.end {
                steps.push(step(*until, Change::Leave));
            }
        }
        steps.sort();
        let mut plan = Plan {
            steps,
            elsewhere: 0,
            duration: self.duration.0,
        };
        plan.fit(max_pods);
        plan
    }
}

impl Plan {
    /// Takes out pods that come while the node is full.
    fn fit(&mut self, max_pods: u32) {
        let most = max_pods.saturating_sub(HOST_NETWORK) as usize;
        let mut here = BTreeSet::new();
        let mut elsewhere = 0;
        self.steps.retain(|step| match step.change {
            Change::Leave => here.remove(&step.pod),
            Change::Arrive => {
                let room = max_pods == 0 || here.len() < most;
                if room {
                    here.insert(step.pod);
                } else {
                    elsewhere += 1;
                }
                room
            }
        });
        self.elsewhere = elsewhere;
    }
}

impl Draft {
    /// A pod that lives from then until then.
    fn pod(&mut self, from: Millis, until: Millis) {
        if from < self.end && from < until {
            self.lives.push((from, until.min(self.end)));
        }
    }

    /// Less than `span`, by chance.
    fn within(&mut self, span: Millis) -> Millis {
        self.rng.below(span as usize) as Millis
    }

    /// Between half and one and a half times `mean`.
    fn about(&mut self, mean: Millis) -> Millis {
        mean / 2 + self.within(mean)
    }

    fn load(&mut self, load: &Load) {
        match load {
            Load::Hold {
                pods,
                from,
                until,
                every,
                lifetime,
            } => {
                let until = until.map_or(self.end, |until| until.0).min(self.end);
                for number in 0..u64::from(*pods) {
                    let mut at = from.0.saturating_add(number.saturating_mul(every.0));
                    let Some(lifetime) = lifetime else {
                        self.pod(at, until);
                        continue;
                    };
                    // The first ones are of any age, lest all of them go together.
                    let mut next = at + self.within(lifetime.0) + 1;
                    while at < until {
                        self.pod(at, next.min(until));
                        at = next;
                        next = at + self.about(lifetime.0);
                    }
                }
            }
            Load::Wave {
                min,
                max,
                period,
                peak,
            } => self.wave(*min, *max, period.0, peak.0),
            Load::Jobs {
                pods,
                every,
                from,
                spread,
                runtime,
                random,
            } => {
                let mut at = from.0;
                while at < self.end {
                    for _ in 0..*pods {
                        let start = at + self.within(spread.0);
                        let end = start + self.about(runtime.0);
                        self.pod(start, end);
                    }
                    at += if *random { self.gap(every.0) } else { every.0 };
                }
            }
            Load::Rollout {
                pods,
                every,
                from,
                surge,
                ready,
            } => self.rollout(*pods, *surge, every.0, from.0, ready.0),
        }
    }

    /// Time to the next of events that come by chance, one in `mean` on average.
    fn gap(&mut self, mean: Millis) -> Millis {
        let gap = -(1.0 - self.rng.unit()).ln() * mean as f64;
        (gap as Millis).max(SECOND)
    }

    fn wave(&mut self, min: u32, max: u32, period: Millis, peak: Millis) {
        let (low, high) = (f64::from(min), f64::from(max));
        let mut here: Vec<Millis> = Vec::new();
        let mut at = 0;
        while at < self.end {
            let phase = (at as f64 - peak as f64) / period as f64;
            let share = f64::midpoint(1.0, (phase * std::f64::consts::TAU).cos());
            let wanted = (low + (high - low) * share).round() as usize;
            while here.len() < wanted {
                // Not all at the same moment.
                here.push(at + self.within(WAVE_STEP));
            }
            while here.len() > wanted {
                // As a deployment that scales down, which lets its newest pods go.
                if let Some(from) = here.pop() {
                    let until = at + self.within(WAVE_STEP);
                    self.pod(from, until.max(from + 1));
                }
            }
            at += WAVE_STEP;
        }
        for from in here {
            self.pod(from, self.end);
        }
    }

    fn rollout(&mut self, pods: u32, surge: u32, every: Millis, from: Millis, ready: Millis) {
        let mut since = vec![0; pods as usize];
        let mut at = from;
        while at < self.end {
            let mut wave_at = at;
            for group in since.chunks_mut(surge as usize) {
                for old in group {
                    // The new one comes, and the old one goes when it is ready.
                    let from = std::mem::replace(old, wave_at);
                    let until = wave_at + ready;
                    if from < self.end {
                        self.lives.push((from, until.min(self.end)));
                    }
                }
                wave_at += ready;
            }
            at += every;
        }
        for from in since {
            self.pod(from, self.end);
        }
    }
}
