//! The messages of an HTTP response, be it one JSON document or an event stream.
//!
//! The content type decides; a body that is labelled as a stream but is plain JSON is taken for what it is. It must not
//! know what a message means.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use wharf_core::sse::{Event, Parser};
use wharf_plugin_api::{CallError, CallErrorKind, Delivery};

use super::pool::Body;
use super::web;
use crate::tasks::Tasks;

/// Room that is made for a document before any of it is there.
const ROOM: u64 = 4 << 20;

/// Reads a response's body as messages, each within the bound. Cancel safe: no message is lost if `next` is dropped.
pub(crate) struct Messages {
    body: Body,
    shape: Shape,
    max: usize,
}

enum Shape {
    /// Labelled as a stream, nothing read yet.
    Unknown,
    Json(Vec<u8>),
    /// In a place of its own: it is large, and most answers are documents.
    Events(Box<Parser>),
    Ended,
}

impl Messages {
    /// Whose answer the last event over the bound was, if its beginning tells.
    pub(crate) fn take_dropped_answer(&mut self) -> Option<u64> {
        match &mut self.shape {
            Shape::Events(parser) => parser.take_dropped()?.answers(),
            Shape::Unknown | Shape::Json(_) | Shape::Ended => None,
        }
    }

    pub(crate) fn of(response: Response<Body>, max: usize) -> Self {
        let events = web::is_events(&response);
        // What it says it is long, as far as that is worth something.
        let room = response.body().size_hint().exact().unwrap_or(0).min(ROOM.min(max as u64));
        let document = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
        let shape = if events { Shape::Unknown } else { Shape::Json(document) };
        Self { body: response.into_body(), shape, max }
    }

    /// Whether the body is one document, after which nothing comes.
    pub(crate) fn is_document(&self) -> bool {
        matches!(self.shape, Shape::Json(_) | Shape::Ended)
    }

    /// The id to resume after, and how long the stream asks to wait before that.
    pub(crate) fn resume(&self) -> (String, Option<std::time::Duration>) {
        match &self.shape {
            Shape::Events(parser) => (parser.last_event_id().to_owned(), parser.retry()),
            Shape::Unknown | Shape::Json(_) | Shape::Ended => (String::new(), None),
        }
    }

    /// The next message or other event; `None` at the end.
    ///
    /// # Errors
    /// If the connection breaks, or a message is over the bound or not UTF-8.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, CallError> {
        loop {
            if let Shape::Events(parser) = &mut self.shape
                && let Some(event) = parser.next_event()
            {
                return event.map(Some).map_err(|error| garbage(error.to_string()));
            }
            if self.body.is_done() && self.body.is_end_stream() {
                // All is read, and its connection is given back.
                return self.end();
            }
            let frame = self.body.frame().await.transpose().map_err(|error| {
                let detail = format!("the connection broke within the answer: {}", web::reason(&error));
                CallError::new(CallErrorKind::Connection, Delivery::Unknown, detail)
            })?;
            match frame {
                Some(frame) => self.push(&frame.into_data().unwrap_or_default())?,
                None => return self.end(),
            }
        }
    }

    /// Leaves the rest, in a way that lets the connection be used again.
    pub(crate) fn finish(self, tasks: &Tasks) {
        web::finish(self.body, tasks);
    }

    fn push(&mut self, bytes: &Bytes) -> Result<(), CallError> {
        if matches!(self.shape, Shape::Unknown) && !bytes.trim_ascii_start().is_empty() {
            // No line of an event stream that means anything begins with a brace or a bracket.
            let json = matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['));
            self.shape =
                if json { Shape::Json(Vec::new()) } else { Shape::Events(Box::new(Parser::new(self.max))) };
        }
        match &mut self.shape {
            Shape::Json(document) if document.len() + bytes.len() > self.max => {
                Err(garbage(format!("an answer of more than {} bytes", self.max)))
            }
            Shape::Json(document) => {
                document.extend_from_slice(bytes);
                Ok(())
            }
            Shape::Events(parser) => {
                parser.push(bytes);
                Ok(())
            }
            Shape::Unknown | Shape::Ended => Ok(()),
        }
    }

    fn end(&mut self) -> Result<Option<Event>, CallError> {
        match std::mem::replace(&mut self.shape, Shape::Ended) {
            Shape::Json(document) if !document.trim_ascii().is_empty() => {
                let data = String::from_utf8(document)
                    .map_err(|_| garbage("an answer that is not UTF-8".to_owned()))?;
                Ok(Some(Event { kind: None, data }))
            }
            events @ Shape::Events(_) => {
                self.shape = events;
                Ok(None)
            }
            Shape::Json(_) | Shape::Unknown | Shape::Ended => Ok(None),
        }
    }
}

fn garbage(detail: String) -> CallError {
    CallError::new(CallErrorKind::Protocol, Delivery::Unknown, detail)
}

/// Whether an event carries an MCP message.
pub(crate) fn is_message(event: &Event) -> bool {
    event.kind.as_deref().is_none_or(|kind| kind == "message") && !event.data.trim_start().is_empty()
}
