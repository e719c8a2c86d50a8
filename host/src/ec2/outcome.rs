//! Which of three ways a call ended.
//!
//! Must hold: *refused* is said only when EC2 surely did nothing. Whatever leaves a doubt (a code of
//! EC2's own trouble, a timeout, a connection lost after the request may have left, an answer that
//! is not whole or not understood) is *unknown*, and is followed by a look.

use std::error::Error;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use hyper_util::client::legacy::Error as ClientError;
use onsen_core::answer;
use onsen_core::cidr::Unit;
use onsen_core::effect::Ec2Request;
use onsen_core::event::{Ec2Gave, Ec2Outcome};

use crate::text::chain;

/// How a call that gave an error ended.
pub(super) fn failed<E>(error: &SdkError<E, HttpResponse>) -> Ec2Outcome
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let words = || chain(error);
    let refused = |code: &str, message: String| Ec2Outcome::Refused {
        code: code.into(),
        message,
    };
    match error {
        SdkError::ConstructionFailure(_) => refused("NotSent", words()),
        SdkError::DispatchFailure(failure) => {
            let chain = failure
                .as_connector_error()
                .map(|error| error as &(dyn Error + 'static));
            match where_it_broke(chain) {
                Broke::BeforeConnecting => refused("NotSent", words()),
                Broke::Connecting => refused("Unreachable", words()),
                Broke::Later => Ec2Outcome::Unknown { message: words() },
            }
        }
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            match error.code() {
                Some(code) => {
                    answer::error(status, Some(code), error.message().unwrap_or_default())
                }
                None => answer::error(status, None, &words()),
            }
        }
        // The SDK may add kinds; a doubt is a doubt.
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) | _ => {
            Ec2Outcome::Unknown { message: words() }
        }
    }
}

/// EC2 said yes and left out what it gave.
pub(super) fn nothing_in(missing: &str) -> Ec2Outcome {
    Ec2Outcome::Unknown {
        message: format!("EC2 answered with success and {missing}"),
    }
}

/// A request in a line.
pub(crate) fn request_text(request: &Ec2Request) -> String {
    let blocks = |count: u32, unit: Unit| match (unit, count) {
        (Unit::Address, 1) => "1 address".into(),
        (Unit::Address, _) => format!("{count} addresses"),
        (Unit::Prefix, 1) => "1 prefix".into(),
        (Unit::Prefix, _) => format!("{count} prefixes"),
    };
    match request {
        Ec2Request::CreateEni {
            subnet,
            unit,
            blocks: count,
        } => format!("a new ENI with {} in {subnet}", blocks(*count, *unit)),
        Ec2Request::AttachEni {
            eni,
            device_index,
            card,
        } => format!("{eni} as device {device_index} of card {card}"),
        Ec2Request::SetDeleteOnTermination { eni, attachment } => {
            format!("{eni} ({attachment}) to be deleted with the instance")
        }
        Ec2Request::DetachEni { eni, attachment } => format!("{eni} ({attachment})"),
        Ec2Request::DeleteEni { eni } => eni.to_string(),
        Ec2Request::Assign { eni, unit, count } => {
            format!("{} more on {eni}", blocks(*count, *unit))
        }
        Ec2Request::Unassign { eni, blocks } => {
            let blocks: Vec<_> = blocks.iter().map(ToString::to_string).collect();
            format!("{} from {eni}", blocks.join(" "))
        }
    }
}

/// An outcome in a line.
pub(crate) fn text(outcome: &Ec2Outcome) -> String {
    match outcome {
        Ec2Outcome::Done(Ec2Gave::Eni(eni)) => {
            format!("{} with {} blocks", eni.id, eni.blocks.len())
        }
        Ec2Outcome::Done(Ec2Gave::Attachment(id)) => id.to_string(),
        Ec2Outcome::Done(Ec2Gave::Blocks(blocks)) => {
            let blocks: Vec<_> = blocks.iter().map(ToString::to_string).collect();
            blocks.join(" ")
        }
        Ec2Outcome::Done(Ec2Gave::Nothing) => "done".into(),
        Ec2Outcome::Refused { code, message } => format!("refused with {code}: {message}"),
        Ec2Outcome::Unknown { message } => format!("unknown outcome: {message}"),
    }
}

enum Broke {
    /// No connection was asked for: no credentials, for one.
    BeforeConnecting,
    /// No connection came about.
    Connecting,
    /// The request may have left.
    Later,
}

fn where_it_broke(mut next: Option<&(dyn Error + 'static)>) -> Broke {
    let mut met_client = false;
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<ClientError>() {
            if error.is_connect() {
                return Broke::Connecting;
            }
            met_client = true;
        }
        met_client |= error.is::<hyper::Error>() || error.is::<std::io::Error>();
        next = error.source();
    }
    if met_client {
        Broke::Later
    } else {
        Broke::BeforeConnecting
    }
}
