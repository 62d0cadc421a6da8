//! `sandbox.fs`.

use std::path::Path;
use std::process::Command;

use wharf::process::{Level, SpawnError};
use wharf_core::manifest::{Fs, Sandbox};
use wharf_plugin_api::{Cause, CauseKind};

use super::{Ground, files, off};

/// For each argument, whether it can be read.
const READ: &str = r#"for path; do head -c 1 "$path" >/dev/null 2>&1 && echo yes || echo no; done"#;
/// For each argument, whether it can be listed.
const LIST: &str = r#"for path; do ls "$path" >/dev/null 2>&1 && echo yes || echo no; done"#;
/// For each argument, whether a file can be made at it.
const WRITE: &str = r#"for path; do (: >"$path") 2>/dev/null && echo yes || echo no; done"#;

async fn each(ground: &Ground, script: &str, paths: &[&str], sandbox: Sandbox) -> String {
    let mut args = vec!["-c", script, "sh"];
    args.extend(paths);
    ground.said(ground.launch("/bin/sh", &args, sandbox)).await.replace('\n', " ")
}

#[tokio::test]
async fn only_what_is_written_can_be_read() {
    let ground = Ground::new().await;
    let (token, outside) = (ground.text("token"), ground.text("outside/file"));
    let others = [token.as_str(), &outside];
    assert_eq!(each(&ground, READ, &others, off()).await, "yes yes ");
    assert_eq!(each(&ground, READ, &others, files()).await, "no no ");
    let read = Fs { read: vec![ground.path("outside")], write: Vec::new() };
    assert_eq!(each(&ground, READ, &others, Sandbox { fs: Some(read), ..off() }).await, "no yes ");
    // Whoever the host is, even root.
    let secrets = ["/etc/shadow", "/root/.bashrc", "/root/.profile", "/dev/mem", "/etc/ssl/private/x"];
    let secrets: Vec<&str> = secrets.into_iter().filter(|path| std::fs::File::open(path).is_ok()).collect();
    let all = |answer: &str, count| format!("{answer} ").repeat(count);
    assert_eq!(each(&ground, READ, &secrets, off()).await, all("yes", secrets.len()));
    assert_eq!(each(&ground, READ, &secrets, files()).await, all("no", secrets.len()));
    let memory = "head -c 4 /proc/kcore 2>/dev/null | wc -c";
    if std::fs::File::open("/proc/kcore").is_ok() {
        assert_eq!(ground.sh(memory, off()).await, "4\n");
    }
    assert_eq!(ground.sh(memory, files()).await, "0\n", "the machine's memory");
    let folders: Vec<&str> =
        ["/", "/root", "/home", "/etc"].into_iter().filter(|path| std::fs::read_dir(path).is_ok()).collect();
    assert_eq!(each(&ground, LIST, &folders, off()).await, all("yes", folders.len()));
    assert_eq!(each(&ground, LIST, &folders, files()).await, all("no", folders.len()));
    let needed = ["/etc/passwd", "/etc/hosts", "/usr/bin/env", "/proc/self/status", "/dev/urandom"];
    assert_eq!(each(&ground, READ, &needed, files()).await, "yes ".repeat(needed.len()));
}

#[tokio::test]
async fn only_what_is_written_can_be_changed() {
    let ground = Ground::new().await;
    let names =
        ["outside/file", "outside/new", "plugins/p/new", "home/new", "data/p/new", "data/p/tmp-0/new"];
    let names = names.map(|name| ground.text(name));
    let temp = std::env::temp_dir().join(format!("wharf-escape-{}", std::process::id()));
    let mut paths: Vec<&str> = names.iter().map(String::as_str).collect();
    paths.push(temp.to_str().unwrap());
    assert_eq!(each(&ground, WRITE, &paths, files()).await, "no no no no yes yes no ");
    let outside = Fs { read: Vec::new(), write: vec![ground.path("outside")] };
    let sandbox = Sandbox { fs: Some(outside), ..off() };
    assert_eq!(each(&ground, WRITE, &paths, sandbox).await, "yes yes no no yes yes no ");
    assert_eq!(each(&ground, WRITE, &paths, off()).await, "yes ".repeat(paths.len()));
    std::fs::remove_file(temp).unwrap();
    let changes =
        format!("truncate -s 0 {0} || mv {0} data || ln {0} x || rm {0}", ground.text("outside/file"));
    std::fs::write(ground.path("outside/file"), "kept").unwrap();
    assert_eq!(ground.sh(&format!("({changes}) 2>/dev/null || echo no"), files()).await, "no\n");
    assert_eq!(std::fs::read_to_string(ground.path("outside/file")).unwrap(), "kept");
}

#[tokio::test]
async fn neither_a_grandchild_nor_a_link_is_a_way_out() {
    let ground = Ground::new().await;
    let token = ground.text("token");
    let script = format!(
        "ln -sf {token} {0}/link; cat {0}/link; setsid sh -c 'sh -c \"cat {token}\"; true'; cat /proc/1/root{token}; \
         (cat {token} &); wait; true",
        ground.text("data/p")
    );
    assert!(ground.sh(&script, off()).await.matches("the host's own").count() >= 3);
    assert_eq!(ground.sh(&script, files()).await, "");
}

#[tokio::test]
async fn what_it_puts_in_the_place_of_its_folders_gives_it_nothing_at_its_next_start() {
    let ground = Ground::new().await;
    std::fs::create_dir(ground.path("data/p/cache")).unwrap();
    let write = Fs { read: Vec::new(), write: vec![ground.path("data/p/cache")] };
    let sandbox = Sandbox { fs: Some(write), ..off() };
    let (cache, outside) = (ground.text("data/p/cache"), ground.text("outside"));
    let script = format!("mv {cache} {cache}-2 && ln -s {outside} {cache} && echo planted");
    assert_eq!(ground.sh(&script, sandbox.clone()).await, "planted\n");
    let launch = ground.launch("/bin/sh", &["-c", &format!("echo x >{outside}/new")], sandbox);
    let cause = Cause::from(ground.world.spawn(launch).await.unwrap_err());
    assert_eq!(cause.kind, CauseKind::MissingFile);
    assert!(cause.detail.contains(&format!("the link {cache}")), "{cause}");
    assert!(!ground.path("outside/new").exists());
}

#[tokio::test]
async fn its_manifest_s_folder_can_be_read_if_it_is_its_own() {
    let ground = Ground::new().await;
    for file in ["plugins/other.toml", "plugins/p/own.toml"] {
        std::fs::write(ground.path(file), "TOKEN = 'x'").unwrap();
    }
    let names = [ground.text("plugins/other.toml"), ground.text("plugins/p/own.toml")];
    let [other, own] = names.each_ref().map(String::as_str);
    assert_eq!(each(&ground, READ, &[other, own], files()).await, "no yes ");
    let mut launch = ground.launch("/bin/sh", &["-c", READ, "sh", other, own], files());
    launch.cwd = ground.path("plugins");
    launch.folders.plugin = ground.path("plugins");
    launch.folders.bundle = false;
    assert_eq!(ground.said(launch).await, "no\nno\n");
}

#[tokio::test]
async fn an_interpreter_runs_the_script_that_it_is_started_with() {
    let ground = Ground::new().await;
    let code = [
        ("node", "app/dist/index.mjs", "import x from 'dep'; console.log(x)"),
        ("python3", "outside/tool.py", "import beside; print(beside.x)"),
        ("sh", "outside/tool.sh", "echo 42"),
    ];
    std::fs::create_dir_all(ground.path("app/dist")).unwrap();
    std::fs::create_dir_all(ground.path("app/node_modules/dep")).unwrap();
    std::fs::write(ground.path("app/package.json"), "{}").unwrap();
    std::fs::write(ground.path("app/node_modules/dep/index.js"), "module.exports = 42").unwrap();
    std::fs::write(ground.path("outside/beside.py"), "x = 42").unwrap();
    for (interpreter, script, text) in code {
        let Some(program) = real(interpreter) else { continue };
        std::fs::write(ground.path(script), text).unwrap();
        let named = program.with_file_name(interpreter);
        let program = if named.exists() { named } else { program };
        let launch = ground.launch(program.to_str().unwrap(), &[&ground.text(script)], files());
        assert_eq!(ground.said(launch).await, "42\n", "{interpreter}: {:?}", ground.world.log.tail(30));
    }
}

#[tokio::test]
async fn processes_outside_cannot_be_signalled() {
    // In a PID namespace they have no number.
    let ground = Ground::at(Level::Subreaper).await;
    let script = format!("kill -0 {} 2>/dev/null && echo yes || echo no", std::process::id());
    assert_eq!(ground.sh(&script, off()).await, "yes\n");
    assert_eq!(ground.sh(&script, files()).await, "no\n");
    assert_eq!(ground.sh("sleep 1000 & kill $! && wait; echo own", files()).await, "own\n");
}

#[tokio::test]
async fn a_folder_to_write_to_that_is_not_there_is_told() {
    let ground = Ground::new().await;
    let write = Fs { read: vec![ground.path("gone")], write: vec![ground.path("nowhere")] };
    let launch = ground.launch("/bin/true", &[], Sandbox { fs: Some(write), ..off() });
    let cause = Cause::from(ground.world.spawn(launch).await.unwrap_err());
    assert_eq!(cause.kind, CauseKind::MissingFile);
    assert!(cause.detail.contains("nowhere") && cause.detail.contains("make it"), "{cause}");
    let read = Fs { read: vec![ground.path("gone")], write: Vec::new() };
    let launch = ground.launch("/bin/echo", &["runs"], Sandbox { fs: Some(read), ..off() });
    assert_eq!(ground.said(launch).await, "runs\n");
    let told = ground.world.log.tail(5);
    assert!(told.iter().any(|line| line.stream == "wharf" && line.text.contains("gone")), "{told:?}");
}

#[tokio::test]
async fn a_program_outside_is_not_executed() {
    let ground = Ground::new().await;
    let copy = ground.path("outside/true");
    std::fs::copy("/bin/true", &copy).unwrap();
    let script = format!("{} 2>/dev/null && echo ran", copy.display());
    assert_eq!(ground.sh(&script, off()).await, "ran\n");
    assert_eq!(ground.sh(&script, files()).await, "");
    let error: SpawnError = {
        let launch = ground.launch(ground.path("outside/none").to_str().unwrap(), &[], files());
        ground.world.spawn(launch).await.unwrap_err()
    };
    assert_eq!(Cause::from(error).kind, CauseKind::NotFound);
}

#[tokio::test]
async fn node_runs_from_a_version_manager_s_folder() {
    let Some(node) = real("node") else { return };
    let ground = Ground::new().await;
    let nvm = ground.path("home/.nvm/versions/v20");
    std::fs::create_dir_all(nvm.join("bin")).unwrap();
    std::fs::create_dir_all(nvm.join("lib/node_modules")).unwrap();
    std::fs::copy(node, nvm.join("bin/node")).unwrap();
    let npm = real("npm").unwrap().parent().unwrap().parent().unwrap().to_owned();
    let copied =
        Command::new("cp").arg("-r").arg(npm).arg(nvm.join("lib/node_modules/npm")).status().unwrap();
    assert!(copied.success());
    for name in ["npm", "npx"] {
        let to = format!("../lib/node_modules/npm/bin/{name}-cli.js");
        std::os::unix::fs::symlink(to, nvm.join("bin").join(name)).unwrap();
    }
    // A careful user's npm has a cache that it can write to.
    let cache = Fs { read: Vec::new(), write: vec![ground.path("home/.npm")] };
    std::fs::create_dir(ground.path("home/.npm")).unwrap();
    std::fs::write(ground.path("home/.npmrc"), "fund=false\n").unwrap();
    let sandbox = || Sandbox { fs: Some(cache.clone()), ..Sandbox::default() };
    let on_path = |mut launch: wharf::process::Launch| {
        let path = format!("{}:/usr/bin:/bin", nvm.join("bin").display());
        launch.env.retain(|(name, _)| name != "PATH");
        launch.env.push(("PATH".to_owned(), path));
        launch.stdout = true;
        launch
    };
    let text = |name: &str| nvm.join("bin").join(name).to_str().unwrap().to_owned();
    let code = "require('fs').writeFileSync(require('os').tmpdir() + '/x', ''); \
                try { require('fs').readFileSync('/etc/shadow'); console.log('read it') } catch { console.log(6 * 7) }";
    let launch = ground.launch(&text("node"), &["-e", code], sandbox());
    assert_eq!(ground.said(on_path(launch)).await, "42\n");
    let launch = ground.launch(&text("npx"), &["--offline", "-c", "node -p 6*7"], sandbox());
    assert_eq!(ground.said(on_path(launch)).await, "42\n", "{:?}", ground.world.log.tail(30));
}

#[tokio::test]
async fn python_runs_from_an_environment() {
    let Some(python) = real("python3") else { return };
    let ground = Ground::new().await;
    let venv = ground.path("home/venv");
    let made = Command::new(python).args(["-m", "venv", "--without-pip"]).arg(&venv).status().unwrap();
    assert!(made.success());
    std::fs::create_dir_all(ground.path("home/.local/bin")).unwrap();
    let server = venv.join("bin/server");
    let code = "import json, ssl, sys, tempfile, subprocess\ntempfile.TemporaryFile()\nssl.create_default_context()\n\
                print(sys.prefix, subprocess.check_output([sys.executable, '-c', 'print(6 * 7)']))\n\
                try: open('/etc/shadow')\nexcept PermissionError: print('denied')\n";
    std::fs::write(&server, format!("#!{}\n{code}", venv.join("bin/python3").display())).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&server, mode).unwrap();
    let link = ground.path("home/.local/bin/server");
    std::os::unix::fs::symlink(&server, &link).unwrap();
    for program in [server.as_path(), &link] {
        let launch = ground.launch(program.to_str().unwrap(), &[], files());
        let said = ground.said(launch).await;
        let expected = format!("{} b'42\\n'\ndenied\n", venv.display());
        assert_eq!(said, expected, "{:?}", ground.world.log.tail(30));
    }
}

/// The file behind a program on PATH, past links and the wrappers of version managers.
#[allow(clippy::print_stderr, reason = "what is skipped is told to whom the tests run for")]
fn real(name: &str) -> Option<std::path::PathBuf> {
    let code = match name {
        "python3" => "python3 -c 'import sys; print(sys.executable)'".to_owned(),
        name => format!("command -v {name}"),
    };
    let output = Command::new("sh").args(["-c", &code]).output().unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    if path.trim().is_empty() {
        eprintln!("SKIPPED: there is no {name} on this machine");
        return None;
    }
    Some(Path::new(path.trim()).canonicalize().unwrap())
}
