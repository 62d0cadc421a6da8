//! Tests of `examples/linkedin`: the real server with the real SDK, in both dialects, against a site that we wrote.

use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::mcp::LEGACY;
use crate::support::servers::npm_example;
use crate::support::{Manifest, TestHost, eventually, procs};

pub(crate) mod site;

use site::{COOKIE_VALUE, Site};

/// The two manifests that people copy.
const BOTH: [&str; 2] = ["linkedin", "linkedin-sse-post"];

/// A host with these manifests of the example, as they are, in a folder that lies as `plugins/` does. Its environment says
/// where the site is and how slow to be.
fn setup(site: &Site, ids: &[&str], delay: &str) -> Setup {
    let folder = npm_example("linkedin");
    let setup = Setup::new().env("LINKEDIN_BASE_URL", &site.base).env("LINKEDIN_DELAY_MS", delay);
    let examples = folder.parent().expect("examples/linkedin").canonicalize().expect("it is there");
    symlink(examples, setup.plugins().join("../examples")).expect("a fresh folder");
    ids.iter()
        .fold(setup, |setup, id| setup.plugin(id, &Manifest::of_file(&folder.join(format!("{id}.toml")))))
}

async fn start(site: &Site, ids: &[&str]) -> TestHost {
    setup(site, ids, "1").env("LINKEDIN_COOKIE", COOKIE_VALUE).start().await
}

/// What the tool says that fails for this person.
async fn refusal(host: &TestHost, username: &str) -> String {
    let result = host.call("linkedin", "get_person_profile", json!({ "username": username })).await;
    assert_eq!(result["isError"], true, "{result}");
    text_of(&result).to_owned()
}

/// Each tool, what it is asked, and a part of what it answers.
fn questions() -> [(&'static str, Value, &'static str, Value); 5] {
    let engines = json!({ "company": "analytical-engines" });
    let search = json!({ "keywords": "engines", "location": "London" });
    [
        ("get_person_profile", json!({ "username": "Ada" }), "/experience/0/dates", json!("1842 - 1843")),
        ("get_company_profile", engines.clone(), "/industry", json!("Computer Hardware")),
        ("get_company_posts", engines, "/posts/0/reactions", json!(1842)),
        ("search_jobs", search, "/jobs/0/id", json!("4001842")),
        (
            "get_job_details",
            json!({ "job_id": "4001842" }),
            "/criteria",
            json!({"Employment type": "Full-time"}),
        ),
    ]
}

#[tokio::test]
async fn both_dialects_answer_every_tool_over_rest_and_mcp() {
    let site = Site::start().await;
    let host = start(&site, &BOTH).await;
    for id in BOTH {
        let view = host.until_state(id, "ready").await;
        let dialect = if id == "linkedin" { "http" } else { "sse-post" };
        assert_eq!((view["dialect"].as_str(), &view["tools"]), (Some(dialect), &json!(5)), "{view}");
        let session = host.session("/mcp", LEGACY).await;
        for (tool, arguments, place, expected) in questions() {
            let rest = host.post(&format!("/tools/{id}/{tool}"), &arguments).await.expect(200);
            assert_eq!(rest.pointer(place), Some(&expected), "{tool}: {rest}");
            let called = session.call(&format!("{id}__{tool}"), arguments).await;
            assert_eq!(called["structuredContent"], rest, "{called}");
        }
        let none = host.call(id, "search_jobs", json!({ "keywords": "unicorns" })).await;
        assert_eq!(
            none["structuredContent"],
            json!({ "jobs": [] }),
            "nothing found is no change of the page"
        );
        host.post(&format!("/tools/{id}/get_person_profile"), &json!({ "username": "../login" }))
            .await
            .problem(422, "invalid_arguments");
    }
    assert!(site.all().iter().all(|seen| seen.cookie == format!("li_at={COOKIE_VALUE}")));
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_calls_and_a_stopped_one_leaves_nothing() {
    let site = Site::start().await;
    let host = start(&site, &BOTH).await;
    for (asked, id) in [(1, "linkedin"), (3, "linkedin-sse-post")] {
        let old = host.pid_of(id).await;
        let slow = host.try_call(id, "get_person_profile", json!({ "username": "slow" }));
        let kill = async {
            eventually("the slow page to be asked for", async || match site.seen("/in/slow").len() {
                times if times == asked => Ok(()),
                times => Err(format!("{times} times")),
            })
            .await;
            procs::kill9(old);
        };
        let (answer, ()) = tokio::join!(slow, kill);
        let answer = answer.expect(200);
        assert_eq!(
            answer["result"]["structuredContent"]["name"], "Ada Example",
            "its tools only read: it was called again"
        );
        let new = host.until_back(id, old).await;
        assert_eq!(site.seen("/in/slow").len(), asked + 1);
        host.command(id, "stop").await;
        assert_eq!(host.plugin(id).await["state"], "stopped");
        assert!(procs::is_gone(old) && procs::is_gone(new));
    }
    let host_itself = format!("{}: ", host.pid());
    let left = procs::left(host.mark(), host.home());
    assert!(left.iter().all(|line| line.starts_with(&host_itself)), "{left:?}");
}

#[tokio::test]
async fn what_the_site_refuses_is_said_with_what_to_do() {
    let site = Site::start().await;
    let host = start(&site, &["linkedin"]).await;
    host.until_state("linkedin", "ready").await;
    let busy = host.call("linkedin", "get_person_profile", json!({ "username": "busy" })).await;
    assert_eq!(busy["structuredContent"]["name"], "Ada Example", "{busy}");
    let seen = site.seen("/in/busy");
    assert!(
        seen.len() == 2 && seen[1].at - seen[0].at >= Duration::from_millis(900),
        "it waits as it is told"
    );

    let flood = refusal(&host, "flood").await;
    assert!(flood.contains("429") && flood.contains("Try again in"), "{flood}");
    assert_eq!(site.seen("/in/flood").len(), 4, "it does not go on for ever");
    let closed = refusal(&host, "closed").await;
    assert!(closed.contains("Try again in 3600 s"), "{closed}");
    assert_eq!(site.seen("/in/closed").len(), 1, "it does not wait that long");

    let changed = refusal(&host, "changed").await;
    assert!(changed.contains("page of a person has changed") && changed.contains(".top-card-layout__title"));
    assert!(refusal(&host, "nobody").await.contains("no page /in/nobody"));
    assert!(refusal(&host, "robot").await.contains("robot (status 999)"));
    assert!(refusal(&host, "wall").await.contains("the cookie has expired"));
    let abroad = refusal(&host, "abroad").await;
    assert!(
        abroad.contains("redirects /in/abroad to http://localhost:9/in/ada; this is not followed"),
        "{abroad}"
    );
    assert_eq!(host.plugin("linkedin").await["restarts"], 0, "none of it is the server's fault");
}

#[tokio::test]
async fn an_expired_cookie_is_told_and_shown_nowhere() {
    let site = Site::start().await;
    let setup = setup(&site, &BOTH, "1").env("LINKEDIN_COOKIE", "AQEDAS-an-old-cookie");
    let host = setup.start().await;
    for id in BOTH {
        host.until_state(id, "ready").await;
        for (tool, arguments, ..) in questions() {
            let result = host.call(id, tool, arguments).await;
            assert_eq!(result["isError"], true, "{result}");
            let said = text_of(&result);
            assert!(
                said.contains("the cookie has expired") && said.contains("set LINKEDIN_COOKIE"),
                "{said}"
            );
            assert!(!said.contains("AQEDAS"), "{said}");
        }
        for path in [format!("/api/v1/plugins/{id}"), format!("/api/v1/plugins/{id}/logs")] {
            assert!(!host.get(&path).await.text().contains("AQEDAS"), "{path}");
        }
    }
    assert!(!host.said().contains("AQEDAS"));
}

#[tokio::test]
async fn requests_are_a_delay_apart_however_many_ask() {
    let site = Site::start().await;
    let host = setup(&site, &["linkedin"], "1000").env("LINKEDIN_COOKIE", COOKIE_VALUE).start().await;
    host.until_state("linkedin", "ready").await;
    let ask = || host.call("linkedin", "get_person_profile", json!({ "username": "ada" }));
    ask().await;
    tokio::join!(ask(), ask(), ask(), ask());
    assert_eq!(site.all().len(), 5);
    // Four delays lie between them; the first may have arrived a little late.
    assert!(site.span() >= Duration::from_millis(3500), "{:?}", site.span());
}

#[tokio::test]
async fn without_a_cookie_nothing_is_started() {
    let site = Site::start().await;
    let host = setup(&site, &BOTH, "1").start().await;
    for id in BOTH {
        let view = host.until_cause(id, "missing_variable").await;
        assert_eq!(view["state"], "misconfigured");
        assert!(view["cause"]["detail"].as_str().unwrap().contains("LINKEDIN_COOKIE"), "{view}");
    }
}

#[tokio::test]
async fn a_setting_that_cannot_be_meant_ends_it_for_good() {
    let site = Site::start().await;
    for (name, value) in [
        ("LINKEDIN_COOKIE", "AQEDAS-two\nlines"),
        ("LINKEDIN_BASE_URL", "linkedin"),
        ("LINKEDIN_DELAY_MS", "soon"),
    ] {
        let setup = setup(&site, &["linkedin"], "1").env("LINKEDIN_COOKIE", COOKIE_VALUE).env(name, value);
        let host = setup.start().await;
        host.until_cause("linkedin", "exited_for_good").await;
        let said = host.get("/api/v1/plugins/linkedin/logs").await.text();
        assert!(said.contains(&format!("{name} must be")) && !said.contains("AQEDAS"), "{said}");
    }
}
