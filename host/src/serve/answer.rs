//! What a route answers, up to where it is written. Nearly every call is answered with JSON and nothing that is said beside
//! it: that has no map of headers before somebody needs one.

use std::future::{Future, ready};
use std::pin::Pin;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::problem::Problem;
use super::request_id::{REQUEST_ID, RequestId};

/// What is waited for until an answer is there.
pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Result<Outgoing, Problem>> + Send + 'a>>;

/// An answer.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// `200 OK` with this body, which is JSON.
    Json(Bytes),
    Other(Response),
}

/// One that has the id of its request.
#[derive(Debug)]
pub(crate) struct Tagged {
    pub(super) answer: Outgoing,
    pub(super) id: RequestId,
}

/// An answer for which nothing is waited.
pub(crate) fn known<'a>(response: Response) -> Answering<'a> {
    Box::pin(ready(Ok(response.into())))
}

impl From<Response> for Outgoing {
    fn from(response: Response) -> Self {
        Self::Other(response)
    }
}

impl From<Problem> for Outgoing {
    fn from(problem: Problem) -> Self {
        Self::Other(problem.into_response())
    }
}

impl Outgoing {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Json(_) => StatusCode::OK,
            Self::Other(response) => response.status(),
        }
    }
}

impl IntoResponse for Outgoing {
    fn into_response(self) -> Response {
        match self {
            Self::Json(body) => {
                let mut response = Response::new(Body::from(body));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response
            }
            Self::Other(response) => response,
        }
    }
}

impl IntoResponse for Tagged {
    fn into_response(self) -> Response {
        let mut response = self.answer.into_response();
        response.headers_mut().insert(REQUEST_ID, self.id.into());
        response
    }
}
