//! A server that runs elsewhere: its endpoints, and the headers that are sent to them.

use wharf_core::manifest::template::Piece;
use wharf_core::manifest::{Kind, Late, PluginFile, Remote, Target, Template};

use super::assemble::{check_url, http_probe, not_empty};
use super::expand::Expander;
use super::findings::Findings;
use crate::manifest::tree::escape;

/// Headers that the host sets itself.
const OUR_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "content-length",
    "content-type",
    "host",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-session-id",
];

/// Headers whose values no log may show, even where the manifest holds them as they are.
const CREDENTIALS: &[&str] = &["authorization", "cookie", "proxy-authorization", "x-api-key"];

pub(super) fn remote(
    file: &PluginFile,
    expander: &Expander<'_>,
    findings: &mut Findings<'_>,
) -> Option<Kind> {
    let targets = targets(file, expander, findings)?;
    let mut headers: Vec<(String, Template)> = Vec::new();
    for (name, text) in &file.headers {
        let pointer = format!("/headers/{}", escape(name));
        let value = expander.template(&pointer, text, findings);
        header(name, &pointer, &value, findings);
        if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            findings.error_at_key(
                "/headers",
                name,
                "this header is there twice; upper and lower case are the same",
            );
        }
        let name = name.to_ascii_lowercase();
        let value = if CREDENTIALS.contains(&name.as_str()) { hidden(&name, value) } else { value };
        headers.push((name, value));
    }
    if let Some(auth) = &file.auth {
        let token = expander.template("/auth/bearer", &auth.bearer, findings);
        not_empty("/auth/bearer", &token.render(Late::default()), findings);
        header("x-bearer", "/auth/bearer", &token, findings);
        if headers.iter().any(|(name, _)| name == "authorization") {
            findings.error("/auth/bearer", "`auth.bearer` and a header `authorization` exclude each other");
        }
        let mut pieces = vec![Piece::Text("Bearer ".to_owned())];
        pieces.extend(hidden("", token).into_pieces());
        headers.push(("authorization".to_owned(), Template::new(pieces)));
    }
    Some(Kind::Remote(Remote { targets, headers }))
}

/// The endpoints: each of `targets`, or the one of `url`.
fn targets(file: &PluginFile, expander: &Expander<'_>, findings: &mut Findings<'_>) -> Option<Vec<Target>> {
    let mut checked = |pointer: &str, text: &str| {
        let url = expander.template(pointer, text, findings);
        check_url(pointer, &url, findings);
        http_probe(file, &url, findings);
        late_in_remote(pointer, &url, findings);
        url
    };
    if let Some(text) = &file.url {
        let url = checked("/url", text);
        return Some(vec![Target {
            url,
            dialect: file.dialect,
            priority: 1,
            weight: 1,
            headers: Vec::new(),
        }]);
    }
    let each = file.targets.iter().enumerate().map(|(n, target)| Target {
        url: checked(&format!("/targets/{n}/url"), &target.url),
        dialect: target.dialect.or(file.dialect),
        priority: target.priority,
        weight: target.weight,
        headers: Vec::new(),
    });
    let targets: Vec<Target> = each.collect();
    (!targets.is_empty()).then_some(targets)
}

/// All of a credential becomes secret. Of an `Authorization` the word of a known scheme (`Bearer `) stays, since it says
/// what is sent and nothing of the secret; any other first word may be the secret itself.
fn hidden(name: &str, value: Template) -> Template {
    let has_scheme = matches!(name, "authorization" | "proxy-authorization");
    let mut pieces = Vec::new();
    for piece in value.into_pieces() {
        match piece {
            Piece::Text(text) => {
                let at = if has_scheme && pieces.is_empty() { scheme(&text) } else { 0 };
                let (scheme, rest) = text.split_at(at);
                pieces.extend((!scheme.is_empty()).then(|| Piece::Text(scheme.to_owned())));
                pieces.extend((!rest.is_empty()).then(|| Piece::Secret(rest.to_owned())));
            }
            known @ (Piece::Secret(_) | Piece::Port | Piece::Replica) => pieces.push(known),
        }
    }
    Template::new(pieces)
}

/// The length of `Bearer ` or `Basic ` at the start of a text.
fn scheme(text: &str) -> usize {
    let known = ["bearer ", "basic "]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    known.map_or(0, str::len)
}

fn header(name: &str, pointer: &str, value: &Template, findings: &mut Findings<'_>) {
    if http::HeaderName::try_from(name).is_err() {
        findings.error_at_key("/headers", name, "this is no name of a header");
    } else if OUR_HEADERS.iter().any(|ours| name.eq_ignore_ascii_case(ours)) {
        findings.error_at_key("/headers", name, "the host sets this header itself");
    }
    late_in_remote(pointer, value, findings);
    if http::HeaderValue::try_from(value.render(Late::default())).is_err() {
        findings.error(
            pointer,
            "this is no value of a header: it holds a line break or another control character",
        );
    }
}

fn late_in_remote(pointer: &str, value: &Template, findings: &mut Findings<'_>) {
    if value.uses_port() {
        let help = "write `command` too, if the host shall launch the server";
        findings.error(pointer, "`${port}` has no value: nothing is launched for a remote server").help =
            Some(help.to_owned());
    }
}
