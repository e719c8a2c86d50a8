//! A smaller pool that fails alike, so that a person can read it.
//!
//! In: a pool and a test that it fails. Out: a pool from which nothing more can be left out.

use crate::toy::Toy;

/// Leaves out ENIs, blocks, settings, outcomes and demand as long as `fails` still holds.
pub fn shrink(mut toy: Toy, fails: impl Fn(&Toy) -> bool) -> Toy {
    while let Some(smaller) = smaller(&toy).into_iter().find(|smaller| fails(smaller)) {
        toy = smaller;
    }
    toy
}

/// All pools with one thing less.
fn smaller(toy: &Toy) -> Vec<Toy> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Toy)| {
        let mut changed = toy.clone();
        change(&mut changed);
        all.push(changed);
    };
    for place in (1..toy.enis.len()).rev() {
        with(&|toy| toy.drop_eni(place));
    }
    for place in 0..toy.node.settings.len() {
        // Another mode is another question.
        if !matches!(
            &*toy.node.settings[place].key,
            "STRICT_UPSTREAM" | "ENABLE_MULTI_NIC"
        ) {
            with(&|toy| {
                toy.node.settings.remove(place);
            });
        }
    }
    // One try without the one before it would be another place on the ladder.
    if !toy.node.ec2.outcomes.is_empty() {
        with(&|toy| toy.node.ec2.outcomes.clear());
    }
    for (place, eni) in toy.enis.iter().enumerate() {
        for block in 0..eni.blocks.len() {
            with(&|toy| {
                toy.enis[place].blocks.remove(block);
            });
            if eni.blocks[block].assigned > 0 {
                with(&|toy| toy.enis[place].blocks[block].assigned -= 1);
            }
            if eni.blocks[block].cooling > 0 {
                with(&|toy| toy.enis[place].blocks[block].cooling = 0);
            }
        }
        if eni.excluded {
            with(&|toy| toy.enis[place].excluded = false);
        }
    }
    if !toy.node.demand.waiting.is_empty() {
        with(&|toy| {
            toy.node.demand.waiting.pop();
        });
    }
    if toy.node.node.max_pods > 0 && toy.node.node.max_pods != 250 {
        with(&|toy| toy.node.node.max_pods = 250);
    }
    if !toy.node.node.schedulable {
        with(&|toy| toy.node.node.schedulable = true);
    }
    if !toy.node.limits.other_cards.is_empty() && toy.enis.iter().all(|eni| eni.card == 0) {
        with(&|toy| toy.node.limits.other_cards.clear());
    }
    all
}
