//! The EC2 Query API: form-encoded POSTs in, XML out, at the model's pace.

use std::fmt::Display;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response};
use onsen_sim::account::{Answer as ModelAnswer, ApiError, Call, Spoilt};

use crate::http::{Answer, Body, Lost, body, response};
use crate::query::{Parameters, decode};
use crate::reply;
use crate::world::{LoggedCall, World};

/// Answers one request from `peer`.
pub(crate) async fn handle(
    world: Arc<World>,
    peer: Ipv4Addr,
    request: Request<Incoming>,
) -> Answer {
    let (head, incoming) = request.into_parts();
    let node = world.instance_at(peer).map(|(name, _)| name);
    let mut call = LoggedCall {
        at_ms: world.now_ms(),
        node: node.clone(),
        action: String::new(),
        parameters: [].into(),
        result: "ok".to_owned(),
        lost: false,
        latency_ms: 0,
        request_id: "00000000-0000-0000-0000-000000000000".to_owned(),
        invocation_id: text(&head.headers, "amz-sdk-invocation-id"),
    };
    if head.method != Method::POST {
        return Ok(refuse(
            &world,
            call,
            &ApiError::refused("InvalidRequest", "Only POST is answered here"),
        ));
    }
    if let Err(error) = check_credentials(&head.headers, &world.region) {
        return Ok(refuse(&world, call, &error));
    }
    let parameters = match body(incoming).await {
        Ok(body) => Parameters::parse(&body),
        Err(reason) => {
            return Ok(refuse(
                &world,
                call,
                &ApiError::refused("MalformedQueryString", reason),
            ));
        }
    };
    parameters.action().clone_into(&mut call.action);
    call.parameters.clone_from(parameters.all());
    let decoded = match decode(parameters, node) {
        Ok(decoded) => decoded,
        Err(error) => return Ok(refuse(&world, call, &error)),
    };
    // On its own: a client that dies does not take back what it has sent.
    let for_call = Arc::clone(&world);
    match tokio::spawn(async move { answer(&for_call, call, &decoded).await }).await {
        Ok(answer) => answer,
        Err(_panicked) => Err(Lost),
    }
}

/// Has the model answer, and says it at the model's pace.
async fn answer(world: &World, mut call: LoggedCall, decoded: &Call) -> Answer {
    let operation = decoded.request.operation();
    world
        .holds
        .pass(operation, call.node.as_deref(), false)
        .await;
    let node = call.node.clone();
    let ModelAnswer {
        request_id,
        latency_ms,
        result,
        lost: _,
        spoilt,
    } = {
        let mut state = world.state();
        call.at_ms = world.now_ms();
        let answer = state.account.call(call.at_ms, decoded);
        call.request_id.clone_from(&answer.request_id);
        call.latency_ms = answer.latency_ms;
        call.lost = answer.lost;
        if let Err(error) = &answer.result {
            error.code.clone_into(&mut call.result);
        }
        log(&call);
        state.remember(call);
        answer
    };
    world.wake();
    world.holds.pass(operation, node.as_deref(), true).await;
    tokio::time::sleep(Duration::from_millis(latency_ms)).await;
    world.settle().await;
    let (status, document) = match result {
        Ok(it) => (200, reply::success(operation, &request_id, &it)),
        Err(error) => (error.status, reply::failure(&request_id, &error)),
    };
    spoil(spoilt, status, &request_id, document)
}

/// The reply as it arrives.
fn spoil(spoilt: Option<Spoilt>, status: u16, request_id: &str, document: String) -> Answer {
    let half = document.len() / 2;
    // The documents are ASCII: any place is the boundary of a character.
    let first_half = || document.get(..half).unwrap_or_default().to_owned();
    Ok(match spoilt {
        None => xml(status, request_id, document),
        Some(Spoilt::Broken) => return Err(Lost),
        Some(Spoilt::Truncated) => xml(200, request_id, first_half()),
        Some(Spoilt::Short) => {
            let mut response = xml(200, request_id, "");
            *response.body_mut() = Body::cut(first_half().into(), document.len() as u64);
            response
        }
        Some(Spoilt::WrongRoot) => {
            let open = document.find("Response").unwrap_or(0);
            let name = document.get(..open).and_then(|it| it.rsplit('<').next());
            let other = match name {
                Some(name) if !name.is_empty() => document.replace(name, "DescribeVpcs"),
                _ => document,
            };
            xml(200, request_id, other)
        }
        Some(Spoilt::Html) => response(
            502,
            "text/html",
            "<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>",
        ),
        Some(Spoilt::ErrorBody) => {
            let error = ApiError::refused("InternalError", "An internal error has occurred");
            xml(200, request_id, reply::failure(request_id, &error))
        }
        Some(Spoilt::Garbage) => xml(200, request_id, "\u{1}\u{fffd}<<&;%PDF-1.7 \u{7f}{]"),
    })
}

/// A refusal before the request reaches the model.
fn refuse(world: &World, mut call: LoggedCall, error: &ApiError) -> Response<Body> {
    error.code.clone_into(&mut call.result);
    log(&call);
    let response = xml(
        error.status,
        &call.request_id,
        reply::failure(&call.request_id, error),
    );
    world.state().remember(call);
    response
}

fn log(call: &LoggedCall) {
    let LoggedCall {
        action,
        result,
        latency_ms,
        lost,
        ..
    } = call;
    tracing::info!(
        node = call.node.as_deref().unwrap_or("?"),
        action,
        result,
        latency_ms,
        lost,
        "EC2 call"
    );
}

fn xml(status: u16, request_id: &str, document: impl Display) -> Response<Body> {
    let mut response = response(status, "text/xml;charset=UTF-8", document);
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

/// Checks that the request is signed, and for this service and region. The signature itself is not checked:
/// that would need the secret, and would find nothing but bugs in the SDK.
fn check_credentials(headers: &HeaderMap, region: &str) -> Result<(), ApiError> {
    let header = text(headers, AUTHORIZATION.as_str()).ok_or_else(ApiError::auth_failure)?;
    let credential = header
        .strip_prefix("AWS4-HMAC-SHA256 ")
        .and_then(|it| {
            it.split([',', ' '])
                .find_map(|it| it.strip_prefix("Credential="))
        })
        .ok_or_else(ApiError::auth_failure)?;
    if !header.contains("Signature=") {
        return Err(ApiError::auth_failure());
    }
    let scope: Vec<&str> = credential.split('/').skip(2).collect();
    if scope == [region, "ec2", "aws4_request"] {
        return Ok(());
    }
    let message = format!(
        "Credential should be scoped to region {region} and service ec2, not {}",
        scope.join("/")
    );
    Err(ApiError {
        code: "SignatureDoesNotMatch",
        status: 403,
        message,
    })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .and_then(|it| it.to_str().ok())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str) -> Result<(), &'static str> {
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        check_credentials(&headers, "eu-west-1").map_err(|it| it.code)
    }

    #[test]
    fn only_a_request_signed_for_ec2_in_the_region_passes() {
        let signed = |scope: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AKID/20260102/{scope}/aws4_request, SignedHeaders=host, Signature=0a"
            )
        };
        assert_eq!(check(&signed("eu-west-1/ec2")), Ok(()));
        assert_eq!(
            check(&signed("us-east-1/ec2")),
            Err("SignatureDoesNotMatch")
        );
        assert_eq!(
            check(&signed("eu-west-1/sts")),
            Err("SignatureDoesNotMatch")
        );
        assert_eq!(check("Basic eDp5"), Err("AuthFailure"));
        assert_eq!(
            check("AWS4-HMAC-SHA256 Credential=AKID/20260102/eu-west-1/ec2/aws4_request"),
            Err("AuthFailure")
        );
        assert_eq!(
            check_credentials(&HeaderMap::new(), "eu-west-1")
                .unwrap_err()
                .status,
            401
        );
    }
}
