//! Makes a failure smaller: fewer faults, a shorter storm, the same law.

use super::{Broken, Options, lived, names};

/// Leaves out what can be left out while the same law still breaks, and gives the smallest failure
/// found. Tries at most as many lives as there are faults, and some for the length.
pub fn shrink(found: Box<Broken>, options: &Options) -> Box<Broken> {
    let mut smallest = found;
    let mut options = options.clone();
    let again = |options: &Options, like: &Broken| {
        let broken = lived(like.seed, options, false).err();
        broken.filter(|broken| broken.law() == like.law())
    };
    for name in names() {
        if options.without.insert(name.to_owned()) {
            match again(&options, &smallest) {
                Some(broken) => smallest = broken,
                None => {
                    options.without.remove(name);
                }
            }
        }
    }
    for parts in [8, 4, 2] {
        let mut shorter = options.clone();
        shorter.storm = smallest.step.min(options.storm()) * (parts - 1) / parts;
        while shorter.storm > 0
            && let Some(broken) = again(&shorter, &smallest)
        {
            smallest = broken;
            options = shorter.clone();
            shorter.storm = smallest.storm * (parts - 1) / parts;
        }
    }
    match lived(smallest.seed, &options, true) {
        Err(broken) => broken,
        Ok(_) => smallest,
    }
}
