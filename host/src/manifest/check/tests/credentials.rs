//! Headers that hold credentials: shown without anything of the secret, also where a manifest holds them as they are.

use wharf_core::manifest::Kind;

use super::manifest;

#[test]
fn only_the_word_of_a_known_scheme_is_shown() {
    let table = [
        ("Cookie", "sid=SECRET; theme=dark", "***"),
        ("X-Api-Key", "SECRET 2", "***"),
        ("Authorization", "SECRET 3", "***"),
        ("Authorization", "Bearer SECRET", "Bearer ***"),
        ("Authorization", "basic SECRET", "basic ***"),
        ("Proxy-Authorization", "Basic SECRET", "Basic ***"),
    ];
    for (name, value, shown) in table {
        let manifest = manifest(&format!("url = 'http://a/'\nheaders = {{ {name} = '{value}' }}\n"));
        let Kind::Remote(remote) = &manifest.kind else { panic!("no remote") };
        assert_eq!(remote.headers[0].1.to_string(), shown, "{name}: {value}");
    }
}
