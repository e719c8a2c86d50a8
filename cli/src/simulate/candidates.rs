//! `--policy REF` and `--set KEY=VALUE`, whose order matters: a setting before the first policy is for
//! all, one after a policy is for that one.

use std::collections::BTreeMap;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};

use crate::eval::setting;

/// A policy and its settings, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) reference: String,
    pub(super) settings: BTreeMap<String, String>,
}

/// All of them, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    pub(super) all: Vec<Wanted>,
}

impl clap::Args for Candidates {
    fn augment_args(command: Command) -> Command {
        command
            .arg(
                Arg::new("policy")
                    .long("policy")
                    .value_name("REF")
                    .required_unless_present("faults")
                    .action(ArgAction::Append)
                    .help("builtin:NAME or file:PATH; several are compared"),
            )
            .arg(
                Arg::new("set")
                    .long("set")
                    .value_name("KEY=VALUE")
                    .value_parser(setting)
                    .action(ArgAction::Append)
                    .help("A setting: for all policies before the first --policy, else for the policy before it"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Candidates {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let placed = |name| matches.indices_of(name).into_iter().flatten();
        let policies = matches.get_many::<String>("policy").into_iter().flatten();
        let policies: Vec<(usize, &String)> = placed("policy").zip(policies).collect();
        let sets = matches.get_many::<(String, String)>("set");
        let sets: Vec<(usize, &(String, String))> =
            placed("set").zip(sets.into_iter().flatten()).collect();
        let faults = matches.try_get_one::<bool>("faults").ok().flatten();
        if policies.is_empty() && faults != Some(&true) {
            return Err(Error::raw(
                ErrorKind::MissingRequiredArgument,
                "--policy is missing\n",
            ));
        }
        let mut all = Vec::new();
        for (number, (place, reference)) in policies.iter().enumerate() {
            let next = policies.get(number + 1).map_or(usize::MAX, |(at, _)| *at);
            let first = policies.first().map_or(0, |(at, _)| *at);
            // Its own come later in the list and win.
            let common = sets.iter().filter(|(at, _)| *at < first);
            let own = sets.iter().filter(|(at, _)| *place < *at && *at < next);
            all.push(Wanted {
                reference: (*reference).clone(),
                settings: common.chain(own).map(|(_, it)| (*it).clone()).collect(),
            });
        }
        Ok(Self { all })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Candidates, Error> {
        // Beside `--faults`, as in `onsen simulate`.
        let faults = Arg::new("faults").long("faults").action(ArgAction::SetTrue);
        let command = <Candidates as clap::Args>::augment_args(Command::new("t").arg(faults));
        let matches = command.try_get_matches_from([&["t"], arguments].concat())?;
        Candidates::from_arg_matches(&matches)
    }

    #[test]
    fn settings_before_the_first_policy_are_for_all_and_later_ones_for_theirs() {
        let candidates = parse(&[
            "--set",
            "A=1",
            "--set=B=1",
            "--policy",
            "x",
            "--set",
            "B=2",
            "--policy=y",
            "--set",
            "C=3=4",
        ]);
        let all = candidates.unwrap().all;
        let words: Vec<String> = (all.iter())
            .map(|it| format!("{} {:?}", it.reference, it.settings))
            .collect();
        assert_eq!(
            words,
            [
                r#"x {"A": "1", "B": "2"}"#,
                r#"y {"A": "1", "B": "1", "C": "3=4"}"#
            ]
        );
    }

    #[test]
    fn a_missing_policy_and_a_setting_without_a_value_are_told() {
        assert!(parse(&[]).unwrap_err().to_string().contains("--policy"));
        let error = parse(&["--policy", "x", "--set", "A"]).unwrap_err();
        assert!(error.to_string().contains("KEY=VALUE"), "{error}");
    }
}
