//! What a sandboxed plugin cannot do, each time beside the same plugin without that knob, which can.

mod calls;
mod cost;
mod files;
mod ports;
mod unprivileged;

use std::path::PathBuf;

use wharf::process::{Folders, Launch, Level};
use wharf_core::manifest::{Fs, Sandbox};

use crate::harness::{World, read, within};

/// A host's folders: what belongs to the plugin, what belongs to the host, and a home.
struct Ground {
    world: World,
}

impl Ground {
    async fn new() -> Self {
        Self::on(World::new().await)
    }

    /// At most at this level of containment.
    async fn at(level: Level) -> Self {
        Self::on(World::with(&[], Some(level)).await)
    }

    fn on(world: World) -> Self {
        let ground = Self { world };
        for folder in ["plugins/p", "data/p", "home", "outside"] {
            std::fs::create_dir_all(ground.path(folder)).unwrap();
        }
        std::fs::write(ground.path("token"), "the host's own").unwrap();
        std::fs::write(ground.path("outside/file"), "someone's").unwrap();
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.folder.canonicalize().unwrap().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A launch as the host makes it.
    fn launch(&self, program: &str, args: &[&str], sandbox: Sandbox) -> Launch {
        let mut launch = self.world.launch(program, args);
        launch.cwd = self.path("plugins/p");
        launch.folders = Folders { plugin: self.path("plugins/p"), bundle: true, data: self.path("data/p") };
        launch.env.push(("HOME".to_owned(), self.text("home")));
        launch.env.push(("TMPDIR".to_owned(), self.text("data/p/tmp-0")));
        launch.sandbox = sandbox;
        launch
    }

    /// All that a program says on stdout.
    async fn said(&self, launch: Launch) -> String {
        let mut process = self.world.spawn(launch).await.unwrap();
        let text = read(&mut process).await;
        within(process.handle.gone()).await;
        text
    }

    async fn sh(&self, script: &str, sandbox: Sandbox) -> String {
        self.said(self.launch("/bin/sh", &["-c", script], sandbox)).await
    }

    /// A program in Python, with a function that tells what an attempt came to: `ok`, or the system's word for why not.
    async fn python(&self, code: &str, sandbox: Sandbox) -> String {
        let code = format!("{ATTEMPT}{code}");
        self.said(self.launch("/bin/sh", &["-c", "exec python3 -c \"$0\"", &code], sandbox)).await
    }
}

const ATTEMPT: &str = r"
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    done = getattr(libc, name)(*args)
    return 'ok' if done != -1 else errno.errorcode[ctypes.get_errno()]
def attempt(what):
    try:
        what()
        return 'ok'
    except OSError as error:
        return errno.errorcode[error.errno]
";

fn off() -> Sandbox {
    Sandbox { seccomp: wharf_core::manifest::Seccomp::Off, ..Sandbox::default() }
}

fn files() -> Sandbox {
    Sandbox { fs: Some(Fs::default()), ..Sandbox::default() }
}
