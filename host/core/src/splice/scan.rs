//! The places of the top-level members of an object that is known to be JSON: nothing is checked again, and nothing inside of
//! a value is looked at but for its end.

use std::ops::Range;

use super::strings;

/// Tells `each` the text between the quotes of each key, and where its value stands, in order. False: it is no object.
pub(super) fn members<'a>(json: &'a str, mut each: impl FnMut(&'a str, Range<usize>)) -> bool {
    let bytes = json.as_bytes();
    let mut at = past_blanks(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return false;
    }
    at += 1;
    loop {
        at = past_blanks(bytes, at);
        match bytes.get(at) {
            Some(b',') => at += 1,
            Some(b'"') => {
                let end = past_string(bytes, at);
                // The colon stands behind the key.
                let value = past_blanks(bytes, past_blanks(bytes, end) + 1);
                let value = value..past_value(bytes, value);
                let Some(key) = json.get(at + 1..end - 1) else { return true };
                at = value.end;
                each(key, value);
            }
            Some(_) | None => return true,
        }
    }
}

/// Where the element of an array stands that has one and no more.
pub(super) fn only(json: &str) -> Option<Range<usize>> {
    let bytes = json.as_bytes();
    let begin = past_blanks(bytes, 0);
    if bytes.get(begin) != Some(&b'[') {
        return None;
    }
    let begin = past_blanks(bytes, begin + 1);
    let end = past_value(bytes, begin);
    let closes = bytes.get(past_blanks(bytes, end)) == Some(&b']');
    (end > begin && closes).then_some(begin..end)
}

fn past_blanks(bytes: &[u8], from: usize) -> usize {
    let blanks = bytes.get(from..).unwrap_or_default().iter();
    from + blanks.take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// Behind the closing quote of the string that begins here.
fn past_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    loop {
        at = strings::run_end::<true>(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            // Whatever is escaped, its first byte ends no string.
            Some(_) => at += 2,
            None => return bytes.len(),
        }
    }
}

fn past_value(bytes: &[u8], from: usize) -> usize {
    match bytes.get(from) {
        Some(b'"') => past_string(bytes, from),
        Some(b'{' | b'[') => past_nested(bytes, from),
        Some(_) | None => {
            let rest = bytes.get(from..).unwrap_or_default().iter();
            let ends = |b: &&u8| !matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            from + rest.take_while(ends).count()
        }
    }
}

fn past_nested(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = past_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::super::strings::LONG;
    use super::members;

    fn all(json: &str) -> Option<Vec<(&str, &str)>> {
        let mut all = Vec::new();
        members(json, |key, value| all.push((key, &json[value]))).then_some(all)
    }

    #[test]
    fn members_are_found_as_they_stand() {
        let json =
            "\n{ \"a\" :1.0e5,\"b\\\"}\":\"x\\\\\",\t\"c\" : { \"d\":[\"]\", {}] } ,\"\":[], \"e\":null }";
        let found = [
            ("a", "1.0e5"),
            ("b\\\"}", "\"x\\\\\""),
            ("c", "{ \"d\":[\"]\", {}] }"),
            ("", "[]"),
            ("e", "null"),
        ];
        assert_eq!(all(json).unwrap(), found);
        assert_eq!(all("{}"), Some(Vec::new()));
        for none in ["[]", "\"{\"", "1", "null", ""] {
            assert_eq!(all(none), None, "{none}");
        }
    }

    #[test]
    fn a_string_of_any_length_ends_at_its_quote() {
        for length in (0..80).chain(LONG - 2..LONG + 40) {
            for tail in ["", "\\\"", "\\\\", "\\\"x\\\\"] {
                let (text, more) = (format!("{}!#[]{tail}", "x".repeat(length)), "y".repeat(length % 9));
                let json = format!(r#"{{"{text}":"{text}{more}","b":1}}"#);
                let value = format!("\"{text}{more}\"");
                assert_eq!(all(&json).unwrap(), [(&*text, &*value), ("b", "1")], "{json}");
            }
        }
    }

    #[test]
    fn what_is_cut_off_comes_to_an_end() {
        let json = r#"{"a":{"b":["c\"",1]},"d":2}"#;
        for end in 0..json.len() {
            members(&json[..end], |_, _| {});
        }
    }
}
