//! Going on with the stream of a POST that the server closed, or lost, before the answer.
//!
//! A server that gave its events ids may close the stream and be asked for the rest: GET with the last id, after the time
//! that it asked for. Nothing is posted again, so nothing runs twice. How long a call may take is not known here.

use std::time::Duration;

use wharf_plugin_api::{CallError, CallErrorKind, Delivery};

use super::session::Session;
use super::{Flavor, Wire};
use crate::dialect::messages::Messages;
use crate::dialect::web;

/// The wait that a server gets that asks for none.
const WAIT: Duration = Duration::from_secs(1);
/// A longer wait is not granted: the answer may be there long before.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// So many streams in a row that bring nothing new are enough.
const FRUITLESS: u32 = 5;

/// How far the stream of a request has been read.
#[derive(Default)]
pub(super) struct Place {
    last_id: String,
    retry: Option<Duration>,
    fruitless: u32,
    dropped: Option<String>,
}

impl Place {
    /// Takes what the stream says about where it is.
    pub(super) fn read_to(&mut self, messages: &Messages) {
        let (id, retry) = messages.resume();
        self.retry = retry.or(self.retry);
        if !id.is_empty() && id != self.last_id {
            self.last_id = id;
            self.advanced();
        }
    }

    /// Something new came.
    pub(super) fn advanced(&mut self) {
        self.fruitless = 0;
    }

    /// Something came that could not be read: it may have been the answer.
    pub(super) fn dropped(&mut self, what: &str) {
        self.dropped = Some(what.to_owned());
    }

    /// Why there is no answer, if the stream ends here.
    pub(super) fn ended(&self, broken: Option<CallError>) -> CallError {
        match (&self.dropped, broken) {
            (_, Some(broken)) => broken,
            (Some(dropped), None) => {
                CallError::new(CallErrorKind::Protocol, Delivery::Unknown, dropped.clone())
            }
            (None, None) => {
                let detail = "the server ended its response without an answer";
                CallError::new(CallErrorKind::Connection, Delivery::Unknown, detail)
            }
        }
    }
}

impl Wire {
    /// The rest of a stream that ended; `why` is the call's error if there is none.
    pub(super) async fn resumed(
        &self,
        session: &Session,
        place: &mut Place,
        why: CallError,
    ) -> Result<Messages, CallError> {
        let core = &self.core;
        // What belongs to a handshake has no session yet.
        if core.flavor != Flavor::Http || session.revision.is_none() || place.last_id.is_empty() {
            return Err(why);
        }
        while place.fruitless < FRUITLESS {
            place.fruitless += 1;
            tokio::time::sleep(place.retry.unwrap_or(WAIT).min(LONGEST_WAIT)).await;
            let Ok(response) = web::send(&core.endpoint.server, core.listen(session, &place.last_id)).await
            else {
                continue;
            };
            let status = response.status();
            if status.is_success() && web::is_events(&response) {
                return Ok(Messages::of(response, core.options.max_message));
            }
            if !status.is_server_error() {
                let detail = format!("{}, and does not go on with it ({status})", why.detail);
                return Err(CallError::new(why.kind, why.delivery, detail));
            }
            web::finish(response.into_body(), &core.options.tasks);
        }
        Err(why)
    }
}
