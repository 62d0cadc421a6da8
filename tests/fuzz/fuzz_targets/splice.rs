//! Editing any JSON as text is the same as editing it as a tree.
#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|input: &[u8]| checks::splice(input));
