//! `[sandbox]`: what a launched plugin may do to the machine. Nothing of it concerns a remote server.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How sure it must be that no process of the plugin outlives the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// As sure as this machine allows; `/api/v1/plugins/{id}` tells how sure that is.
    #[default]
    BestEffort,
    /// The kernel itself holds its processes together (a PID namespace, or a control group that can be killed as a whole),
    /// or the plugin is not started.
    Strict,
}

/// Which system calls are refused to the plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// Those that administer the machine or look into other processes: mount, ptrace, bpf, module loading, and the like.
    /// 32-bit programs are killed.
    #[default]
    Default,
    /// Those, and new namespaces and chroot, which the sandbox of a browser needs. Where the machine cannot refuse them, the
    /// plugin is not started.
    Strict,
    /// None.
    Off,
}

/// What network the plugin has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Net {
    /// None at all.
    None,
    /// A loopback of its own: it reaches nothing but itself, and only the host reaches it.
    Loopback,
    /// The host's network.
    Egress,
}

/// `sandbox.fs`: which files the plugin can reach. What a program needs to run is always readable: the system's programs,
/// libraries and certificates, a few files of `/etc`, `/proc`, what the program and its interpreter are installed in, the
/// script that an interpreter is started with, the folder of a bundle (`<id>/plugin.toml`) and the working directory, unless
/// that holds a home, the host's state or other plugins' manifests. Of a home, the settings of git are readable unless they
/// seem to hold a key. What else is named in `args` is not.
///
/// A script brings its package (the nearest folder above it with a `package.json` or `pyproject.toml`), else the folder that it
/// lies in; a home, `Downloads` and its like, hidden folders of a home, and the folder of all manifests never are readable
/// for it: there it is the script alone. After `-m`, `-c` and `-e` no script follows.
///
/// A rule is for what its path leads to when the plugin is launched. A path that leads through a link in a folder that the
/// plugin can write is refused: it could have made the link. A program that lies in such a folder brings nothing from
/// elsewhere, whatever its first line names.
///
/// Not bounded, as Landlock does not: asking whether a file exists, how large and how old it is, and changing mode, owner,
/// times and attributes of what the user owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fs {
    /// Files and folders it may read and execute, with all below them; relative ones are below the manifest's folder. Where it
    /// is installed, the script that its interpreter is started with, the folder of a bundle, its working directory, and the
    /// system's programs and libraries are always readable; a home and the folder of all manifests never are as a whole.
    /// What is not there when it is launched gets no rule, and its log says so. No `~` and no `*`: write `${HOME}`, and folders.
    pub read: Vec<PathBuf>,
    /// Files and folders it may also change; each must be there. Its data folder, `${data_dir}`, is always one of them, with
    /// its `TMPDIR` in it; `/tmp`, `/dev/shm`, and the cache of `npx` or `uvx` in a home are not unless they are written here.
    /// A link below one of these leads nowhere: name what it leads to.
    pub write: Vec<PathBuf>,
}

/// `sandbox.tcp`: which TCP ports the plugin can use, on the host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tcp {
    /// Ports it may connect to, on any machine.
    pub connect: Vec<u16>,
    /// Ports it may listen on. The one that the host gives it is always one of them.
    pub bind: Vec<u16>,
}

/// `[sandbox]`: what the plugin may do to the machine. `fs`, `net`, `tcp` and what is `strict` hold where they are written:
/// where the machine cannot enforce one, the plugin is not started. All else holds as far as the machine allows, and
/// `/api/v1/plugins/{id}` tells what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sandbox {
    /// How sure it must be that no process of the plugin outlives the host.
    pub containment: Strictness,
    /// Programs it executes gain no privileges (setuid has no effect).
    pub no_new_privs: bool,
    /// Which system calls are refused: `default` (what administers the machine or looks into other processes), `strict` (new
    /// namespaces too, which the sandbox of a browser needs) or `off`.
    pub seccomp: Seccomp,
    /// Which files it can reach; without it, all that the host's user can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs: Option<Fs>,
    /// What network it has: `none`, `loopback` (its own) or `egress` (the host's, which is the default).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<Net>,
    /// Which TCP ports it can use; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Tcp>,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            containment: Strictness::default(),
            no_new_privs: true,
            seccomp: Seccomp::default(),
            fs: None,
            net: None,
            tcp: None,
        }
    }
}

impl Sandbox {
    /// Whether the plugin has a network of its own.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        matches!(self.net, Some(Net::None | Net::Loopback))
    }
}
