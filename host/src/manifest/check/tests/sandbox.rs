//! `[sandbox]`: what is wrong, and what the host launches with.

use std::path::{Path, PathBuf};

use wharf_core::manifest::{Fs, Net, Sandbox, Seccomp, Strictness, Tcp};

use super::{manifest, report_in, told};

/// Each wrong in one way.
const BAD: &[(&str, &str)] = &[
    (
        "url = 'http://x/mcp'\n[sandbox]\nseccomp = 'strict'\n",
        "2:2 `sandbox` has no effect without `command`: nothing is launched for a remote server",
    ),
    (
        "url = 'http://x/mcp'\n[limits]\nmemory = '1MiB'\n",
        "3:1 `limits.memory` has no effect without `command`: nothing is launched for a remote server",
    ),
    (
        "command = 'x'\n[sandbox.fs]\nread = ['']\n",
        "3:9 this is no path: it is empty, or holds a NUL character",
    ),
    (
        "command = 'x'\n[sandbox.fs]\nwrite = ['a', \"b\\u0000\"]\n",
        "3:15 this is no path: it is empty, or holds a NUL character",
    ),
    (
        "command = 'x'\n[sandbox.fs]\nwrite = ['/a', '~/.npm']\n",
        "3:16 `~` is not expanded here / write \"${HOME}/.npm\"",
    ),
    ("command = 'x'\n[sandbox.fs]\nread = ['~']\n", "3:9 `~` is not expanded here / write \"${HOME}\""),
    (
        "command = 'x'\n[sandbox.fs]\nread = ['~you/x']\n",
        "3:9 `~` is not expanded here / write the path of that home",
    ),
    (
        "command = 'x'\n[sandbox.fs]\nread = ['/data/*/x']\n",
        "3:9 `*` is not expanded here / name the folder: all that lies below it belongs to it",
    ),
    (
        "command = 'x'\n[sandbox.fs]\nread = ['/data/${port}']\n",
        "3:9 `${port}` and `${replica}` are not known here: it is the same for all instances",
    ),
    (
        "command = 'x'\n[sandbox]\nnet = 'none'\ntcp = { connect = [443] }\n",
        "4:7 `tcp` has no effect beside this `net`: the plugin reaches no other machine / leave one of them out",
    ),
    (
        "command = 'x'\n[sandbox]\nnet = 'loopback'\ntcp = {}\n",
        "4:7 `tcp` has no effect beside this `net`: the plugin reaches no other machine / leave one of them out",
    ),
    (
        "command = 'x'\n[sandbox]\nseccomp = 'hard'\n",
        "3:11 `sandbox.seccomp` must be one of `default`, `strict`, `off`",
    ),
    (
        "command = 'x'\n[sandbox]\nnet = 'internet'\n",
        "3:7 `sandbox.net` must be one of `none`, `loopback`, `egress`",
    ),
    (
        "command = 'x'\n[sandbox.tcp]\nconnect = [70000]\n",
        "3:12 `sandbox.tcp.connect.0` must be at most 65535",
    ),
    (
        "command = 'x'\n[sandbox.fs]\nread = '/data'\n",
        "3:8 `sandbox.fs.read` must be a list, not a string / write it in brackets: [\"..\"]",
    ),
    (
        "command = 'x'\n[sandbox]\nno_new_priv = true\n",
        "3:1 unknown key `sandbox.no_new_priv` / did you mean `no_new_privs`?",
    ),
];

#[test]
fn each_bad_input_is_told_with_its_place() {
    for (text, expected) in BAD {
        assert_eq!(told(text), [*expected], "{text}");
    }
}

#[test]
fn without_it_the_defaults_hold() {
    let found = manifest("command = 'x'\n").sandbox;
    assert_eq!(found, Sandbox::default());
    assert_eq!(
        (found.seccomp, found.no_new_privs, found.containment),
        (Seccomp::Default, true, Strictness::BestEffort)
    );
    assert_eq!((found.fs, found.net, found.tcp), (None, None, None));
}

#[test]
fn paths_become_absolute_from_the_manifest_s_folder() {
    let dir = tempfile::tempdir().unwrap();
    let text = "command = 'x'\n[sandbox]\nseccomp = 'off'\nnet = 'egress'\ntcp = { bind = [0, 65535] }\n\
                [sandbox.fs]\nread = ['./in', '../up', '${env:TOKEN}/x', '/abs/./y']\nwrite = ['${data_dir}/cache', '${plugin_dir}']\n";
    let mut report = report_in(dir.path(), "p.toml", text, &super::context());
    let found = report.plugins.remove(0).manifest.unwrap().sandbox;
    let at = |path: &str| dir.path().join(path).components().collect::<PathBuf>();
    let Fs { read, write } = found.fs.unwrap();
    assert_eq!(read, [at("in"), dir.path().join("../up"), at("hush-hush/x"), "/abs/y".into()]);
    assert_eq!(write, [Path::new("/state/data/p/cache"), dir.path()]);
    assert_eq!(found.net, Some(Net::Egress));
    assert_eq!(found.tcp, Some(Tcp { connect: Vec::new(), bind: vec![0, 65535] }));
}
