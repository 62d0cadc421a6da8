//! Tests of `examples/registry`.
