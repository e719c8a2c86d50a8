//! How long EC2 takes: for each reply, and for what happens on the instance afterwards.
//!
//! Each duration is lognormal, given by its median and its 99th percentile as seen in the field.

use super::api::Operation;
use crate::rng::Rng;

/// A lognormal duration: median and 99th percentile, in milliseconds.
pub(super) type Spread = (f64, f64);

/// From accepting an attach to the device showing up in the instance.
pub(super) const DEVICE_APPEARS: Spread = (900.0, 6_000.0);
/// From the device to the attachment being `attached`.
pub(super) const ATTACHED_AFTER_DEVICE: Spread = (300.0, 2_000.0);
/// From accepting a detach to the device being gone.
pub(super) const DEVICE_VANISHES: Spread = (2_000.0, 8_000.0);
/// From the device being gone to the ENI being `available`.
pub(super) const DETACHED_AFTER_DEVICE: Spread = (800.0, 4_000.0);
/// From creation to the ENI being `available`.
pub(super) const AVAILABLE: Spread = (150.0, 2_000.0);
/// From an assign to packets arriving.
pub(super) const ROUTED: Spread = (100.0, 300.0);
/// From an unassign to packets no longer arriving.
pub(super) const UNROUTED: Spread = (400.0, 1_000.0);
/// From an attach to the ENI's directory in the instance metadata.
pub(super) const IMDS_ENI: Spread = (1_500.0, 10_000.0);
/// From an addition to its showing up in the instance metadata.
pub(super) const IMDS_ADDED: Spread = (1_500.0, 10_000.0);
/// From a removal to its vanishing from the instance metadata.
pub(super) const IMDS_REMOVED: Spread = (2_000.0, 15_000.0);
/// How old the view is that a Describe is served from.
pub(super) const READ_LAG: Spread = (200.0, 5_000.0);

/// How long the reply of a successful call takes.
pub(super) fn reply(operation: Operation) -> Spread {
    match operation {
        Operation::AssignPrivateIpAddresses => (320.0, 1_500.0),
        Operation::AttachNetworkInterface => (600.0, 3_000.0),
        Operation::CreateNetworkInterface => (160.0, 900.0),
        Operation::CreateTags => (120.0, 600.0),
        Operation::DeleteNetworkInterface => (260.0, 1_000.0),
        Operation::DescribeInstanceTypes => (150.0, 800.0),
        Operation::DescribeInstances => (130.0, 700.0),
        Operation::DescribeNetworkInterfaces => (110.0, 800.0),
        Operation::DescribeSubnets => (110.0, 600.0),
        Operation::DetachNetworkInterface => (220.0, 1_000.0),
        Operation::ModifyNetworkInterfaceAttribute => (170.0, 900.0),
        Operation::UnassignPrivateIpAddresses => (300.0, 1_500.0),
    }
}

/// Draws a duration, times `scale`.
pub(super) fn draw(rng: &mut Rng, (median, p99): Spread, scale: f64) -> u64 {
    // 2.326 is the normal distribution's 99th percentile.
    let factor = (p99 / median).powf(rng.normal() / 2.326);
    #[expect(clippy::cast_sign_loss, reason = "no factor is negative")]
    let ms = (median * factor * scale).round() as u64;
    ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_median_and_the_tail_they_are_given() {
        let mut rng = Rng::new(1);
        let mut seen: Vec<u64> = (0..10_000)
            .map(|_| draw(&mut rng, DEVICE_APPEARS, 1.0))
            .collect();
        seen.sort_unstable();
        assert!((850..950).contains(&seen[5_000]), "median {}", seen[5_000]);
        assert!((5_000..7_000).contains(&seen[9_900]), "p99 {}", seen[9_900]);
    }
}
