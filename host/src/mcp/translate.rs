//! What a plugin says, in the words of a client of the other era. Pure: every byte that no rule names stays as it came.
//!
//! Nothing here knows who asked or answered; a result that is no object passes as it is.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde_json::value::{RawValue, to_raw_value};
use wharf_core::splice;
use wharf_plugin_api::{Era, RpcError};

/// What a result of a modern server has beside what was asked for, and no legacy client knows.
const MODERN_ONLY: [&str; 3] = [TYPE, TTL, SCOPE];
const TYPE: &str = "resultType";
/// Asked of every result; those of legacy plugins have none.
static KIND: LazyLock<splice::Key> = LazyLock::new(|| splice::Key::new(TYPE));
const TTL: &str = "ttlMs";
const SCOPE: &str = "cacheScope";
/// Who answered, in the metadata of a modern result.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The elements of one list that are looked into for URIs; what has more passes as it is.
const MOST_ITEMS: usize = 100_000;

/// A modern plugin's result, for a legacy client.
pub(crate) fn to_legacy(result: Box<RawValue>) -> Box<RawValue> {
    let [of_type, ttl, scope, meta] = splice::fields(&result, [TYPE, TTL, SCOPE, "_meta"]);
    let has_own = [of_type, ttl, scope].iter().any(Option::is_some);
    let named = meta.filter(|meta| splice::field(meta, SERVER_INFO).is_some());
    let Some(meta) = named else {
        let bare = has_own.then(|| splice::without_fields(&result, &MODERN_ONLY)).flatten();
        return bare.unwrap_or(result);
    };
    let edited = splice::without_fields(meta, &[SERVER_INFO]).and_then(|rest| {
        // Metadata that held nothing else was put there for it.
        let empty = rest.get().bytes().all(|byte| matches!(byte, b'{' | b'}') || byte.is_ascii_whitespace());
        if empty {
            return splice::without_fields(&result, &[TYPE, TTL, SCOPE, "_meta"]);
        }
        let bare = splice::without_fields(&result, &MODERN_ONLY)?;
        splice::with_field(&bare, "_meta", &rest)
    });
    edited.unwrap_or(result)
}

/// What a plugin's result lacks for a modern client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Lacking {
    /// The members that every result must have and this one has not, as they are to be written at its end.
    pub(crate) members: Cow<'static, str>,
    /// It says that a task was begun.
    pub(crate) is_task: bool,
}

/// What every result must say is added, where it does not say it. For how long a result holds is added to those of a legacy
/// plugin, which cannot say so, and only to what is the answer: a request for input holds for no time at all.
pub(crate) fn to_modern(result: &RawValue, era: Era, method: &str) -> Lacking {
    let kind = KIND.of(result).map(RawValue::get);
    let is_task = kind == Some("\"task\"");
    let is_complete = kind.is_none_or(|kind| kind == "\"complete\"");
    let complete = kind.is_none().then_some(r#""resultType":"complete""#);
    if era == Era::Modern || !is_complete || !is_cacheable(method) {
        return Lacking { members: complete.unwrap_or_default().into(), is_task };
    }
    let [ttl, scope] = splice::fields(result, [TTL, SCOPE]);
    // What a legacy server reads may differ with the next call and with the caller.
    let ttl = ttl.is_none().then_some(r#""ttlMs":0"#);
    let scope = scope.is_none().then_some(r#""cacheScope":"private""#);
    let members: Vec<&str> = [complete, ttl, scope].into_iter().flatten().collect();
    Lacking { members: members.join(",").into(), is_task }
}

/// Whether results of this method must say for how long they hold.
pub(crate) fn is_cacheable(method: &str) -> bool {
    matches!(
        method,
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    )
}

/// The params of a progress notification, with the token of the client for whom it is.
pub(crate) fn with_token(params: &RawValue, token: &RawValue) -> Option<Box<RawValue>> {
    splice::with_field(params, "progressToken", token)
}

/// The URIs of a result as the client knows them, where `known` has another for one. Looked at are the places that MCP
/// defines: the contents of a resource, and the resources and links in the content of tools and prompts.
pub(crate) fn with_uris(
    result: Box<RawValue>,
    method: &str,
    known: &dyn Fn(&str) -> Option<String>,
) -> Box<RawValue> {
    let mut places = Vec::new();
    let root = result.get();
    walk(&result, method, &mut |uri| {
        let renamed = serde_json::from_str::<String>(uri.get()).ok().and_then(|uri| known(&uri));
        let renamed = renamed.and_then(|renamed| to_raw_value(&renamed).ok());
        places.extend(renamed.map(|renamed| (range(root, uri.get()), renamed)));
    });
    if places.is_empty() { result } else { patched(root, &places).unwrap_or(result) }
}

/// The URIs in the same places.
pub(crate) fn each_uri(result: &RawValue, method: &str, look: &mut dyn FnMut(&str)) {
    walk(result, method, &mut |uri| {
        if let Ok(uri) = serde_json::from_str::<String>(uri.get()) {
            look(&uri);
        }
    });
}

fn walk(result: &RawValue, method: &str, found: &mut dyn FnMut(&RawValue)) {
    let each = |array: Option<&'_ RawValue>, look: &mut dyn FnMut(&RawValue)| {
        let items = array.and_then(|array| splice::items(array.get().as_bytes(), MOST_ITEMS));
        items.unwrap_or_default().into_iter().for_each(look);
    };
    let mut note = |object: &RawValue| {
        if let Some(uri) = splice::field(object, "uri") {
            found(uri);
        }
    };
    match method {
        "resources/read" => each(splice::field(result, "contents"), &mut note),
        "tools/call" => each(splice::field(result, "content"), &mut |block| block_uris(block, &mut note)),
        "prompts/get" => each(splice::field(result, "messages"), &mut |message| {
            if let Some(content) = splice::field(message, "content") {
                block_uris(content, &mut note);
            }
        }),
        _ => {}
    }
}

/// A block of content: a link, or a resource that is embedded.
fn block_uris(block: &RawValue, note: &mut dyn FnMut(&RawValue)) {
    let kind = splice::field(block, "type").map(RawValue::get);
    match kind {
        Some("\"resource_link\"") => note(block),
        Some("\"resource\"") => {
            if let Some(resource) = splice::field(block, "resource") {
                note(resource);
            }
        }
        Some(_) | None => {}
    }
}

/// Where a part of a text stands in it.
fn range(whole: &str, part: &str) -> Range<usize> {
    let at = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    at..at + part.len()
}

/// The text with these places replaced, which stand in order.
fn patched(text: &str, places: &[(Range<usize>, Box<RawValue>)]) -> Option<Box<RawValue>> {
    let mut out = String::with_capacity(text.len() + 64 * places.len());
    let mut copied = 0;
    for (place, value) in places {
        out.push_str(text.get(copied..place.start)?);
        out.push_str(value.get());
        copied = place.end;
    }
    out.push_str(text.get(copied..)?);
    RawValue::from_string(out).ok()
}

/// An error of a plugin with another code; every other byte of it stays.
pub(crate) fn with_code(error: RpcError, code: i64) -> RpcError {
    let whole = edited(error.whole, "code", to_raw_value(&code).ok().as_deref());
    RpcError { code, whole, ..error }
}

/// An error with this as its data, if it has none.
pub(crate) fn with_data(error: RpcError, data: Option<Box<RawValue>>) -> RpcError {
    if error.data.is_some() || data.is_none() {
        return error;
    }
    let whole = edited(error.whole, "data", data.as_deref());
    RpcError { data, whole, ..error }
}

fn edited(whole: Option<Arc<RawValue>>, key: &str, value: Option<&RawValue>) -> Option<Arc<RawValue>> {
    splice::with_field(&whole?, key, value?).map(Into::into)
}

#[cfg(test)]
mod tests;
