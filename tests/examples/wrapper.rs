//! Tests of `examples/wrapper`.
