//! placeholder
use super::format::Document;
use super::{Deciders, Verdict};
pub(super) fn run(_document: &Document, _deciders: &Deciders) -> Verdict {
    Verdict::default()
}
