//! A tool in Rust, served over stdio.

use wharf_plugin_api::author::{Answer, Server, Tool, ToolError};

fn main() -> std::io::Result<()> {
    let echo = Tool::new("echo", "Says it back")
        .text("text", "what to say")
        .integer("times", "how often")
        .optional();
    Server::new("echo-rust", env!("CARGO_PKG_VERSION"))
        .tool(echo.read_only(), |call| {
            let (text, times) = (call.text("text")?, call.get::<Option<u16>>("times")?.unwrap_or(1));
            let mut answer = Answer::default();
            for n in 1..=times {
                call.progress(f64::from(n), Some(f64::from(times)), None);
                answer = answer.with_text(text);
            }
            if times == 0 { Err(ToolError::new("say it at least once")) } else { Ok(answer) }
        })
        .serve_stdio()
}
