//! What modern clients said in `_meta` lately on this thread: each says who it is with every request, and nearly always the
//! same. What is the same to the byte is not looked over again.

use std::cell::RefCell;

use wharf_core::splice::{Look, Places};

use super::{META, Meta};

/// So many are kept; the oldest goes first.
const KEPT: usize = 4;
/// Of one that says more, nothing is kept.
const LONGEST: usize = 2048;
/// What one that is kept may hold: of all else much is another in each request.
const LASTING: [Meta; 4] = [Meta::Version, Meta::Info, Meta::Capabilities, Meta::LogLevel];

/// Where the members of a `_meta` stand.
type Found = Places<{ META.len() }>;

thread_local! {
    static LATELY: RefCell<Lately> = const { RefCell::new(Lately { said: [const { None }; KEPT], oldest: 0 }) };
}

struct Lately {
    said: [Option<(Box<str>, Found)>; KEPT],
    oldest: usize,
}

/// Looks over a `_meta`.
pub(super) fn over(look: &mut Look<'_>) -> Option<Found> {
    LATELY.with_borrow_mut(|lately| {
        let again = lately.said.iter().flatten().find(|(text, _)| look.over_again(text));
        if let Some((_, found)) = again {
            return Some(*found);
        }
        let begin = look.rest();
        let found = look.places(META, |look, _| look.over())?;
        let text = begin.get(..begin.len() - look.rest().len())?;
        lately.keep(text, found);
        Some(found)
    })
}

impl Lately {
    fn keep(&mut self, text: &str, found: Found) {
        let lasts = found.has(Meta::Version as usize) && found.are_all(LASTING.map(|key| key as usize));
        if lasts && text.len() <= LONGEST {
            if let Some(place) = self.said.get_mut(self.oldest) {
                *place = Some((text.into(), found));
            }
            self.oldest = (self.oldest + 1) % KEPT;
        }
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::splice::Look;

    use super::{KEPT, LATELY, LONGEST, over};

    const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

    fn kept() -> usize {
        LATELY.with_borrow(|lately| lately.said.iter().flatten().count())
    }

    #[test]
    fn what_is_kept_is_found_as_by_a_look_and_nothing_else_is_taken_for_it() {
        let version = |more: &str| format!(r#"{{"{VERSION}":"2026-07-28"{more}}}"#);
        let client = "io.modelcontextprotocol/clientInfo";
        let metas = [
            version(""),
            version(&format!(r#","{client}":{{"name":"a"}}"#)),
            version(&format!(r#","{client}":{{"name":"b"}}"#)),
            version(&format!(r#","{client}":{{"name":"a"}},"progressToken":1"#)),
            version(r#","wharf/idempotencyKey":"k""#),
            version(r#","another":1"#),
            version(&format!(r#","{VERSION}":"2025-11-25""#)),
            version(&format!(r#","{client}":{{"name":"{}"}}"#, "x".repeat(LONGEST))),
            r#"{"progressToken":1}"#.to_owned(),
            "{}".to_owned(),
            "7".to_owned(),
        ];
        for _ in 0..2 {
            for meta in &metas {
                let text = format!("{meta} ");
                let (mut ours, mut plain) = (Look::at(&text), Look::at(&text));
                let found = over(&mut ours).unwrap();
                assert_eq!(Some(found), plain.places(super::META, |look, _| look.over()), "{meta}");
                assert_eq!((ours.rest(), plain.rest()), (" ", " "), "{meta}");
            }
        }
        assert_eq!(kept(), 3, "those that last");
    }

    #[test]
    fn what_begins_alike_and_goes_on_otherwise_is_not_taken_for_it() {
        let whole = format!(r#"{{"{VERSION}":"2026-07-28"}}"#);
        assert!(over(&mut Look::at(&whole)).is_some());
        for at in 0..whole.len() {
            let (begin, rest) = whole.split_at(at);
            assert!(over(&mut Look::at(begin)).is_none(), "{begin}");
            for other in ["x", "\"", "}", " "] {
                let text = format!("{begin}{other}{rest}");
                let (mut ours, mut plain) = (Look::at(&text), Look::at(&text));
                let found = over(&mut ours);
                assert_eq!(found, plain.places(super::META, |look, _| look.over()), "{text}");
                assert!(found.is_none() || ours.rest() == plain.rest(), "{text}");
            }
        }
    }

    #[test]
    fn so_many_are_kept_and_the_oldest_goes() {
        for n in 0..3 * KEPT {
            let meta = format!(r#"{{"{VERSION}":"{n}"}}"#);
            assert!(over(&mut Look::at(&meta)).is_some());
        }
        assert_eq!(kept(), KEPT);
        let first = LATELY.with_borrow(|lately| lately.said[0].as_ref().map(|(text, _)| text.clone()));
        assert_eq!(first.as_deref(), Some(&*format!(r#"{{"{VERSION}":"{}"}}"#, 2 * KEPT)));
    }
}
