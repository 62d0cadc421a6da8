//! What the tests of the mock share.

use std::sync::Arc;

use clap::Parser as _;
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf,
};

use super::args::Args;
use super::faults::{Death, Faults};
use super::ledger::Ledger;
use super::script::Script;
use super::server::Server;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

/// The arguments as the command line gives them.
pub(crate) fn args(flags: &[&str]) -> Args {
    Cli::try_parse_from(std::iter::once(&"mock").chain(flags)).unwrap().args
}

/// A server that only records how it would have died.
pub(crate) fn server(flags: &[&str]) -> (Arc<Server>, tokio::sync::mpsc::Receiver<Death>) {
    let args = args(flags);
    let (tx, deaths) = tokio::sync::mpsc::channel(8);
    let faults = Faults::new(&args, Arc::new(move |death| tx.try_send(death).unwrap())).unwrap();
    let script = args.script.as_deref().map_or_else(|| Ok(Script::default()), Script::load).unwrap();
    let ledger = args.ledger.as_deref().map(|path| Ledger::open(path).unwrap());
    (Server::new(&args, script, faults, ledger), deaths)
}

/// A client on the other end of a pipe.
pub(crate) struct Client {
    pub(crate) lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    pub(crate) input: WriteHalf<DuplexStream>,
    pub(crate) served: tokio::task::JoinHandle<std::io::Result<()>>,
    pub(crate) deaths: tokio::sync::mpsc::Receiver<Death>,
}

impl Client {
    pub(crate) fn new(flags: &[&str]) -> Self {
        let (server, deaths) = server(flags);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(theirs);
        let served = spawn(super::stdio::serve(server, input, output));
        let (output, input) = tokio::io::split(ours);
        Self { lines: BufReader::new(output).lines(), input, served, deaths }
    }

    /// One that has shaken hands.
    pub(crate) async fn ready(flags: &[&str]) -> Self {
        let mut client = Self::new(flags);
        let hello = client.ask(HELLO).await;
        assert_eq!(hello["result"]["protocolVersion"], "2025-06-18", "{hello}");
        client.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).await;
        client
    }

    pub(crate) async fn send(&mut self, line: &str) {
        self.input.write_all(line.as_bytes()).await.unwrap();
        self.input.write_all(b"\n").await.unwrap();
    }

    /// The end of its input.
    pub(crate) async fn end(&mut self) {
        self.input.shutdown().await.unwrap();
    }

    pub(crate) async fn line(&mut self) -> Option<String> {
        within(self.lines.next_line()).await.unwrap()
    }

    pub(crate) async fn message(&mut self) -> Value {
        serde_json::from_str(&self.line().await.unwrap()).unwrap()
    }

    pub(crate) async fn ask(&mut self, line: &str) -> Value {
        self.send(line).await;
        self.message().await
    }
}

pub(crate) const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

/// A call of a tool.
pub(crate) fn call(id: u64, tool: &str, arguments: &Value) -> String {
    let params = serde_json::json!({"name": tool, "arguments": arguments});
    serde_json::json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

/// Waits, but not for ever.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(20), what).await.expect("nothing came in 20 s")
}

/// A task of the test.
pub(crate) fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    crate::tasks::Tasks::default().spawn(tracing::Span::none(), task)
}
