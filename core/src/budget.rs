//! How many EC2 calls the node may make now, and when EC2 has asked it to be quiet.
//!
//! EC2 counts the calls of each action by themselves, so one action that is throttled keeps no other
//! back. What keeps all back is a way to EC2 that is broken.
//! Must hold: no clock of its own; jitter comes from the seed it was given.

use alloc::collections::BTreeMap;

use crate::cidr::Unit;
use crate::config::Rate;
use crate::time::Millis;

/// EC2's words for "you ask too often".
pub(crate) fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "RequestLimitExceeded"
            | "Throttling"
            | "ThrottlingException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "EC2ThrottledException"
            | "SlowDown"
    )
}

/// Whether all calls had better rest for a while: EC2 throttles, or the call never left (no route,
/// no credentials).
pub(crate) fn asks_for_rest(code: &str) -> bool {
    is_throttling(code) || matches!(code, "Unreachable" | "NotSent")
}

/// EC2's words for "the subnet has none left".
pub(crate) fn is_shortage(code: &str, message: &str) -> bool {
    matches!(code, "InsufficientFreeAddressesInSubnet" | "InsufficientCidrBlocks")
        // The same fact when the count asked for exceeds what is left; told only in the words.
        || (code == "InvalidParameterValue" && message.contains("sufficient free Ipv"))
}

/// The code under which a refusal is remembered: a shortage that EC2 told only in its words gets
/// the code it has elsewhere, so that a policy need not read English.
pub(crate) fn remembered<'a>(unit: Unit, code: &'a str, message: &str) -> &'a str {
    match unit {
        _ if !is_shortage(code, message) => code,
        Unit::Address => "InsufficientFreeAddressesInSubnet",
        Unit::Prefix => "InsufficientCidrBlocks",
    }
}

/// EC2's words for "you may not".
pub(crate) fn is_denial(code: &str) -> bool {
    matches!(
        code,
        "UnauthorizedOperation"
            | "AuthFailure"
            | "InvalidClientTokenId"
            | "SignatureDoesNotMatch"
            | "RequestExpired"
            | "AccessDenied"
    )
}

/// The actions by which a node changes something, under EC2's names.
pub(crate) const ASSIGN: &str = "AssignPrivateIpAddresses";
pub(crate) const ATTACH: &str = "AttachNetworkInterface";
pub(crate) const CREATE: &str = "CreateNetworkInterface";
pub(crate) const DELETE: &str = "DeleteNetworkInterface";
pub(crate) const DETACH: &str = "DetachNetworkInterface";
pub(crate) const MODIFY: &str = "ModifyNetworkInterfaceAttribute";
pub(crate) const UNASSIGN: &str = "UnassignPrivateIpAddresses";

/// A token bucket that counts in thousandths of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: u64,
    at: Millis,
}

impl Bucket {
    pub(crate) fn new(rate: Rate, now: Millis) -> Self {
        Self {
            rate,
            tokens: u64::from(rate.burst) * 1_000,
            at: now,
        }
    }

    /// Calls that may be made now, when so many stay for what matters more.
    pub(crate) fn available(&self, now: Millis, kept: u32) -> u32 {
        ((self.filled(now) / 1_000) as u32).saturating_sub(kept)
    }

    /// Takes one call out.
    pub(crate) fn take(&mut self, now: Millis) {
        self.tokens = self.filled(now).saturating_sub(1_000);
        self.at = now;
    }

    /// When the next call may be made, when so many stay for what matters more.
    pub(crate) fn next(&self, now: Millis, kept: u32) -> Millis {
        let wanted = (u64::from(kept) + 1) * 1_000;
        let missing = wanted.saturating_sub(self.filled(now));
        let per_second = u64::from(self.rate.per_second_milli.max(1));
        now + (missing * 1_000).div_ceil(per_second)
    }

    fn filled(&self, now: Millis) -> u64 {
        let added = now.saturating_sub(self.at) * u64::from(self.rate.per_second_milli) / 1_000;
        (self.tokens + added).min(u64::from(self.rate.burst) * 1_000)
    }
}

/// Nothing is sent before `until`; `strikes` failures in a row led there.
#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    until: Millis,
    strikes: u32,
}

/// When to be quiet, after EC2 throttled or refused.
#[derive(Clone, Debug)]
pub(crate) struct Throttle {
    all: Pause,
    by_action: BTreeMap<&'static str, Pause>,
    jitter: Jitter,
    base: Millis,
}

impl Throttle {
    pub(crate) fn new(base: Millis, seed: u64) -> Self {
        Self {
            all: Pause::default(),
            by_action: BTreeMap::new(),
            jitter: Jitter(seed),
            base,
        }
    }

    /// EC2 throttled a call, or could not be reached: doubles the pause of the action, or of all.
    pub(crate) fn strike(&mut self, action: &'static str, code: &str, now: Millis) {
        let mut pause = *self.pause(action, code);
        pause.until = pause.until.max(now + self.backoff(pause.strikes));
        pause.strikes = (pause.strikes + 1).min(6);
        *self.pause(action, code) = pause;
    }

    fn pause(&mut self, action: &'static str, code: &str) -> &mut Pause {
        if is_throttling(code) {
            self.by_action.entry(action).or_default()
        } else {
            &mut self.all
        }
    }

    /// EC2 took a call of the action.
    pub(crate) fn relief(&mut self, action: &'static str) {
        self.all.strikes = 0;
        if let Some(pause) = self.by_action.get_mut(action) {
            pause.strikes = 0;
        }
    }

    /// No call of the action is sent before this.
    pub(crate) fn until(&self, action: &'static str) -> Millis {
        let own = self.by_action.get(action).map_or(0, |pause| pause.until);
        self.all.until.max(own)
    }

    /// No new ENI is asked for before this: it is worth nothing until it is attached.
    pub(crate) fn attach_until(&self) -> Millis {
        self.until(CREATE).max(self.until(ATTACH))
    }

    /// Nothing that gets more addresses is sent before this.
    pub(crate) fn grow_until(&self) -> Millis {
        self.until(ASSIGN).min(self.attach_until())
    }

    /// Nothing that gives addresses back is sent before this.
    pub(crate) fn release_until(&self) -> Millis {
        self.until(UNASSIGN).min(self.until(DETACH))
    }

    /// When the next pause ends.
    pub(crate) fn next_end(&self, now: Millis) -> Option<Millis> {
        let all = core::iter::once(&self.all).chain(self.by_action.values());
        all.map(|pause| pause.until)
            .filter(|until| *until > now)
            .min()
    }

    /// A pause after that many failures in a row: half to all of `base * 2^tries`.
    pub(crate) fn backoff(&mut self, tries: u32) -> Millis {
        let full = self.base << tries.min(6);
        full / 2 + self.jitter.below(full / 2 + 1)
    }
}

/// Numbers that look random and are a function of the seed (splitmix64).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter(pub(crate) u64);

impl Jitter {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate {
            burst: 2,
            per_second_milli: 500,
        };
        let mut bucket = Bucket::new(rate, 0);
        assert_eq!(bucket.available(0, 0), 2);
        bucket.take(0);
        bucket.take(0);
        assert_eq!(bucket.available(0, 0), 0);
        assert_eq!(bucket.next(0, 0), 2_000);
        assert_eq!(bucket.available(2_000, 0), 1);
        assert_eq!(bucket.available(1_000_000, 0), 2);
        // One stays for what matters more.
        assert_eq!(bucket.available(1_000_000, 1), 1);
    }

    #[test]
    fn pauses_grow_and_end_when_ec2_takes_a_call() {
        let mut throttle = Throttle::new(1_000, 7);
        let mut last = 0;
        for _ in 0..20 {
            throttle.strike(ASSIGN, "RequestLimitExceeded", 0);
            let until = throttle.until(ASSIGN);
            assert!(until >= last && until <= 64_000);
            last = until;
        }
        assert!(last >= 32_000);
        throttle.relief(ASSIGN);
        throttle.strike(ASSIGN, "RequestLimitExceeded", 100_000);
        assert!(throttle.until(ASSIGN) <= 101_000);
    }

    #[test]
    fn one_action_that_is_throttled_keeps_no_other_back() {
        let mut throttle = Throttle::new(1_000, 7);
        throttle.strike(ATTACH, "RequestLimitExceeded", 0);
        assert!(throttle.until(ATTACH) > 0 && throttle.attach_until() > 0);
        assert_eq!(throttle.until(ASSIGN), 0);
        assert_eq!(throttle.grow_until(), 0);
        throttle.strike(UNASSIGN, "Unreachable", 0);
        assert!(throttle.until(ASSIGN) > 0 && throttle.grow_until() > 0);
    }
}
