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
/// manifest's folder and the working directory (these two unless they hold a home or the host's state). What lies elsewhere
/// and is named in `args` only is not. A rule is for what its path leads to when the plugin is launched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fs {
    /// Files and folders it may read and execute, with all below them; relative ones are below the manifest's folder. Where it
    /// is installed, its working directory, the manifest's folder and the system's programs and libraries are always
    /// readable; a home never is as a whole. What is not there when it is launched gets no rule, and its log says so.
    pub read: Vec<PathBuf>,
    /// Files and folders it may also change; each must be there. Its data folder, `${data_dir}`, is always one of them, with
    /// its `TMPDIR` in it; `/tmp`, `/dev/shm`, and the cache of `npx` or `uvx` in a home are not unless they are written here.
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
