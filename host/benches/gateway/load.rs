//! The load: a closed loop on one thread, so many callers on a connection each, or one pair of pipes with so many calls
//! open. Connections stay open from block to block, unless they are so many that all rows' would be more than a host takes.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::common::Outcome;
use crate::connection::Connection;
use crate::pipes::Pipes;

/// No block takes this much longer than it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// More connections of one row than these are closed between its blocks.
const KEPT: usize = 64;

/// The callers of one row.
pub(crate) enum Callers {
    Http(Vec<Connection>),
    Pipes(Box<Pipes>),
}

/// What one block gave.
#[derive(Default)]
pub(crate) struct Block {
    /// Of each good call, in nanoseconds.
    pub(crate) took: Vec<u32>,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) elapsed: Duration,
}

impl Callers {
    /// Opens what is not open, so that a block is of calls alone.
    pub(crate) async fn opened(mut self) -> Outcome<Self> {
        tokio::time::timeout(PATIENCE, self.open()).await.map_err(|_| "a connection hangs")??;
        Ok(self)
    }

    /// Calls for so long.
    pub(crate) async fn block(self, time: Duration) -> Outcome<(Self, Block)> {
        let calls = tokio::time::timeout(time + PATIENCE, self.calls(time));
        let (mut callers, block) = calls.await.map_err(|_| "a call hangs")??;
        callers.rest();
        Ok((callers, block))
    }

    async fn open(&mut self) -> Outcome<()> {
        if let Self::Http(connections) = self {
            for connection in connections {
                connection.open().await?;
            }
        }
        Ok(())
    }

    fn rest(&mut self) {
        if let Self::Http(connections) = self
            && connections.len() > KEPT
        {
            connections.iter_mut().for_each(Connection::close);
        }
    }

    async fn calls(self, time: Duration) -> Outcome<(Self, Block)> {
        let start = Instant::now();
        let end = start + time;
        let mut block = Block::default();
        let callers = match self {
            Self::Http(connections) => {
                let mut work = JoinSet::new();
                for connection in connections {
                    work.spawn(caller(connection, end));
                }
                let mut connections = Vec::with_capacity(work.len());
                while let Some(done) = work.join_next().await {
                    let (connection, part) = done??;
                    connections.push(connection);
                    block.add(part);
                }
                Self::Http(connections)
            }
            Self::Pipes(mut pipes) => {
                pipes.flood(end, &mut block).await?;
                Self::Pipes(pipes)
            }
        };
        block.elapsed = start.elapsed();
        Ok((callers, block))
    }
}

/// One caller, one call after the other.
async fn caller(mut connection: Connection, end: Instant) -> Outcome<(Connection, Block)> {
    let mut block = Block::default();
    let mut now = Instant::now();
    while now < end {
        let result = connection.call().await;
        let start = std::mem::replace(&mut now, Instant::now());
        match result {
            Ok(()) => block.good(now - start),
            Err(error) => {
                block.bad(error.to_string());
                connection.reconnect().await?;
                now = Instant::now();
            }
        }
    }
    Ok((connection, block))
}

impl Block {
    pub(crate) fn good(&mut self, took: Duration) {
        self.took.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }

    pub(crate) fn bad(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.errors += other.errors;
        if let Some(error) = other.first_error {
            self.first_error.get_or_insert(error);
        }
    }
}
