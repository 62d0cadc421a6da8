//! What the suite does not look at: that the content of an answer is the one that the plugin gave, byte for byte.
//! Its own checks of simple text and of errors are content with any text, so with the text of any failure.

use crate::fixture::Era;
use crate::peer::{self, Told};

/// A tool, and what must be in its answer whoever gives it.
const TOOLS: [(&str, &str, bool); 3] = [
    ("test_simple_text", "This is a simple text response for testing.", false),
    ("test_error_handling", "This tool intentionally returns an error for testing", true),
    ("test_image_content", "\"image/png\"", false),
];

/// How what a host answers at `url` differs from what the fixture itself answers at `direct`.
pub(crate) async fn differences(direct: &str, url: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (tool, words, is_error) in TOOLS {
        let original = peer::call(direct, Era::Modern, tool).await.expect("the fixture answers");
        assert!(original.content.contains(words), "the fixture's {tool} says {original:?}");
        assert_eq!(original.is_error, is_error, "the fixture's {tool}");
        for era in [Era::Legacy, Era::Modern] {
            let answer = peer::call(url, era, tool).await;
            found.extend(difference(&original, answer).map(|what| format!("{tool}, {era} client: {what}")));
        }
    }
    found
}

fn difference(original: &Told, answer: Result<Told, String>) -> Option<String> {
    match answer {
        Ok(told) if told == *original => None,
        Ok(told) => Some(format!("{told:?} instead of {original:?}")),
        Err(error) => Some(error),
    }
}

#[test]
fn a_difference_of_one_blank_is_seen() {
    let told = |content: &str, is_error| Told { content: content.to_owned(), is_error };
    let original = told("[{\"a\":1}]", false);
    assert_eq!(difference(&original, Ok(told("[{\"a\":1}]", false))), None);
    assert!(difference(&original, Ok(told("[{\"a\": 1}]", false))).is_some());
    assert!(difference(&original, Ok(told("[{\"a\":1}]", true))).is_some());
    assert_eq!(difference(&original, Err("gone".to_owned())), Some("gone".to_owned()));
}
