//! What is decided on machines of every kind.

use std::path::Path;

use wharf_core::manifest::{Fs, Limits, Sandbox, Seccomp, Tcp};
use wharf_plugin_api::{Cause, CauseKind};

use crate::process::plan::{InForce, Own, Plan, Wanted, plan};
use crate::process::probe::Probe;

/// An unprivileged host with user namespaces, on a kernel with this version of Landlock.
fn machine(abi: u32) -> Probe {
    let mut probe = Probe::nothing("refused");
    (probe.landlock, probe.seccomp) = (Ok(abi), Ok(()));
    (probe.user.made, probe.user.proc) = (Ok(()), Ok(()));
    probe
}

/// An unprivileged host without any namespace.
fn flat(abi: u32) -> Probe {
    Probe { user: Probe::nothing("refused").user, ..machine(abi) }
}

fn decide(probe: &Probe, sandbox: &Sandbox) -> Result<(Plan, InForce), Cause> {
    let nowhere = Path::new("/");
    let own = Own { program: nowhere, cwd: nowhere, plugin_dir: nowhere, data_dir: nowhere };
    let limits = Limits::default();
    plan(probe, &Wanted { limits: &limits, sandbox, own, port: Some(8080) })
}

fn files() -> Sandbox {
    Sandbox { fs: Some(Fs::default()), ..Sandbox::default() }
}

fn ports() -> Sandbox {
    Sandbox { tcp: Some(Tcp { connect: vec![443], bind: Vec::new() }), ..Sandbox::default() }
}

fn why_not(probe: &Probe, sandbox: &Sandbox) -> String {
    let cause = decide(probe, sandbox).unwrap_err();
    assert_eq!(cause.kind, CauseKind::SandboxUnavailable);
    cause.detail
}

#[test]
fn what_is_written_is_refused_where_it_cannot_be_enforced() {
    assert!(why_not(&machine(2), &files()).contains("sandbox.fs"));
    assert!(why_not(&machine(2), &files()).contains("abi 2, and this takes abi 3"));
    assert!(why_not(&machine(3), &ports()).contains("abi 3, and this takes abi 4"));
    assert!(why_not(&Probe::nothing("not built in"), &files()).contains("no Landlock (not built in)"));
    let strict = Sandbox { seccomp: Seccomp::Strict, ..Sandbox::default() };
    assert!(why_not(&Probe::nothing("no filters"), &strict).contains("no filters"));
}

#[test]
fn without_no_new_privs_only_a_privileged_host_bounds_anything() {
    let with_privileges = |sandbox: Sandbox| Sandbox { no_new_privs: false, ..sandbox };
    assert!(why_not(&flat(7), &with_privileges(files())).contains("takes a privileged host"));
    let strict = Sandbox { seccomp: Seccomp::Strict, ..Sandbox::default() };
    assert!(why_not(&flat(7), &with_privileges(strict)).contains("takes a privileged host"));
    let (found, told) = decide(&flat(7), &with_privileges(Sandbox::default())).unwrap();
    assert_eq!((found.sandbox.seccomp, found.sandbox.no_new_privs), (Seccomp::Off, false));
    assert_eq!(told.sandbox["seccomp"], "off");
    assert_eq!(told.sandbox["no_new_privs"], "off, by the manifest");
    assert!(told.gaps.iter().any(|gap| gap.starts_with("seccomp: ")), "{:?}", told.gaps);
    let mut root = flat(7);
    root.plain.made = Ok(());
    for probe in [root, machine(7)] {
        assert!(decide(&probe, &with_privileges(files())).unwrap().0.sandbox.landlock.is_some());
    }
}

#[test]
fn each_knob_is_told_in_words() {
    let (found, told) = decide(&machine(7), &files()).unwrap();
    assert_eq!(told.sandbox["fs"], "landlock: abi 7 (no unix sockets by path)");
    assert_eq!(told.sandbox["seccomp"], "default");
    assert_eq!(told.sandbox["no_new_privs"], "on");
    assert_eq!(told.gaps.iter().filter(|gap| gap.starts_with("fs: ")).count(), 2, "{:?}", told.gaps);
    assert!(told.gaps.iter().any(|gap| gap.contains("mode, owner and times")), "{:?}", told.gaps);
    assert_eq!(found.sandbox.landlock.unwrap().tcp, None);

    let (found, told) = decide(&machine(9), &ports()).unwrap();
    assert_eq!(told.sandbox["tcp"], "landlock: abi 9 (no UDP)");
    assert!(told.gaps.iter().any(|gap| gap.starts_with("tcp: UDP")), "{:?}", told.gaps);
    let landlock = found.sandbox.landlock.unwrap();
    assert_eq!(landlock.fs, None);
    assert_eq!(landlock.tcp.unwrap().bind, [8080], "its own port always");

    let (found, told) = decide(&flat(3), &files()).unwrap();
    assert!(found.sandbox.landlock.is_some());
    let gaps = told.gaps.join("\n");
    for open in ["unix sockets outside", "commands to devices", "/proc shows", "can signal", "abstract"] {
        assert!(gaps.contains(open), "{open}: {gaps}");
    }
}

#[test]
fn nothing_is_bounded_that_nobody_asked_for() {
    let off = Sandbox { seccomp: Seccomp::Off, ..Sandbox::default() };
    let (found, told) = decide(&machine(7), &off).unwrap();
    assert_eq!((found.sandbox.landlock, found.sandbox.seccomp), (None, Seccomp::Off));
    assert_eq!(told.sandbox["seccomp"], "off, by the manifest");
    assert!(!told.gaps.iter().any(|gap| gap.starts_with("seccomp") || gap.starts_with("fs")), "{told:?}");
}

#[test]
fn what_the_level_leaves_open_is_told_without_any_bound_too() {
    let gaps = |probe: &Probe| decide(probe, &Sandbox::default()).unwrap().1.gaps.join("\n");
    assert!(gaps(&flat(7)).contains("those of the same user can be read"));
    let told = gaps(&machine(7));
    assert!(!told.contains("/proc shows"), "{told}");
    assert!(told.contains("`nobody`") && told.contains("--containment subreaper"), "{told}");
    let mut root = flat(7);
    (root.plain.made, root.plain.proc) = (Ok(()), Ok(()));
    assert!(!gaps(&root).contains("/proc") && !gaps(&root).contains("nobody"));
    root.plain.proc = Err("refused".to_owned());
    assert!(gaps(&root).contains("/proc shows"), "{}", gaps(&root));
}
