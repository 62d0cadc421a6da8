//! Whether anybody still reads what is written: a client that was killed leaves its input at an end as one does that has only
//! said all, but it leaves its output without a reader too.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::time::sleep;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// The reader of our output: of a pipe, or at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer(Option<OwnedFd>);

impl Peer {
    /// Of what is written here.
    pub(crate) fn of(output: impl AsFd) -> Self {
        let own = output.as_fd().try_clone_to_owned();
        Self(own.inspect_err(|error| tracing::debug!(%error, "an end of the client will be seen late")).ok())
    }

    /// One that cannot be seen.
    #[cfg(test)]
    pub(crate) fn unseen() -> Self {
        Self(None)
    }

    /// Resolves when nobody reads any more. Looks now and then: a file or a terminal could not tell by itself.
    pub(crate) async fn gone(&self) {
        let Some(output) = &self.0 else { return std::future::pending().await };
        while !is_gone(output.as_fd()) {
            sleep(LOOK).await;
        }
    }
}

/// Of a pipe without a reader the system says that it is broken, of a connection that both ways are closed.
fn is_gone(output: BorrowedFd<'_>) -> bool {
    let mut looked = [PollFd::new(output, PollFlags::empty())];
    let found = poll(&mut looked, PollTimeout::ZERO);
    let told = looked
        .iter()
        .filter_map(PollFd::revents)
        .any(|told| told.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL));
    found.is_ok() && told
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::{Peer, is_gone};

    #[tokio::test]
    async fn a_reader_is_there_until_it_closes() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        assert!(!is_gone(writer.as_fd()));
        drop(reader);
        Peer::of(&writer).gone().await;
        let file = tempfile::tempfile().unwrap();
        assert!(!is_gone(file.as_fd()));
    }

    #[tokio::test]
    async fn who_has_only_said_all_is_there() {
        let (near, far) = UnixStream::pair().unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        assert!(!is_gone(far.as_fd()));
        drop(near);
        Peer::of(&far).gone().await;
    }
}
