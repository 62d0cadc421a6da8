//! The host itself: live, ready, info, reload, operations.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;
use wharf_core::lifecycle::State as PluginState;
use wharf_core::{Code, PluginId};

use super::params::Names;
use super::{Edge, json};
use crate::route::{Failure, FieldError};
use crate::serve::problem::Answer;

pub(super) async fn healthz() -> Response {
    json(StatusCode::OK, &json!({"status": "ok"}))
}

pub(super) async fn readyz(State(edge): State<Edge>) -> Answer {
    if edge.host.is_closed() {
        return Err(Failure::ending().into());
    }
    let unready = edge.host.unready();
    if unready.is_empty() {
        return Ok(json(StatusCode::OK, &json!({"status": "ready"})));
    }
    Err(not_ready(&unready).into())
}

fn not_ready(unready: &[(PluginId, PluginState)]) -> Failure {
    let names: Vec<String> =
        unready.iter().map(|(id, state)| format!("{id} is {}", state.as_str())).collect();
    let errors = unready.iter().map(|(id, state)| FieldError {
        pointer: format!("/plugins/{id}"),
        detail: state.as_str().to_owned(),
    });
    Failure {
        errors: errors.collect(),
        ..Failure::new(
            Code::PluginUnavailable,
            format!("required plugins are not ready: {}", names.join(", ")),
        )
    }
}

pub(super) async fn info(State(edge): State<Edge>) -> Response {
    json(StatusCode::OK, &edge.host.info())
}

pub(super) async fn reload(State(edge): State<Edge>) -> Answer {
    Ok(json(StatusCode::OK, &edge.host.reload().await?))
}

pub(super) async fn operation(State(edge): State<Edge>, Names(id): Names<String>) -> Answer {
    let found = edge.host.operation(&id);
    let missing =
        || Failure::new(Code::OperationNotFound, format!("no operation {id:?}, or it is forgotten by now"));
    Ok(json(StatusCode::OK, &found.ok_or_else(missing)?))
}

#[cfg(test)]
mod tests {
    use wharf_core::PluginId;
    use wharf_core::lifecycle::State;

    use super::not_ready;

    #[test]
    fn who_is_not_ready_is_named_with_its_state() {
        let unready =
            [(PluginId::new("a").unwrap(), State::Starting), (PluginId::new("b").unwrap(), State::Fatal)];
        let failure = not_ready(&unready);
        assert_eq!(failure.detail, "required plugins are not ready: a is starting, b is fatal");
        assert_eq!(failure.errors[1].pointer, "/plugins/b");
    }
}
