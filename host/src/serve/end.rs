//! The end of an edge and its host, in the order in which nobody is left without an answer.

use std::time::{Duration, Instant};

use super::Server;
use crate::Host;

/// For the plugins, when the answers in flight have had their time.
const PLUGINS: Duration = Duration::from_secs(10);
/// For the word to those whose calls have ended with their plugins.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(2);

impl Server {
    /// Lets no further call in and answers in flight go out, at most for `answers`, then ends the plugins. A call that still
    /// runs ends with its plugin, and its caller is told.
    pub async fn end(&self, host: &Host, answers: Duration) {
        host.close();
        let until = Instant::now() + answers + PLUGINS;
        let left = self.stop(answers).await;
        if left > 0 {
            tracing::warn!(left, after = ?answers, "still busy when the time for answers was over; what still runs is ended");
        }
        host.shutdown(until.saturating_duration_since(Instant::now())).await;
        if left > 0 {
            self.stop(LAST_WORDS).await;
        }
    }
}
