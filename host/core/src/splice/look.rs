//! The one look at a text of which nobody knows yet whether it is JSON: it tells that, and where the members stand that are asked
//! for, at any depth. Nothing is unescaped, and nothing built.
//!
//! What it accepts is JSON. Of what it refuses a reader of a library tells what is wrong, or that it is JSON all the same
//! (nested deeper than nearly everything is).

use serde_json::value::RawValue;

use super::places::Places;
use super::{known, strings};

/// Arrays and objects in one another.
const DEEPEST: u32 = 64;

/// A look at a text, from its begin to its end.
#[derive(Debug)]
pub struct Look<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Look<'a> {
    /// At the begin of a text.
    #[must_use]
    pub fn at(text: &'a str) -> Self {
        let mut look = Self { text, at: 0, depth: 0 };
        look.blanks();
        look
    }

    /// Looks over a value.
    pub fn over(&mut self) -> Option<()> {
        match self.byte()? {
            b'"' => self.string().map(drop),
            b'{' => self.object(|look, _| look.over()),
            b'[' => self.array(),
            b't' => self.word("true"),
            b'f' => self.word("false"),
            b'n' => self.word("null"),
            _ => self.number(),
        }
    }

    /// Steps over an object that was looked over before, at this depth, if it stands here again to the byte. No other value
    /// begins as it does and goes on: its last byte closes it.
    pub fn over_again(&mut self, object: &str) -> bool {
        debug_assert!(object.starts_with('{') && object.ends_with('}'), "no object: {object}");
        let is_here = self.rest().starts_with(object);
        if is_here {
            self.at += object.len();
        }
        is_here
    }

    /// What is not looked at yet.
    #[must_use]
    pub fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Looks for these keys in an object; `over` looks over the value of each that is found, which it is told by its number.
    /// Of what is no object the places are none, and not plain.
    pub fn places<const N: usize>(
        &mut self,
        keys: [&str; N],
        mut over: impl FnMut(&mut Self, usize) -> Option<()>,
    ) -> Option<Places<N>> {
        let (mut places, begin) = (Places::none(), self.at);
        if self.byte()? != b'{' {
            self.over()?;
            places.spoil();
            return Some(places);
        }
        self.object(|look, name| {
            let found = places.named(name, &keys);
            let from = look.at;
            match found {
                Some(key) => over(look, key)?,
                None => look.over()?,
            }
            places.note(found, from - begin..look.at - begin);
            Some(())
        })?;
        Some(places)
    }

    /// The value that was looked over, if nothing stands behind it.
    #[must_use]
    pub fn whole(mut self) -> Option<&'a RawValue> {
        let value = self.text.get(..self.at)?;
        self.blanks();
        if self.at < self.text.len() { None } else { known::part(value.trim_ascii_start()) }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then(|| self.at += 1)
    }

    fn blanks(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Tells `member` what stands between the quotes of each key, and whether that holds an escape; it looks over the value.
    fn object(&mut self, mut member: impl FnMut(&mut Self, (&'a str, bool)) -> Option<()>) -> Option<()> {
        self.nested(b'}', |look| {
            let from = look.at + 1;
            let is_escaped = look.string()?;
            let name = (look.text.get(from..look.at - 1)?, is_escaped);
            look.blanks();
            look.eat(b':')?;
            look.blanks();
            member(look, name)
        })
    }

    fn array(&mut self) -> Option<()> {
        self.nested(b']', Self::over)
    }

    /// Elements with commas between them, up to the bracket that closes.
    fn nested(&mut self, close: u8, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        self.at += 1;
        self.blanks();
        if self.eat(close).is_none() {
            loop {
                element(self)?;
                self.blanks();
                if self.eat(b',').is_none() {
                    break;
                }
                self.blanks();
            }
            self.eat(close)?;
        }
        self.depth -= 1;
        Some(())
    }

    /// True: it holds an escape.
    fn string(&mut self) -> Option<bool> {
        self.eat(b'"')?;
        let mut is_escaped = false;
        loop {
            self.at = strings::run_end::<false>(self.text.as_bytes(), self.at);
            // As nearly every string does.
            if self.eat(b'"').is_some() {
                return Some(is_escaped);
            }
            if self.byte()? != b'\\' {
                return None;
            }
            self.escape()?;
            is_escaped = true;
        }
    }

    fn escape(&mut self) -> Option<()> {
        self.at += 1;
        let digits = match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => 0,
            b'u' => 4,
            _ => return None,
        };
        self.at += 1;
        let code = self.text.as_bytes().get(self.at..self.at + digits)?;
        self.at += digits;
        code.iter().all(u8::is_ascii_hexdigit).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        // A sign need not be there, as a fraction and an exponent.
        let _ = self.eat(b'-');
        if self.eat(b'0').is_none() {
            self.digits()?;
        }
        if self.eat(b'.').is_some() {
            self.digits()?;
        }
        if self.eat(b'e').or_else(|| self.eat(b'E')).is_some() {
            let _ = self.eat(b'+').or_else(|| self.eat(b'-'));
            self.digits()?;
        }
        Some(())
    }

    /// One or more.
    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > from).then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let is_here = self.text.as_bytes().get(self.at..)?.starts_with(word.as_bytes());
        is_here.then(|| self.at += word.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::{DEEPEST, Look};
    use crate::splice::Places;

    fn whole(text: &str) -> Option<&RawValue> {
        let mut look = Look::at(text);
        look.over()?;
        look.whole()
    }

    fn is_json(text: &str) -> bool {
        serde_json::from_str::<&RawValue>(text).is_ok()
    }

    #[test]
    fn what_is_json_is_told_from_what_is_not() {
        let good = [
            "{}",
            " [ ] ",
            "\t{\"a\":1 , \"b\" :[true,false,null]}\n",
            "-0",
            "0.5e+10",
            "1E-7",
            "12",
            "\"\"",
            r#""\u00e4\"\\\/\b\f\n\r\t""#,
            "\"\u{e4}\u{7f}\"",
            r#"{"a":{"a":{}},"a":[[],[{}]]}"#,
            r#""\ud800""#,
        ];
        for good in good {
            assert!(is_json(good), "{good}");
            assert_eq!(whole(good).map(RawValue::get), Some(good.trim()), "{good}");
        }
        let bad = [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "[1 2]",
            "1 2",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "tru",
            "truex",
            "nul",
            "\"",
            "\"\n\"",
            "\"\u{1}\"",
            r#""\x""#,
            r#""\u12g4""#,
            r#""\u12"#,
            "[1}",
            "{\"a\":1]",
            "NaN",
            "'a'",
            "\u{a0}1",
            "1\u{c}",
        ];
        for bad in bad {
            assert!(!is_json(bad) && whole(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_left_to_another() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let deepest = DEEPEST as usize;
        assert!(whole(&nested(deepest)).is_some() && whole(&nested(deepest + 1)).is_none());
        let beside = format!("[{}]", vec!["{}"; 2 * deepest].join(","));
        assert!(whole(&beside).is_some(), "those beside one another do not count");
    }

    #[test]
    fn members_are_found_at_any_depth() {
        let text = r#" { "x":1, "in" : {"b":[2],"in":{}, "a":"3"} } "#;
        let (mut look, mut inner) = (Look::at(text), Places::none());
        let outer = look.places(["in"], |look, _| {
            inner = look.places(["a", "b"], |look, _| look.over())?;
            Some(())
        });
        let whole = look.whole().unwrap();
        assert_eq!(whole.get(), text.trim());
        let within = outer.unwrap().get(whole, 0).unwrap();
        assert_eq!(within.get(), r#"{"b":[2],"in":{}, "a":"3"}"#);
        let found = [0, 1].map(|key| inner.get(within, key).map(RawValue::get));
        assert_eq!(found, [Some("\"3\""), Some("[2]")]);
    }

    proptest! {
        #[test]
        fn all_that_it_accepts_is_json_and_nearly_all_json_is_accepted(
            text in r#"([\[\]{}:, "0-9a.eE+\-\\u/]|true|null|"a":|\{\}|\[\]){0,12}"#,
        ) {
            prop_assert_eq!(whole(&text).map(RawValue::get), serde_json::from_str::<&RawValue>(&text).ok().map(RawValue::get));
        }

        #[test]
        fn the_places_are_those_of_a_second_look(
            text in r#"\{("(a|b|\\u0061|_)" ?: ?(1|"\\"x"|\{"a":\[\]\}|\[\{\}\]|null) ?,?){0,4}\}"#,
        ) {
            let mut look = Look::at(&text);
            let places = look.places(["a", "b"], |look, _| look.over());
            let whole = look.whole();
            let found = places.zip(whole);
            prop_assert_eq!(found.is_some(), is_json(&text));
            if let Some((places, whole)) = found {
                prop_assert_eq!(places, Places::of(whole, ["a", "b"]));
            }
        }
    }
}
