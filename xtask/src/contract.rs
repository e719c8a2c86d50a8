//! The documents that follow from sources: what a policy sees, out of `wit/policy.wit`, and the
//! reasons for which an action is dropped.
//!
//! In: the contract, `core/src/check.rs`. Out: `docs/policies/what-a-policy-sees.md`, written or
//! compared; reasons without an entry, or entries without a reason. Must hold: what a reader is
//! told is what the code says today.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the contract uses few of the kinds that a WIT may have"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use wit_parser::{
    Docs, Enum, Function, Interface, Record, Resolve, Type, TypeDefKind, TypeId, Variant,
};

use crate::failure::Failure;
use crate::run::{root, say};

const CONTRACT: &str = "wit/policy.wit";
const PAGE: &str = "docs/policies/what-a-policy-sees.md";
const CHECK: &str = "core/src/check.rs";
const REASONS: &str = "docs/policies/why-was-my-action-dropped.md";

const HEAD: &str = "\
# What a policy sees and may do

*Made from `wit/policy.wit` by `cargo xtask contract`; do not edit.*

Which labels of its node a policy sees, the operator says by `ONSEN_POLICY_LABELS` ([settings](../settings.md)).
";

/// Writes the page.
pub(crate) fn write() -> Result<(), Failure> {
    let path = root().join(PAGE);
    fs::write(&path, page()?).map_err(Failure::io(format!("write {PAGE}")))?;
    say(&format!("{PAGE} is written"));
    Ok(())
}

/// Says what is out of date.
pub(crate) fn check() -> Result<(), Failure> {
    if read(PAGE)? != page()? {
        return Err(Failure::Unreadable(format!(
            "{PAGE} is out of date: run `cargo xtask contract`"
        )));
    }
    let (wanted, told) = (reasons(&read(CHECK)?)?, entries(&read(REASONS)?));
    let list = |reasons: Vec<&String>| {
        let words: Vec<&str> = reasons.into_iter().map(String::as_str).collect();
        words.join(", ")
    };
    let missing = list(wanted.difference(&told).collect());
    let stale = list(told.difference(&wanted).collect());
    if missing.is_empty() && stale.is_empty() {
        return Ok(());
    }
    Err(Failure::Unreadable(format!(
        "{REASONS} must have one entry for each reason: missing [{missing}], no reason [{stale}]"
    )))
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(root().join(path)).map_err(Failure::io(format!("read {path}")))
}

/// The contract, and the place of its package's interfaces.
fn parse() -> Result<(Resolve, wit_parser::PackageId), Failure> {
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str(CONTRACT, &read(CONTRACT)?)
        .map_err(|error| Failure::Unreadable(format!("{CONTRACT}: {error:#}")))?;
    Ok((resolve, package))
}

/// Literals that the check gives back as reasons, and the contract's reasons to keep something.
fn reasons(check: &str) -> Result<BTreeSet<String>, Failure> {
    let mut found = BTreeSet::new();
    for before in ["Err(\"", "ok_or(\"", "(words, \""] {
        for (at, _) in check.match_indices(before) {
            let rest = check.get(at + before.len()..).unwrap_or_default();
            found.extend(rest.split('"').next().map(str::to_owned));
        }
    }
    let (resolve, _) = parse()?;
    for (_, kind) in &resolve.types {
        if kind.name.as_deref() == Some("keep-reason")
            && let TypeDefKind::Enum(cases) = &kind.kind
        {
            found.extend(cases.cases.iter().map(|case| case.name.clone()));
        }
    }
    Ok(found)
}

/// The reasons that have a heading of their own.
fn entries(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'))
        .map(str::to_owned)
        .collect()
}

fn page() -> Result<String, Failure> {
    let (resolve, package) = parse()?;
    let package = &resolve.packages[package];
    let mut text = format!("{HEAD}\nPackage `{}`.\n\n", package.name);
    push_docs(&mut text, &package.docs, "");
    for name in ["policy", "log", "types"] {
        let Some(id) = package.interfaces.get(name) else {
            continue;
        };
        interface(&mut text, &resolve, name, &resolve.interfaces[*id]);
    }
    Ok(text)
}

fn interface(text: &mut String, resolve: &Resolve, name: &str, interface: &Interface) {
    // Writing to a String cannot fail, here and below.
    let _ = writeln!(text, "\n## Interface `{name}`\n");
    push_docs(text, &interface.docs, "");
    for function in interface.functions.values() {
        let _ = writeln!(text, "\n### `{}`\n", signature(resolve, function));
        push_docs(text, &function.docs, "");
    }
    for (name, id) in &interface.types {
        let kind = &resolve.types[*id];
        // `use` of another interface's type.
        if matches!(kind.kind, TypeDefKind::Type(Type::Id(_))) {
            continue;
        }
        let _ = writeln!(text, "\n### `{name}`\n");
        push_docs(text, &kind.docs, "");
        match &kind.kind {
            TypeDefKind::Record(record) => fields(text, resolve, record),
            TypeDefKind::Enum(cases) => words(text, cases),
            TypeDefKind::Variant(cases) => choices(text, resolve, cases),
            TypeDefKind::Type(kind) => {
                let _ = writeln!(text, "\nA `{}`.", spelled(resolve, kind));
            }
            // The contract names no other kinds.
            _ => {}
        }
    }
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    let parameters: Vec<String> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, spelled(resolve, &parameter.ty)))
        .collect();
    let result = function.result.map_or(String::new(), |kind| {
        format!(" -> {}", spelled(resolve, &kind))
    });
    format!("{}({}){result}", function.name, parameters.join(", "))
}

fn fields(text: &mut String, resolve: &Resolve, record: &Record) {
    text.push_str("\n| field | type | |\n| --- | --- | --- |\n");
    for field in &record.fields {
        let kind = spelled(resolve, &field.ty);
        let _ = writeln!(
            text,
            "| `{}` | `{kind}` | {} |",
            field.name,
            cell(&field.docs)
        );
    }
}

fn words(text: &mut String, cases: &Enum) {
    text.push_str("\n| case | |\n| --- | --- |\n");
    for case in &cases.cases {
        let _ = writeln!(text, "| `{}` | {} |", case.name, cell(&case.docs));
    }
}

fn choices(text: &mut String, resolve: &Resolve, cases: &Variant) {
    text.push_str("\n| case | holds |\n| --- | --- |\n");
    for case in &cases.cases {
        let holds = case.ty.map_or(String::new(), |kind| {
            format!("`{}`", spelled(resolve, &kind))
        });
        let _ = writeln!(text, "| `{}` | {holds} |", case.name);
    }
}

/// A type as the contract spells it.
fn spelled(resolve: &Resolve, kind: &Type) -> String {
    match kind {
        Type::Id(id) => named(resolve, *id),
        Type::Bool => "bool".to_owned(),
        Type::String => "string".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn named(resolve: &Resolve, id: TypeId) -> String {
    let kind = &resolve.types[id];
    if let Some(name) = &kind.name {
        return name.clone();
    }
    let optional =
        |kind: &Option<Type>| kind.map_or_else(|| "_".to_owned(), |kind| spelled(resolve, &kind));
    match &kind.kind {
        TypeDefKind::List(inner) => format!("list<{}>", spelled(resolve, inner)),
        TypeDefKind::Option(inner) => format!("option<{}>", spelled(resolve, inner)),
        TypeDefKind::Result(result) => {
            format!(
                "result<{}, {}>",
                optional(&result.ok),
                optional(&result.err)
            )
        }
        other => other.as_str().to_owned(),
    }
}

fn push_docs(text: &mut String, docs: &Docs, indent: &str) {
    for line in docs.contents.as_deref().unwrap_or_default().trim().lines() {
        let _ = writeln!(text, "{indent}{}", line.trim_end());
    }
}

/// Docs on one line, for a table.
fn cell(docs: &Docs) -> String {
    let text = docs.contents.as_deref().unwrap_or_default();
    let line: Vec<&str> = text.split_whitespace().collect();
    line.join(" ").replace('|', "\\|")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_found_in_the_check_and_in_the_contract() {
        let found = reasons("Err(\"a-b\"); x.ok_or(\"c\")?; push((words, \"d\")); \"e\"").unwrap();
        for reason in ["a-b", "c", "d", "too-young"] {
            assert!(found.contains(reason), "{found:?}");
        }
        assert!(!found.contains("e"));
    }

    #[test]
    fn entries_are_headings_of_one_word() {
        let page = "# Title\n## `a-b`\ntext `c`\n## Others\n";
        assert_eq!(entries(page).into_iter().collect::<Vec<_>>(), ["a-b"]);
    }

    #[test]
    fn the_page_names_every_field_with_its_type() {
        let page = page().unwrap();
        assert!(page.contains("| `free-slots` | `u32` |"), "{page}");
        assert!(page.contains("### `decide(snapshot: snapshot) -> result<decision, string>`"));
        assert!(page.contains("| `keep` | `option<keep-reason>` |"));
    }
}
