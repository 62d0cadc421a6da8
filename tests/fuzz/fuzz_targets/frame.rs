//! Any bytes, cut in any way, give the same lines and never more memory than the bound.
#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::frame(input));
