//! A native plugin: the same server as over stdio, exported by the C ABI of a shared library.

use wharf_plugin_api::author::{Server, Tool, json};

fn build() -> Server {
    let sum = Tool::new("sum", "Adds numbers")
        .argument(
            "numbers",
            json!({"type": "array", "items": {"type": "number"}, "description": "what to add"}),
        )
        .output_schema(
            r#"{"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]}"#,
        )
        .read_only();
    Server::new("native", env!("CARGO_PKG_VERSION"))
        .tool(sum, |call| Ok(json!({"sum": call.get::<Vec<f64>>("numbers")?.iter().sum::<f64>()})))
        .tool(
            Tool::new("abort", "Ends its process at once, to show that only the worker dies"),
            |_| -> Result<String, _> { std::process::abort() },
        )
}

wharf_plugin_api::export_native!(build);
