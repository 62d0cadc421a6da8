//! The C ABI of native plugins: a message pipe.
