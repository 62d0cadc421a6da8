//! Tests of `examples/agent`.
