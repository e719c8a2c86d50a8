//! The instruments must not flatter: what is broken must be seen as broken.

use std::net::IpAddr;
use std::time::Duration;

use onsen_harness::netns::Netns;
use onsen_harness::traffic::{Flow, talk};
use onsen_harness::{HarnessError, Result, private_test};

/// Two namespaces with a wire between them; the address of the second.
fn wired() -> Result<(Netns, Netns, IpAddr)> {
    let (a, b) = (Netns::create("a")?, Netns::create("b")?);
    a.tool(
        "ip",
        &[
            "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", "b",
        ],
    )?;
    for (netns, address) in [(&a, "192.0.2.1/24"), (&b, "192.0.2.2/24")] {
        netns.tool("ip", &["addr", "add", address, "dev", "wire"])?;
        netns.tool("ip", &["link", "set", "wire", "up"])?;
    }
    Ok((a, b, IpAddr::from([192, 0, 2, 2])))
}

private_test! {
    fn a_flow_counts_what_a_broken_wire_loses_and_sees_the_source() {
        let (a, b, address) = wired()?;
        let flow = Flow::start(&a, &b, address)?;
        std::thread::sleep(Duration::from_millis(300));
        let seen = flow.stop()?;
        assert!(seen.sent > 0 && seen.lost == 0, "{seen:?}");
        assert_eq!(seen.sources.into_iter().collect::<Vec<_>>(), [IpAddr::from([192, 0, 2, 1])]);

        let flow = Flow::start(&a, &b, address)?;
        std::thread::sleep(Duration::from_millis(200));
        b.tool("ip", &["link", "set", "wire", "down"])?;
        std::thread::sleep(Duration::from_millis(300));
        let seen = flow.stop()?;
        assert!(seen.lost > 0, "{seen:?}");
        Ok(())
    }

    fn pings_and_talks_fail_over_a_broken_wire() {
        let (a, b, address) = wired()?;
        assert!(a.can_ping(address)?);
        assert_eq!(talk(&a, &b, address)?, IpAddr::from([192, 0, 2, 1]));
        b.tool("ip", &["link", "set", "wire", "down"])?;
        assert!(!a.can_ping(address)?);
        match talk(&a, &b, address) {
            Err(HarnessError::Io { .. }) => Ok(()),
            other => Err(HarnessError::Protocol(format!("it should fail: {other:?}"))),
        }
    }
}
