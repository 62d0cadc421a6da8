//! Instances of single sessions, over a scripted plugin.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use wharf_core::Generation;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::{Isolation, Manifest};
use wharf_plugin_api::{Caller, Client, Reply, Request};

use crate::plugin::own::{Crowded, Lane, MOST, Own};
use crate::plugin::testkit::{Kit, Script, manifest, notification, raw, setup};
use crate::plugin::visit::{Ask, Visit};

fn apart() -> Manifest {
    Manifest { isolation: Isolation::Session, ..manifest("p") }
}

async fn kit() -> Kit {
    let kit = Kit::new(Script::default(), apart());
    kit.ready().await;
    kit
}

fn join(kit: &Kit, session: &str) -> (Arc<Visit>, mpsc::Receiver<Ask>) {
    let capabilities: Arc<RawValue> = raw(r#"{"sampling":{}}"#).into();
    let (asks, asked) = mpsc::channel(1);
    let client = Arc::new(Client { capabilities, ..Client::default() });
    (kit.services.visits.join(session.into(), client, asks), asked)
}

fn caller(session: &str) -> Caller {
    Caller { session: Some(session.into()), ..Caller::new("test") }
}

fn own(kit: &Kit, session: &str) -> Arc<Own> {
    match kit.plugin.lane(&caller(session)).unwrap() {
        Lane::Own(own) => own,
        Lane::Shared => panic!("it shares"),
    }
}

async fn serves(kit: &Kit, own: &Own) {
    kit.until("its own serves", |_| own.handle.now().link.is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_has_one_instance_which_ends_with_it() {
    let kit = kit().await;
    let (visit, _asked) = join(&kit, "s1-and-its-secret");
    let first = own(&kit, "s1-and-its-secret");
    assert!(Arc::ptr_eq(&first, &own(&kit, "s1-and-its-secret")), "begun once");
    serves(&kit, &first).await;
    assert_eq!((kit.openings(), first.handle.n.0), (2, 1000));
    let client = kit.script.launches.lock().unwrap()[1].client.clone();
    assert!(Arc::ptr_eq(&client.unwrap(), &visit.client));
    assert!(kit.script.launches.lock().unwrap()[0].client.is_none());
    assert_eq!(visit.short(), "s1-and-i");
    kit.services.visits.leave(&visit);
    kit.until("forgotten", |plugin| plugin.owned().is_empty()).await;
    assert_eq!(kit.script.alive.load(Ordering::SeqCst), 1, "the shared one");
    assert!(matches!(kit.plugin.lane(&caller("s1-and-its-secret")), Ok(Lane::Shared)));
}

#[tokio::test(start_paused = true)]
async fn those_without_a_session_share() {
    let kit = kit().await;
    assert!(matches!(kit.plugin.lane(&Caller::new("test")), Ok(Lane::Shared)));
    assert!(matches!(kit.plugin.lane(&caller("unknown")), Ok(Lane::Shared)));
    let shared = Kit::new(Script::default(), manifest("p"));
    shared.ready().await;
    let (_visit, _asked) = join(&shared, "s");
    assert!(matches!(shared.plugin.lane(&caller("s")), Ok(Lane::Shared)));
    assert_eq!((kit.openings(), shared.openings()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn it_is_restarted_and_its_end_is_not_the_plugins() {
    let kit = kit().await;
    let (_visit, _asked) = join(&kit, "s");
    let own = own(&kit, "s");
    serves(&kit, &own).await;
    // The newest connection is its.
    kit.script.crash();
    kit.until("down", |_| own.handle.now().link.is_none()).await;
    assert_eq!(kit.plugin.state(), State::Ready);
    serves(&kit, &own).await;
    assert_eq!(own.handle.now().generation, Generation(2));
    assert_eq!(kit.plugin.best().unwrap().generation, Generation(1));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_bound_and_a_place_is_free_again() {
    let kit = kit().await;
    let visits: Vec<_> = (0..=MOST).map(|n| join(&kit, &format!("s{n}"))).collect();
    for n in 0..MOST {
        own(&kit, &format!("s{n}"));
    }
    let one_more = caller(&format!("s{MOST}"));
    assert_eq!(kit.plugin.lane(&one_more).unwrap_err(), Crowded);
    kit.services.visits.leave(&visits[5].0);
    kit.until("room", |plugin| plugin.owned().len() < MOST).await;
    assert_eq!(own(&kit, &format!("s{MOST}")).handle.n.0, 1005, "the number is free again");
}

#[tokio::test(start_paused = true)]
async fn operators_and_manifests_mean_them_too() {
    let kit = kit().await;
    let (_visit, _asked) = join(&kit, "s");
    let own = own(&kit, "s");
    serves(&kit, &own).await;
    kit.plugin.operate(&Event::Stop).await;
    kit.until("stopped", |_| own.handle.now().state == State::Stopped).await;
    let (_other, _other_asked) = join(&kit, "other");
    assert!(matches!(kit.plugin.lane(&caller("other")), Ok(Lane::Shared)), "what is stopped begins nothing");
    kit.plugin.operate(&Event::Start).await;
    serves(&kit, &own).await;
    kit.plugin.configure(&setup(&kit.script, manifest("p")), true, &[]);
    kit.until("shared", |plugin| plugin.owned().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_of_them_is_left_when_the_plugin_goes() {
    let script = Script { slow_close: Some(Duration::from_secs(5)), ..Script::default() };
    let kit = Kit::new(script, apart());
    kit.ready().await;
    let (_visit, _asked) = join(&kit, "s");
    serves(&kit, &own(&kit, "s")).await;
    kit.plugin.retire("its manifest was removed");
    assert!(matches!(kit.plugin.lane(&caller("s")), Ok(Lane::Own(_) | Lane::Shared)));
    kit.plugin.gone().wait_for(|gone| *gone).await.unwrap();
    assert_eq!(kit.script.alive.load(Ordering::SeqCst), 0);
    assert!(matches!(kit.plugin.lane(&caller("s")), Ok(Lane::Shared)));
    assert_eq!(kit.services.tasks.end(Duration::from_secs(60)).await, 0, "a task is left");
}

#[tokio::test(start_paused = true)]
async fn what_it_asks_and_says_goes_to_its_session() {
    let kit = kit().await;
    let (_visit, mut asked) = join(&kit, "s");
    serves(&kit, &own(&kit, "s")).await;
    let inboxes = kit.script.inboxes.lock().unwrap().clone();
    let asking = inboxes[1].ask(Request::bare("sampling/createMessage"));
    let answering = async {
        let ask = asked.recv().await.unwrap();
        ask.reply.send(Reply::Result(raw("{\"a\":1}"))).unwrap();
    };
    let (reply, ()) = tokio::join!(asking, answering);
    assert!(matches!(reply.unwrap(), Reply::Result(result) if result.get() == "{\"a\":1}"));
    for (inbox, method) in [(1, "roots/list"), (1, "unheard/of"), (0, "sampling/createMessage")] {
        let reply = inboxes[inbox].ask(Request::bare(method)).await.unwrap();
        assert!(matches!(reply, Reply::Error(_)), "{method}");
    }
    let mut notices = kit.services.notices.listen();
    inboxes[1].event(notification("notifications/message", &json!({"level": "info"})));
    inboxes[0].event(notification("notifications/message", &json!({"level": "info"})));
    assert_eq!(notices.recv().await.unwrap().session.as_deref(), Some("s"));
    assert_eq!(notices.recv().await.unwrap().session, None);
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_with_the_session() {
    let kit = kit().await;
    let (visit, mut asked) = join(&kit, "s");
    serves(&kit, &own(&kit, "s")).await;
    let inbox = Arc::clone(&kit.script.inboxes.lock().unwrap()[1]);
    let asking = inbox.ask(Request::bare("sampling/createMessage"));
    let leaving = async {
        let held = asked.recv().await.unwrap();
        kit.services.visits.leave(&visit);
        held
    };
    let (reply, _held) = tokio::join!(asking, leaving);
    assert!(matches!(reply.unwrap(), Reply::Error(_)));
}

#[tokio::test(start_paused = true)]
async fn its_lists_are_nobodys() {
    let kit = kit().await;
    let before = kit.plugin.proof().unwrap();
    let (_visit, _asked) = join(&kit, "s");
    let own = own(&kit, "s");
    serves(&kit, &own).await;
    let listings = kit.script.listings.load(Ordering::SeqCst);
    let inbox = Arc::clone(&kit.script.inboxes.lock().unwrap()[1]);
    inbox.event(notification("notifications/tools/list_changed", &json!({})));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(kit.script.listings.load(Ordering::SeqCst), listings);
    assert!(Arc::ptr_eq(&kit.plugin.proof().unwrap(), &before));
}
