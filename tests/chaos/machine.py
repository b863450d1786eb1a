"""What the driver asks of the kernel: namespaces, mounts, other processes' sockets; and what of it this machine allows."""
import ctypes
import fcntl
import os
import signal
import socket
import struct

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
_MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x4000, 1 << 18, 2
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SYS_PIDFD_OPEN, _SYS_PIDFD_GETFD = 434, 438  # the same on all architectures

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 1, 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _SIOCSIFMTU, _SIOCSIFTXQLEN = 0x8914, 0x8916, 0x891C, 0x8922, 0x8943
_IFF_UP_RUNNING = 0x41


def _check(result, what):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def unshare(flags):
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def enter_namespace(fd, flags):
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns")


def die_with_parent():
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def adopt_orphans():
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def mount_tmpfs(folder, options):
    _check(_libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), options.encode()), "mount")


def unmount(folder):
    _check(_libc.umount2(os.fsencode(folder), _MNT_DETACH), "umount")


def private_mounts():
    """What is mounted from now on only this process and its children see, and goes with them."""
    unshare(CLONE_NEWNS)
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "mount")


def become_root_of_own():
    """Who is not root is so in a user namespace of its own, where the machine allows it. One thread only."""
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER)
    for path, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{path}", "w", encoding="ascii") as file:
            file.write(text)


class Node:
    """A network namespace whose only way out is a TUN device, of which we hold the other end."""

    def __init__(self, address, mtu):
        self.address = address
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.namespace = self.tun = -1
        try:
            unshare(CLONE_NEWNET)
            try:
                self.namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
                fcntl.ioctl(self.tun, _TUNSETIFF, struct.pack("16sH22x", b"wire", _IFF_TUN | _IFF_NO_PI))
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                    def set_up(name, request, value):
                        fcntl.ioctl(control, request, struct.pack("16s16s8x", name, value))

                    def ip(text):
                        return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
                    set_up(b"wire", _SIOCSIFMTU, struct.pack("i12x", mtu))
                    set_up(b"wire", _SIOCSIFTXQLEN, struct.pack("i12x", 10000))
                    set_up(b"wire", _SIOCSIFADDR, ip(address))
                    set_up(b"wire", _SIOCSIFNETMASK, ip("255.255.255.0"))
                    for name in (b"lo", b"wire"):
                        set_up(name, _SIOCSIFFLAGS, struct.pack("H14x", _IFF_UP_RUNNING))
            finally:
                enter_namespace(home, CLONE_NEWNET)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(home)

    def close(self):
        for fd in (self.namespace, self.tun):
            if fd >= 0:
                os.close(fd)
        self.namespace = self.tun = -1


def sockets_of(pid):
    """Another process' connected TCP sockets, as duplicates, by descriptor."""
    process = _check(_libc.syscall(_SYS_PIDFD_OPEN, pid, 0), "pidfd_open")
    found = []
    try:
        for name in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
            try:
                if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                    continue
                copy = _libc.syscall(_SYS_PIDFD_GETFD, process, int(name), 0)
                if copy < 0:
                    continue
                connection = socket.socket(fileno=copy)
                try:
                    if connection.type != socket.SOCK_STREAM or connection.family not in (socket.AF_INET, socket.AF_INET6):
                        raise OSError
                    connection.getpeername()
                except OSError:
                    connection.close()
                    continue
                found.append(connection)
            except OSError:
                continue  # closed meanwhile
    finally:
        os.close(process)
    return found


def reset(connection):
    """Breaks a TCP connection at once: the other side gets a reset, this side's calls fail."""
    nowhere = ctypes.create_string_buffer(16)  # AF_UNSPEC
    _check(_libc.connect(connection.fileno(), nowhere, 16), "connect")


def _succeeds(action):
    """Tried in a child, so that nothing of it stays."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _try_mounts():
    private_mounts()
    mount_tmpfs("/dev/shm", "size=64k")


def _try_reset():
    listener = socket.create_server(("127.0.0.1", 0))
    end = socket.create_connection(listener.getsockname())
    other, _ = listener.accept()
    pid = os.fork()
    if pid == 0:
        signal.pause()
    copies = sockets_of(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    reset([c for c in copies if c.getpeername() == other.getsockname()][0])
    end.close()


def abilities():
    """What faults need that not every machine allows: name and why it is missing, or None."""
    if os.getuid() != 0 and _succeeds(become_root_of_own):
        become_root_of_own()
    return {
        "mounts": None if _succeeds(_try_mounts) else "no mounts of its own (neither root nor a user namespace)",
        "namespaces": None if _succeeds(lambda: Node("10.77.0.1", 1500))
        else "no network namespace with a TUN device (needs root, or a user namespace, and /dev/net/tun)",
        "sockets": None if _succeeds(_try_reset) else "no access to the ranks' sockets (pidfd_getfd)",
    }
