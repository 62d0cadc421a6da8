//! The same for a host that is not root, and what privileges a program can gain.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use wharf::process::Level;
use wharf_core::manifest::{Sandbox, Seccomp};
use wharf_plugin_api::{Cause, CauseKind};

use super::{Ground, files, off};
use crate::harness::{OfNobody, passes};

#[test]
fn an_unprivileged_host_enforces_the_same() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: the tests do not run as root, so all of them show this, but for setuid programs");
        return;
    }
    let host = OfNobody::new();
    let id = host.at("id");
    std::fs::copy("/usr/bin/id", &id).unwrap();
    std::fs::set_permissions(&id, PermissionsExt::from_mode(0o4755)).unwrap();
    passes(host.program(&[]).env("WHARF_TEST_SETUID", id), "sandbox::unprivileged::program");
}

/// A host of another user.
#[tokio::test]
#[ignore = "a program for another test"]
async fn program() {
    assert!(!nix::unistd::geteuid().is_root());
    for level in [Level::UserPidNamespace, Level::Subreaper] {
        let ground = Ground::at(level).await;
        if ground.world.machine.level() != level {
            eprintln!("SKIPPED: this machine has no {}", level.as_str());
            continue;
        }
        let token = ground.text("token");
        let script =
            format!("cat {token} 2>/dev/null && echo; : >{} && echo wrote", ground.text("data/p/new"));
        assert_eq!(ground.sh(&script, off()).await, "the host's own\nwrote\n", "{level:?}");
        assert_eq!(ground.sh(&script, files()).await, "wrote\n", "{level:?}");
        let unshare = "unshare -U true 2>/dev/null && echo made; setpriv --dump >/dev/null; echo runs";
        let strict = Sandbox { seccomp: Seccomp::Strict, ..files() };
        assert_eq!(ground.sh(unshare, strict.clone()).await, "runs\n", "{level:?}");
        assert_eq!(
            ground.sh(unshare, Sandbox::default()).await,
            ground.sh(unshare, off()).await,
            "{level:?}"
        );
        // Of its own user namespace it is the administrator, until the program is executed.
        let gains = Sandbox { no_new_privs: false, ..strict };
        if level.is_namespace() {
            assert_eq!(ground.sh(unshare, gains).await, "runs\n");
        } else {
            let error = ground.world.spawn(ground.launch("/bin/true", &[], gains)).await.unwrap_err();
            assert_eq!(Cause::from(error).kind, CauseKind::SandboxUnavailable);
        }
    }
    let ground = Ground::at(Level::Subreaper).await;
    let id = std::env::var("WHARF_TEST_SETUID").unwrap();
    assert!(Path::new(&id).metadata().unwrap().permissions().mode() & 0o4000 != 0);
    let gains = Sandbox { no_new_privs: false, ..off() };
    assert_eq!(ground.said(ground.launch(&id, &["-u"], gains)).await, "0\n");
    assert_eq!(ground.said(ground.launch(&id, &["-u"], off())).await, format!("{}\n", OfNobody::USER));
}
