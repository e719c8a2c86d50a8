use std::collections::BTreeMap;

use super::*;
use crate::account::Operation;
use crate::simulate::{Final, NodeRun};
use crate::world::{CallMade, Ended, Sample};

fn sample(at: Millis, addresses: u32, assigned: u32) -> Sample {
    Sample {
        at,
        addresses,
        assigned,
        ..Sample::default()
    }
}

fn run(policy: &str, idle: f64) -> Run {
    let figures = Figures {
        hours: 1.0,
        idle_address_hours: idle,
        ..Figures::default()
    };
    Run {
        policy: policy.to_owned(),
        settings: BTreeMap::from([("WARM_IP_TARGET".to_owned(), "<2>".to_owned())]),
        scorecard: figures.clone(),
        nodes: vec![NodeRun {
            name: "node-1".to_owned(),
            instance_type: "m5.large".to_owned(),
            last: Final {
                enis: 1,
                addresses: 9,
                prefixes: 0,
                assigned: 2,
                warm: 7,
                cooling: 0,
                per_eni: vec![9],
                ec2_calls: BTreeMap::new(),
                at_rest: true,
            },
            figures,
            samples: vec![
                sample(0, 0, 0),
                sample(60_000, 9, 0),
                sample(1_800_000, 9, 2),
            ],
            calls: vec![CallMade {
                at: 59_000,
                operation: Operation::AssignPrivateIpAddresses,
                ended: Ended::Done,
            }],
            waits: vec![5, 5, 1_200],
        }],
    }
}

fn scene() -> Scene {
    Scene {
        instance_type: "m5.large".to_owned(),
        max_pods: 29,
        nodes: 1,
        seed: 7,
        subnet: "10.0.0.0/18".parse().unwrap(),
        demand: Demand::Pods {
            pods: 3,
            then_down_to: Some(1),
            arrival: Arrival::Burst,
        },
    }
}

#[test]
fn a_scene_is_told_in_a_line() {
    assert_eq!(
        headline(&scene()),
        "1 m5.large (max-pods 29) in 10.0.0.0/18, seed 7: 3 pods, all at once, then down to 1"
    );
}

#[test]
fn lengths_of_time_have_the_unit_people_use() {
    for (span, text) in [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_250, "1.2 s"),
        (90_000, "1.5 min"),
        (86_400_000, "24 h"),
    ] {
        assert_eq!(duration(span), text);
    }
}

#[test]
fn the_page_is_whole_needs_nothing_from_elsewhere_and_escapes_what_users_write() {
    let runs = [run("builtin:a", 10.0), run("file:b&c.wasm", 4.0)];
    let page = html(&scene(), &runs, "onsen simulate --set 'A=<b>'");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    // Two plots for each run, and one of all waits.
    assert_eq!(page.matches("<svg").count(), 5);
    for foreign in ["http://", "https://", "<script", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("file:b&amp;c.wasm WARM_IP_TARGET=&lt;2&gt;"));
    assert!(page.contains("'A=&lt;b&gt;'"));
    // B idles six tenths less than A, and is marked for it.
    assert!(
        page.contains("<td class=\"best\">4.0 <small>\u{2212}60&nbsp;%</small>"),
        "{page}"
    );
}

#[test]
fn plots_show_what_was() {
    let run = run("builtin:a", 1.0);
    let held = scale::course(&run.nodes, 3_600_000, |it| it.addresses);
    // A step of the grid is six seconds.
    assert_eq!((held[9], held[10], held[599]), (0, 9, 9));
    let (minutes, calls) = scale::calls(&run.nodes, 3_600_000);
    assert_eq!((minutes, calls[0], calls[1]), (1, (1.0, 1.0), (0.0, 0.0)));
}

#[test]
fn axes_end_at_round_numbers_above_all_values() {
    for highest in [0.0, 0.3, 1.0, 9.0, 27.0, 58.0, 735.0, 11_760.0] {
        let (top, ticks) = scale::amounts(highest);
        assert!(top >= highest && ticks.len() <= 7, "{highest}: {ticks:?}");
        assert!((ticks.last().unwrap().0 - 1.0).abs() < 1e-9);
    }
    for end in [1, 60_000, 3_600_000, 86_400_000, 7 * 86_400_000] {
        let ticks = scale::times(end);
        assert!(ticks.len() <= 8 && ticks[0].0 == 0.0, "{end}: {ticks:?}");
    }
    assert_eq!(scale::times(86_400_000).last().unwrap().1, "24 h");
}
