//! Errors as one line for people.

use std::error::Error;
use std::fmt::Write;

/// An error and what caused it, from the outside in.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        // Some errors already repeat their cause.
        if !text.contains(&cause) {
            let _ = write!(text, ": {cause}"); // writing to a String cannot fail
        }
        next = error.source();
    }
    text
}
