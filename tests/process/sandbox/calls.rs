//! `sandbox.seccomp`.

use wharf_core::manifest::{Sandbox, Seccomp};

use super::{Ground, off};

/// Each on a line. As root all are allowed that the list does not refuse; else some are refused by the system itself, with
/// another word or the same, so only what needs no privilege is compared there.
const CALLS: &str = r"
print('setns', call('setns', -1, 0))
print('ptrace', call('ptrace', 0, 0, 0, 0))
print('personality', call('personality', 0xffffffff))
data = ctypes.create_string_buffer(1)
print('readv', call('process_vm_readv', os.getpid(), data, 0, data, 0, 0))
";

#[tokio::test]
async fn what_looks_into_other_processes_is_refused() {
    let ground = Ground::new().await;
    let allowed = "setns EBADF\nptrace ok\npersonality ok\nreadv ok\n";
    let refused = "setns EPERM\nptrace EPERM\npersonality ok\nreadv EPERM\n";
    assert_eq!(ground.python(CALLS, off()).await, allowed);
    assert_eq!(ground.python(CALLS, Sandbox::default()).await, refused);
}

#[tokio::test]
async fn nothing_is_mounted() {
    let ground = Ground::new().await;
    let code =
        "print(call('umount2', b'/nowhere', 0), call('mount', b'none', b'/proc/self/fd', b'tmpfs', 0, 0))";
    let off = ground.python(code, off()).await;
    if nix::unistd::geteuid().is_root() {
        assert!(!off.starts_with("EPERM"), "{off}");
    } else {
        eprintln!("SKIPPED in part: without root a mount is refused anyway");
    }
    assert_eq!(ground.python(code, Sandbox::default()).await, "EPERM EPERM\n");
}

#[tokio::test]
async fn strict_refuses_new_namespaces_and_default_does_not() {
    const NEW: &str = "print(call('unshare', 0x10000000)); \
                       import subprocess, threading; threading.Thread(target=lambda: print('thread')).start(); \
                       print(subprocess.check_output(['echo', 'child']))";
    let ground = Ground::new().await;
    let strict = Sandbox { seccomp: Seccomp::Strict, ..Sandbox::default() };
    let said = ground.python(NEW, strict.clone()).await;
    assert_eq!(said, "EPERM\nthread\nb'child\\n'\n");
    let said = ground.python(NEW, Sandbox::default()).await;
    if ground.python("print(call('unshare', 0x10000000))", off()).await == "ok\n" {
        assert_eq!(said, "ok\nthread\nb'child\\n'\n");
    } else {
        eprintln!("SKIPPED in part: this machine makes no user namespaces");
    }
    let clone = "import platform; number = 56 if platform.machine() == 'x86_64' else 220; \
                 print(call('syscall', number, 0x10000000 | 17, 0, 0, 0, 0))";
    assert_eq!(ground.python(clone, strict).await, "EPERM\n");
}

#[tokio::test]
async fn the_calls_of_32_bit_programs_are_no_way_round() {
    // `int 0x80`: getpid(2) as a 32-bit program calls it.
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    const INT80: &str = r"
import mmap
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(b'\xb8\x14\x00\x00\x00\xcd\x80\xc3')
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
print('before', flush=True)
ctypes.CFUNCTYPE(ctypes.c_int)(at)()
print('after')
";
    let ground = Ground::new().await;
    if ground.python(INT80, off()).await != "before\nafter\n" {
        eprintln!("SKIPPED: this kernel runs no 32-bit programs");
        return;
    }
    assert_eq!(ground.python(INT80, Sandbox::default()).await, "before\n");
}
