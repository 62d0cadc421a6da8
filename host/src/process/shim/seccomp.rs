//! The list of system calls that are refused to a plugin, as a program of the kernel's packet filter.
//!
//! A list of what is refused, not of what is allowed: servers of every runtime run under it, and what a future kernel adds
//! is allowed. The filter is inherited by all that the plugin starts, and nothing takes it off again.
#![allow(unsafe_code, reason = "setting a filter has no safe wrapper")]

use nix::errno::Errno;
use nix::libc::{self, c_long, sock_filter};
use wharf_core::manifest::Seccomp;

use crate::process::plan::SandboxPlan;

/// What administers the kernel, or looks into other processes.
const REFUSED: &[c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_perf_event_open,
    libc::SYS_setns,
    libc::SYS_lookup_dcookie,
    // Mounts.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    // Files past the rules on paths.
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // The kernel itself.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_nfsservctl,
    // The machine.
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Runtimes do without where the kernel has none. They would be a way round every other rule.
const IO_URING: [c_long; 3] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// What `strict` refuses besides.
const STRICT: &[c_long] = &[
    libc::SYS_unshare,
    libc::SYS_chroot,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_name_to_handle_at,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// All namespaces that clone(2) can make.
const NAMESPACES: libc::c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// New in Linux 6.15; the same number on every processor.
const OPEN_TREE_ATTR: c_long = 467;

/// `AUDIT_ARCH_*` of linux/audit.h: the kind of system calls that the numbers above belong to.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ARCH: u32 = 0;

/// `struct seccomp_data`: the number, the kind, and the lower half of the first argument.
const NUMBER: u32 = 0;
const KIND: u32 = 4;
const FIRST: u32 = 16;

/// Refuses what the plan says, for this process and all its children, for good.
pub(super) fn apply(plan: &SandboxPlan) -> Result<(), Errno> {
    let Some(mut filter) = filter(plan.seccomp, plan.no_sockets) else { return Ok(()) };
    let len = u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: the program is live for the length of the call, and as long as it says.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::c_ulong::from(libc::SECCOMP_MODE_FILTER),
            &raw const program,
            0,
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// The program; `None` if nothing is refused.
fn filter(list: Seccomp, no_sockets: bool) -> Option<Vec<sock_filter>> {
    if list == Seccomp::Off && !no_sockets {
        return None;
    }
    let mut program = Program::new();
    program.refuse(&IO_URING, libc::ENOSYS);
    if list != Seccomp::Off {
        program.refuse(REFUSED, libc::EPERM);
    }
    if list == Seccomp::Strict {
        program.refuse(STRICT, libc::EPERM);
        // Its flags are in memory, which no filter can read; without it the C library takes the older call.
        program.refuse(&[libc::SYS_clone3], libc::ENOSYS);
        program.refuse_first(libc::SYS_clone, libc::BPF_JSET, NAMESPACES, true);
    }
    if no_sockets {
        program.refuse_first(libc::SYS_socket, libc::BPF_JEQ, libc::AF_UNIX, false);
    }
    Some(program.end())
}

struct Program(Vec<sock_filter>);

impl Program {
    /// Of another kind are the calls of 32-bit programs, whose numbers mean something else: nothing of them is let through.
    fn new() -> Self {
        let mut program = Self(Vec::with_capacity(160));
        program.load(KIND);
        program.jump(libc::BPF_JEQ, ARCH, 1, 0);
        program.end_with(libc::SECCOMP_RET_KILL_PROCESS);
        program.load(NUMBER);
        // The same kind with this bit is x32, a second set of numbers for the same calls.
        #[cfg(target_arch = "x86_64")]
        {
            program.jump(libc::BPF_JGE, 0x4000_0000, 0, 1);
            program.end_with(refusal(libc::ENOSYS));
        }
        program
    }

    fn refuse(&mut self, calls: &[c_long], errno: i32) {
        for call in calls {
            self.jump(libc::BPF_JEQ, number(*call), 0, 1);
            self.end_with(refusal(errno));
        }
    }

    /// Refuses a call by its first argument: where the comparison is true, or where it is not.
    fn refuse_first(&mut self, call: c_long, comparison: u32, with: i32, if_true: bool) {
        self.jump(libc::BPF_JEQ, number(call), 0, 4);
        self.load(FIRST);
        let (jump_true, jump_false) = if if_true { (0, 1) } else { (1, 0) };
        self.jump(comparison, with.cast_unsigned(), jump_true, jump_false);
        self.end_with(refusal(libc::EPERM));
        self.load(NUMBER);
    }

    fn end(mut self) -> Vec<sock_filter> {
        self.end_with(libc::SECCOMP_RET_ALLOW);
        self.0
    }

    fn load(&mut self, offset: u32) {
        self.push(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    }

    fn jump(&mut self, comparison: u32, with: u32, if_true: u8, if_false: u8) {
        self.push(libc::BPF_JMP | comparison | libc::BPF_K, with, if_true, if_false);
    }

    fn end_with(&mut self, verdict: u32) {
        self.push(libc::BPF_RET | libc::BPF_K, verdict, 0, 0);
    }

    fn push(&mut self, code: u32, k: u32, jt: u8, jf: u8) {
        // All codes are below 256.
        self.0.push(sock_filter { code: code as u16, jt, jf, k });
    }
}

fn refusal(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()
}

/// Numbers of calls are small.
fn number(call: c_long) -> u32 {
    call as u32
}

#[cfg(test)]
mod tests {
    use nix::libc::{self, c_long, sock_filter};
    use wharf_core::manifest::Seccomp;

    use super::{ARCH, FIRST, KIND, NAMESPACES, NUMBER, filter, refusal};

    /// What the program answers to a call, by the rules of the kernel.
    fn verdict(program: &[sock_filter], arch: u32, call: c_long, first: i32) -> u32 {
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            let code = u32::from(step.code);
            at += 1;
            let holds = match code & 0xf0 {
                libc::BPF_JEQ => loaded == step.k,
                libc::BPF_JGE => loaded >= step.k,
                libc::BPF_JSET => loaded & step.k != 0,
                _ => false,
            };
            match code & 7 {
                libc::BPF_LD => {
                    loaded = match step.k {
                        NUMBER => call as u32,
                        KIND => arch,
                        FIRST => first.cast_unsigned(),
                        other => panic!("nothing is at {other}"),
                    }
                }
                libc::BPF_JMP => at += usize::from(if holds { step.jt } else { step.jf }),
                libc::BPF_RET => return step.k,
                other => panic!("an odd class: {other}"),
            }
        }
    }

    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

    #[test]
    fn each_list_refuses_what_it_says() {
        let (default, strict) =
            (filter(Seccomp::Default, false).unwrap(), filter(Seccomp::Strict, false).unwrap());
        let asked = |program: &[sock_filter], call, first| verdict(program, ARCH, call, first);
        for program in [&default, &strict] {
            assert_eq!(asked(program, libc::SYS_read, 0), ALLOWED);
            assert_eq!(asked(program, libc::SYS_ptrace, 0), EPERM);
            assert_eq!(asked(program, libc::SYS_mount, 0), EPERM);
            assert_eq!(asked(program, libc::SYS_io_uring_setup, 0), refusal(libc::ENOSYS));
            assert_eq!(asked(program, libc::SYS_clone, libc::CLONE_VM | libc::CLONE_THREAD), ALLOWED);
            assert_eq!(asked(program, libc::SYS_socket, libc::AF_INET), ALLOWED);
        }
        for (call, first) in
            [(libc::SYS_unshare, 0), (libc::SYS_chroot, 0), (libc::SYS_clone, libc::CLONE_NEWUSER)]
        {
            assert_eq!(asked(&default, call, first), ALLOWED);
            assert_eq!(asked(&strict, call, first), EPERM);
        }
        assert_eq!(asked(&default, libc::SYS_clone3, 0), ALLOWED);
        assert_eq!(asked(&strict, libc::SYS_clone3, 0), refusal(libc::ENOSYS));
        assert_eq!(asked(&strict, libc::SYS_clone, NAMESPACES), EPERM);
    }

    #[test]
    fn no_other_kind_of_call_is_a_way_round() {
        let program = filter(Seccomp::Default, false).unwrap();
        let i386 = 0x4000_0003;
        assert_eq!(verdict(&program, i386, 26, 0), libc::SECCOMP_RET_KILL_PROCESS);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(verdict(&program, ARCH, 0x4000_0000 | 521, 0), refusal(libc::ENOSYS));
        }
    }

    #[test]
    fn sockets_can_be_refused_by_themselves() {
        assert!(filter(Seccomp::Off, false).is_none());
        let program = filter(Seccomp::Off, true).unwrap();
        let asked = |call, first| verdict(&program, ARCH, call, first);
        assert_eq!(asked(libc::SYS_socket, libc::AF_UNIX), ALLOWED);
        assert_eq!(asked(libc::SYS_socket, libc::AF_INET), EPERM);
        assert_eq!(asked(libc::SYS_socket, libc::AF_NETLINK), EPERM);
        assert_eq!(asked(libc::SYS_ptrace, libc::AF_INET), ALLOWED);
        assert_eq!(asked(libc::SYS_io_uring_setup, 0), refusal(libc::ENOSYS), "it makes sockets too");
    }
}
