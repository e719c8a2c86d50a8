//! Where the built programs are.
//!
//! `ONSEN_BIN_DIR` names the folder; without it, the folder of the running program or one of its
//! parents (a test executable lies in `target/debug/deps`, the programs in `target/debug`).

use std::path::{Path, PathBuf};

use crate::error::{HarnessError, Result};

/// Programs that a lab needs.
const NEEDED: [&str; 3] = ["onsend", "aws-cni", "fake-aws"];

/// The folder that holds the built programs.
pub fn folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("ONSEN_BIN_DIR") {
        return Ok(PathBuf::from(folder));
    }
    let program = std::env::current_exe().map_err(HarnessError::io("find the running program"))?;
    let nearest = program.parent().unwrap_or(Path::new("."));
    Ok(program
        .ancestors()
        .skip(1)
        .take(3)
        .find(|folder| folder.join(NEEDED[0]).is_file())
        .unwrap_or(nearest)
        .to_owned())
}

/// The path of one built program.
pub fn path(name: &'static str) -> Result<PathBuf> {
    let folder = folder()?;
    let path = folder.join(name);
    if path.is_file() {
        Ok(path)
    } else {
        Err(HarnessError::NotBuilt { name, folder })
    }
}

/// The path of another project's program, out of the folder of tools or this machine's own; why not,
/// when it is in neither.
pub fn tool(name: &str) -> std::result::Result<PathBuf, String> {
    let set = |name| std::env::var_os(name).filter(|it| !it.is_empty());
    let tools = set("ONSEN_TOOLS")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&set("HOME")?).join(".cache/onsen/tools")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    tools
        .iter()
        .map(|folder| folder.join("bin"))
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{name} is not installed; `cargo xtask setup --all` does it"))
}

/// Why the programs cannot be used; nothing when they can.
pub fn why_not() -> Option<String> {
    NEEDED
        .iter()
        .find_map(|name| path(name).err())
        .map(|error| error.to_string())
}
