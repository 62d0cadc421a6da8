//! A client of a running host: finds it by the unix socket of the state folder, or by a URL.

use std::ops::AsyncFnOnce;
use std::time::Duration;

use reqwest::{Method, Response, Url, header};
use serde::de::DeserializeOwned;

use super::Target;
use super::exit::{Complaint, Exit};

/// For a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// On a silent connection, how long until the other side is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// For an answer that the host gives at once.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// The status of a connection that changes its protocol.
const SWITCHING: u16 = 101;
/// Longest answer that is read as a whole.
const LONGEST: usize = 64 * 1024 * 1024;

/// The host that a command talks to.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    /// For messages.
    place: String,
}

/// Runs a client command to its end, or until the user interrupts it.
pub(super) fn run(
    target: &Target,
    command: impl AsyncFnOnce(&Client) -> Result<(), Complaint>,
) -> Result<(), Complaint> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Complaint::new(Exit::Failure, "no runtime").detail(error.to_string()))?;
    let client = Client::new(target)?;
    runtime.block_on(async {
        tokio::select! {
            ended = command(&client) => ended,
            // Dropping the command closes its connection, which cancels a call in flight.
            _ = tokio::signal::ctrl_c() => Err(Complaint::silent(Exit::Interrupted)),
        }
    })
}

impl Client {
    pub(super) fn new(target: &Target) -> Result<Self, Complaint> {
        // Fails only if it is installed already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let builder =
            reqwest::Client::builder().connect_timeout(CONNECT).no_proxy().tcp_keepalive(KEEP_ALIVE);
        // A redirect would carry the token elsewhere.
        let builder = builder.redirect(reqwest::redirect::Policy::none());
        let (builder, base, place) = match &target.url {
            Some(url) => (builder, parse_url(url)?, url.clone()),
            None => {
                let socket = target.state()?.join("wharf.sock");
                let place = socket.display().to_string();
                (builder.unix_socket(socket), parse_url("http://localhost")?, place)
            }
        };
        let http = builder
            .build()
            .map_err(|error| Complaint::new(Exit::Failure, "no HTTP client").detail(words(&error)))?;
        Ok(Self { http, base, token: target.token.clone(), place })
    }

    /// The path of these segments under the host's address; each is escaped.
    pub(super) fn path(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Asks and reads the JSON of the answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, Complaint> {
        parse(&self.get_bytes(url).await?)
    }

    /// Asks and reads the answer as it is.
    pub(super) async fn get_bytes(&self, url: Url) -> Result<Vec<u8>, Complaint> {
        self.whole(self.send(Method::GET, url, None, Some(ANSWER)).await?).await
    }

    /// Posts JSON (none for `None`) and reads the answer as it is. Without a bound it waits for as long as the host does:
    /// a host that is gone closes the connection, or is found out by its keep-alive.
    pub(super) async fn post(
        &self,
        url: Url,
        body: Option<Vec<u8>>,
        bound: Option<Duration>,
    ) -> Result<Vec<u8>, Complaint> {
        self.whole(self.send(Method::POST, url, body, bound).await?).await
    }

    /// Opens an answer without an end. Its head has a bound.
    pub(super) async fn stream(&self, url: Url) -> Result<Response, Complaint> {
        self.stream_within(url, ANSWER).await
    }

    async fn stream_within(&self, url: Url, bound: Duration) -> Result<Response, Complaint> {
        let opened = tokio::time::timeout(bound, self.send(Method::GET, url, None, None)).await;
        opened.unwrap_or_else(|_| {
            let message = format!("the host at {} did not answer within {} s", self.place, bound.as_secs());
            Err(Complaint::new(Exit::Timeout, message))
        })
    }

    /// Asks for the connection itself, which from then on speaks `protocol`.
    pub(super) async fn upgrade(
        &self,
        url: Url,
        protocol: &'static str,
    ) -> Result<reqwest::Upgraded, Complaint> {
        let asked =
            self.http.get(url).header(header::CONNECTION, "upgrade").header(header::UPGRADE, protocol);
        let asked = self.token.iter().fold(asked, |asked, token| asked.bearer_auth(token));
        let opened = tokio::time::timeout(ANSWER, async {
            let response = asked.send().await.map_err(|error| self.unanswered(&error))?;
            let status = response.status().as_u16();
            if status == SWITCHING {
                return response.upgrade().await.map_err(|error| self.unanswered(&error));
            }
            Err(Complaint::of_problem(status, &self.whole(response).await?))
        });
        let late =
            |_| Err(Complaint::new(Exit::Timeout, format!("the host at {} did not answer", self.place)));
        opened.await.unwrap_or_else(late)
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<Vec<u8>>,
        bound: Option<Duration>,
    ) -> Result<Response, Complaint> {
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        }
        if let Some(bound) = bound {
            request = request.timeout(bound);
        }
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        Err(Complaint::of_problem(status, &self.whole(response).await?))
    }

    async fn whole(&self, mut response: Response) -> Result<Vec<u8>, Complaint> {
        let mut out = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unanswered(&error))? {
            out.extend_from_slice(&chunk);
            if out.len() > LONGEST {
                return Err(Complaint::new(
                    Exit::Failure,
                    format!("the answer is longer than {LONGEST} bytes"),
                ));
            }
        }
        Ok(out)
    }

    /// Says why there is no answer.
    pub(super) fn unanswered(&self, error: &reqwest::Error) -> Complaint {
        if error.is_connect() {
            return Complaint::new(Exit::NotRunning, format!("no wharf host answers at {}", self.place))
                .detail(words(error))
                .remedy("start one with `wharf up`, or name another with --state or --url");
        }
        let exit = if error.is_timeout() { Exit::Timeout } else { Exit::Failure };
        Complaint::new(exit, format!("the host at {} did not answer", self.place)).detail(words(error))
    }
}

/// Reads JSON of the host.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Complaint> {
    serde_json::from_slice(body).map_err(|error| {
        Complaint::new(Exit::Failure, "the host's answer is not what this program expects")
            .detail(error.to_string())
            .remedy("check that the host and this program are of the same version")
    })
}

fn parse_url(text: &str) -> Result<Url, Complaint> {
    let bad = |why: &str| {
        Complaint::new(Exit::Usage, format!("{text:?} is no address of a host: {why}"))
            .remedy("write it as http://127.0.0.1:7800")
    };
    let url = Url::parse(text).map_err(|error| bad(&error.to_string()))?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err(bad("neither http nor https")) }
}

/// An error with its causes, without the URL.
fn words(error: &reqwest::Error) -> String {
    let mut out = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !out.ends_with(&text) {
            out.push_str(if out.is_empty() { "" } else { ": " });
            out.push_str(&text);
        }
        cause = error.source();
    }
    if out.is_empty() { error.to_string() } else { out }
}

#[cfg(test)]
mod tests {
    use super::{Client, Exit, Target};

    fn client(url: &str) -> Client {
        Client::new(&Target { state: None, url: Some(url.into()), token: None }).unwrap()
    }

    #[test]
    fn names_are_escaped_in_paths() {
        let path = client("http://h:1/base/").path(&["api", "v1", "a/b?c", "ä"]);
        assert_eq!(path.as_str(), "http://h:1/base/api/v1/a%2Fb%3Fc/%C3%A4");
    }

    #[test]
    fn a_wrong_url_is_a_usage_error() {
        for url in ["", "localhost:7800", "ftp://x", "http://"] {
            let target = Target { state: None, url: Some(url.into()), token: None };
            assert_eq!(Client::new(&target).unwrap_err().exit, Exit::Usage, "{url}");
        }
    }

    #[tokio::test]
    async fn without_a_host_the_exit_code_says_so() {
        let state = tempfile::tempdir().unwrap();
        let target = Target { state: Some(state.path().into()), url: None, token: None };
        let client = Client::new(&target).unwrap();
        let complaint = client.get_bytes(client.path(&["x"])).await.unwrap_err();
        assert_eq!(complaint.exit, Exit::NotRunning, "{complaint:?}");
        assert!(complaint.remedy.unwrap().contains("wharf up"));
    }

    #[tokio::test]
    async fn a_host_that_takes_a_connection_and_says_nothing_is_given_up() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&format!("http://{}", silent.local_addr().unwrap()));
        let opened = client.stream_within(client.path(&["x"]), std::time::Duration::from_millis(50)).await;
        assert_eq!(opened.unwrap_err().exit, Exit::Timeout);
    }
}
