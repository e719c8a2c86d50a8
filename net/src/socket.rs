//! One typed exchange over a netlink socket: a change that is acknowledged, or a list that is complete.

use futures_util::StreamExt;
use nix::errno::Errno;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;

use crate::NetError;

/// How often a list is read when it changes meanwhile.
const DUMP_ATTEMPTS: u32 = 10;

#[derive(Debug, Clone)]
pub(crate) struct Socket {
    handle: rtnetlink::Handle,
}

impl Socket {
    pub(crate) fn open() -> Result<Self, NetError> {
        let (mut connection, handle, _) =
            rtnetlink::new_connection().map_err(|source| NetError::Open { source })?;
        // Without these an acknowledged request and a closed socket look the same to us.
        connection.set_forward_ack(true);
        connection.set_forward_done(true);
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Changes something. `flags` are those of the kind of change (create, replace ...).
    /// `attempted` completes the sentence "cannot ...".
    pub(crate) async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        attempted: impl FnOnce() -> String,
    ) -> Result<(), NetError> {
        self.ask(message, NLM_F_ACK | flags, attempted)
            .await
            .map(drop)
    }

    /// Asks for one thing; the acknowledgement ends the answer.
    pub(crate) async fn get(
        &self,
        message: RouteNetlinkMessage,
        attempted: impl FnOnce() -> String,
    ) -> Result<Vec<RouteNetlinkMessage>, NetError> {
        self.ask(message, NLM_F_ACK, attempted)
            .await
            .map(|answer| answer.messages)
    }

    /// Lists everything of a kind. The kernel says when the list changed while it was read: then it
    /// may lack or repeat entries, and is read again.
    pub(crate) async fn dump(
        &self,
        message: RouteNetlinkMessage,
        attempted: &str,
    ) -> Result<Vec<RouteNetlinkMessage>, NetError> {
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self
                .ask(message.clone(), NLM_F_DUMP, || attempted.into())
                .await?;
            if !answer.interrupted {
                return Ok(answer.messages);
            }
        }
        Err(NetError::Interrupted {
            attempted: attempted.into(),
            attempts: DUMP_ATTEMPTS,
        })
    }

    async fn ask(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        attempted: impl FnOnce() -> String,
    ) -> Result<Answer, NetError> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        let mut answer = Answer::default();
        let Ok(mut stream) = self.handle.clone().request(request) else {
            return Err(NetError::Closed {
                attempted: attempted(),
            });
        };
        while let Some(message) = stream.next().await {
            answer.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => answer.messages.push(inner),
                NetlinkPayload::Done(_) => return Ok(answer),
                NetlinkPayload::Error(error) => {
                    let Some(code) = error.code else {
                        return Ok(answer);
                    };
                    return Err(NetError::Refused {
                        attempted: attempted(),
                        errno: Errno::from_raw(code.get().saturating_abs()),
                    });
                }
                // Nothing else belongs to an answer; one that is lost ends the stream.
                NetlinkPayload::Noop | NetlinkPayload::Overrun(_) | _ => {}
            }
        }
        Err(NetError::Closed {
            attempted: attempted(),
        })
    }
}

#[derive(Default)]
struct Answer {
    messages: Vec<RouteNetlinkMessage>,
    interrupted: bool,
}
