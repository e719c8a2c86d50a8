//! The daemon may die at any moment; pods must not notice, and nothing may be lost or given twice.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use onsen_harness::cni::{Added, Plugin, Pod, Verb};
use onsen_harness::node::Node;
use onsen_harness::rng::Rng;
use onsen_harness::traffic::Flow;
use onsen_harness::wait::wait_until;
use onsen_harness::{HarnessError, Lab, LabOptions, Result, private_test};
use serde_json::json;

/// Guards against hanging.
const PATIENCE: Duration = Duration::from_mins(2);
/// `kill -9` so many times.
const KILLS: usize = 10;

/// Pods that run, with what ADD gave them.
type Running = BTreeMap<String, (Pod, Added)>;

/// What a runtime does to end a sandbox: DEL, remove the namespace, DEL again without it. Calls
/// that meet a dead daemon are repeated when it is back, as a kubelet repeats them.
fn end_sandbox(plugin: &Plugin, mut pod: Pod, previous: Option<&Added>) -> Result<Pod> {
    let config = Plugin::config("0.4.0", previous.map(|added| &added.result)).to_string();
    plugin.call(Verb::Del, &pod, &config)?;
    pod.netns.remove()?;
    Ok(pod)
}

/// The last DEL of a sandbox whose namespace is gone.
fn forget_sandbox(plugin: &Plugin, container: &Pod) -> Result<()> {
    let config = Plugin::config("0.4.0", None).to_string();
    let reply = plugin.call_with_netns(Verb::Del, container, "", &config)?;
    if reply.code == Some(0) {
        return Ok(());
    }
    Err(HarnessError::Protocol(format!(
        "the last DEL failed: {reply:?}"
    )))
}

/// The daemon's and EC2's views agree with what the pods hold.
fn audit(lab: &Lab, running: &Running) -> Result<()> {
    let node = &lab.nodes[0];
    let held: BTreeMap<IpAddr, String> = running
        .values()
        .map(|(pod, added)| (added.address, pod.container.clone()))
        .collect();
    assert_eq!(held.len(), running.len(), "no address is held twice");
    let told: BTreeMap<IpAddr, String> = node
        .pods()?
        .into_iter()
        .map(|pod| (pod.address, pod.container))
        .collect();
    for (address, container) in &held {
        assert_eq!(
            told.get(address),
            Some(container),
            "the daemon knows who holds {address}"
        );
        assert!(node.netns.can_ping(*address)?, "{address} answers");
    }
    let ours: Vec<IpAddr> = lab
        .aws
        .state()?
        .enis
        .into_iter()
        .filter(|eni| eni.node.is_some())
        .flat_map(|eni| eni.addresses)
        .collect();
    for address in held.keys() {
        let carriers = ours.iter().filter(|other| *other == address).count();
        assert_eq!(carriers, 1, "exactly one ENI holds {address}");
    }
    Ok(())
}

/// Waits until nothing moves, then compares the ENIs of the daemon with those of EC2.
fn no_eni_leaks(lab: &mut Lab) -> Result<()> {
    lab.node()
        .wait_status("a pool at rest", PATIENCE, |status| {
            status.pool.in_flight == 0 && status.pool.waiting == 0
        })?;
    wait_until("EC2 and the daemon agreeing on ENIs", PATIENCE, || {
        let told: BTreeSet<String> = lab.nodes[0].enis()?.into_iter().map(|eni| eni.id).collect();
        let real: BTreeSet<String> = lab
            .aws
            .state()?
            .enis
            .into_iter()
            .map(|eni| eni.id)
            .collect();
        Ok(if told == real {
            Ok(())
        } else {
            Err((told, real))
        })
    })
}

fn kill_and_restart(node: &mut Node) -> Result<()> {
    node.kill_daemon()?;
    node.start()?;
    node.wait_ready()
}

private_test! {
    fn pods_keep_address_and_traffic_through_kill_9_at_any_moment() {
        let seed = Rng::seed();
        println!("repeat with ONSEN_TEST_SEED={seed}");
        let mut rng = Rng::new(seed);
        let mut lab = Lab::start(&LabOptions::default())?;
        let plugin = lab.node().plugin.clone();

        // Two that stay, on whatever ENI they are, and talk all the while.
        let mut running = Running::new();
        for i in 0..2 {
            let pod = Pod::create(&format!("stays-{i}"))?;
            let added = plugin.must_add(&pod)?;
            running.insert(pod.name.clone(), (pod, added));
        }
        let near = &running["stays-0"];
        let far = &running["stays-1"];
        let flow = Flow::start(&near.0.netns, &far.0.netns, far.1.address)?;
        let near_address = near.1.address;

        let mut unfinished: Vec<Pod> = Vec::new();
        for round in 0..KILLS {
            // Pods come and go on another thread while the daemon is killed here: a process must
            // be started from the thread that lives longest.
            let comers: Vec<String> = (0..=rng.below(4)).map(|i| format!("r{round}-{i}")).collect();
            let leavers: Vec<(Pod, Added)> = running
                .keys()
                .filter(|name| !name.starts_with("stays"))
                .take(rng.below(3) as usize)
                .cloned()
                .collect::<Vec<_>>()
                .into_iter()
                .filter_map(|name| running.remove(&name))
                .collect();
            let moment = Duration::from_millis(rng.below(600));
            let (added, ended) = std::thread::scope(|scope| {
                let work = scope.spawn(|| -> Result<_> {
                    let mut ended = Vec::new();
                    for (pod, added) in leavers {
                        ended.push(end_sandbox(&plugin, pod, Some(&added))?);
                    }
                    let mut came = Vec::new();
                    for name in &comers {
                        let pod = Pod::create(name)?;
                        match plugin.add(&pod)? {
                            Ok(added) => came.push((pod, added)),
                            // The daemon was dead: the runtime ends this sandbox.
                            Err(_) => ended.push(end_sandbox(&plugin, pod, None)?),
                        }
                    }
                    Ok((came, ended))
                });
                std::thread::sleep(moment);
                kill_and_restart(lab.node())?;
                work.join().unwrap()
            })?;
            running.extend(added.into_iter().map(|(pod, added)| (pod.name.clone(), (pod, added))));
            for pod in unfinished.drain(..).chain(ended) {
                forget_sandbox(&plugin, &pod)?;
            }
            lab.node().must_run()?;
            audit(&lab, &running)?;
        }

        let seen = flow.stop()?;
        assert_eq!(seen.lost, 0, "the flow of {} packets lost some", seen.sent);
        assert_eq!(seen.sources, BTreeSet::from([near_address]));
        let assigned = lab.node().status()?.pool.assigned as usize;
        assert_eq!(assigned, running.len(), "no address is held by a sandbox that ended");
        for (pod, added) in running.into_values() {
            plugin.must_del(&pod, Some(&added.result))?;
        }
        assert_eq!(lab.node().status()?.pool.assigned, 0);
        no_eni_leaks(&mut lab)?;
        assert_eq!(lab.aws.state()?.dropped_packets.total, 0);
        Ok(())
    }

    fn no_eni_is_lost_when_the_daemon_dies_while_it_attaches_one() {
        let mut lab = Lab::start(&LabOptions {
            // Slow enough for the kill to fall between the calls of one attachment.
            latency_scale: 0.5,
            ..LabOptions::default()
        })?;
        let seed = Rng::seed();
        println!("repeat with ONSEN_TEST_SEED={seed}");
        let mut rng = Rng::new(seed);
        for round in 0..5 {
            // The first pod wakes the wish for a second ENI.
            let pod = Pod::create(&format!("p{round}"))?;
            let added = lab.node().plugin.must_add(&pod)?;
            std::thread::sleep(Duration::from_millis(rng.below(1500)));
            kill_and_restart(lab.node())?;
            lab.node().plugin.must_del(&pod, Some(&added.result))?;
        }
        no_eni_leaks(&mut lab)
    }

    fn lost_replies_and_errors_of_ec2_lose_no_pod_and_no_eni() {
        let seed = Rng::seed();
        println!("repeat with ONSEN_TEST_SEED={seed}");
        let mut lab = Lab::start(&LabOptions {
            latency_scale: 0.02,
            seed,
            ..LabOptions::default()
        })?;
        for name in ["reply-lost", "internal-error", "internal-error-applied", "throttle"] {
            lab.aws.fault(&json!({"name": name, "probability": 0.15}))?;
        }
        let plugin = lab.node().plugin.clone();
        let mut rng = Rng::new(seed);
        let mut running = Running::new();
        for i in 0..30 {
            let pod = Pod::create(&format!("p{i}"))?;
            match plugin.add(&pod)? {
                Ok(added) => {
                    running.insert(pod.name.clone(), (pod, added));
                }
                // Told in time that nothing came: a runtime tries again with a new sandbox.
                Err(_) => plugin.must_del(&pod, None)?,
            }
            if rng.below(3) == 0
                && let Some((_, (pod, added))) = running.pop_first()
            {
                plugin.must_del(&pod, Some(&added.result))?;
            }
            lab.node().must_run()?;
        }
        assert!(!running.is_empty(), "some pods got through");
        audit(&lab, &running)?;
        lab.aws.heal()?;
        // With EC2 well again, a pod is served and everything comes to rest.
        let last = Pod::create("last")?;
        let added = plugin.must_add(&last)?;
        running.insert(last.name.clone(), (last, added));
        audit(&lab, &running)?;
        no_eni_leaks(&mut lab)?;
        assert_eq!(lab.aws.state()?.dropped_packets.total, 0);
        Ok(())
    }

    fn a_checkpoint_cut_in_half_loses_no_pod() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let mut pods = Vec::new();
        for i in 0..4 {
            let pod = Pod::create(&format!("p{i}"))?;
            let added = node.plugin.must_add(&pod)?;
            pods.push((pod, added));
        }
        node.kill_daemon()?;
        let file = node.dir().join("ipam.json");
        let io = HarnessError::io("cut the checkpoint");
        let bytes = std::fs::read(&file).map_err(io)?;
        let io = HarnessError::io("cut the checkpoint");
        std::fs::write(&file, &bytes[..bytes.len() / 2]).map_err(io)?;
        node.start()?;
        node.wait_ready()?;
        let mut held: BTreeSet<IpAddr> = node.pods()?.into_iter().map(|pod| pod.address).collect();
        for (_, added) in &pods {
            assert!(held.contains(&added.address), "{} is still held", added.address);
            assert!(node.netns.can_ping(added.address)?, "{} answers", added.address);
        }
        for i in 0..4 {
            let fresh = Pod::create(&format!("fresh{i}"))?;
            let address = node.plugin.must_add(&fresh)?.address;
            assert!(held.insert(address), "{address} was given twice");
        }
        let kept = std::fs::read_dir(node.dir())
            .map_err(HarnessError::io("list the node's folder"))?
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().contains("corrupt"));
        assert!(kept, "the bad file is kept aside");
        for (pod, added) in &pods {
            node.plugin.must_del(pod, Some(&added.result))?;
        }
        assert_eq!(node.status()?.pool.assigned, 4);
        Ok(())
    }

    fn a_pod_that_ended_while_the_daemon_was_down_is_found_out() {
        let mut lab = Lab::start(&LabOptions::default())?;
        let node = lab.node();
        let pod = Pod::create("ends")?;
        let stays = Pod::create("stays")?;
        node.plugin.must_add(&pod)?;
        let kept = node.plugin.must_add(&stays)?;
        node.kill_daemon()?;
        // The runtime's DEL succeeds without a daemon; then the namespace goes, links and all.
        node.plugin.must_del(&pod, None)?;
        drop(pod);
        node.start()?;
        node.wait_ready()?;
        node.wait_status("one pod left", PATIENCE, |status| status.pool.assigned == 1)?;
        assert_eq!(node.pods()?[0].address, kept.address);
        Ok(())
    }

    fn an_address_does_not_escape_its_cooldown_by_a_restart() {
        let mut options = LabOptions {
            instance_types: vec!["t3.nano"],
            ..LabOptions::default()
        };
        options.settings.insert("IP_COOLDOWN_PERIOD".to_owned(), "5".to_owned());
        let mut lab = Lab::start(&options)?;
        let node = lab.node();
        let mut pods = Vec::new();
        for i in 0..2 {
            let pod = Pod::create(&format!("p{i}"))?;
            pods.push((node.plugin.must_add(&pod)?, pod));
        }
        let began = std::time::Instant::now();
        let (added, pod) = pods.swap_remove(0);
        node.plugin.must_del(&pod, Some(&added.result))?;
        kill_and_restart(node)?;
        let late = Pod::create("late")?;
        let again = node.plugin.must_add(&late)?;
        assert_eq!(again.address, added.address, "only one address can be given");
        // A lower bound, not a measurement: sooner would break the law.
        assert!(began.elapsed() >= Duration::from_secs(5), "given again too soon");
        Ok(())
    }
}
