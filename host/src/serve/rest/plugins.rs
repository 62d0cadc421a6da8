//! Plugins: what they are and what an operator asks of them.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use wharf_core::Code;
use wharf_core::lifecycle::State as PluginState;

use super::params::{Asked, Names};
use super::{Edge, json};
use crate::host::Command;
use crate::plugin::{InstanceView, PluginView};
use crate::route::Failure;
use crate::serve::body::JsonBody;
use crate::serve::problem::{Answer, Problem};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    state: Option<String>,
}

#[derive(Serialize)]
struct Plugins {
    plugins: Vec<PluginView>,
}

#[derive(Serialize)]
struct Instances {
    instances: Vec<InstanceView>,
}

pub(super) async fn list(State(edge): State<Edge>, Asked(filter): Asked<Filter>) -> Answer {
    let state = filter.state.as_deref().map(parse_state).transpose()?;
    let mut plugins = edge.host.plugins().await;
    plugins.retain(|plugin| state.is_none_or(|state| plugin.state == state));
    Ok(json(StatusCode::OK, &Plugins { plugins }))
}

pub(super) async fn one(State(edge): State<Edge>, Names(id): Names<String>) -> Answer {
    Ok(json(StatusCode::OK, &find(&edge, &id).await?))
}

pub(super) async fn instances(State(edge): State<Edge>, Names(id): Names<String>) -> Answer {
    Ok(json(StatusCode::OK, &Instances { instances: find(&edge, &id).await?.instances }))
}

pub(super) async fn command(
    State(edge): State<Edge>,
    Names((id, action)): Names<(String, String)>,
) -> Answer {
    begin(&edge, &id, parse_action(&action)?)
}

/// How many replicas a plugin is to have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    replicas: u32,
}

pub(super) async fn scale(
    State(edge): State<Edge>,
    Names(id): Names<String>,
    JsonBody(body): JsonBody,
) -> Answer {
    let scale: Scale = serde_json::from_slice(body.as_deref().unwrap_or_default()).map_err(|error| {
        Problem::new(Code::BadRequest, format!("the body must be {{\"replicas\": n}}: {error}"))
    })?;
    begin(&edge, &id, Command::Scale(scale.replicas))
}

fn begin(edge: &Edge, id: &str, command: Command) -> Answer {
    let operation = edge.host.command(id, command)?;
    let location = format!("/api/v1/operations/{}", operation.id);
    let response: Response = json(StatusCode::ACCEPTED, &operation);
    Ok(([(LOCATION, location)], response).into_response())
}

async fn find(edge: &Edge, id: &str) -> Result<PluginView, Problem> {
    edge.host.plugin(id).await.ok_or_else(|| Failure::no_plugin(id).into())
}

fn parse_state(text: &str) -> Result<PluginState, Problem> {
    PluginState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
        let all: Vec<_> = PluginState::ALL.iter().map(|state| state.as_str()).collect();
        Problem::new(Code::BadRequest, format!("{text:?} is no state; the states are {}", all.join(", ")))
    })
}

fn parse_action(text: &str) -> Result<Command, Problem> {
    Ok(match text {
        "start" => Command::Start,
        "stop" => Command::Stop,
        "restart" => Command::Restart,
        "drain" => Command::Drain,
        "enable" => Command::Enable,
        "disable" => Command::Disable,
        _ => {
            let detail = format!(
                "{text:?} is no action; there are start, stop, restart, drain, enable, disable and scale"
            );
            return Err(Problem::new(Code::NotFound, detail));
        }
    })
}

#[cfg(test)]
mod tests {
    use wharf_core::Code;
    use wharf_core::lifecycle::State;

    use super::{parse_action, parse_state};

    #[test]
    fn every_state_can_be_asked_for_and_no_other() {
        for state in State::ALL {
            assert_eq!(parse_state(state.as_str()).unwrap(), state);
        }
        assert_eq!(parse_state("Ready").unwrap_err().code(), Code::BadRequest);
        assert_eq!(parse_action("explode").unwrap_err().code(), Code::NotFound);
    }
}
