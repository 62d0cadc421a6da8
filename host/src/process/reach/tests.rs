//! Installations of every shape, made of empty files and links.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use wharf_core::manifest::Fs;
use wharf_plugin_api::{Cause, CauseKind};

use super::{Asked, Found, find};
use crate::process::plan::Own;

/// A machine of its own: a home with the host's state in it.
struct World(tempfile::TempDir);

impl World {
    fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        for folder in ["home/.local/state/wharf/data/p", "plugins", "home/.local/bin", "home/bin"] {
            fs::create_dir_all(world.at(folder)).unwrap();
        }
        world
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(path)
    }

    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn link(&self, path: &str, to: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, &path).unwrap();
        path
    }

    fn asked(&self, program: &Path, cwd: &str, fs: &Fs) -> Result<Found, Cause> {
        self.with(program, &[], (cwd, None), fs)
    }

    /// A bundle, if it has a folder of its own.
    fn with(
        &self,
        program: &Path,
        args: &[&str],
        (cwd, own): (&str, Option<&str>),
        fs: &Fs,
    ) -> Result<Found, Cause> {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (plugin_dir, cwd) = (self.at(own.unwrap_or("plugins")), self.at(cwd));
        let data_dir = self.at("home/.local/state/wharf/data/p");
        let own = Own { program, cwd: &cwd, plugin_dir: &plugin_dir, data_dir: &data_dir };
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let env =
            [("HOME".to_owned(), text(self.at("home"))), ("PATH".to_owned(), text(self.at("nvm/v20/bin")))];
        find(&Asked {
            own,
            args: &args,
            bundle: plugin_dir != self.at("plugins"),
            env: &env,
            fs,
            instance: 0,
        })
    }

    /// What is readable because of a script that an interpreter of the system is started with.
    fn by(&self, program: &str, args: &[&str], cwd: &str) -> Vec<String> {
        let found = self.with(Path::new(program), args, (cwd, None), &Fs::default()).unwrap();
        self.below(&found.reach.read)
    }

    /// Those paths that lie below the world's folder.
    fn below(&self, paths: &[String]) -> Vec<String> {
        let root = format!("{}/", self.at("").display()).replace("//", "/");
        paths.iter().filter_map(|path| Some(path.strip_prefix(&root)?.to_owned())).collect()
    }

    /// What is readable because of the program, below the world's folder.
    fn of(&self, program: &Path) -> Vec<String> {
        let read = self.asked(program, "plugins", &Fs::default()).unwrap().reach.read;
        self.below(&read)
    }
}

#[test]
fn a_version_manager_s_node_brings_its_own_folder() {
    let world = World::new();
    let node = world.file("nvm/v20/bin/node", "\x7fELF");
    world.file("nvm/v20/lib/node_modules/npm/bin/npx-cli.js", "#!/usr/bin/env node\n");
    let npx = world.link("nvm/v20/bin/npx", "../lib/node_modules/npm/bin/npx-cli.js");
    assert_eq!(world.of(&node), ["nvm/v20"]);
    assert_eq!(world.of(&npx), ["nvm/v20", "nvm/v20/lib/node_modules"]);
}

#[test]
fn a_package_s_program_brings_all_packages_and_its_interpreter() {
    let world = World::new();
    world.file("nvm/v20/bin/node", "\x7fELF");
    world.file("app/node_modules/.pnpm/s@1/node_modules/s/cli.js", "#!/usr/bin/env -S node --flag\n");
    let program = world.link("app/node_modules/.bin/s", "../.pnpm/s@1/node_modules/s/cli.js");
    assert_eq!(world.of(&program), ["app/node_modules", "nvm/v20"]);
}

#[test]
fn an_environment_brings_the_python_it_was_made_from() {
    let world = World::new();
    world.file("pyenv/versions/3.11/bin/python3.11", "\x7fELF");
    world.file("venv/bin/python3", "\x7fELF a copy");
    let config = format!("home = {}\nversion = 3.11\n", world.at("pyenv/versions/3.11/bin").display());
    world.file("venv/pyvenv.cfg", &config);
    let console = format!("#!{}\n", world.at("venv/bin/python3").display());
    let server = world.file("venv/bin/server", &console);
    assert_eq!(world.of(&server), ["pyenv/versions/3.11", "venv"]);
    let python = world.at("venv/bin/python3");
    let long = format!("#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n", python.display());
    let server = world.file("other/a b/server", &long);
    assert_eq!(world.of(&server), ["other/a b/server", "pyenv/versions/3.11", "venv"]);
    world.file("pyenv/versions/3.11/bin/python3", "\x7fELF");
    world.link("home/.local/bin/tool", &format!("{}", world.at("venv/bin/server").display()));
    let tool = world.at("home/.local/bin/tool");
    fs::create_dir(world.at("home/.local/lib")).unwrap();
    assert_eq!(world.of(&tool), ["home/.local/bin", "home/.local/lib", "pyenv/versions/3.11", "venv"],);
}

#[test]
fn no_home_and_no_state_becomes_readable_as_a_whole() {
    let world = World::new();
    let program = world.file("home/bin/server", "\x7fELF");
    assert_eq!(world.of(&program), ["home/bin/server"]);
    let plain = world.file("home/downloads/server", "\x7fELF");
    assert_eq!(
        world.of(&plain),
        ["home/downloads/server"],
        "a file alone, outside of any folder of programs"
    );
    for cwd in ["home", "home/.local/state/wharf", ""] {
        let found = world.asked(&plain, cwd, &Fs::default()).unwrap();
        assert!(!found.reach.read.contains(&world.at(cwd).display().to_string()), "{cwd}");
        assert!(found.notes.iter().any(|note| note.contains("its working directory")), "{:?}", found.notes);
    }
    let data = world.at("home/.local/state/wharf/data/p");
    let found = world.asked(&plain, "plugins", &Fs::default()).unwrap();
    assert_eq!(found.reach.write, [data.to_str().unwrap()]);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn the_folder_for_temporary_files_is_new_whatever_was_put_in_its_place() {
    let world = World::new();
    let program = world.file("bin/server", "\x7fELF");
    let theirs = world.file("home/theirs/kept", "x");
    let tmp = world.at("home/.local/state/wharf/data/p/tmp-0");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    fs::set_permissions(theirs.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    let look = || {
        world.asked(&program, "plugins", &Fs::default()).unwrap();
        assert!(fs::symlink_metadata(&tmp).unwrap().is_dir());
        assert_eq!((mode(&tmp), mode(theirs.parent().unwrap())), (0o700, 0o755));
        assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    };
    look();
    fs::write(tmp.join("left"), "x").unwrap();
    symlink(theirs.parent().unwrap(), tmp.join("link")).unwrap();
    look();
    fs::remove_dir(&tmp).unwrap();
    symlink(theirs.parent().unwrap(), &tmp).unwrap();
    look();
    fs::remove_dir(&tmp).unwrap();
    fs::write(&tmp, "a file").unwrap();
    look();
    assert!(theirs.exists());
}

#[test]
fn what_is_not_there_is_told() {
    let world = World::new();
    let program = world.file("bin/server", "\x7fELF");
    let gone = world.at("gone");
    let read = Fs { read: vec![gone.clone()], write: Vec::new() };
    let found = world.asked(&program, "plugins", &read).unwrap();
    assert!(found.notes.iter().any(|note| note.contains("there is no") && note.contains("gone")));
    let write = Fs { read: Vec::new(), write: vec![gone] };
    let cause = world.asked(&program, "plugins", &write).unwrap_err();
    assert_eq!(cause.kind, CauseKind::MissingFile);
    assert!(cause.detail.contains("make it, or name the folder"), "{}", cause.detail);
}

#[test]
fn links_in_a_circle_end() {
    let world = World::new();
    let program = world.link("tools/a", "b");
    world.link("tools/b", "a");
    assert_eq!(world.of(&program), [""; 0]);
}

#[test]
fn a_link_in_a_folder_that_it_can_write_leads_nowhere() {
    let world = World::new();
    let program = world.file("bin/server", "\x7fELF");
    fs::create_dir_all(world.at("theirs/deep")).unwrap();
    let data = "home/.local/state/wharf/data/p";
    world.link(&format!("{data}/cache"), world.at("theirs").to_str().unwrap());
    fs::create_dir_all(world.at("mine")).unwrap();
    world.link("mine/up", "../theirs");
    let (cache, mine) = (world.at(data).join("cache"), world.at("mine"));
    let by = |read: &[&Path], write: &[&Path]| {
        let [read, write] = [read, write].map(|paths| paths.iter().map(|path| path.to_path_buf()).collect());
        world.asked(&program, "plugins", &Fs { read, write })
    };
    let deep = cache.join("deep");
    let up = world.at("mine/up");
    let dots = world.at("plugins/../mine/up/deep");
    let refused: [(&[&Path], &[&Path]); 6] = [
        (&[], &[&cache]),
        (&[], &[&deep]),
        (&[&deep], &[]),
        (&[&up], &[&mine]),
        (&[&dots], &[&mine]),
        (&[], &[&up, &mine]),
    ];
    for (read, write) in refused {
        let cause = by(read, write).unwrap_err();
        assert_eq!(cause.kind, CauseKind::MissingFile);
        let theirs = world.at("theirs");
        for word in ["leads through the link", "else remove it", theirs.to_str().unwrap()] {
            assert!(cause.detail.contains(word), "{cause}");
        }
    }
    // A person's link, in a folder that the plugin cannot write.
    let found = by(&[&up], &[&world.at("theirs/deep")]).unwrap().reach;
    let text = |path: &str| world.at(path).to_str().unwrap().to_owned();
    assert!(found.read.contains(&text("theirs")), "{found:?}");
    assert!(found.write.contains(&text("theirs/deep")), "{found:?}");
}

#[test]
fn a_program_that_the_plugin_can_change_widens_nothing() {
    let world = World::new();
    let elsewhere = |name: &str| world.at(name).to_str().unwrap().to_owned();
    for secret in ["secrets/bin/tool", "secrets/node_modules/x/cli.js", "secrets/plain"] {
        world.file(secret, "\x7fELF");
    }
    let script = format!("#!{}\n", elsewhere("secrets/bin/tool"));
    world.file("app/venv/pyvenv.cfg", &format!("home = {}\n", elsewhere("secrets/bin")));
    let programs = [
        world.file("app/script", &script),
        world.file("app/venv/bin/server", "\x7fELF"),
        world.link("app/cli", &elsewhere("secrets/node_modules/x/cli.js")),
        world.link("app/folder", &elsewhere("secrets/bin")).join("tool"),
        world.link("tools/by", "../app/cli"),
    ];
    for program in &programs {
        let free = world.of(program);
        assert!(free.iter().any(|path| path.starts_with("secrets")), "{program:?}: {free:?}");
        let write = Fs { read: Vec::new(), write: vec![world.at("app")] };
        let found = world.asked(program, "plugins", &write).unwrap();
        assert!(!found.reach.read.iter().any(|path| path.contains("secrets")), "{program:?}: {found:?}");
        assert!(found.notes.iter().any(|note| note.contains("can write")), "{program:?}: {found:?}");
    }
}

#[test]
fn the_folder_of_all_manifests_is_nobody_s() {
    let world = World::new();
    let program = world.file("plugins/server", "#!/bin/sh\n");
    let (script, _) = (world.file("plugins/server.py", ""), world.file("plugins/package.json", "{}"));
    world.file("plugins/other.toml", "[env]\nTOKEN = 'secret'\n");
    world.file("plugins/p/plugin.toml", "");
    world.file("plugins/q/plugin.toml", "");
    let found = world.asked(&program, "plugins", &Fs::default()).unwrap();
    assert_eq!((world.below(&found.reach.read), found.notes), (vec!["plugins/server".to_owned()], vec![]));
    assert_eq!(
        world.by("/usr/bin/python3", &[script.to_str().unwrap()], "plugins"),
        ["plugins/package.json", "plugins/server.py"]
    );
    assert_eq!(
        world.by("/usr/bin/python3", &["server.py"], "plugins").len(),
        2,
        "from its working directory"
    );
    let bundle = |cwd| {
        let own = (cwd, Some("plugins/p"));
        world.with(Path::new("/bin/sh"), &[], own, &Fs::default()).unwrap()
    };
    assert_eq!(world.below(&bundle("plugins/p").reach.read), ["plugins/p"]);
    let out = bundle("plugins");
    assert_eq!(world.below(&out.reach.read), ["plugins/p"]);
    assert!(out.notes[0].contains("its working directory"), "{:?}", out.notes);
    // What its owner writes holds.
    let own = Fs { read: vec![world.at("plugins")], write: Vec::new() };
    let found = world.asked(&program, "plugins", &own).unwrap();
    assert!(world.below(&found.reach.read).contains(&"plugins".to_owned()));
}

#[test]
fn an_interpreter_brings_its_script() {
    let world = World::new();
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    for file in ["ws/node_modules/x/index.js", "ws/a/package.json", "ws/tools/own.js", "py/pyproject.toml"] {
        world.file(file, "");
    }
    let js = text(world.file("ws/a/dist/index.js", ""));
    let py = text(world.file("py/src/deep/server.py", ""));
    let lone = text(world.file("lone/server.py", ""));
    let home = text(world.file("home/server.py", ""));
    let loads = text(world.file("home/Downloads/server.py", ""));
    let hidden = text(world.file("home/.ssh/x.js", ""));
    let in_home = text(world.file("home/mine/x.js", ""));
    let cli = text(world.at("ws/node_modules/x/index.js"));
    let folder = text(world.at("ws/a"));
    let linked = text(world.link("home/start", &lone));
    let node = |args: &[&str]| world.by("/usr/bin/node", args, "home");
    let package = ["ws/a", "ws/a/package.json", "ws/node_modules"];
    assert_eq!(node(&["--inspect", &js, &lone]), package);
    assert_eq!(node(&[&folder]), package);
    assert_eq!(node(&["--require", &lone, &js]), ["lone", "ws/a", "ws/a/package.json", "ws/node_modules"]);
    assert_eq!(node(&[&cli]), ["ws/node_modules"]);
    let python = |args: &[&str]| world.by("/opt/x/python3.12", args, "home");
    assert_eq!(python(&["-u", "-W", "ignore", &py]), ["py"]);
    assert_eq!(python(&[&lone]), ["lone"]);
    assert_eq!(python(&[&linked]), ["lone", "lone/server.py"], "both sides of a link");
    for (script, expected) in [
        (&home, "home/server.py"),
        (&loads, "home/Downloads/server.py"),
        (&hidden, "home/.ssh/x.js"),
        (&in_home, "home/mine"),
    ] {
        assert_eq!(node(&[script]), [expected]);
    }
    for args in [&["-m", "json.tool", &lone][..], &["-c", "pass", &lone], &["-Im", "x", &lone], &["nothing"]]
    {
        assert_eq!(python(args), [""; 0], "{args:?}");
    }
    assert_eq!(world.by("/bin/bash", &["-lc", &lone], "home"), [""; 0]);
    assert_eq!(world.by("/bin/bash", &["-e", &lone], "home"), ["lone"]);
    assert_eq!(world.by("/usr/bin/java", &["-Xmx1g", "-jar", &lone], "home"), ["lone"]);
    assert_eq!(world.by("/usr/bin/deno", &["run", "-A", &lone], "home"), ["lone"]);
    assert_eq!(world.by("/usr/bin/cat", &[&lone], "home"), [""; 0], "no interpreter");
}

#[test]
fn the_settings_of_git_are_readable_and_keys_are_not() {
    let world = World::new();
    world.file("home/.gitconfig", "[user]\nname = a\n");
    world.file("home/.git-credentials", "https://a:b@c\n");
    world.file("home/.config/git/config", "[http]\nextraHeader = x\n");
    let found = world.with(Path::new("/bin/sh"), &[], ("plugins", None), &Fs::default()).unwrap();
    assert_eq!(world.below(&found.reach.read), ["home/.gitconfig"]);
    assert!(found.notes[0].contains(".config/git/config may hold a key"), "{:?}", found.notes);
}
