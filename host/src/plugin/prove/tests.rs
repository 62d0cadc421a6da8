//! Lists that are too long, or never end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use wharf_plugin_api::{
    CallError, CauseKind, Full, Hello, Link, Notification, Reply, Request, Scope, async_trait,
};

use super::{MAX_ENTRIES, MAX_PAGES, Page, prove};

/// Lists tools as it is told.
struct Lister {
    hello: Hello,
    page: String,
    asked: AtomicUsize,
}

#[async_trait]
impl Link for Lister {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    async fn request(&self, _: Request, _: Arc<dyn Scope>) -> Result<Reply, CallError> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst);
        let page = self.page.replace("@N@", &n.to_string());
        Ok(Reply::Result(RawValue::from_string(page).unwrap()))
    }

    fn notify(&self, _: Notification) -> Result<(), Full> {
        Ok(())
    }

    async fn close(&self) {}
}

async fn proof(page: String) -> (Result<usize, (CauseKind, String)>, usize) {
    let hello = Hello {
        dialect: "fake",
        revision: "2025-11-25".to_owned(),
        server_info: None,
        capabilities: None,
        instructions: None,
    };
    let lister = Lister { hello, page, asked: AtomicUsize::new(0) };
    let proof = prove(&lister, Instant::now() + Duration::from_secs(60)).await;
    let outcome = proof.map(|proof| proof.tools.len()).map_err(|cause| (cause.kind, cause.detail));
    (outcome, lister.asked.into_inner())
}

#[tokio::test]
async fn a_list_that_never_ends_is_given_up() {
    let (outcome, asked) = proof(r#"{"tools":[{"name":"t@N@"}],"nextCursor":"c@N@"}"#.to_owned()).await;
    let (kind, detail) = outcome.unwrap_err();
    assert!(kind == CauseKind::ListFailed && detail.contains("100 pages"), "{detail}");
    assert_eq!(asked, MAX_PAGES);
}

#[tokio::test]
async fn a_page_of_too_many_is_refused_and_only_so_many_are_kept_of_it() {
    let many = |n: usize| format!(r#"{{"tools":[{{"name":"t0"}}{}]}}"#, r#",{"name":"x"}"#.repeat(n - 1));
    assert_eq!(proof(many(MAX_ENTRIES)).await.0, Ok(2), "of tools that share a name, one");
    let (outcome, asked) = proof(many(1_000_000)).await;
    assert!(outcome.unwrap_err().1.contains("1000 entries"));
    assert_eq!(asked, 1);
    let page: Page = serde_json::from_str(&many(1_000_000)).unwrap();
    assert_eq!(page.tools.unwrap().len(), MAX_ENTRIES + 1);
    assert!(serde_json::from_str::<Page>(&(many(MAX_ENTRIES + 5).replace("]}", ",}]}"))).is_err());
    let null: Page = serde_json::from_str(r#"{"tools":null}"#).unwrap();
    assert!(null.tools.is_none());
}
