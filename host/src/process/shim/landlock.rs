//! Which files and ports a plugin reaches, by Landlock: rules that the kernel keeps for the process and all its children.
//!
//! A rule names what its path leads to when the plugin is launched. What cannot be opened gets no rule: a plugin then reaches
//! less, never more. The paths of the plugin's own rules hold no links: one that has become a link since they were looked up
//! gets no rule either.

use std::error::Error;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd;

use crate::process::plan::{LandlockPlan, Plan, Reach};
use crate::process::wire::Stage;

/// Where the system's programs and libraries are, and what runtimes look up in the kernel.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];

/// What programs look up in `/etc`. Never the whole of it, and no folder that keys lie in.
const SETTINGS: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "gitconfig",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/ca-bundle.pem",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
];

/// Installed runtimes have a folder of their own in `/etc`, with their version in its name.
const SETTINGS_OF_RUNTIMES: [&str; 3] = ["python3", "java-", "perl"];

/// Devices that hold nothing.
const DEVICES: [&str; 6] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"];

/// Bounds this process and its children, for good.
pub(super) fn apply(plan: &Plan) -> Result<(), (Stage, Errno)> {
    let Some(bounds) = &plan.sandbox.landlock else { return Ok(()) };
    if bounds.fs.is_some() && plan.own_proc && unistd::geteuid().is_root() {
        hide_memory().map_err(|errno| (Stage::Mounts, errno))?;
    }
    let bounded = ruleset(bounds).and_then(|ruleset| ruleset.no_new_privs(false).restrict_self());
    bounded.map(drop).map_err(|error| (Stage::Landlock, errno_of(&error)))
}

/// All of the machine's memory is a file below `/proc`, which root can read. This `/proc` is the plugin's own.
fn hide_memory() -> Result<(), Errno> {
    match mount(Some("/dev/null"), "/proc/kcore", None::<&str>, MsFlags::MS_BIND, None::<&str>) {
        // A kernel without it.
        Err(Errno::ENOENT) => Ok(()),
        done => done,
    }
}

fn ruleset(bounds: &LandlockPlan) -> Result<RulesetCreated, RulesetError> {
    let abi = i32::try_from(bounds.abi).map_or(ABI::V9, ABI::from);
    // What was decided is enforced, or nothing is executed.
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if bounds.fs.is_some() {
        ruleset = ruleset.handle_access(AccessFs::from_all(abi))?;
    }
    if bounds.tcp.is_some() {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    let scopes = Scope::from_all(abi);
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    let mut created = ruleset.create()?;
    if let Some(reach) = &bounds.fs {
        created = files(created, reach, abi)?;
    }
    if let Some(tcp) = &bounds.tcp {
        let connect = tcp.connect.iter().map(|port| NetPort::new(*port, AccessNet::ConnectTcp));
        let bind = tcp.bind.iter().map(|port| NetPort::new(*port, AccessNet::BindTcp));
        created = created.add_rules(connect.chain(bind).map(Ok::<_, RulesetError>))?;
    }
    Ok(created)
}

fn files(created: RulesetCreated, reach: &Reach, abi: ABI) -> Result<RulesetCreated, RulesetError> {
    let all = AccessFs::from_all(abi);
    let read = AccessFs::from_read(abi);
    let devices: BitFlags<AccessFs> =
        AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    // A device made anew would be the way to the disk below all files.
    let write = all & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    created
        .add_rules(path_beneath_rules(SYSTEM, read))?
        .add_rules(path_beneath_rules(settings(), read))?
        .add_rules(path_beneath_rules(DEVICES, devices & all))?
        .add_rules(without_links(&reach.read, read))?
        .add_rules(without_links(&reach.write, write))
}

/// The plugin may be able to put a link in the place of any part of a path.
fn without_links(
    paths: &[String],
    access: BitFlags<AccessFs>,
) -> impl Iterator<Item = Result<PathBeneath<OwnedFd>, RulesetError>> {
    paths.iter().filter_map(move |path| {
        let how =
            OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let file = openat2(AT_FDCWD, path.as_str(), how).ok()?;
        let is_folder =
            fstat(&file).is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits());
        let access = if is_folder { access } else { access & AccessFs::from_file(ABI::V9) };
        Some(Ok(PathBeneath::new(file, access)))
    })
}

fn settings() -> Vec<PathBuf> {
    let etc = Path::new("/etc");
    let mut all: Vec<PathBuf> = SETTINGS.iter().map(|name| etc.join(name)).collect();
    let entries = fs::read_dir(etc).into_iter().flatten().flatten();
    all.extend(entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        SETTINGS_OF_RUNTIMES.iter().any(|start| name.starts_with(start))
    }));
    all.extend(resolver_folder(&etc.join("resolv.conf")));
    all
}

/// Where a service of the system keeps `resolv.conf`, it replaces it as the network changes: then its folder is what lasts.
fn resolver_folder(path: &Path) -> Option<PathBuf> {
    let folder = path.canonicalize().ok()?.parent()?.to_owned();
    (folder.starts_with("/run") && folder != Path::new("/run")).then_some(folder)
}

/// The system's reason, wherever it is wrapped.
fn errno_of(error: &RulesetError) -> Errno {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(code) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Errno::from_raw(code);
        }
        next = error.source();
    }
    Errno::EINVAL
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use landlock::AccessFs;

    use super::without_links;

    #[test]
    fn what_has_become_a_link_gets_no_rule() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name).to_str().unwrap().to_owned();
        std::fs::create_dir_all(at("a/b")).unwrap();
        symlink("a", at("link")).unwrap();
        let rules = |name: &str| without_links(&[at(name)], AccessFs::ReadFile.into()).count();
        assert_eq!(["a", "a/b", "link", "link/b", "gone"].map(rules), [1, 1, 0, 0, 0]);
    }
}
