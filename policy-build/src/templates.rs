//! The templates inside this program, and making a project of them.
//!
//! Templates are real projects named `keep-n-free`; a new project gets its own name in all files.

use std::fs;
use std::path::Path;

use crate::{BuildError, Language, bindings};

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// The name that the templates carry.
const TEMPLATE: &str = "keep-n-free";

/// The current contract, `wit/policy.wit`.
pub fn contract() -> &'static str {
    CONTRACT
}

/// Makes a project in a folder that is empty or not there yet.
pub fn create(folder: &Path, name: &str, language: Language) -> Result<(), BuildError> {
    if !is_name(name) {
        return Err(BuildError::Name(name.to_owned()));
    }
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(BuildError::Occupied(folder.to_owned()));
    }
    let group = language.name();
    for (_, path, text) in FILES
        .iter()
        .filter(|file| [group, "common"].contains(&file.0))
    {
        let text = text
            .replace(TEMPLATE, name)
            .replace(&TEMPLATE.replace('-', "_"), &name.replace('-', "_"));
        write(&folder.join(path), text.as_bytes())?;
    }
    complete(folder, language)
}

/// Writes the contract and what is generated from it, unless the project has its contract already.
pub(crate) fn complete(folder: &Path, language: Language) -> Result<(), BuildError> {
    let contract = folder.join("wit/policy.wit");
    if contract.is_file() {
        return Ok(());
    }
    write(&contract, CONTRACT.as_bytes())?;
    match language {
        Language::Rust => {
            let sdk = folder.join("onsen/sdk");
            write(&sdk.join("Cargo.toml"), SDK_MANIFEST.as_bytes())?;
            for (_, path, text) in FILES.iter().filter(|file| file.0 == "sdk") {
                write(&sdk.join("src").join(path), text.as_bytes())?;
            }
            Ok(())
        }
        Language::Go => bindings::go(folder),
        Language::C => bindings::c(folder),
        // Their tools read the contract themselves.
        Language::Js | Language::Python => Ok(()),
    }
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(BuildError::io("create", folder))?;
    }
    fs::write(path, bytes).map_err(BuildError::io("write", path))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 64
        && !name.ends_with('-')
        && name
            .chars()
            .all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_project_carries_its_own_name_and_the_contract() {
        for language in Language::ALL {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("calm-pool");
            create(&folder, "calm-pool", language).unwrap();
            assert_eq!(Language::detect(&folder).unwrap(), language);
            assert!(folder.join("wit/policy.wit").is_file());
            assert!(folder.join("README.md").is_file(), "{language}");
            let mark = fs::read_to_string(folder.join(language.mark())).unwrap();
            assert!(!mark.contains(TEMPLATE), "{language}: {mark}");
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes"), "mine").unwrap();
        let refused = create(folder.path(), "calm-pool", Language::C).unwrap_err();
        assert!(matches!(refused, BuildError::Occupied(_)), "{refused}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_that_no_package_may_have_are_refused() {
        for name in ["", "Calm", "1st", "a b", "-a", "a-", "a/../b"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("calm-pool-2"));
    }
}
