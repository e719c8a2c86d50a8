//! Black-box tests of a node: the real daemon and plugin against a fake AWS and a real kernel.
//!
//! Everything is in `tests/`; each test runs in private namespaces of its own. The programs are
//! taken from the target folder (`cargo xtask build` puts them there) or from `ONSEN_BIN_DIR`. Where
//! namespaces are not permitted or programs are missing, a test says `not run:` and why.
