//! Tests of `examples/linkedin`.
