//! What `onsen policy` says of files that are no policies: one sentence on stderr, nothing on stdout,
//! exit code 1.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::allow_attributes, reason = "expectations differ by target")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// A component that nothing is in.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Wrong inputs by name, and what is said of each.
const WRONG: [(&str, &str); 9] = [
    (
        "text",
        "not a Wasm component: the file does not start as Wasm does",
    ),
    ("empty", "not a Wasm component: the file is empty"),
    (
        "start",
        "not a Wasm component: the file ends within the first eight bytes",
    ),
    (
        "module",
        "it is a core Wasm module; build it with `onsen policy build`",
    ),
    (
        "world",
        "this host calls onsen:policy/policy@0.1.0; it exports nothing",
    ),
    ("half", "does not compile: "),
    ("folder", "cannot be read: "),
    ("missing", "cannot be read: "),
    (
        "huge",
        "has more than the 67108864 bytes that a component may have",
    ),
];

/// A folder with all of them.
fn wrong_inputs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("text", b"KEEP_FREE: 4\n");
    write("empty", b"");
    write("start", &EMPTY_COMPONENT[..6]);
    write("module", EMPTY_MODULE);
    write("world", EMPTY_COMPONENT);
    let whole = onsen_policy_runner::builtin::get("default-warm-eni").unwrap();
    write("half", &whole[..whole.len() / 2]);
    fs::create_dir(folder.path().join("folder")).unwrap();
    // Its end is a hole: it takes no room on the disk.
    write("huge", whole);
    let huge = fs::File::options()
        .write(true)
        .open(folder.path().join("huge"));
    huge.unwrap().set_len(100 << 20).unwrap();
    fs::write(
        folder.path().join("a.yaml"),
        include_str!("../../policies/examples/common/scenarios/grows-and-shrinks.yaml"),
    )
    .unwrap();
    fs::write(folder.path().join("node.json"), "{}").unwrap();
    folder
}

fn policy(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsen"));
    command.current_dir(folder).args(arguments);
    command.output().unwrap()
}

fn is_refused(arguments: &[&str], told: &Output, words: &str) {
    let said = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(told.stdout.is_empty(), "{arguments:?}: {told:?}");
    assert!(said.starts_with("onsen: "), "{arguments:?}: {said}");
    assert!(said.contains(words), "{arguments:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?}: {said}");
}

#[test]
fn check_says_what_a_wrong_file_is() {
    let folder = wrong_inputs();
    for (file, words) in WRONG {
        for format in ["table", "json"] {
            let arguments = ["policy", "check", file, "--format", format];
            is_refused(&arguments, &policy(folder.path(), &arguments), words);
        }
    }
}

#[test]
fn what_no_node_would_take_is_not_pushed() {
    let folder = wrong_inputs();
    for (file, words) in WRONG {
        // Nobody is asked: the reserved port 1 answers to none.
        let arguments = ["policy", "push", file, "127.0.0.1:1/policies/mine:v1"];
        is_refused(&arguments, &policy(folder.path(), &arguments), words);
    }
}

#[test]
fn eval_test_and_simulate_say_it_with_the_same_words() {
    let folder = wrong_inputs();
    for (file, words) in WRONG {
        let reference = format!("file:{file}");
        for arguments in [
            &[
                "policy",
                "eval",
                "--policy",
                &reference,
                "--snapshot",
                "node.json",
            ][..],
            &["policy", "test", "a.yaml", "--policy", &reference],
            &[
                "simulate",
                "--policy",
                &reference,
                "--instance-type",
                "m5.large",
                "--pods",
                "1",
            ],
        ] {
            is_refused(arguments, &policy(folder.path(), arguments), words);
        }
    }
}

#[test]
fn replay_says_what_is_no_recording() {
    let folder = wrong_inputs();
    for (file, words) in [
        ("text", "line 1 is not the header of an Onsen recording"),
        ("empty", "line 1 is not the header of an Onsen recording"),
        ("folder", "cannot read folder: "),
        ("missing", "cannot read missing: "),
    ] {
        let arguments = ["policy", "replay", file, "--policy", "default-warm-eni"];
        is_refused(&arguments, &policy(folder.path(), &arguments), words);
    }
}

#[test]
fn push_says_what_is_no_place_and_that_nobody_answers() {
    let folder = tempfile::tempdir().unwrap();
    let whole = onsen_policy_runner::builtin::get("default-warm-eni").unwrap();
    fs::write(folder.path().join("good.wasm"), whole).unwrap();
    for (place, words) in [
        ("nonsense", "\"nonsense\" is not REGISTRY/REPOSITORY:TAG"),
        ("127.0.0.1:1/policies/mine:v1", "Connection refused"),
    ] {
        let arguments = ["policy", "push", "good.wasm", place];
        is_refused(&arguments, &policy(folder.path(), &arguments), words);
    }
}
