//! Tests of `examples/messenger`.
