//! The HTTP client for the server and for agents. The model's provider has its own.

use std::time::Duration;

use crate::failure::{Failure, chain};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// A client for an address: past every proxy if that is on this machine, and following no redirect with our token.
///
/// # Errors
/// If the address is no URL.
pub fn client(url: &str) -> Result<reqwest::Client, Failure> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0);
    if is_local(&parse(url)?) {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| Failure::Failed(chain(&error)))
}

/// The URL, if it is one of HTTP.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse(url: &str) -> Result<reqwest::Url, Failure> {
    let wrong = |cause: &str| Failure::Usage(format!("{url} is no address of a server: {cause}"));
    let parsed = reqwest::Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        _ => Err(wrong("it begins with neither http:// nor https://")),
    }
}

fn is_local(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
