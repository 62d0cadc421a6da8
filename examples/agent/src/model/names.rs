//! Names of tools as providers take them: letters, digits, `_` and `-`, at most 64 of them.

use crate::tools::Tool;

/// The longest name that every provider takes.
const LONGEST: usize = 64;

/// For each tool, in their order, a name that is legal and no other's.
pub(crate) fn legal(tools: &[Tool]) -> Vec<String> {
    let mut taken: Vec<String> = Vec::with_capacity(tools.len());
    for tool in tools {
        let clean = legal_one(&tool.name);
        let mut name = clean.clone();
        let mut number = 2;
        while name.is_empty() || taken.contains(&name) {
            let end = format!("_{number}");
            name = clean.chars().take(LONGEST - end.len()).collect::<String>() + &end;
            number += 1;
        }
        taken.push(name);
    }
    taken
}

/// A name that is legal, be it another's or not.
pub(crate) fn legal_one(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    name.chars().map(legal).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Tool, legal};

    #[test]
    fn names_are_legal_and_different() {
        let long = "x".repeat(70);
        let tools: Vec<_> = ["a__b", "a.b", "a/b", &long, &format!("{long}y")]
            .map(|name| Tool { name: name.to_owned(), description: String::new(), schema: Value::Null })
            .into();
        let cut = |end: &str| format!("{}{end}", "x".repeat(64 - end.len()));
        assert_eq!(legal(&tools), ["a__b", "a_b", "a_b_2", &cut(""), &cut("_2")]);
    }
}
