use super::*;

#[test]
fn no_law_breaks_in_the_first_seeds() {
    let options = Options::default();
    for seed in 0..20 {
        if let Err(broken) = live(seed, &options) {
            panic!("{}", shrink(broken, &options));
        }
    }
}
