//! Files of `NAME=value` lines (`env_file`): comments, quotes, an `export` prefix. No variables are expanded in them.

/// The most variables that one file may set.
pub const MAX_VARIABLES: usize = 1000;

/// A line that cannot be read. It says nothing of the line's value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BadLine {
    /// 1-based.
    pub line: usize,
    /// What is wrong.
    pub message: &'static str,
}

/// Reads all lines. The last of several lines with the same name wins.
///
/// # Errors
/// Every line that cannot be read.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, Vec<BadLine>> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut bad = Vec::new();
    for (index, raw) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match assignment(line) {
            Ok((name, value)) => {
                variables.retain(|(other, _)| other != name);
                variables.push((name.to_owned(), value));
            }
            Err(message) => bad.push(BadLine { line: index + 1, message }),
        }
        if variables.len() > MAX_VARIABLES {
            bad.push(BadLine { line: index + 1, message: "more than 1000 variables" });
            break;
        }
    }
    if bad.is_empty() { Ok(variables) } else { Err(bad) }
}

fn assignment(line: &str) -> Result<(&str, String), &'static str> {
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("no `=`: write NAME=value")?;
    let name = name.trim_end();
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("no name before the `=`: write NAME=value");
    }
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some('\'') => single_quoted(value)?,
        Some('"') => double_quoted(value)?,
        _ => unquoted(value).to_owned(),
    };
    if value.contains('\0') { Err("a NUL character") } else { Ok((name, value)) }
}

/// Up to a comment: a `#` at the beginning or after white space.
fn unquoted(value: &str) -> &str {
    let comment = value.char_indices().find(|&(at, c)| {
        c == '#'
            && value
                .get(..at)
                .is_some_and(|before| before.is_empty() || before.ends_with(char::is_whitespace))
    });
    comment.and_then(|(at, _)| value.get(..at)).unwrap_or(value).trim_end()
}

fn single_quoted(value: &str) -> Result<String, &'static str> {
    let (inner, tail) =
        value.strip_prefix('\'').and_then(|v| v.split_once('\'')).ok_or("the quote is not closed")?;
    only_comment(tail)?;
    Ok(inner.to_owned())
}

fn double_quoted(value: &str) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut chars = value.strip_prefix('"').unwrap_or(value).chars();
    loop {
        match chars.next().ok_or("the quote is not closed")? {
            '"' => break,
            '\\' => match chars.next().ok_or("the quote is not closed")? {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                escaped @ ('"' | '\\' | '$') => out.push(escaped),
                other => out.extend(['\\', other]),
            },
            plain => out.push(plain),
        }
    }
    only_comment(chars.as_str())?;
    Ok(out)
}

fn only_comment(tail: &str) -> Result<(), &'static str> {
    let tail = tail.trim_start();
    if tail.is_empty() || tail.starts_with('#') { Ok(()) } else { Err("text after the closing quote") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> (String, String) {
        parse(line).unwrap().remove(0)
    }

    #[test]
    fn the_usual_forms_are_read() {
        for (line, name, value) in [
            ("A=1", "A", "1"),
            ("export A=1", "A", "1"),
            ("  A = x y  # note", "A", "x y"),
            ("A=x#y", "A", "x#y"),
            ("A=", "A", ""),
            ("A=#", "A", ""),
            ("A='x # y' # note", "A", "x # y"),
            ("A=\"a\\n\\\"b\\\" \\x\"", "A", "a\n\"b\" \\x"),
            ("A=$B ${C}", "A", "$B ${C}"),
            ("A=b=c", "A", "b=c"),
            ("\u{feff}A=1\r\n", "A", "1"),
        ] {
            assert_eq!(one(line), (name.into(), value.into()), "{line:?}");
        }
        assert_eq!(
            parse("# c\n\nA=1\nA=2\nB=3").unwrap(),
            [("A".into(), "2".into()), ("B".into(), "3".into())]
        );
    }

    #[test]
    fn bad_lines_are_all_told_and_never_shown() {
        let bad = parse("OK=1\nhush-hush\n=x\nA='x\nB=\"x\nC='x' y").unwrap_err();
        assert_eq!(bad.iter().map(|b| b.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        assert!(!format!("{bad:?}").contains("hush"));
        let many: String = (0..=MAX_VARIABLES).map(|n| format!("V{n}=1\n")).collect();
        assert_eq!(parse(&many).unwrap_err().remove(0).line, MAX_VARIABLES + 1);
    }

    proptest! {
        #[test]
        fn quoted_values_come_back(value in "[ -~äß\t]{0,40}") {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(one(&format!("V=\"{quoted}\"")).1, value);
        }

        #[test]
        fn never_panics(text in "[ -~\\n'\"\\\\#=ä]{0,80}") {
            parse(&text).ok();
        }
    }
}
