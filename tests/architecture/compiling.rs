//! What ships is compiled with a profile of running calls: `.cargo/rustc`, with a rustc that only says what it is given.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::root;

/// As cargo 1.95 gives it.
const LIBRARY: [&str; 4] = ["-C", "opt-level=3", "-C", "linker-plugin-lto"];
const EXECUTABLE: [&str; 4] = ["-C", "opt-level=3", "-C", "lto=fat"];

/// What the script at this path gives to rustc beside what it is given itself.
fn added(script: &Path, args: &[&str], collect: Option<&str>) -> Vec<String> {
    let mut command = Command::new(script);
    command.args(["printf", "%s\\n"]).args(args).env_remove("WHARF_PROFILE");
    command.envs(collect.map(|folder| ("WHARF_PROFILE", folder)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let given = String::from_utf8(output.stdout).unwrap();
    let mut given = given.lines();
    assert!(args.iter().all(|arg| given.next() == Some(*arg)), "not as they were given");
    given.map(str::to_owned).collect()
}

#[test]
fn what_ships_is_compiled_with_the_profile() {
    let script = root().join(".cargo/rustc");
    let profile = root().join(".cargo/calls.profdata");
    assert!(profile.is_file(), "no profile: .ci/profile makes it");
    for args in [LIBRARY, EXECUTABLE] {
        let wanted = [
            format!("-Cprofile-use={}", profile.display()),
            "-Cllvm-args=-no-pgo-warn-mismatch".to_owned(),
            "-Cllvm-args=-enable-split-machine-functions".to_owned(),
        ];
        assert_eq!(added(&script, &args, None), wanted);
    }
}

/// The script knows what ships by this; with another setting it would leave the profile out without a word.
#[test]
fn what_ships_is_what_the_script_takes_for_it() {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let release = &manifest["profile"]["release"];
    let known: toml::Table =
        "lto = 'fat'\ncodegen-units = 1\npanic = 'unwind'\nstrip = 'debuginfo'".parse().unwrap();
    assert_eq!(release.as_table(), Some(&known), "with other settings the profile has to be made anew");
    let config: toml::Table =
        std::fs::read_to_string(root().join(".cargo/config.toml")).unwrap().parse().unwrap();
    assert_eq!(config["build"]["rustc-wrapper"].as_str(), Some(".cargo/rustc"));
}

#[test]
fn other_builds_are_left_as_they_are() {
    let script = root().join(".cargo/rustc");
    let others: [&[&str]; 6] = [
        &["-vV"],
        &["-C", "embed-bitcode=no", "-C", "debuginfo=1"],
        &["-C", "opt-level=3", "-C", "debuginfo=1"],
        &["-C", "opt-level=s", "-C", "lto=fat"],
        &["-C", "opt-level=3", "-C", "lto=fat", "-Cprofile-use=of their own"],
        &["-C", "opt-level=3", "-C", "lto=fat", "-C", "instrument-coverage"],
    ];
    for args in others {
        for collect in [None, Some("/somewhere")] {
            assert!(added(&script, args, collect).is_empty(), "{args:?}");
        }
    }
}

/// A symbol has another name where a dependency is another one, or has other features, and the profile says nothing of it.
#[test]
fn the_profile_is_of_the_host_as_it_is_now() {
    let read = |name: &str| std::fs::read(root().join(name)).unwrap();
    let of_the_host = read(".cargo/calls.profdata").windows(6).filter(|window| window == b"5wharf").count();
    assert!(of_the_host > 500, "{of_the_host} functions: .ci/profile makes a profile");
    let made_for = String::from_utf8(read(".cargo/calls.made-for")).unwrap();
    let host = made_for.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let features = ["-p", "wharf", "-e", "normal,build", "--prefix", "none", "-f", "{lib} {f}"];
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--offline", "--target", host]).args(features).current_dir(root());
    let tree = tree.output().unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let features: BTreeSet<&str> = tree.lines().collect();
    let features: String = features.into_iter().map(|line| format!("{line}\n")).collect();
    for (what, bytes) in [("Cargo.lock", read("Cargo.lock")), ("features", features.into_bytes())] {
        let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
        let sum: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(made_for.contains(&sum), "made for another {what} than {sum}: .ci/profile makes it anew");
    }
}

/// A test is compiled with the paths of executables in variables that some shells take for none.
#[test]
fn variables_of_any_name_come_through() {
    let mut command = Command::new(root().join(".cargo/rustc"));
    let output = command.args(["env", "A=1"]).env("CARGO_BIN_EXE_a-b", "/a path").output().unwrap();
    let variables = String::from_utf8(output.stdout).unwrap();
    assert!(variables.lines().any(|line| line == "CARGO_BIN_EXE_a-b=/a path"), "{variables}");
}

#[test]
fn a_build_that_counts_gets_no_profile() {
    let script = root().join(".cargo/rustc");
    assert_eq!(added(&script, &EXECUTABLE, Some("/a folder")), ["-Cprofile-generate=/a folder"]);
}

#[test]
fn without_a_profile_all_is_compiled_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let script = home.path().join("rustc");
    std::os::unix::fs::symlink(root().join(".cargo/rustc"), &script).unwrap();
    assert!(added(&script, &EXECUTABLE, None).is_empty());
}
