use super::*;
use serde_json::Value;

const GOOD: &str = "\
name: WARM_IP_TARGET=$target
rows: [{target: 2}, {target: 5}]
snapshot: {settings: {WARM_IP_TARGET: $target}}
expect: {actions: [{grow: {eni: 0, count: $target}}]}
";
const BAD: &str = "\
name: nothing is wanted
snapshot: {}
expect: {actions: []}
";

/// Files by name, and arguments that name their folder.
fn arguments(files: &[(&str, &str)]) -> (tempfile::TempDir, Arguments) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let arguments = Arguments {
        paths: vec![folder.path().to_owned()],
        policy: "default-warm-eni".to_owned(),
        upstream: false,
        filter: None,
        watch: false,
    };
    (folder, arguments)
}

fn report(arguments: &Arguments) -> (String, u8) {
    let report = run(arguments).unwrap();
    (
        report.for_people(report::Style::plain()),
        report.exit_code(),
    )
}

#[test]
fn a_folder_is_searched_and_each_row_is_told() {
    let (_folder, arguments) = arguments(&[("deep/a.yaml", GOOD), ("notes.md", "no scenario")]);
    let (text, code) = report(&arguments);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("deep/a.yaml: WARM_IP_TARGET=5  ("), "{text}");
    assert!(text.contains("2 scenarios: 2 ok, 0 failed"), "{text}");
}

#[test]
fn a_failure_shows_both_sides_and_ends_with_code_1() {
    let (_folder, arguments) = arguments(&[("a.yaml", GOOD), ("b.yaml", BAD)]);
    let (text, code) = report(&arguments);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("failed  "), "{text}");
    let line = text.lines().find(|line| line.contains("actions")).unwrap();
    assert!(
        line.contains("nothing") && line.contains("grow eni 0 count 9"),
        "{text}"
    );
    let (json, _) = test(&arguments, true).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["ok"], &json["failed"]), (&2.into(), &1.into()));
    let last = &json["scenarios"][2];
    assert_eq!(last["ok"], false);
    assert_eq!(last["failures"][0]["differences"][0]["expected"], "nothing");
}

#[test]
fn a_file_that_is_not_understood_is_told_with_its_line_and_ends_with_code_2() {
    let (_folder, arguments) = arguments(&[("a.yaml", GOOD), ("b.yaml", "name: x\nstep: []\n")]);
    let (text, code) = report(&arguments);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("b.yaml: line 2, column 1: unknown field `step`"),
        "{text}"
    );
    assert!(text.contains("2 ok, 0 failed, 1 file unreadable"), "{text}");
}

#[test]
fn the_filter_looks_at_file_and_name() {
    let (_folder, mut arguments) = arguments(&[("a.yaml", GOOD), ("b.yaml", BAD)]);
    arguments.filter = Some("TARGET=5".to_owned());
    assert!(report(&arguments).0.contains("1 scenario: 1 ok"));
    arguments.filter = Some("no such thing".to_owned());
    let Err(error) = run(&arguments) else {
        panic!("nothing matches")
    };
    assert!(error.to_string().contains("no scenario"), "{error}");
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let (_folder, mut arguments) = arguments(&[]);
    arguments.paths = vec!["/nonexistent".into()];
    let Err(error) = run(&arguments) else {
        panic!("found")
    };
    assert!(error.chain().starts_with("cannot read /nonexistent"));
}

#[test]
fn a_changed_file_changes_the_stamps() {
    let (folder, arguments) = arguments(&[("a.yaml", GOOD)]);
    let before = stamps(&arguments);
    std::fs::write(folder.path().join("b.yaml"), BAD).unwrap();
    assert_ne!(stamps(&arguments), before);
}
