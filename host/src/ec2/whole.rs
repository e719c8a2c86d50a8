//! Refuses answers that are not whole.
//!
//! The SDK's decoder takes the end of its input for the end of every open element: a reply cut off in
//! the middle decodes to fewer ENIs, and a success page of a proxy to "done". So each answer with
//! status 200 must end with the closing tag of the response of the action that was asked for. Of actions
//! whose answer says nothing more the SDK does not even read the body: there this is the only check.

use aws_sdk_ec2::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_ec2::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_ec2::error::BoxError;
use aws_smithy_runtime_api::client::orchestrator::Metadata;

/// Checks each reply of a client.
#[derive(Debug)]
pub(super) struct WholeReply;

/// Why a reply was refused.
#[derive(Debug, thiserror::Error)]
#[error("the reply is not a whole answer to {action}: it ends with {end:?}")]
struct NotWhole {
    action: String,
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
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        if !response.status().is_success() {
            return Ok(());
        }
        let body = response.body().bytes().unwrap_or_default().trim_ascii_end();
        let action = config.load::<Metadata>().map_or("", Metadata::name);
        // An error document's root is `<Response>`, another action's has another name.
        if body.ends_with(format!("</{action}Response>").as_bytes()) {
            return Ok(());
        }
        let tail = &body[body.len().saturating_sub(64)..];
        Err(NotWhole {
            action: action.to_owned(),
            end: String::from_utf8_lossy(tail).into_owned(),
        }
        .into())
    }
}
