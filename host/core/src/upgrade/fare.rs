//! How a version on trial fares, by how its instances do: whether the trial has failed.

use wharf_plugin_api::Cause;

/// How an instance of a version on trial fares.
#[derive(Clone, Debug)]
pub enum Fare {
    /// It takes calls, or does with the next one.
    Takes,
    /// It takes none, and has not failed: it starts, or is not wanted.
    Away,
    /// It runs, and its breaker lets no call through. With what the last call failed from.
    Shut(Cause),
    /// It has crashed, or cannot be started.
    Crashed(Cause),
}

/// From what the version has failed, if it has: one of its instances crashed, or calls failed until none takes one.
#[must_use]
pub fn failed(instances: impl IntoIterator<Item = Fare>) -> Option<Cause> {
    let (mut shut, mut takes) = (None, false);
    for fare in instances {
        match fare {
            Fare::Takes => takes = true,
            Fare::Away => {}
            Fare::Shut(cause) => shut = shut.or(Some(cause)),
            Fare::Crashed(cause) => return Some(cause),
        }
    }
    shut.filter(|_| !takes)
}
