//! What the kernel carries after each operation, told by `ip`, `nft`, `iptables` and real packets.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod lab;

use std::{env, net::IpAddr, os::unix::fs::symlink, process::Command};

use lab::{
    PRIMARY_MAC, Place, in_fresh_namespace, lines, node, node_wiring, pod_wiring, second_eni, sh,
    still,
};
use onsen_net::{Net, NetError, check_pod, wire_pod};

async fn set_up(net: &Net) {
    net.set_up_node(&node_wiring()).await.unwrap();
    net.set_up_eni(&second_eni()).await.unwrap();
}

/// All that can be listed, with the handles nftables gives: a rule made anew has a new one.
fn everything() -> String {
    still(&sh(
        "ip -d rule; ip -d -6 rule; ip -d route show table all; ip -d addr; ip -d neigh; nft -s -a list ruleset",
    ))
}

#[test]
fn a_node_with_one_pod_looks_as_upstream_leaves_it() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        set_up(&net).await;
        let pod = Place::new();
        wire_pod(&net, &pod.namespace, &pod_wiring()).await.unwrap();

        assert_eq!(
            lines(&sh("ip rule")),
            [
                "0: from all lookup local",
                "512: from all to 10.0.0.100 lookup main",
                "1024: from all fwmark 0x80/0x80 lookup main",
                "1536: from 10.0.0.100 lookup 2",
                "32765: from 10.0.0.20 lookup 2",
                "32766: from all lookup main",
                "32767: from all lookup default",
            ]
        );
        assert_eq!(
            lines(&sh("ip route")),
            [
                "default via 10.0.0.1 dev eth0",
                "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.10",
                "10.0.0.100 dev eni0d7763386da scope link",
            ]
        );
        assert_eq!(
            lines(&sh("ip route show table 2")),
            [
                "default via 10.0.0.1 dev eth1",
                "10.0.0.1 dev eth1 scope link"
            ]
        );
        assert!(sh("ip link show eth0").contains("mtu 9001"));
        assert!(sh("ip link show eth1").contains("mtu 9001"));
        assert!(sh("ip addr show eth1").contains("inet 10.0.0.20/24"));

        assert_eq!(
            lines(&pod.sh("ip route")),
            [
                "default via 169.254.1.1 dev eth0",
                "169.254.1.1 dev eth0 scope link"
            ]
        );
        let host_mac = sh("ip -br link show eni0d7763386da | awk '{print $3}'");
        assert_eq!(
            lines(&pod.sh("ip neigh show 169.254.1.1")),
            [format!(
                "169.254.1.1 dev eth0 lladdr {} PERMANENT",
                host_mac.trim()
            )]
        );
        assert!(pod.sh("ip -br addr show eth0").contains("10.0.0.100/32"));
        check_pod(&net, &pod.namespace, &pod_wiring())
            .await
            .unwrap();
    });
}

#[test]
fn setting_up_again_changes_nothing() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        set_up(&net).await;
        let pod = Place::new();
        wire_pod(&net, &pod.namespace, &pod_wiring()).await.unwrap();

        let before = everything();
        let (connection, _handle, mut messages) = rtnetlink::new_multicast_connection(&[
            rtnetlink::MulticastGroup::Ipv4Ifaddr,
            rtnetlink::MulticastGroup::Ipv4Route,
            rtnetlink::MulticastGroup::Ipv4Rule,
        ])
        .unwrap();
        tokio::spawn(connection);
        set_up(&net).await;
        net.point_pod(pod_wiring().address, 2).await.unwrap();
        assert_eq!(everything(), before);

        // Nothing came before a change that we make ourselves now.
        sh("ip rule add from 192.0.2.1 lookup 99 pref 77");
        let (message, _) = messages.recv().await.unwrap();
        assert!(format!("{message:?}").contains("192.0.2.1"), "{message:?}");
    });
}

#[test]
fn what_others_left_on_an_eni_is_put_right() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        // The address of an ENI that was here before, the kernel's route for ours, a stale table, and
        // the machine image's rule with a protocol number.
        sh("ip link set eth1 up
            ip addr add 10.0.0.77/24 dev eth1
            ip addr add 10.0.0.20/24 dev eth1
            ip addr add 169.254.9.9/16 dev eth1 scope link
            ip route add default via 10.0.0.10 dev eth0 table 2
            ip rule add from 10.0.0.20 lookup 7 pref 32765
            ip rule add from 10.0.0.20 lookup 2 pref 32765 protocol static");
        let net = Net::open().unwrap();
        net.set_up_eni(&second_eni()).await.unwrap();
        assert_eq!(
            lines(&still(&sh("ip -4 -br addr show eth1"))),
            ["eth1@if3 169.254.9.9/16 10.0.0.20/24"]
        );
        assert_eq!(
            lines(&sh("ip route show table 2")).first().unwrap(),
            "default via 10.0.0.1 dev eth1"
        );
        assert_eq!(sh("ip route show dev eth1 to 10.0.0.0/24"), "");
        assert_eq!(
            lines(&sh("ip rule show pref 32765")),
            ["32765: from 10.0.0.20 lookup 2 proto static"]
        );
        net.forget_eni(&second_eni()).await.unwrap();
        assert_eq!(sh("ip rule show pref 32765"), "");
        net.forget_eni(&second_eni()).await.unwrap();
    });
}

#[test]
fn an_eni_whose_link_is_not_there_yet_is_told_apart() {
    in_fresh_namespace(|| async {
        let net = Net::open().unwrap();
        let refused = net.set_up_eni(&second_eni()).await;
        assert!(
            matches!(refused, Err(NetError::NoLink { .. })),
            "{refused:?}"
        );
        assert_eq!(
            refused.unwrap_err().to_string(),
            "no link has the MAC 02:aa:00:00:00:02"
        );

        let mut primary = second_eni();
        primary.mac = PRIMARY_MAC;
        primary.device_index = 0;
        let refused = net.set_up_eni(&primary).await;
        assert!(
            matches!(refused, Err(NetError::PrimaryEni { .. })),
            "{refused:?}"
        );
    });
}

#[test]
fn a_pod_on_a_second_eni_reaches_inside_as_itself_and_outside_as_the_node() {
    in_fresh_namespace(|| async {
        let vpc = node();
        let net = Net::open().unwrap();
        set_up(&net).await;
        let pod = Place::new();
        wire_pod(&net, &pod.namespace, &pod_wiring()).await.unwrap();

        pod.sh("ping -c1 -W2 10.0.1.1");
        pod.sh("ping -c1 -W2 198.51.100.9");
        sh("ping -c1 -W2 10.0.0.100");
        pod.sh("ping -c1 -W2 10.0.0.10");
        assert!(
            !vpc.sh("nft list ruleset").contains("packets 1"),
            "{}",
            vpc.sh("nft list ruleset")
        );

        // Setting up again leaves the firewall alone, and the fabric is strict: without the rule it fails.
        let before = sh("iptables -t nat -S; iptables -t mangle -S");
        set_up(&net).await;
        assert_eq!(sh("iptables -t nat -S; iptables -t mangle -S"), before);
        pod.sh("ping -c1 -W2 198.51.100.9");
        sh("ip rule del pref 1536");
        let lost = pod.sh("ping -c1 -W1 10.0.1.1 || true");
        assert!(lost.contains("100% packet loss"), "{lost}");
        net.point_pod(pod_wiring().address, 2).await.unwrap();
        pod.sh("ping -c1 -W2 10.0.1.1");
        let counters = vpc.sh("nft list chain ip fabric in");
        assert!(
            counters.contains("iifname \"v0\" ip saddr != 10.0.0.10 counter packets 1"),
            "{counters}"
        );
    });
}

/// The program `iptables` is looked up in PATH, which belongs to the whole process: so the test above runs
/// once more in a process whose PATH begins with legacy programs.
#[test]
fn the_same_holds_with_legacy_iptables() {
    const SAME: &str = "a_pod_on_a_second_eni_reaches_inside_as_itself_and_outside_as_the_node";
    let programs = env::temp_dir().join(format!("onsen-legacy-{}", std::process::id()));
    std::fs::create_dir(&programs).unwrap();
    let search = env::var("PATH").unwrap();
    for program in ["iptables", "iptables-restore"] {
        let legacy = program.replace("iptables", "iptables-legacy");
        let found = env::split_paths(&search)
            .map(|folder| folder.join(&legacy))
            .find(|path| path.exists());
        let Some(found) = found else {
            println!("not run: {legacy} is not installed");
            std::fs::remove_dir_all(&programs).unwrap();
            return;
        };
        symlink(found, programs.join(program)).unwrap();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", SAME, "--nocapture"])
        .env("PATH", format!("{}:{search}", programs.display()))
        // The usual place is root's.
        .env("XTABLES_LOCKFILE", programs.join("lock"))
        .output()
        .unwrap();
    std::fs::remove_dir_all(&programs).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_change_of_settings_moves_the_firewall_with_it() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        let mut wiring = node_wiring();
        wiring.external_service_cidrs = vec![("10.0.200.0".parse().unwrap(), 24)];
        net.set_up_node(&wiring).await.unwrap();
        assert_eq!(
            lines(&sh("ip rule show pref 1535")),
            ["1535: from all to 10.0.200.0/24 lookup main"]
        );

        wiring.vpc_cidrs.push(("100.64.0.0".parse().unwrap(), 10));
        wiring
            .excluded_snat_cidrs
            .push(("198.18.7.7".parse().unwrap(), 32));
        wiring.external_service_cidrs.clear();
        net.set_up_node(&wiring).await.unwrap();
        assert_eq!(sh("ip rule show pref 1535"), "");
        let snat = lines(&sh("iptables -t nat -S AWS-SNAT-CHAIN-0"));
        assert_eq!(snat.len(), 6, "{snat:?}");
        assert!(snat[2].contains("-d 100.64.0.0/10"), "{snat:?}");
        assert!(
            snat[5].contains("-j SNAT --to-source 10.0.0.10 --random-fully"),
            "{snat:?}"
        );
        let marks = sh("nft -a list table ip aws-cni");
        assert!(
            marks.contains("daddr 100.64.0.0/10 return")
                && marks.contains("daddr 198.18.7.7 return"),
            "{marks}"
        );

        // Every prefix length reads back as it was written.
        wiring.excluded_snat_cidrs = (0..=32)
            .map(|length| ("10.0.0.0".parse().unwrap(), length))
            .collect();
        net.set_up_node(&wiring).await.unwrap();
        let before = everything();
        net.set_up_node(&wiring).await.unwrap();
        assert_eq!(everything(), before);

        wiring.external_snat = true;
        wiring.node_port = false;
        net.set_up_node(&wiring).await.unwrap();
        assert_eq!(
            lines(&sh("iptables -t nat -S AWS-SNAT-CHAIN-0")),
            ["-N AWS-SNAT-CHAIN-0"]
        );
        assert!(!sh("iptables -t nat -S; iptables -t mangle -S").contains(" -j "));
        assert!(!sh("nft list ruleset").contains("aws-cni"));
        assert_eq!(sh("ip rule show pref 1024"), "");
    });
}

#[test]
fn marks_of_legacy_rules_give_way_to_nftables() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        sh(r#"iptables -t nat -N AWS-CONNMARK-CHAIN-0
              iptables -t nat -A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0
              iptables -t nat -A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --mask 0x80
              iptables -t nat -A AWS-CONNMARK-CHAIN-0 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80"#);
        let net = Net::open().unwrap();
        net.set_up_node(&node_wiring()).await.unwrap();
        assert_eq!(
            lines(&sh("iptables -t nat -S PREROUTING")),
            ["-P PREROUTING ACCEPT"]
        );
        assert!(!sh("iptables -t nat -S").contains("CONNMARK"));
        assert!(sh("nft list table ip aws-cni").contains("jump snat-mark"));
    });
}

#[test]
fn marks_in_nftables_have_the_expressions_that_upstream_looks_for() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        net.set_up_node(&node_wiring()).await.unwrap();
        let raw = lines(&sh("nft --debug=netlink list table ip aws-cni"));
        let expressions: Vec<&str> = raw
            .iter()
            .map(String::as_str)
            .filter(|line| line.starts_with("[ ") && !line.contains("counter"))
            .collect();
        assert_eq!(
            expressions,
            [
                "[ fib daddr type => reg 1 ]",
                "[ cmp eq reg 1 0x00000002 ]",
                "[ immediate reg 0 return ]",
                // The three bytes of `eni`.
                "[ meta load iifname => reg 1 ]",
                "[ cmp eq reg 1 0x00696e65 ]",
                "[ immediate reg 0 jump -> snat-mark ]",
                "[ ct load mark => reg 1 ]",
                "[ bitwise reg 1 = ( reg 1 & 0x00000080 ) ^ 0x00000000 ]",
                "[ meta set mark with reg 1 ]",
                // Four bytes under a mask, although two would do.
                "[ payload load 4b @ network header + 16 => reg 1 ]",
                "[ bitwise reg 1 = ( reg 1 & 0x0000ffff ) ^ 0x00000000 ]",
                "[ cmp eq reg 1 0x0000000a ]",
                "[ immediate reg 0 return ]",
                "[ payload load 4b @ network header + 16 => reg 1 ]",
                "[ bitwise reg 1 = ( reg 1 & 0x0000ffff ) ^ 0x00000000 ]",
                "[ cmp eq reg 1 0x0000a8c0 ]",
                "[ immediate reg 0 return ]",
                "[ ct load mark => reg 1 ]",
                "[ bitwise reg 1 = ( reg 1 & 0xffffff7f ) ^ 0x00000080 ]",
                "[ ct set mark with reg 1 ]",
            ]
        );
    });
}

#[test]
fn an_ipv6_eni_on_another_card_has_a_table_beyond_255() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        let mut eni = second_eni();
        eni.primary = "2001:db8::20".parse().unwrap();
        eni.subnet = ("2001:db8::".parse().unwrap(), 64);
        eni.card = 1;
        sh("echo 0 > /proc/sys/net/ipv6/conf/eth1/disable_ipv6
            ip link set eth1 up; ip addr add 2001:db8::99/64 dev eth1 nodad");
        for _ in 0..2 {
            net.set_up_eni(&eni).await.unwrap();
            assert_eq!(
                lines(&sh("ip -6 route show table 10101")),
                [
                    "fe80:ec2::1 dev eth1 metric 1024 pref medium",
                    "default via fe80:ec2::1 dev eth1 metric 1024 pref medium",
                ]
            );
            assert_eq!(
                lines(&sh("ip -6 rule show pref 32765")),
                ["32765: from 2001:db8::20 lookup 10101"]
            );
            assert_eq!(sh("ip -6 route show 2001:db8::/64"), "");
            assert_eq!(lines(&sh("ip -6 -br addr show eth1 scope global")).len(), 1);
        }
        net.forget_eni(&eni).await.unwrap();
        assert_eq!(sh("ip -6 rule show pref 32765"), "");
    });
}

#[test]
fn a_pod_is_taken_down_twice_without_complaint() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        set_up(&net).await;
        let clean = sh("ip rule; ip route");
        let pod = Place::new();
        wire_pod(&net, &pod.namespace, &pod_wiring()).await.unwrap();
        // Old releases made several; only the protocol number tells these apart.
        sh("ip rule add from 10.0.0.100 lookup 2 pref 1536 protocol static");
        for _ in 0..2 {
            net.unwire_pod(pod_wiring().address, 2).await.unwrap();
            assert_eq!(sh("ip rule; ip route"), clean);
        }
    });
}

#[test]
fn an_address_that_went_to_another_pod_leads_elsewhere() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        set_up(&net).await;
        let (first, second) = (Place::new(), Place::new());
        let before = pod_wiring();
        let leads_elsewhere = || net.leads_elsewhere(before.address, &before.host_link);
        assert!(!leads_elsewhere().await.unwrap(), "nothing leads there");
        wire_pod(&net, &first.namespace, &before).await.unwrap();
        assert!(!leads_elsewhere().await.unwrap());
        let mut after = pod_wiring();
        after.host_link = "eni00000000002".to_owned();
        wire_pod(&net, &second.namespace, &after).await.unwrap();
        assert!(leads_elsewhere().await.unwrap());
    });
}

#[test]
fn a_vanished_pod_is_forgotten_whichever_table_it_used() {
    in_fresh_namespace(|| async {
        let net = Net::open().unwrap();
        let clean = sh("ip rule");
        sh("ip rule add to 10.0.0.100 lookup main pref 512
            ip rule add from 10.0.0.100 lookup 3 pref 1536
            ip rule add from 10.0.0.100 lookup 10101 pref 1536
            ip rule add to 10.0.0.101 lookup main pref 512");
        let address: IpAddr = "10.0.0.100".parse().unwrap();
        for _ in 0..2 {
            net.forget_pod(address).await.unwrap();
            assert_eq!(
                sh("ip rule"),
                clean.replace("32766", "512:\tfrom all to 10.0.0.101 lookup main\n32766")
            );
        }
    });
}

#[test]
fn a_restored_pod_has_exactly_the_rule_of_its_eni() {
    in_fresh_namespace(|| async {
        let net = Net::open().unwrap();
        let address: IpAddr = "10.0.0.100".parse().unwrap();
        sh("ip rule add from 10.0.0.100 lookup 3 pref 1536
            ip rule add from 10.0.0.100 lookup 2 pref 1536 protocol static
            ip rule add from 10.0.0.100 lookup 2 pref 1536
            ip rule add from 10.0.0.100 iif lo lookup 9 pref 1536");
        net.point_pod(address, 2).await.unwrap();
        let foreign = "1536: from 10.0.0.100 iif lo lookup 9";
        assert_eq!(
            lines(&sh("ip rule show pref 1536")),
            ["1536: from 10.0.0.100 lookup 2", foreign]
        );
        net.point_pod(address, 10_101).await.unwrap();
        assert_eq!(
            lines(&sh("ip rule show pref 1536")),
            [foreign, "1536: from 10.0.0.100 lookup 10101"]
        );
        net.point_pod(address, 254).await.unwrap();
        assert_eq!(lines(&sh("ip rule show pref 1536")), [foreign]);
    });
}

#[test]
fn a_pod_that_has_the_interface_already_is_left_alone() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        let pod = Place::new();
        pod.sh("ip link add eth0 type veth peer name other");
        let before = (
            still(&sh("ip rule; ip route; ip link")),
            still(&pod.sh("ip link")),
        );
        let refused = wire_pod(&net, &pod.namespace, &pod_wiring()).await;
        assert!(
            matches!(refused, Err(NetError::Refused { .. })),
            "{refused:?}"
        );
        assert_eq!(
            (
                still(&sh("ip rule; ip route; ip link")),
                still(&pod.sh("ip link"))
            ),
            before
        );
    });
}

#[test]
fn a_wiring_that_fails_half_way_is_undone() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        let pod = Place::new();
        // A default route that is not ours makes a late step fail.
        pod.sh("ip link add other type veth peer name another; ip link set other up; ip route add default dev other");
        let before = (
            still(&sh("ip rule; ip route; ip link")),
            still(&pod.sh("ip -br link")),
        );
        let refused = wire_pod(&net, &pod.namespace, &pod_wiring()).await;
        let said = refused.unwrap_err().to_string();
        assert_eq!(
            said,
            "cannot make the route 0.0.0.0/0 via 169.254.1.1 in table 254 over eth0"
        );
        assert_eq!(
            (
                still(&sh("ip rule; ip route; ip link")),
                still(&pod.sh("ip -br link"))
            ),
            before
        );
    });
}

#[test]
fn a_pod_recreated_under_its_name_replaces_the_link_of_the_first() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        set_up(&net).await;
        let (first, second) = (Place::new(), Place::new());
        wire_pod(&net, &first.namespace, &pod_wiring())
            .await
            .unwrap();
        wire_pod(&net, &second.namespace, &pod_wiring())
            .await
            .unwrap();
        assert_eq!(lines(&first.sh("ip -br link")).len(), 1);
        second.sh("ping -c1 -W2 10.0.1.1");
    });
}

#[test]
fn a_pod_that_is_wired_already_keeps_its_links() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        set_up(&net).await;
        let pod = Place::new();
        wire_pod(&net, &pod.namespace, &pod_wiring()).await.unwrap();
        let before = (
            still(&sh("ip link; ip rule; ip route")),
            still(&pod.sh("ip link; ip addr; ip neigh")),
        );
        wire_pod(&net, &pod.namespace, &pod_wiring()).await.unwrap();
        assert_eq!(
            (
                still(&sh("ip link; ip rule; ip route")),
                still(&pod.sh("ip link; ip addr; ip neigh"))
            ),
            before
        );

        // Half a wiring is made anew.
        sh("ip route del 10.0.0.100");
        wire_pod(&net, &pod.namespace, &pod_wiring()).await.unwrap();
        pod.sh("ping -c1 -W2 10.0.1.1");
    });
}

#[test]
fn a_check_names_what_is_missing() {
    in_fresh_namespace(|| async {
        let _vpc = node();
        let net = Net::open().unwrap();
        set_up(&net).await;
        let pod = Place::new();
        wire_pod(&net, &pod.namespace, &pod_wiring()).await.unwrap();
        let missing = async || {
            check_pod(&net, &pod.namespace, &pod_wiring())
                .await
                .unwrap_err()
                .to_string()
        };
        sh("ip rule del pref 1536");
        assert_eq!(
            missing().await,
            "missing: rule at 1536 for 10.0.0.100 on the host"
        );
        sh("ip rule add from 10.0.0.100 lookup 2 pref 1536; ip route del 10.0.0.100");
        assert_eq!(
            missing().await,
            "missing: route to 10.0.0.100 over eni0d7763386da on the host"
        );
        pod.sh("ip neigh del 169.254.1.1 dev eth0");
        assert_eq!(
            missing().await,
            "missing: neighbour 169.254.1.1 in the pod with the MAC of eni0d7763386da"
        );
        pod.sh("ip link del eth0");
        assert_eq!(missing().await, "no link is called eth0");
    });
}

#[test]
fn an_ipv6_pod_talks_to_its_node() {
    in_fresh_namespace(|| async {
        sh(
            "ip link add eth0 type veth peer name v0; ip link set eth0 up; ip link set v0 up
            ip -6 addr add fd00::10/64 dev eth0 nodad",
        );
        let net = Net::open().unwrap();
        let pod = Place::new();
        let mut wiring = pod_wiring();
        wiring.address = "fd00::1:5".parse().unwrap();
        wiring.table = 254;
        wire_pod(&net, &pod.namespace, &wiring).await.unwrap();
        assert_eq!(
            lines(&sh("ip -6 rule show pref 512")),
            ["512: from all to fd00::1:5 lookup main"]
        );
        pod.sh("ping -6 -c1 -W2 fd00::10");
        check_pod(&net, &pod.namespace, &wiring).await.unwrap();
        net.unwire_pod(wiring.address, 254).await.unwrap();
        assert_eq!(
            sh("ip -6 rule show pref 512; ip -6 route show fd00::1:5"),
            ""
        );
    });
}
