//! The image: its description, and the programs of it that can be run without a builder of images.
//!
//! No builder and no base images are at hand where these tests run, so the image itself is not built.
//! What can go wrong in it is tried by other means: the root file system is made by the script that the
//! Dockerfile runs, and the programs start in it with the powers that the chart gives them.

#![expect(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use onsen_deploy_tests::{output, read, root, run, tool};

#[test]
fn the_dockerfile_passes_its_linter() {
    let Some(hadolint) = tool("lint of the Dockerfile", "venv/bin/hadolint") else {
        return;
    };
    output(Command::new(hadolint).arg(root().join("deploy/Dockerfile")));
}

#[test]
fn the_image_itself() {
    println!("not run: image build: no builder of images and no base images here");
}

/// Instructions with their continued lines joined.
fn instructions() -> Vec<String> {
    read("deploy/Dockerfile")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn every_file_that_is_copied_from_the_project_is_there() {
    let mut copied = 0;
    for line in instructions() {
        let Some(rest) = line.strip_prefix("COPY ") else {
            continue;
        };
        if rest.starts_with("--from=") {
            continue;
        }
        let words: Vec<&str> = rest.split(' ').collect();
        for source in words.iter().take(words.len() - 1) {
            assert!(root().join(source).exists(), "{line}");
            copied += 1;
        }
    }
    assert!(copied >= 3);
}

/// A renamed program or package would be noticed only when somebody builds the image.
#[test]
fn every_program_and_package_that_is_named_exists() {
    let manifests: String = ["host", "cli", "cni", "deploy/image"]
        .map(|folder| read(&format!("{folder}/Cargo.toml")))
        .join("\n");
    let has = |name: &str| manifests.contains(&format!("name = \"{name}\""));
    let text = instructions().join("\n");
    let mut named = BTreeSet::new();
    let words: Vec<&str> = text.split_whitespace().collect();
    for pair in words.windows(2) {
        if let ["-p", package] = pair {
            named.insert((*package).to_owned());
        }
    }
    for word in text.split(|c: char| c.is_whitespace() || c == ';') {
        let path = Path::new(word);
        if (word.starts_with("/static/") || word.contains("/release/"))
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
            && !word.ends_with('/')
            && !name.starts_with('$')
        {
            named.insert(name.trim_end_matches('"').to_owned());
        }
    }
    for name in ["onsen-host", "onsen-cli", "onsen-cni", "onsen-image"] {
        assert!(named.contains(name), "{named:?}");
    }
    for name in [
        "onsend",
        "onsen",
        "aws-cni",
        "grpc-health-probe",
        "onsen-init",
    ] {
        assert!(named.contains(name), "{named:?}");
    }
    for name in named.iter().filter(|name| !name.starts_with('$')) {
        assert!(
            has(name),
            "the Dockerfile names {name}, which no package has"
        );
    }
}

#[test]
fn the_compiler_of_the_image_is_the_one_that_the_workspace_asks_for() {
    let manifest = read("Cargo.toml");
    let wanted = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap()
        .trim_matches('"');
    assert!(
        instructions().contains(&format!("FROM rust:{wanted}-slim-trixie AS build")),
        "rust-version is {wanted}"
    );
}

/// The daemon runs in the libc it was linked with only if both are of the same Debian.
#[test]
fn all_stages_stand_on_one_debian() {
    for line in instructions() {
        if let Some(base) = line.strip_prefix("FROM ")
            && !base.starts_with("scratch")
            && !base.starts_with("onsen")
        {
            assert!(base.contains("trixie"), "{line}");
        }
    }
}

/// Everything that iptables and nft load is in the folder: they are started in it.
#[test]
fn the_root_file_system_holds_what_its_programs_load() {
    let name = "root file system of the image";
    for program in ["/usr/sbin/nft", "/usr/sbin/xtables-legacy-multi"] {
        if !Path::new(program).exists() {
            println!("not run: {name}: no Debian with the packages iptables and nftables");
            return;
        }
    }
    if run(Command::new("id").arg("-u")).stdout != b"0\n" {
        println!("not run: {name}: not root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root_fs = folder.path().join("root");
    let this = std::env::current_exe().unwrap();
    output(
        Command::new("sh")
            .arg(root().join("deploy/image/root.sh"))
            .arg(&root_fs)
            // Stands for the daemon: linked with the same C library and nothing else.
            .arg(&this),
    );
    let within = |program: &str, arguments: &[&str]| {
        output(
            Command::new("unshare")
                .args(["--net", "--", "chroot"])
                .arg(&root_fs)
                .arg(program)
                .args(arguments),
        )
    };
    assert!(within("/app/iptables/nft/iptables", &["--version"]).contains("nf_tables"));
    assert!(within("/app/iptables/legacy/iptables", &["--version"]).contains("legacy"));
    within("/usr/sbin/nft", &["add table ip onsen"]);
    // The matches and targets that the daemon's rules have.
    for rule in [
        "-t nat -A POSTROUTING ! -o vlan+ -m comment --comment x -m addrtype ! --dst-type LOCAL \
         -j SNAT --to-source 10.0.0.1 --random-fully",
        "-t mangle -A PREROUTING -i eth0 -m comment --comment x -m addrtype --dst-type LOCAL \
         --limit-iface-in -j CONNMARK --set-xmark 0x80/0x80",
        "-t mangle -A PREROUTING -j CONNMARK --restore-mark --mask 0x80",
    ] {
        let words: Vec<&str> = rule.split_whitespace().collect();
        within("/app/iptables/nft/iptables", &words);
    }
    // Nothing but what was asked for: no shell in which to look around.
    assert!(!root_fs.join("bin/sh").exists());
    assert!(root_fs.join("etc/ssl/certs/ca-certificates.crt").is_file());
}
