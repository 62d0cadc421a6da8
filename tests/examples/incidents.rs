//! Tests of `examples/incidents`.
