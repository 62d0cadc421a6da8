use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use wharf_core::manifest::{ByteSize, Kind, Late, Limits, Manifest, Template};
use wharf_plugin_api::{CauseKind, Inbox, Launch, Plugin};

use super::{Command, Common, External};
use crate::plugin::Services;
use crate::plugin::inbox::GenerationInbox;
use crate::plugin::testkit::manifest;
use crate::process::Machine;
use crate::process::logs::LogBook;
use crate::tasks::Tasks;

/// Its program does not exist: nothing is ever started.
fn external(dir: &std::path::Path) -> External {
    let manifest: Manifest = manifest("p");
    let Kind::Command(command) = manifest.kind.clone() else { panic!("no command") };
    let command = Command { argv: vec![Template::text("/no/such/program")], ..command };
    let common = Common {
        services: Arc::new(Services::new(Tasks::default(), std::env::temp_dir(), Machine::bare())),
        label: "p".into(),
        log: Arc::new(LogBook::new(dir.to_owned(), "p", Vec::new())),
        manifest: Arc::new(manifest),
    };
    External { common, command }
}

fn launch(within: Duration) -> Launch {
    Launch {
        instance: 0,
        replica: 0,
        generation: 2,
        deadline: (Instant::now() + within).into_std(),
        client: None,
    }
}

fn inbox() -> Arc<GenerationInbox> {
    GenerationInbox::new(Arc::new(Notify::new())).0
}

#[tokio::test]
async fn a_program_that_was_replaced_is_another_server() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("server");
    let install = |text: &str| {
        std::fs::write(&program, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
    };
    install("#!/bin/sh\n");
    let mut external = external(dir.path());
    external.command.argv = vec![Template::text(program.to_str().unwrap())];
    let first = external.fingerprint().await;
    assert_eq!(external.fingerprint().await, first);
    install("#!/bin/sh\n# longer\n");
    let second = external.fingerprint().await;
    assert_ne!(second, first, "by its size");
    let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1);
    std::fs::File::options().write(true).open(&program).unwrap().set_modified(long_ago).unwrap();
    assert_ne!(external.fingerprint().await, second, "by its time");
}

#[tokio::test]
async fn nothing_starts_while_the_last_tree_lives() {
    let dir = tempfile::tempdir().unwrap();
    let external = external(dir.path());
    let last = external.common.services.places.take(&external.common.label, 0).await;
    let cause = external.open(launch(Duration::ZERO), inbox()).await.err().unwrap();
    assert!(cause.kind == CauseKind::StartTimeout && cause.detail.contains("does not end"), "{cause}");
    let unwanted = inbox();
    unwanted.cancel();
    let cause = external.open(launch(Duration::from_secs(60)), unwanted).await.err().unwrap();
    assert_eq!(cause.kind, CauseKind::Requested);
    drop(last);
    let cause = external.open(launch(Duration::from_secs(60)), inbox()).await.err().unwrap();
    assert_eq!(cause.kind, CauseKind::NotFound, "its turn has come");
}

#[tokio::test]
async fn an_opening_goes_on_though_nobody_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let external = external(dir.path());
    let last = external.common.services.places.take(&external.common.label, 0).await;
    let inbox = inbox();
    let mut opening = external.open(launch(Duration::from_secs(60)), Arc::clone(&inbox) as Arc<dyn Inbox>);
    assert!(opening.as_mut().now_or_never().is_none());
    drop(opening);
    assert!(Arc::strong_count(&inbox) > 1, "its task has it still");
    inbox.cancel();
    assert_eq!(external.common.services.tasks.end(Duration::from_secs(30)).await, 0, "and ends it");
    drop(last);
}

#[test]
fn the_machine_is_looked_at_off_the_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let external = external(dir.path());
        // While the only other thread is held up, an answer could only come from this one.
        let (go_on, held) = std::sync::mpsc::channel::<()>();
        let busy = external.common.services.tasks.blocking(move || held.recv().is_ok());
        let launch = launch(Duration::from_secs(30));
        let mut look = Box::pin(external.look(&launch));
        assert!(look.as_mut().now_or_never().is_none());
        go_on.send(()).unwrap();
        assert_eq!(look.await.unwrap_err().kind, CauseKind::NotFound);
        assert!(busy.await.unwrap());
    });
}

#[tokio::test]
async fn a_limit_of_memory_bounds_the_heap_of_node_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut external = external(dir.path());
    let options = |external: &External| {
        let spec = external.spec(dir.path().to_owned(), &launch(Duration::ZERO), Late::default());
        spec.env.into_iter().find(|(name, _)| name == "NODE_OPTIONS").map(|(_, value)| value)
    };
    assert_eq!(options(&external), None);
    let limits = Limits { memory: Some(ByteSize::mib(400)), ..Limits::default() };
    external.common.manifest = Arc::new(Manifest { limits, ..manifest("p") });
    assert_eq!(options(&external).as_deref(), Some("--max-old-space-size=300"));
}

#[tokio::test]
async fn with_its_files_bounded_it_has_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let mut external = external(dir.path());
    let found = |external: &External| {
        let all = external.environment(Late::default());
        let own: Vec<_> =
            all.into_iter().filter(|(name, _)| name == "TMPDIR").map(|(_, value)| value).collect();
        assert!(own.len() < 2, "{own:?}");
        own.first().cloned()
    };
    let host_s = std::env::var("TMPDIR").ok();
    assert_eq!(found(&external), host_s);
    let mut manifest = (*external.common.manifest).clone();
    manifest.sandbox.fs = Some(wharf_core::manifest::Fs::default());
    external.common.manifest = Arc::new(manifest);
    assert_eq!(found(&external), Some(external.data_dir().join("tmp-0").to_str().unwrap().to_owned()));
    external.command.library = Some("/plugins/native.so".into());
    assert_eq!(external.sandbox().fs.unwrap().read, [std::path::Path::new("/plugins/native.so")]);
    external.command.env.push(("TMPDIR".to_owned(), Template::text("/elsewhere")));
    assert_eq!(found(&external).as_deref(), Some("/elsewhere"), "the manifest's word");
}
