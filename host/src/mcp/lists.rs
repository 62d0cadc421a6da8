//! The lists that a client asks for, from what the catalog put on the shelf of its face: in pages, without a parse.
//!
//! A cursor names the last entry of its page, so that it holds while entries come and go elsewhere. One whose entry is gone
//! is refused, as is every text that is no cursor of this list; the empty text, which we never give, is among them.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::value::RawValue;
use wharf_core::catalog::{Face, Item, Kind, Shelf};
use wharf_core::splice;
use wharf_plugin_api::{Era, RpcError};

use super::forward::bad;
use crate::Host;

/// Entries of one page, at most: what a client takes in at once without trouble.
const PAGE_ENTRIES: usize = 250;
/// Bytes of the entries of one page, at most, but for a first entry that alone is larger.
const PAGE_BYTES: usize = 1 << 20;

/// What a modern client is told of a list's freshness: that it may change at any time (a manifest can be dropped in), and
/// that another principal may see another one. Who wants to know of changes listens.
const FRESHNESS: &str = r#","resultType":"complete","ttlMs":0,"cacheScope":"private""#;

/// The kind that a method lists.
pub(crate) fn kind(method: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| listing(*kind).0 == method)
}

/// Answers a list request, with what a client of this era sees of a face.
///
/// # Errors
/// If the cursor is none of this list, or the one plugin of the face is not available.
pub(crate) async fn list(
    host: &Host,
    face: &Face,
    era: Era,
    kind: Kind,
    params: Option<&RawValue>,
) -> Result<Box<RawValue>, RpcError> {
    let cursor = cursor(params)?;
    if let Face::Plugin(plugin) = face {
        host.listed(plugin).await.map_err(|failure| super::failure::error(&failure))?;
    }
    let catalog = host.catalog();
    let empty = Shelf::default();
    let shelf = catalog.shelf(face).map_or(&empty, |shelf| &**shelf);
    page(shelf, era, kind, cursor.as_deref())
}

/// One page.
fn page(shelf: &Shelf, era: Era, kind: Kind, cursor: Option<&str>) -> Result<Box<RawValue>, RpcError> {
    let all = shelf.items(kind);
    let from = match cursor {
        None => 0,
        Some(cursor) => after(shelf, kind, cursor)?,
    };
    let mut entries = String::new();
    let (mut count, mut last) = (0, None);
    let mut rest = all.iter().skip(from).filter(|item| shows(item, era)).peekable();
    while let Some(item) = rest.peek() {
        let bare = without_tasks(item, era);
        let more = bare.as_deref().unwrap_or(&item.definition).get();
        if count == PAGE_ENTRIES || (count > 0 && entries.len() + more.len() > PAGE_BYTES) {
            break;
        }
        if count > 0 {
            entries.push(',');
        }
        entries.push_str(more);
        count += 1;
        last = rest.next();
    }
    let mut out = format!("{{\"{}\":[{entries}]", listing(kind).1);
    if let (Some(last), true) = (last, rest.peek().is_some()) {
        // Hexadecimal: nothing in it is to be escaped.
        write!(out, ",\"nextCursor\":\"{}\"", encode(kind, &last.key)).ok();
    }
    if era == Era::Modern {
        out.push_str(FRESHNESS);
    }
    out.push('}');
    RawValue::from_string(out)
        .map_err(|error| RpcError::new(RpcError::INTERNAL, format!("the list is not JSON: {error}")))
}

/// Whether a client sees an entry: what can only be called as a task stays between legacy clients and plugins.
fn shows(item: &Arc<Item>, era: Era) -> bool {
    !item.needs_task || (era == Era::Legacy && item.era == Era::Legacy)
}

/// An entry without what a client of this era must not know of tasks. `None`: it passes as it is.
fn without_tasks(item: &Item, era: Era) -> Option<Box<RawValue>> {
    if era == item.era {
        return None;
    }
    let execution = splice::field(&item.definition, "execution")?;
    splice::field(execution, "taskSupport")?;
    let rest = splice::without_fields(execution, &["taskSupport"])?;
    if rest.get().bytes().all(|byte| matches!(byte, b'{' | b'}') || byte.is_ascii_whitespace()) {
        return splice::without_fields(&item.definition, &["execution"]);
    }
    splice::with_field(&item.definition, "execution", &rest)
}

fn cursor(params: Option<&RawValue>) -> Result<Option<String>, RpcError> {
    match params.and_then(|params| splice::field(params, "cursor")) {
        Some(cursor) if cursor.get() != "null" => {
            serde_json::from_str(cursor.get()).map(Some).map_err(|_| bad("params.cursor must be a string"))
        }
        Some(_) | None => Ok(None),
    }
}

/// The place after the entry that a cursor names.
fn after(shelf: &Shelf, kind: Kind, cursor: &str) -> Result<usize, RpcError> {
    let key = decode(kind, cursor).ok_or_else(|| bad(format!("Invalid cursor: {cursor}")))?;
    let at = shelf.items(kind).iter().position(|item| item.key == key);
    at.map(|at| at + 1)
        .ok_or_else(|| bad("The list has changed since this cursor was given; list again from the start"))
}

fn encode(kind: Kind, key: &str) -> String {
    let mut out = String::from(mark(kind));
    for byte in key.bytes() {
        write!(out, "{byte:02x}").ok();
    }
    out
}

fn decode(kind: Kind, cursor: &str) -> Option<String> {
    let digits = cursor.strip_prefix(mark(kind))?.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<_>>>().filter(|_| rest.is_empty())?;
    String::from_utf8(bytes).ok()
}

/// Keeps the cursors of the lists apart.
fn mark(kind: Kind) -> char {
    match kind {
        Kind::Tool => 't',
        Kind::Prompt => 'p',
        Kind::Resource => 'r',
        Kind::Template => 'm',
    }
}

/// The method of a list, and the member of its result that holds it.
fn listing(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Tool => ("tools/list", "tools"),
        Kind::Prompt => ("prompts/list", "prompts"),
        Kind::Resource => ("resources/list", "resources"),
        Kind::Template => ("resources/templates/list", "resourceTemplates"),
    }
}

#[cfg(test)]
mod tests;
