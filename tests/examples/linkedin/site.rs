//! A fake of LinkedIn: pages in the shape of its own, which we wrote ourselves, and what it does to those who ask too much,
//! are not logged in, or come after it was built anew.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::{COOKIE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{Html, IntoResponse as _, Response};

/// The value of the cookie that it lets in.
pub(crate) const COOKIE_VALUE: &str = "AQEDAS-a-good-cookie";

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) cookie: String,
    pub(crate) at: Instant,
}

/// A running site. It ends with the test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Site {
    pub(crate) base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Site {
    #[expect(clippy::disallowed_methods, reason = "a test has no host whose tasks it could join")]
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let site = Self { base: format!("http://{address}"), ..Self::default() };
        let router = axum::Router::new().fallback(answer).with_state(site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        site
    }

    /// What it was asked at this path.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.all().into_iter().filter(|seen| seen.path == path).collect()
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.lock().expect("nothing panics with it").clone()
    }

    /// From the first request to the last.
    pub(crate) fn span(&self) -> Duration {
        let all = self.all();
        all.last().expect("it was asked").at - all[0].at
    }
}

async fn answer(State(site): State<Site>, uri: Uri, headers: HeaderMap) -> Response {
    let cookie = headers.get(COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let path = uri.path().to_owned();
    let logged_in = cookie == format!("li_at={COOKIE_VALUE}");
    let seen = Seen { path: path.clone(), cookie, at: Instant::now() };
    let times = {
        let mut all = site.seen.lock().expect("nothing panics with it");
        all.push(seen);
        all.iter().filter(|seen| seen.path == path).count()
    };
    if !logged_in {
        return redirect("/authwall?trk=gf");
    }
    match path.as_str() {
        "/in/ada" => Html(include_str!("pages/person.html")).into_response(),
        "/in/Ada" => redirect("/in/ada"),
        "/in/abroad" => redirect("http://localhost:9/in/ada"),
        "/in/wall" => Html(include_str!("pages/wall.html")).into_response(),
        "/in/changed" => Html(include_str!("pages/changed.html")).into_response(),
        "/in/robot" => StatusCode::from_u16(999).expect("LinkedIn's own").into_response(),
        "/in/busy" if times == 1 => too_many("1"),
        "/in/busy" => Html(include_str!("pages/person.html")).into_response(),
        "/in/flood" => too_many("0"),
        "/in/closed" => too_many("3600"),
        "/in/slow" if times % 2 == 1 => std::future::pending().await,
        "/in/slow" => Html(include_str!("pages/person.html")).into_response(),
        "/company/analytical-engines" => Html(include_str!("pages/company.html")).into_response(),
        "/jobs-guest/jobs/api/seeMoreJobPostings/search" => match uri.query() {
            Some("keywords=engines&location=London") => Html(include_str!("pages/jobs.html")).into_response(),
            _ => Html("<!DOCTYPE html>").into_response(),
        },
        "/jobs-guest/jobs/api/jobPosting/4001842" => Html(include_str!("pages/job.html")).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn redirect(to: &'static str) -> Response {
    (StatusCode::FOUND, [(LOCATION, to)]).into_response()
}

fn too_many(wait: &'static str) -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, wait)]).into_response()
}
