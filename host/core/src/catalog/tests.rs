//! Faces, collisions and owners, over small plugins.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::value::RawValue;
use wharf_plugin_api::Era;

use super::{Catalog, Collision, Face, Kind, Offer, Shelf, Tool};
use crate::hints::Hints;
use crate::id::PluginId;
use crate::names;

fn id(text: &str) -> PluginId {
    PluginId::new(text).unwrap()
}

fn raw(json: String) -> Arc<RawValue> {
    RawValue::from_string(json).unwrap().into()
}

/// A plugin in the group `g`, which lists these tools and other things.
fn offer(plugin: &str, namespace: &str, tools: &[&str], others: &[(Kind, &str)]) -> Offer {
    let tool = |name: &&str| {
        Arc::new(Tool {
            plugin: id(plugin),
            meter: Arc::default(),
            name: (*name).to_owned(),
            upstream: (*name).to_owned(),
            exposed: names::exposed(namespace, name),
            description: None,
            definition: raw(format!("{{ \"name\":{name:?}, \"x\":1.0}}")),
            hints: Hints::default(),
            made: crate::catalog::Made::default(),
        })
    };
    let other = |(kind, key): &(Kind, &str)| (*kind, raw(format!("{{\"{}\" : {key:?}}}", kind.key())));
    Offer {
        plugin: id(plugin),
        groups: BTreeSet::from(["g".into()]),
        namespace: namespace.to_owned(),
        era: Era::Legacy,
        tools: tools.iter().map(tool).collect(),
        others: others.iter().map(other).collect(),
    }
}

fn keys(shelf: &Shelf, kind: Kind) -> Vec<&str> {
    shelf.items(kind).iter().map(|item| item.key.as_str()).collect()
}

fn all(catalog: &Catalog) -> &Shelf {
    catalog.shelf(&Face::All).unwrap()
}

fn owner(shelf: &Shelf, uri: &str) -> Option<(String, String)> {
    shelf.owner_of_uri(uri).map(|owner| (owner.plugin.to_string(), owner.uri))
}

fn some(plugin: &str, uri: &str) -> Option<(String, String)> {
    Some((plugin.to_owned(), uri.to_owned()))
}

#[test]
fn names_are_exposed_where_several_are_seen_and_own_where_one_is() {
    let catalog =
        Catalog::new(1, &[offer("a", "a", &["t"], &[(Kind::Prompt, "p"), (Kind::Resource, "u://1")])]);
    for face in [Face::All, Face::Group("g".into())] {
        let shelf = catalog.shelf(&face).unwrap();
        assert_eq!(keys(shelf, Kind::Tool), ["a__t"]);
        assert_eq!(keys(shelf, Kind::Prompt), ["a__p"]);
        assert_eq!(keys(shelf, Kind::Resource), ["u://1"]);
        let item = shelf.find(Kind::Prompt, "a__p").unwrap();
        assert_eq!((item.upstream.as_str(), item.definition.get()), ("p", "{\"name\" : \"a__p\"}"));
    }
    let own = catalog.shelf(&Face::Plugin(id("a"))).unwrap();
    assert_eq!((keys(own, Kind::Tool), keys(own, Kind::Prompt)), (vec!["t"], vec!["p"]));
    assert_eq!(own.find(Kind::Tool, "t").unwrap().definition.get(), "{ \"name\":\"t\", \"x\":1.0}");
}

#[test]
fn two_faces_share_the_bytes() {
    let catalog = Catalog::new(1, &[offer("a", "a", &["t"], &[(Kind::Resource, "u://1")])]);
    let of = |face: &Face, kind| Arc::clone(&catalog.shelf(face).unwrap().items(kind)[0]);
    let (group, own) = (Face::Group("g".into()), Face::Plugin(id("a")));
    assert!(Arc::ptr_eq(&of(&Face::All, Kind::Tool), &of(&group, Kind::Tool)));
    assert!(Arc::ptr_eq(&of(&Face::All, Kind::Resource), &of(&own, Kind::Resource)));
}

#[test]
fn one_name_of_two_plugins_is_offered_for_none_and_told() {
    let prompts = [(Kind::Prompt, "z__p"), (Kind::Prompt, "fine")];
    let catalog = Catalog::new(
        1,
        &[
            offer("a", "", &["x__t", "only"], &prompts),
            offer("b", "x", &["t"], &[]),
            offer("c", "z", &[], &[(Kind::Prompt, "p")]),
        ],
    );
    assert_eq!(keys(all(&catalog), Kind::Tool), ["only"]);
    assert_eq!(keys(all(&catalog), Kind::Prompt), ["fine"]);
    assert!(all(&catalog).find(Kind::Tool, "x__t").is_none());
    let expected = [
        Collision { kind: Kind::Tool, key: "x__t".into(), plugins: vec![id("a"), id("b")] },
        Collision { kind: Kind::Prompt, key: "z__p".into(), plugins: vec![id("a"), id("c")] },
    ];
    assert_eq!(catalog.collisions(), expected);
    // Each plugin's own face, and a call by plugin and name, know it all the same.
    assert_eq!(keys(catalog.shelf(&Face::Plugin(id("b"))).unwrap(), Kind::Tool), ["t"]);
    assert!(catalog.tool("b", "t").is_some());
}

#[test]
fn one_uri_of_two_plugins_is_offered_for_both_behind_their_ids() {
    let lists =
        |plugin| offer(plugin, plugin, &[], &[(Kind::Resource, "u://1"), (Kind::Template, "u://{n}/x")]);
    let catalog =
        Catalog::new(1, &[lists("a_a"), lists("b"), offer("c", "c", &[], &[(Kind::Resource, "u://2")])]);
    let shelf = all(&catalog);
    assert_eq!(keys(shelf, Kind::Resource), ["a.a+u://1", "b+u://1", "u://2"]);
    assert_eq!(shelf.items(Kind::Resource)[0].definition.get(), "{\"uri\" : \"a.a+u://1\"}");
    assert_eq!(owner(shelf, "b+u://1"), some("b", "u://1"));
    assert_eq!(owner(shelf, "a.a+u://7/x"), some("a_a", "u://7/x"));
    assert_eq!(owner(shelf, "u://1"), None, "it would be either");
    assert_eq!(owner(shelf, "u://2"), some("c", "u://2"));
    for (plugin, uri, seen) in [
        ("b", "u://1", "b+u://1"),
        ("b", "u://7/x", "b+u://7/x"),
        ("c", "u://2", "u://2"),
        ("b", "v://3", "v://3"),
    ] {
        assert_eq!(shelf.uri_as_seen(&id(plugin), uri), seen);
    }
    assert_eq!(catalog.collisions().len(), 2);
    let own = catalog.shelf(&Face::Plugin(id("b"))).unwrap();
    assert_eq!(
        (owner(own, "u://1"), own.uri_as_seen(&id("b"), "u://1")),
        (some("b", "u://1"), "u://1".into())
    );
    // The other one leaves: what a client kept still leads there.
    let alone = Catalog::new(2, &[lists("b"), offer("c", "c", &[], &[(Kind::Resource, "u://2")])]);
    assert_eq!(owner(all(&alone), "b+u://1"), some("b", "u://1"));
}

#[test]
fn what_another_is_called_when_it_is_kept_apart_cannot_be_taken_from_it() {
    let catalog = Catalog::new(
        1,
        &[
            offer("a", "a", &[], &[(Kind::Resource, "u://1"), (Kind::Resource, "b+u://1")]),
            offer("b", "b", &[], &[(Kind::Resource, "u://1")]),
        ],
    );
    assert_eq!(keys(all(&catalog), Kind::Resource), ["a+u://1", "b+u://1"]);
    assert_eq!(owner(all(&catalog), "b+u://1"), some("b", "u://1"));
    assert_eq!(catalog.collisions().len(), 2);
}

#[test]
fn an_app_that_is_kept_apart_is_named_so_by_its_tool() {
    let mut one = offer("a", "a", &["t"], &[(Kind::Resource, "ui://page")]);
    let definition = r#"{"name":"t","_meta":{"x":1.0,"ui":{"resourceUri":"ui://page","k":[ ]}}}"#;
    one.tools = vec![Arc::new(Tool {
        plugin: id("a"),
        meter: Arc::default(),
        name: "t".into(),
        upstream: "t".into(),
        exposed: "a__t".into(),
        description: None,
        definition: raw(definition.to_owned()),
        hints: Hints::default(),
        made: crate::catalog::Made::default(),
    })];
    let catalog = Catalog::new(1, &[one, offer("b", "b", &[], &[(Kind::Resource, "ui://page")])]);
    let expected = definition.replace("ui://page", "ui://a+page").replace("\"t\"", "\"a__t\"");
    assert_eq!(all(&catalog).items(Kind::Tool)[0].definition.get(), expected);
    let own = catalog.shelf(&Face::Plugin(id("a"))).unwrap();
    assert_eq!(own.items(Kind::Tool)[0].definition.get(), definition);
}

#[test]
fn the_template_that_says_most_counts_and_equal_ones_do_not() {
    let template = |plugin, template| offer(plugin, plugin, &[], &[(Kind::Template, template)]);
    let catalog = Catalog::new(
        1,
        &[template("a", "f:///{+any}"), template("b", "f:///logs/{n}"), template("c", "f:///logs/{+m}")],
    );
    assert_eq!(owner(all(&catalog), "f:///x/y"), some("a", "f:///x/y"));
    assert_eq!(owner(all(&catalog), "f:///logs/1"), None);
    assert_eq!(owner(all(&catalog), "f:///logs/1/2"), some("c", "f:///logs/1/2"));
}

#[test]
fn the_only_plugin_with_resources_gets_what_nobody_lists() {
    let one = [offer("a", "a", &["t"], &[]), offer("b", "b", &[], &[(Kind::Resource, "u://1")])];
    assert_eq!(owner(all(&Catalog::new(1, &one)), "u://new"), some("b", "u://new"));
    let none = [offer("a", "a", &["t"], &[]), offer("b", "b", &[], &[])];
    assert_eq!(owner(all(&Catalog::new(1, &none)), "u://new"), None);
    let single = [offer("a", "a", &["t"], &[])];
    assert_eq!(owner(all(&Catalog::new(1, &single)), "u://new"), some("a", "u://new"));
}

#[test]
fn a_thing_listed_twice_by_one_plugin_is_there_once() {
    let twice = offer("a", "a", &[], &[(Kind::Prompt, "p"), (Kind::Prompt, "p"), (Kind::Resource, "p")]);
    let catalog = Catalog::new(1, &[twice]);
    assert_eq!(keys(all(&catalog), Kind::Prompt), ["a__p"]);
    assert!(catalog.collisions().is_empty());
}

proptest! {
    /// Few names and namespaces, so that they collide.
    #[test]
    fn every_key_leads_to_one_entry_and_nothing_is_lost_without_a_word(
        plugins in prop::collection::vec(
            ("[ab_]{0,2}", prop::collection::btree_set("[ab_]{1,3}", 0..6), prop::collection::btree_set("[ab]{1,2}", 0..4)),
            0..5,
        ),
    ) {
        let offers: Vec<Offer> = plugins.iter().enumerate().map(|(n, (namespace, tools, uris))| {
            let tools: Vec<&str> = tools.iter().map(String::as_str).collect();
            let uris: Vec<_> = uris.iter().map(|uri| (Kind::Resource, uri.as_str())).collect();
            offer(&format!("p{n}"), namespace, &tools, &uris)
        }).collect();
        let catalog = Catalog::new(1, &offers);
        let shelf = all(&catalog);
        for kind in Kind::ALL {
            let mut seen = BTreeSet::new();
            for item in shelf.items(kind) {
                prop_assert!(seen.insert(&item.key), "{} stands twice", item.key);
                prop_assert!(Arc::ptr_eq(shelf.find(kind, &item.key).unwrap(), item));
            }
        }
        for tool in catalog.tools() {
            let told = catalog.collisions().iter().any(|one| {
                one.kind == Kind::Tool && one.key == tool.exposed && one.plugins.contains(&tool.plugin)
            });
            prop_assert_eq!(shelf.find(Kind::Tool, &tool.exposed).is_none(), told);
        }
        let listed: usize = offers.iter().map(|offer| offer.others.len()).sum();
        prop_assert_eq!(shelf.items(Kind::Resource).len(), listed, "each resource has a URI of its own");
        for item in shelf.items(Kind::Resource) {
            prop_assert_eq!(owner(shelf, &item.key), some(item.plugin.as_str(), &item.upstream));
            prop_assert_eq!(shelf.uri_as_seen(&item.plugin, &item.upstream), item.key.as_str());
        }
    }
}

#[test]
fn a_link_says_who_has_what_no_list_does_and_nothing_else() {
    let lists = |plugin, uri| offer(plugin, plugin, &[], &[(Kind::Resource, uri)]);
    let catalog = Catalog::new(1, &[lists("a", "u://a"), lists("b", "u://b"), offer("c", "c", &["t"], &[])]);
    let shelf = all(&catalog);
    let linked =
        |uri, plugin| shelf.owner_of_linked(uri, Some(&id(plugin))).map(|owner| owner.plugin.to_string());
    assert_eq!(owner(shelf, "u://x"), None);
    assert_eq!(linked("u://x", "b").as_deref(), Some("b"));
    assert_eq!(linked("u://x", "c").as_deref(), Some("c"), "it need not list anything");
    assert_eq!(linked("u://a", "b").as_deref(), Some("a"), "who lists it has it");
    assert_eq!(linked("u://x", "gone"), None);
    let alone = Catalog::new(1, &[lists("a", "u://a"), offer("c", "c", &["t"], &[])]);
    assert_eq!(owner(all(&alone), "u://x"), some("a", "u://x"));
    let linked = all(&alone).owner_of_linked("u://x", Some(&id("c")));
    assert_eq!(linked.map(|owner| owner.plugin.to_string()).as_deref(), Some("c"));
}
