//! The author's side: a tool in a few lines of Rust, served over stdio.
