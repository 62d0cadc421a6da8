# Does what a plugin must not, once, and writes what came of it as JSON; then the server is executed.
# greedy.py RESULT WHAT [ARGUMENT ..] -- SERVER ..
import ctypes
import errno
import json
import os
import socket
import sys


def tried(act):
    try:
        act()
        return "done"
    except OSError as error:
        return errno.errorcode[error.errno]


def fork(folder, most):
    """Forks sleeping children, up to a bound of its own."""
    made, refused = 0, None
    while made < int(most):
        try:
            if os.fork() == 0:
                os.closerange(0, 64)
                os.execv("/bin/sleep", ["sleep", "600", folder])
            made += 1
        except OSError as error:
            refused = errno.errorcode[error.errno]
            break
    return {"made": made, "refused": refused}


def files(folder):
    """Opens ten thousand files, and writes a large one."""
    held = []

    def open_all():
        for _ in range(10_000):
            held.append(os.open("/dev/null", os.O_RDONLY))

    opened = tried(open_all)
    count = len(held)
    for each in held:
        os.close(each)

    def fill():
        with open(f"{folder}/large", "wb", buffering=0) as file:
            for _ in range(64):
                file.write(b"x" * (1 << 20))

    filled = tried(fill)
    return {"opened": opened, "count": count, "filled": filled, "size": os.path.getsize(f"{folder}/large")}


def look(host, state, docker):
    """Looks at what is the host's."""
    unix = socket.socket(socket.AF_UNIX)
    return {
        "environment of the host": tried(lambda: open(f"/proc/{host}/environ", "rb").read()),
        "home of root": tried(lambda: os.listdir("/root")),
        "token of the host": tried(lambda: open(f"{state}/token").read()),
        "/etc/shadow": tried(lambda: open("/etc/shadow").read()),
        "a unix socket of others": tried(lambda: unix.connect(docker)),
    }


def harm(host, sibling):
    """Signals the host and attaches to another plugin. The signal would do nothing but go on."""
    libc = ctypes.CDLL(None, use_errno=True)

    def attach():
        if libc.ptrace(16, int(sibling), 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")

    return {
        "signal to the host": tried(lambda: os.kill(int(host), 18)),
        "signal to a sibling": tried(lambda: os.kill(int(sibling), 18)),
        "ptrace of a sibling": tried(attach),
    }


result, what, *rest = sys.argv[1:]
end = rest.index("--")
told = {"fork": fork, "files": files, "look": look, "harm": harm}[what](*rest[:end])
with open(result + ".new", "w") as file:
    json.dump(told, file)
os.rename(result + ".new", result)
os.execv(rest[end + 1], rest[end + 1 :])
