//! Answers that are what no sane server sends, each under the right id: JSON that is too deep, too long, or none at all.

use wharf_plugin_api::jsonrpc::Id;

use super::args::Odd;
use super::frame::Frame;

/// How deep, how long and how many: what the fault suite asks for.
const DEPTH: usize = 200_000;
const DIGITS: usize = 400_000;
const ZEROS: usize = 2 << 20;
const HUGE: u64 = 1 << 30;

/// The answer to the request `id`.
pub(crate) fn answer(odd: Odd, id: &Id) -> Frame {
    let head =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[],\"structuredContent\":");
    let inner: Vec<u8> = match odd {
        Odd::Deep => [b"[".repeat(DEPTH), b"]".repeat(DEPTH)].concat(),
        Odd::Digits => b"7".repeat(DIGITS),
        Odd::Zeros => [b"[0".to_vec(), b",0".repeat(ZEROS - 1), b"]".to_vec()].concat(),
        Odd::Nan => b"NaN".to_vec(),
        Odd::Surrogate => br#"{"lone":"\ud800"}"#.to_vec(),
        Odd::Huge => {
            return Frame::Huge {
                head: format!("{head}\"").into_bytes(),
                total: HUGE,
                tail: b"\"}}".to_vec(),
            };
        }
    };
    Frame::Reply([head.into_bytes(), inner, b"}}".to_vec()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_the_id_and_is_as_odd_as_it_says() {
        let bytes = |odd| {
            let Frame::Reply(bytes) = answer(odd, &Id::text("x")) else { panic!("{odd:?} is no answer") };
            String::from_utf8(bytes).unwrap()
        };
        for odd in [Odd::Deep, Odd::Digits, Odd::Zeros, Odd::Nan, Odd::Surrogate] {
            assert!(bytes(odd).starts_with("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{"), "{odd:?}");
        }
        assert!(serde_json::from_str::<serde_json::Value>(&bytes(Odd::Deep)).is_err());
        assert!(serde_json::from_str::<serde_json::Value>(&bytes(Odd::Nan)).is_err());
        assert!(serde_json::from_str::<serde_json::Value>(&bytes(Odd::Surrogate)).is_err());
        assert_eq!(bytes(Odd::Zeros).matches('0').count(), ZEROS + 1, "one more stands in the version");
        assert!(matches!(answer(Odd::Huge, &Id::text("x")), Frame::Huge { total: HUGE, .. }));
    }
}
