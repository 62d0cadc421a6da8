//! What a call over REST says of its caller: one that can be asked everything, by the answer to its request.
//!
//! A plugin's question ends the request with a result of the type `input_required`; the same request again, with
//! `inputResponses` and `requestState`, goes on. It must not know how a call waits meanwhile.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::value::{RawValue, to_raw_value};
use wharf_core::catalog::{Face, Tool};
use wharf_core::idempotency::{BadKey, Key};
use wharf_core::{Code, splice};
use wharf_plugin_api::{Caller, Client};

use super::calls::Wanted;
use super::tries::Tries;
use crate::mcp::params::KEY;
use crate::mcp::park::Origin;
use crate::route::{Payload, durable};
use crate::serve::auth::Principal;
use crate::serve::heads::{Few, Heads};
use crate::serve::problem::Problem;

/// Apart from MCP's own method of that name: a token of one is not good for the other.
const METHOD: &str = "rest/tools/call";
/// All that a plugin can ask for.
const EVERYTHING: &str =
    r#"{"roots":{},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}}}"#;

static DURABLE: HeaderName = HeaderName::from_static("wharf-durable");

thread_local! {
    // One for each thread: every call holds it, and threads that count the holders of the same would wait for each other.
    static CLIENT: Arc<Client> = {
        let nothing = Client::default();
        let capabilities = RawValue::from_string(EVERYTHING.to_owned()).map(Arc::from);
        Arc::new(Client { capabilities: capabilities.unwrap_or(nothing.capabilities), ..Client::default() })
    };
}

/// A caller whose user can be asked.
pub(super) fn caller(principal: &Principal) -> Caller {
    Caller { principal: Arc::clone(&principal.0), client: CLIENT.with(Arc::clone), session: None }
}

/// Whether the caller asks, by `Wharf-Durable`, that what is written down of the call survives the loss of power.
pub(super) fn durable(heads: &Heads<'_>) -> Result<bool, Problem> {
    if !heads.has(Few::Durable) {
        return Ok(false);
    }
    match heads.all.get(&DURABLE).map(HeaderValue::as_bytes) {
        None | Some(b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => Err(Problem::new(Code::BadRequest, "the header Wharf-Durable is either true or false")),
    }
}

/// What a call says to us, by headers or by `meta`, and not to the plugin.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) tries: Tries,
    pub(super) durable: bool,
    /// What is left of `meta` without it; `None`: all of it.
    rest: Option<Box<RawValue>>,
}

impl Own {
    /// Headers and `meta` say the same or one of them says nothing; that a call is to be durable, one of them says.
    pub(super) fn of(heads: &Heads<'_>, tries: Tries, meta: Option<&RawValue>) -> Result<Self, Problem> {
        let own = Self { tries, durable: durable(heads)?, rest: None };
        let holds = |meta: &&RawValue| splice::may_hold(meta, KEY) || splice::may_hold(meta, durable::KEY);
        // The way of nearly every call: nothing is said there.
        let Some(meta) = meta.filter(holds) else { return Ok(own) };
        let wrong = |key: &str, why: &dyn std::fmt::Display| {
            Problem::new(Code::BadRequest, format!("\"meta\"[{key:?}]: {why}"))
        };
        let Self { mut tries, mut durable, .. } = own;
        if let Some(given) = splice::field(meta, KEY) {
            let text = serde_json::from_str::<String>(given.get()).map_err(|_| wrong(KEY, &BadKey))?;
            let key = Key::new(&text).map_err(|error| wrong(KEY, &error))?;
            if tries.key.as_ref().is_some_and(|other| *other != key) {
                return Err(wrong(KEY, &"the header Idempotency-Key says another; send one of them"));
            }
            tries.key = Some(key);
        }
        if let Some(given) = splice::field(meta, durable::KEY) {
            let said = given.get().parse::<bool>();
            durable |= said.map_err(|_| wrong(durable::KEY, &"it is either true or false"))?;
        }
        Ok(Self { tries, durable, rest: splice::without_fields(meta, &[KEY, durable::KEY]) })
    }

    /// What the plugin gets of this `meta`.
    pub(super) fn rest<'a>(&'a self, meta: Option<&'a RawValue>) -> Option<&'a RawValue> {
        self.rest.as_deref().or(meta)
    }
}

/// The request that a call comes from.
pub(super) fn origin(principal: &Principal, tool: &Tool, arguments: Option<&RawValue>) -> Origin {
    Origin {
        principal: Arc::clone(&principal.0),
        face: Face::Plugin(tool.plugin.clone()),
        method: METHOD.to_owned(),
        // The pieces are JSON already, so there is no error.
        params: splice::call_params(&tool.name, arguments, None).ok().map(Into::into),
    }
}

/// What goes to the plugin. `arguments` are those of the body, to be kept; only who brings answers needs more than the pieces
/// of a call.
pub(super) fn payload(
    tool: &Tool,
    wanted: &Wanted<'_>,
    (arguments, meta): (Option<Arc<RawValue>>, Option<&RawValue>),
) -> Result<Payload, Problem> {
    if wanted.answers.is_none() && wanted.state.is_none() {
        return Ok(Payload::Call { arguments, meta: meta.map(|raw| raw.to_owned().into()) });
    }
    let params = splice::call_params(&tool.name, wanted.arguments, meta);
    let mut params = params.map_err(|error| unwritten(&error))?;
    let state = wanted.state.as_ref().map(to_raw_value).transpose().map_err(|error| unwritten(&error))?;
    for (key, value) in [("inputResponses", wanted.answers), ("requestState", state.as_deref())] {
        if let Some(value) = value {
            params = splice::with_field(&params, key, value).unwrap_or(params);
        }
    }
    Ok(Payload::Params(Some(params.into())))
}

fn unwritten(error: &serde_json::Error) -> Problem {
    Problem::new(Code::BadRequest, format!("the call cannot be written as JSON: {error}"))
}

#[cfg(test)]
mod tests;
