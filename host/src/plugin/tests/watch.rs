//! What clients want, told to scripted plugins of both eras.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::Isolation;
use wharf_plugin_api::Caller;

use crate::plugin::notice::Notice;
use crate::plugin::testkit::{Kit, Script, manifest, notification};
use crate::plugin::watch::{Want, Wanted};

const LEGACY: &str = r#"{"tools":{},"resources":{"subscribe":true},"logging":{}}"#;
const MODERN: &str = r#"{"tools":{"listChanged":true},"resources":{"subscribe":true}}"#;
pub(super) const MINUTE: Duration = Duration::from_secs(60);

fn legacy() -> Script {
    let script = Script { capabilities: Some(LEGACY), ..Script::default() };
    script.replies.lock().unwrap().extend([
        ("resources/list", Ok(r#"{"resources":[]}"#)),
        ("resources/templates/list", Ok(r#"{"resourceTemplates":[]}"#)),
    ]);
    script
}

pub(super) fn modern() -> Script {
    Script { revision: Some("2026-07-28"), capabilities: Some(MODERN), ..legacy() }
}

pub(super) async fn kit(script: Script) -> Kit {
    let kit = Kit::new(script, manifest("p"));
    kit.ready().await;
    kit
}

impl Kit {
    pub(super) fn want(&self, wanted: Wanted) -> Want {
        self.plugin.core.watch.want(wanted)
    }

    pub(super) fn resource(&self, uri: &str) -> Want {
        self.want(Wanted::Resource(uri.to_owned()))
    }

    pub(super) async fn told(&self) -> bool {
        self.plugin.core.watch.told(MINUTE).await
    }

    pub(super) fn wants(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.script.wants.lock().unwrap())
    }

    pub(super) fn listening(&self) -> usize {
        self.script.listening.load(Ordering::SeqCst)
    }

    /// Waits until the lists were read again because something may have changed before the first listen. Returns how often
    /// they were read.
    pub(super) async fn read_twice(&self) -> usize {
        self.comes("read twice", |kit| kit.script.listings.load(Ordering::SeqCst) == 2).await;
        tokio::time::sleep(MINUTE).await;
        let read = self.script.listings.load(Ordering::SeqCst);
        assert_eq!(read, 2, "and no more");
        read
    }

    /// Waits for something that nobody rings for.
    pub(super) async fn comes(&self, what: &str, mut there: impl FnMut(&Kit) -> bool) {
        let waiting = async {
            while !there(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(10 * MINUTE, waiting).await.is_ok(), "not {what}");
    }
}

pub(super) fn said(method: &str, params: Value) -> (String, Value) {
    (method.to_owned(), params)
}

#[tokio::test(start_paused = true)]
async fn a_legacy_plugin_is_told_the_union_and_no_more() {
    let kit = kit(legacy()).await;
    assert!(kit.told().await);
    assert_eq!(kit.wants(), [], "nothing is wanted");
    let one = kit.resource("u://1");
    let same = kit.resource("u://1");
    let _logs = (kit.want(Wanted::Logs(3)), kit.want(Wanted::Logs(1)));
    assert!(kit.told().await);
    assert_eq!(
        kit.wants(),
        [
            said("logging/setLevel", json!({"level": "info"})),
            said("resources/subscribe", json!({"uri": "u://1"}))
        ]
    );
    drop(one);
    assert!(kit.told().await);
    assert_eq!(kit.wants(), [], "one still wants it");
    drop(same);
    assert!(kit.told().await);
    assert_eq!(kit.wants(), [said("resources/unsubscribe", json!({"uri": "u://1"}))]);
}

#[tokio::test(start_paused = true)]
async fn a_level_never_makes_a_plugin_say_less_to_those_who_set_none() {
    let kit = kit(legacy()).await;
    let level = |name: &str| said("logging/setLevel", json!({ "level": name }));
    let errors = kit.want(Wanted::Logs(4));
    assert!(kit.told().await);
    assert_eq!(kit.wants(), [level("info")]);
    let all = kit.want(Wanted::Logs(0));
    assert!(kit.told().await);
    assert_eq!(kit.wants(), [level("debug")]);
    drop((errors, all));
    assert!(kit.told().await);
    assert_eq!(kit.wants(), [level("info")]);
}

#[tokio::test(start_paused = true)]
async fn what_is_wanted_is_told_again_after_a_restart() {
    let kit = kit(legacy()).await;
    let _want = kit.resource("u://1");
    assert!(kit.told().await);
    kit.wants();
    kit.script.crash();
    kit.until("down", |plugin| plugin.state() != State::Ready).await;
    kit.ready().await;
    assert!(kit.told().await);
    assert_eq!(kit.wants(), [said("resources/subscribe", json!({"uri": "u://1"}))]);
}

#[tokio::test(start_paused = true)]
async fn each_replica_is_told() {
    let script = legacy();
    let kit = Kit::new(script, wharf_core::manifest::Manifest { replicas: 2, ..manifest("p") });
    kit.until("both", |plugin| plugin.instances().iter().all(|i| i.now().state == State::Ready)).await;
    let _want = kit.resource("u://1");
    assert!(kit.told().await);
    assert_eq!(kit.wants().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_reaches_who_wants_it_and_nobody_else() {
    let script = legacy();
    script.refused.lock().unwrap().push("u://bad");
    let kit = kit(script).await;
    let (good, bad) = (kit.resource("u://good"), kit.resource("u://bad"));
    assert!(kit.told().await);
    assert!(good.refusal().is_none());
    assert_eq!(bad.refusal().unwrap().code, -32002);
}

#[tokio::test(start_paused = true)]
async fn one_subscription_that_is_never_answered_holds_up_no_other() {
    let script = legacy();
    script.unanswered.lock().unwrap().push("u://a");
    let kit = kit(script).await;
    let (silent, good) = (kit.resource("u://a"), kit.resource("u://b"));
    assert!(kit.told().await);
    assert!(good.refusal().is_none());
    assert!(silent.refusal().unwrap().message.contains("did not answer"));
    let asked = [
        said("resources/subscribe", json!({"uri": "u://a"})),
        said("resources/subscribe", json!({"uri": "u://b"})),
    ];
    assert_eq!(kit.wants(), asked);
    // Nor does one that is not taken back.
    drop((silent, good));
    assert!(kit.told().await);
    let _next = kit.resource("u://c");
    assert!(kit.told().await);
    assert_eq!(kit.wants().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_of_one_session_refuses_is_not_refused_to_others() {
    let script = legacy();
    let apart = wharf_core::manifest::Manifest { isolation: Isolation::Session, ..manifest("p") };
    let kit = Kit::new(script, apart);
    kit.ready().await;
    let want = kit.resource("u://1");
    assert!(kit.told().await);
    kit.wants();
    kit.script.refused.lock().unwrap().push("u://1");
    let (asks, _asked) = tokio::sync::mpsc::channel(1);
    let _visit = kit.services.visits.join("s".into(), Arc::default(), asks);
    let caller = Caller { session: Some("s".into()), ..Caller::new("test") };
    kit.plugin.lane(&caller).unwrap();
    kit.comes("told", |kit| !kit.script.wants.lock().unwrap().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(want.refusal().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_notification_that_is_too_large_for_all_is_told_in_the_log() {
    let kit = kit(modern()).await;
    let mut notices = kit.services.notices.listen();
    let inbox = Arc::clone(&kit.script.inboxes.lock().unwrap()[0]);
    let data = "x".repeat(crate::plugin::notice::LARGEST);
    inbox.event(notification("notifications/message", &json!({ "data": data })));
    inbox.event(notification("notifications/message", &json!({ "data": 1 })));
    let told = notices.recv().await.unwrap();
    assert_eq!(told.notification.params.as_ref().unwrap().get(), r#"{"data":1}"#);
    let lines = kit.plugin.core.log.tail(9);
    let dropped = lines.iter().filter(|line| line.text.contains("notifications/message was dropped"));
    assert_eq!(dropped.count(), 1, "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_offers_neither_is_asked_for_neither() {
    let kit = kit(Script::default()).await;
    let (resource, _logs) = (kit.resource("u://1"), kit.want(Wanted::Logs(0)));
    assert!(kit.told().await);
    assert_eq!(kit.wants(), []);
    assert!(resource.refusal().is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_has_reached_a_plugin_that_does_not_serve() {
    let kit = kit(legacy()).await;
    kit.plugin.operate(&Event::Stop).await;
    kit.until("stopped", |plugin| plugin.state() == State::Stopped).await;
    assert!(!kit.told().await);
}

#[tokio::test(start_paused = true)]
async fn a_listen_holds_up_neither_a_drain_nor_the_end() {
    let kit = kit(modern()).await;
    assert!(kit.told().await);
    kit.plugin.operate(&Event::Drain).await;
    kit.until("drained", |plugin| plugin.state() == State::Stopped).await;
    kit.comes("ended", |kit| kit.listening() == 0).await;
    kit.plugin.operate(&Event::Start).await;
    kit.ready().await;
    assert!(kit.told().await, "and it is listened to again");
    kit.plugin.retire("its manifest was removed");
    kit.plugin.gone().wait_for(|gone| *gone).await.unwrap();
    assert_eq!(kit.services.tasks.end(MINUTE).await, 0, "a task is left");
}

#[tokio::test(start_paused = true)]
async fn a_listen_has_no_deadline() {
    let kit = kit(modern()).await;
    assert!(kit.told().await);
    tokio::time::sleep(Duration::from_secs(30 * 24 * 3600)).await;
    assert_eq!((kit.listening(), kit.script.listens.lock().unwrap().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_says_outside_of_calls_is_told_without_our_marks() {
    let kit = kit(modern()).await;
    assert!(kit.told().await);
    let mut notices = kit.services.notices.listen();
    let scope = Arc::clone(&kit.script.listens.lock().unwrap()[0].scope);
    let mark = "io.modelcontextprotocol/subscriptionId";
    for (params, told) in [
        (json!({"_meta": {mark: 7}, "uri": "u://1"}), r#"{"uri":"u://1"}"#),
        (json!({"_meta": {mark: 7, "v": 1}, "uri": "u://1"}), r#"{"_meta":{"v":1},"uri":"u://1"}"#),
        (json!({"uri": "u://1"}), r#"{"uri":"u://1"}"#),
    ] {
        scope.event(notification("notifications/resources/updated", &params));
        let notice: Arc<Notice> = notices.recv().await.unwrap();
        assert_eq!((notice.plugin.as_str(), notice.session.as_deref()), ("p", None));
        assert_eq!(notice.notification.params.as_ref().unwrap().get(), told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_templates_with_any_error_has_none() {
    let script = legacy();
    script.replies.lock().unwrap().insert("resources/templates/list", Err(-32603));
    let kit = kit(script).await;
    assert!(kit.plugin.proof().unwrap().templates.is_empty());
    let broken = legacy();
    broken.replies.lock().unwrap().insert("resources/list", Err(-32603));
    let kit = Kit::new(broken, manifest("p"));
    kit.until("refused", |plugin| plugin.state() == State::Backoff).await;
}
