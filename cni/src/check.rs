//! CHECK and STATUS: look, and change nothing.

use onsen_net::{Namespace, Net, check_pod};

use crate::{daemon, error::CniError, log::Log, request::Request};

/// Whether the pod still has what the result of its ADD says.
pub(crate) async fn check(request: &Request, log: &Log) -> Result<String, CniError> {
    let prev = request
        .conf
        .prev_result
        .as_ref()
        .ok_or(CniError::NothingToCheck)?;
    let device = prev
        .dummy(request)
        .and_then(|dummy| dummy.sandbox.parse().ok())
        .ok_or_else(|| CniError::Incomplete("dummy interface with a device number".into()))?;
    let wirings = prev.wirings(&request.if_name, device, &request.conf);
    if wirings.is_empty() {
        return Err(CniError::Incomplete(format!(
            "interface {} with an address",
            request.if_name
        )));
    }
    let netns = request.netns.clone().unwrap_or_default();
    let host = Net::open().map_err(CniError::Check)?;
    let pod = Namespace::open(&netns).map_err(CniError::Check)?;
    for wiring in wirings {
        check_pod(&host, &pod, &wiring)
            .await
            .map_err(CniError::Check)?;
        log.debug(format_args!("{} is as it was added", wiring.pod_link));
    }
    Ok(String::new())
}

/// Whether an ADD could be served now.
pub(crate) async fn status() -> Result<String, CniError> {
    daemon::health()
        .await
        .map(|()| String::new())
        .map_err(CniError::NotReady)
}
