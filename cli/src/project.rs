//! `onsen policy new` and `onsen policy build`: from nothing to a component.

use std::path::PathBuf;

use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser};
use onsen_policy_build::{Language, OUTPUT, build, create};
use serde_json::json;

use crate::error::CliError;

#[derive(Args)]
#[command(after_help = "\
Examples:
  onsen policy new calm-pool --lang rust
  onsen policy new calm-pool --lang python --folder policies/calm")]
pub(crate) struct New {
    /// Name of the policy: small letters, digits and -
    name: String,
    /// rust, go, js, python or c
    #[arg(long, value_name = "LANGUAGE", value_parser = languages())]
    lang: Language,
    /// Where to put it; by default a new folder of that name
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "Example:\n  cd calm-pool && onsen policy build")]
pub(crate) struct Build {
    /// The project's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

fn languages() -> impl TypedValueParser<Value = Language> {
    PossibleValuesParser::new(Language::ALL.map(Language::name))
        .try_map(|name| name.parse::<Language>())
}

/// Makes a project; says what comes next.
pub(crate) fn new(arguments: &New, as_json: bool) -> Result<String, CliError> {
    let folder = arguments
        .folder
        .clone()
        .unwrap_or_else(|| PathBuf::from(&arguments.name));
    create(&folder, &arguments.name, arguments.lang)?;
    let next: Vec<&str> = arguments
        .lang
        .prepare()
        .into_iter()
        .chain([
            arguments.lang.unit_tests(),
            "onsen policy build",
            "onsen policy check build/policy.wasm",
            "onsen policy test scenarios --policy file:build/policy.wasm",
        ])
        .collect();
    if as_json {
        let document = json!({
            "folder": folder, "language": arguments.lang.name(), "next": next
        });
        return Ok(format!("{document:#}\n"));
    }
    Ok(format!(
        "{} is a policy in {}. What comes next:\n\n  cd {}\n  {}\n",
        arguments.name,
        arguments.lang,
        folder.display(),
        next.join("\n  ")
    ))
}

/// Builds the project; says what came out.
pub(crate) fn build_here(arguments: &Build, as_json: bool) -> Result<String, CliError> {
    let path = build(&arguments.folder)?;
    let bytes = std::fs::metadata(&path).map_or(0, |facts| facts.len());
    if as_json {
        return Ok(format!(
            "{:#}\n",
            json!({"component": path, "bytes": bytes})
        ));
    }
    let shown = if arguments.folder.as_os_str() == "." {
        PathBuf::from(OUTPUT)
    } else {
        path
    };
    Ok(format!("{}: {bytes} bytes\n", shown.display()))
}
