//! Refuses answers that are not whole.
//!
//! The SDK's decoder takes the end of its input for the end of every open element: a reply cut off in
//! the middle decodes to fewer ENIs, and a success page of a proxy to "done". So each answer with
//! status 200 must end with the closing tag of the action's response.

use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;

/// Checks each reply of a client.
#[derive(Debug)]
pub(super) struct WholeReply;

/// Why a reply was refused.
#[derive(Debug, thiserror::Error)]
#[error("the reply is not a whole EC2 response: it ends with {end:?}")]
struct NotWhole {
    end: String,
}

impl Intercept for WholeReply {
    fn name(&self) -> &'static str {
        "WholeReply"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if !response.status().is_success() {
            return Ok(());
        }
        let body = response.body().bytes().unwrap_or_default().trim_ascii_end();
        // Every action's root is `<ActionResponse>`; an error document's is `<Response>`.
        let tail = &body[body.len().saturating_sub(64)..];
        let tail = String::from_utf8_lossy(tail);
        match tail.rsplit_once("</") {
            Some((_, last)) if last.ends_with("Response>") && last != "Response>" => Ok(()),
            _ => Err(NotWhole {
                end: tail.into_owned(),
            }
            .into()),
        }
    }
}
