//! `onsen shadow`: how the second policy compares, which sees what the first sees and decides nothing.
//!
//! In: the daemon's status. Out: figures, and the last decision in which the two differed.

use std::fmt::Write as _;

use crate::documents::{Difference, Status};
use crate::table::pairs;

/// For people.
pub(crate) fn shadow(status: &Status) -> String {
    let (policy, figures) = (&status.policy, &status.shadow);
    let Some(shadow) = &policy.shadow else {
        return match &policy.shadow_error {
            Some(why) => format!("the shadow does not run: {why}\n"),
            None => "no shadow is asked for: docs/policies.md says how\n".to_owned(),
        };
    };
    let share = match figures.compared {
        0 => 0.0,
        compared => figures.differed as f64 * 100.0 / compared as f64,
    };
    let mut text = pairs(&[
        (
            "in force",
            format!("{}, {}", policy.reference, policy.digest),
        ),
        ("shadow", format!("{}, {}", shadow.reference, shadow.digest)),
        (
            "compared",
            format!(
                "{} decisions: {} differ ({share:.0} %); it failed in {} more and missed {}",
                figures.compared, figures.differed, figures.failed, figures.missed
            ),
        ),
    ]);
    if let Some(why) = &figures.last_failure {
        // Writing to a String cannot fail.
        let _ = write!(text, "\nIts last failure: {why}\n");
    }
    if let Some(difference) = &figures.last_difference {
        text.push_str(&told(difference));
    }
    text
}

fn told(difference: &Difference) -> String {
    let side = |who: &str, reason: &str, actions: &[String]| {
        let actions: String = match actions {
            [] => "    nothing\n".to_owned(),
            actions => format!("    {}\n", actions.join("\n    ")),
        };
        format!("  {who}  {reason}\n{actions}")
    };
    format!(
        "\nThe last difference is decision {}:\n{}{}",
        difference.decision,
        side("in force", &difference.policy_reason, &difference.policy),
        side("shadow", &difference.shadow_reason, &difference.shadow),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(policy: &str, shadow: &str) -> Status {
        let text = include_str!("../testdata/status.json");
        let mut status: serde_json::Value = serde_json::from_str(text).unwrap();
        let more: serde_json::Value = serde_json::from_str(policy).unwrap();
        for (key, value) in more.as_object().unwrap() {
            status["policy"][key] = value.clone();
        }
        status["shadow"] = serde_json::from_str(shadow).unwrap();
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_shadow_is_told_with_its_figures_and_the_last_difference() {
        let shown = shadow(&status(
            r#"{"shadow": {"reference": "builtin:prefix-frugal", "digest": "sha256:ab"}}"#,
            r#"{"compared": 8, "differed": 2, "failed": 1, "missed": 0, "last_failure": "it trapped",
                "last_difference": {"decision": 41, "policy": ["9 addresses more on eni-1"], "policy_reason": "warm",
                "shadow": [], "shadow_reason": "enough"}}"#,
        ));
        for part in [
            "8 decisions: 2 differ (25 %); it failed in 1 more and missed 0",
            "Its last failure: it trapped",
            "decision 41:\n  in force  warm\n    9 addresses more on eni-1\n  shadow  enough\n    nothing\n",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
    }

    #[test]
    fn without_a_shadow_it_is_said_why() {
        let figures = r#"{"compared": 0, "differed": 0, "failed": 0}"#;
        assert!(shadow(&status("{}", figures)).contains("no shadow is asked for"));
        let refused = status(r#"{"shadow_error": "not a component"}"#, figures);
        assert_eq!(
            shadow(&refused),
            "the shadow does not run: not a component\n"
        );
    }
}
