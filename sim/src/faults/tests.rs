use std::path::Path;

use super::*;

#[test]
fn the_same_seed_gives_the_same_trace_to_the_last_byte_and_another_seed_another() {
    let options = Options {
        storm: 400,
        ..Options::default()
    };
    let (first, second) = (trace(7, &options), trace(7, &options));
    assert_eq!(first, second);
    assert!(first.unwrap().len() > 400);
    assert_ne!(second, trace(8, &options));
}

#[test]
fn the_seeds_of_found_bugs_live_through() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut bugs = 0;
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let (name, rest) = line.split_once(' ').unwrap();
        let (seed, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut options = Options::default();
        for word in rest.split_whitespace() {
            match word.split_once('=').unwrap() {
                ("storm", steps) => options.storm = steps.parse().unwrap(),
                ("only", on) => {
                    let on: Vec<&str> = on.split(',').collect();
                    let off = names().filter(|name| !on.contains(name));
                    options.without = off.map(str::to_owned).collect();
                }
                (other, _) => panic!("{name}: {other}?"),
            }
        }
        if let Err(broken) = live(seed.parse().unwrap(), &options) {
            panic!("{name} is back: {broken}");
        }
        bugs += 1;
    }
    assert!(bugs > 0);
}
