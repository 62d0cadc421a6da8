//! What a `tracestate` and a `baggage` look like. Both are passed on as they are, or not at all.

use std::collections::HashSet;

/// Longest state that is passed on, characters, and most members of it.
const STATE: (usize, usize) = (512, 32);
/// Likewise of a baggage.
const BAGGAGE: (usize, usize) = (8192, 64);

/// Whether it is a `tracestate`: `key=value` members between commas, each key once. Empty members are allowed.
pub(super) fn is_state(text: &str) -> bool {
    let members =
        || text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|one| !one.is_empty());
    let mut keys = HashSet::new();
    let is_member = |member: &str| {
        let Some((key, value)) = member.split_once('=') else { return false };
        is_state_key(key) && is_state_value(value) && keys.insert(key.to_owned())
    };
    text.len() <= STATE.0 && (1..=STATE.1).contains(&members().count()) && members().all(is_member)
}

/// A simple key, or one of a tenant: `tenant@system`.
fn is_state_key(key: &str) -> bool {
    let rest = |text: &str| {
        text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
    };
    let letter = |text: &str| text.starts_with(|first: char| first.is_ascii_lowercase());
    match key.split_once('@') {
        None => letter(key) && rest(key) && key.len() <= 256,
        Some((tenant, system)) => {
            let begins = letter(tenant) || tenant.starts_with(|first: char| first.is_ascii_digit());
            begins
                && rest(tenant)
                && tenant.len() <= 241
                && letter(system)
                && rest(system)
                && system.len() <= 14
        }
    }
}

fn is_state_value(value: &str) -> bool {
    let inner = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(inner) && !value.ends_with(' ')
}

/// Whether it is a `baggage`: `key=value;property` members between commas.
pub(super) fn is_baggage(text: &str) -> bool {
    let members = text.split(',').count();
    text.len() <= BAGGAGE.0 && members <= BAGGAGE.1 && text.split(',').all(is_entry)
}

fn is_entry(member: &str) -> bool {
    let mut parts = member.split(';').map(|part| part.split_once('='));
    // A property may be a key alone.
    let is_property = |part: &str| part.split_once('=').map_or_else(|| is_token(part.trim()), is_pair);
    matches!(parts.next(), Some(Some(pair)) if is_pair(pair)) && member.split(';').skip(1).all(is_property)
}

fn is_pair((key, value): (&str, &str)) -> bool {
    let octet = |byte: u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    is_token(key.trim_matches([' ', '\t'])) && value.trim_matches([' ', '\t']).bytes().all(octet)
}

fn is_token(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !key.is_empty() && key.bytes().all(allowed)
}
