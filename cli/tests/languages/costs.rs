//! What a policy costs in each language: the table of `docs/policies/costs.md`.
//!
//! `ONSEN_RENEW=1`, which is what `cargo xtask costs` sets, writes the table. Else sizes, fuel and
//! memory must be those of the table to within a tenth: another release of a compiler changes them a
//! little, a change of ours that matters changes them more. Time is not compared.

use std::path::Path;

use onsen_policy_build::Language;
use serde_json::Value;

use crate::project::Project;

const BEGIN: &str = "<!-- written by the test -->\n";
const END: &str = "<!-- end -->\n";
/// How far a figure may be from the table's, in percent.
const LEEWAY: u64 = 10;

/// What `onsen policy check` says of a component.
struct Costs {
    bytes: u64,
    fuel: u64,
    memory_kib: u64,
    millis: f64,
    fits: bool,
}

impl Costs {
    fn of(project: &Project) -> Self {
        project.component();
        let check = ["policy", "check", "build/policy.wasm", "--format", "json"];
        let told: Value = serde_json::from_str(&project.onsen(&check)).unwrap();
        let cost = &told["cost"];
        Self {
            bytes: told["bytes"].as_u64().unwrap(),
            fuel: cost["fuel"].as_u64().unwrap(),
            memory_kib: cost["memory_bytes"].as_u64().unwrap() >> 10,
            millis: cost["millis"].as_f64().unwrap(),
            fits: told["fits_config_map"].as_bool().unwrap(),
        }
    }

    fn row(&self, language: Language) -> String {
        let config_map = if self.fits {
            "fits"
        } else {
            "too large: `oci:` or `file:`"
        };
        let Self {
            bytes,
            fuel,
            memory_kib,
            millis,
            ..
        } = self;
        format!("| {language} | {bytes} | {config_map} | {fuel} | {memory_kib} | {millis:.1} |\n")
    }
}

/// Size, fuel and memory of a row of the table.
fn figures(row: &str) -> [u64; 3] {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    [2, 4, 5].map(|column| {
        let cell = cells.get(column).copied().unwrap_or_default();
        cell.parse()
            .unwrap_or_else(|_| panic!("no number in column {column} of {row:?}"))
    })
}

#[test]
fn the_table_of_costs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policies/costs.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let renew = std::env::var_os("ONSEN_RENEW").is_some();
    let mut written = String::from(
        "\n| language | component, bytes | ConfigMap | fuel | memory, KiB | time, ms |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for language in Language::ALL {
        let kept = table
            .lines()
            .find(|row| row.starts_with(&format!("| {language} |")));
        let Some(project) = Project::of(language) else {
            // Its row stays as it is.
            written.extend(kept.map(|row| format!("{row}\n")));
            continue;
        };
        let row = Costs::of(&project).row(language);
        if !renew {
            let kept = kept.unwrap_or_else(|| panic!("{} has no {language}", path.display()));
            for (now, then) in figures(&row).into_iter().zip(figures(kept)) {
                assert!(
                    now.abs_diff(then) * 100 <= then * LEEWAY,
                    "docs/policies/costs.md is out of date: run `cargo xtask costs`. It says\n\
                     {kept}\nand it is\n{row}"
                );
            }
        }
        written.push_str(&row);
    }
    if renew {
        std::fs::write(&path, format!("{before}{BEGIN}{written}\n{END}{after}")).unwrap();
    }
}
