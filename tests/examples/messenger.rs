//! Tests of `examples/messenger`: two servers, of which one calls the other over HTTP, and a language model behind that.

mod bedrock;
mod checkout;
mod frames;
mod life;
mod machines;
mod openai;
mod providers;
mod scenarios;
mod streams;
