//! Embeds the components that `cargo xtask policies` has built. Without them the crate still
//! builds; asking for a builtin then says what to run.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

const NAMES: [&str; 2] = ["default-warm-eni", "prefix-frugal"];

fn main() -> Result<(), Box<dyn Error>> {
    let policies = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../policies");
    let built = policies.join("built");
    // A watched path that does not exist would rebuild this crate every time.
    let watched = if built.is_dir() { &built } else { &policies };
    println!("cargo::rerun-if-changed={}", watched.display());

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut table = String::from("static BUILTINS: &[(&str, Option<&[u8]>)] = &[\n");
    for name in NAMES {
        let from = built.join(format!("{name}.wasm"));
        if from.is_file() {
            let file = format!("{name}.wasm");
            fs::copy(&from, out.join(&file))?;
            let path = format!("concat!(env!(\"OUT_DIR\"), \"/{file}\")");
            writeln!(table, "    ({name:?}, Some(include_bytes!({path}))),")?;
        } else {
            writeln!(table, "    ({name:?}, None),")?;
        }
    }
    table.push_str("];\n");
    fs::write(out.join("builtins.rs"), table)?;
    Ok(())
}
