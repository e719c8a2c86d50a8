//! What earlier EC2 calls tell a policy about the next one.
//!
//! In: the snapshot's outcomes, newest last. Out: how long to wait, and what is known to fail.
//! Must hold: nothing is remembered here; the same outcomes give the same answer.

use crate::{Operation, Outcome, SECOND};

/// First wait after a call that failed for no reason with a rule of its own.
const FIRST_WAIT: u64 = 5 * SECOND;
/// Longest such wait.
const LONGEST_WAIT: u64 = 120 * SECOND;

/// EC2 has no address, or no whole prefix, left in the subnet.
pub fn is_shortage(code: &str) -> bool {
    matches!(
        code,
        "InsufficientFreeAddressesInSubnet" | "InsufficientCidrBlocks"
    )
}

/// Whether this was a call to get more.
pub fn is_growth(outcome: &Outcome) -> bool {
    matches!(outcome.operation, Operation::Grow | Operation::AttachEni)
}

/// When a new try makes sense after failures that `counts`: 5 s after the first, twice as long
/// after each further one, at most 120 s. A growth call that succeeded clears them; 0 when none.
///
/// ```
/// use onsen_policy_sdk::outcomes::{is_shortage, retry_at};
/// use onsen_policy_sdk::{Operation, Outcome, Unit};
///
/// let refused = |at| Outcome {
///     at,
///     operation: Operation::Grow,
///     eni: None,
///     subnet: None,
///     unit: Unit::Prefix,
///     asked: 1,
///     done: 0,
///     code: "InsufficientCidrBlocks".into(),
/// };
/// let outcomes = [refused(20_000), refused(30_000)];
/// assert_eq!(retry_at(&outcomes, |it| is_shortage(&it.code)), 40_000);
/// ```
pub fn retry_at(outcomes: &[Outcome], counts: impl Fn(&Outcome) -> bool) -> u64 {
    let mut failures = 0u32;
    let mut newest = 0u64;
    for outcome in outcomes.iter().rev().filter(|outcome| is_growth(outcome)) {
        if outcome.code.is_empty() {
            break;
        }
        if counts(outcome) {
            newest = newest.max(outcome.at);
            failures += 1;
        }
    }
    if failures == 0 {
        return 0;
    }
    let wait = FIRST_WAIT << (failures - 1).min(8);
    newest.saturating_add(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unit;
    use alloc::vec::Vec;

    fn outcome(at: u64, code: &str) -> Outcome {
        Outcome {
            at,
            operation: Operation::Grow,
            eni: None,
            subnet: None,
            unit: Unit::Address,
            asked: 1,
            done: 0,
            code: code.into(),
        }
    }

    #[test]
    fn waits_double_up_to_two_minutes_and_a_success_clears_them() {
        let mut past = Vec::new();
        assert_eq!(retry_at(&past, |_| true), 0);
        for (tries, wait) in [5, 10, 20, 40, 80, 120, 120].into_iter().enumerate() {
            past.push(outcome(tries as u64, "Unknown"));
            assert_eq!(retry_at(&past, |_| true), tries as u64 + wait * SECOND);
        }
        past.push(outcome(10, ""));
        assert_eq!(retry_at(&past, |_| true), 0);
    }
}
