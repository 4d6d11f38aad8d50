/* forbidden, forbidden_cpu, forbidden_exec - try what no check needs, each once, and tell what was not refused.
 *
 * Every try is harmless where it is allowed: its arguments are wrong, or its target is a file of the test.
 * "refused 51 of 51", or the names of those that were not, with errno (0: it was done).
 *
 * layers   which parts to try: c system calls, f files, b servers, s signals to others
 * outside  a folder that no option names, with a file `there` in it
 * open     reads this file, which an option names; it must work
 * With FORBIDDEN_EARLY in the environment its constructor has tried one too.
 * write    writes that one (needs "x-path":"write", which the schema has for it) */
#define FLAGS (HD_F_INSTANCE_MT | HD_F_SANDBOX)
#define SCHEMA S("{\"type\":\"object\",\"properties\":{\"write\":{\"type\":\"string\",\"x-path\":\"write\"}}}")
#include "fixture.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>

enum { IO = 1, CPU = 2, EXEC = 4, LIGHT = IO | CPU, ALL = IO | CPU | EXEC };

static char outside[256], there[300], other[300];
/* The fixture's number for "refused": the C library may have changed errno since. */
static long raw(long number, long a, long b, long c, long d) { return syscall(number, a, b, c, d, 0L, 0L); }

#define CALL(NAME, NUMBER, A, B, C, D) static long NAME(void) { return raw(NUMBER, (long)(A), (long)(B), (long)(C), (long)(D)); }
CALL(t_ptrace, SYS_ptrace, PTRACE_ATTACH, -1, 0, 0)
CALL(t_vm_readv, SYS_process_vm_readv, getppid(), 0, 0, 0)
CALL(t_vm_writev, SYS_process_vm_writev, getppid(), 0, 0, 0)
CALL(t_pidfd_getfd, SYS_pidfd_getfd, -1, 0, 0, 0)
CALL(t_kcmp, SYS_kcmp, -1, -1, 0, 0)
CALL(t_bpf, SYS_bpf, -1, 0, 0, 0)
CALL(t_perf, SYS_perf_event_open, 0, 0, 0, 0)
CALL(t_userfaultfd, SYS_userfaultfd, -1, 0, 0, 0)
CALL(t_init_module, SYS_init_module, 0, 0, 0, 0)
CALL(t_finit_module, SYS_finit_module, -1, 0, 0, 0)
CALL(t_delete_module, SYS_delete_module, 0, 0, 0, 0)
CALL(t_kexec, SYS_kexec_load, 0, 99, 0, 0)
CALL(t_reboot, SYS_reboot, 0, 0, 0, 0)
CALL(t_swapon, SYS_swapon, 0, 0, 0, 0)
CALL(t_swapoff, SYS_swapoff, 0, 0, 0, 0)
CALL(t_acct, SYS_acct, -1, 0, 0, 0)
CALL(t_settimeofday, SYS_settimeofday, -1, 0, 0, 0)
CALL(t_clock_settime, SYS_clock_settime, 0, 0, 0, 0)
CALL(t_hostname, SYS_sethostname, -1, -1, 0, 0)
CALL(t_domainname, SYS_setdomainname, -1, -1, 0, 0)
CALL(t_by_handle, SYS_open_by_handle_at, -1, 0, 0, 0)
CALL(t_mount, SYS_mount, 0, 0, 0, 0)
CALL(t_umount, SYS_umount2, 0, 0, 0, 0)
CALL(t_pivot, SYS_pivot_root, 0, 0, 0, 0)
CALL(t_chroot, SYS_chroot, 0, 0, 0, 0)
CALL(t_move_mount, SYS_move_mount, -1, 0, -1, 0)
CALL(t_open_tree, SYS_open_tree, -1, 0, 0, 0)
CALL(t_fsopen, SYS_fsopen, 0, 0, 0, 0)
CALL(t_setns, SYS_setns, -1, 0, 0, 0)
CALL(t_unshare, SYS_unshare, 0, 0, 0, 0)
CALL(t_io_uring, SYS_io_uring_setup, 0, 0, 0, 0)
CALL(t_io_uring_enter, SYS_io_uring_enter, -1, 0, 0, 0)
CALL(t_io_uring_register, SYS_io_uring_register, -1, 0, 0, 0)
CALL(t_fsconfig, SYS_fsconfig, -1, 0, 0, 0)
CALL(t_fsmount, SYS_fsmount, -1, 0, 0, 0)
CALL(t_fspick, SYS_fspick, -1, "/nowhere", 0, 0)
CALL(t_mount_setattr, SYS_mount_setattr, -1, "", 0, 0)
#ifdef __x86_64__
CALL(t_kexec_file, SYS_kexec_file_load, -1, -1, 0, 0)
CALL(t_iopl, SYS_iopl, 9, 0, 0, 0)
CALL(t_ioperm, SYS_ioperm, -1, 0, 0, 0)
CALL(t_modify_ldt, SYS_modify_ldt, 99, 0, 0, 0)
#endif
CALL(t_execve, SYS_execve, "/nowhere", 0, 0, 0)
CALL(t_execveat, SYS_execveat, -1, "/nowhere", 0, 0)
CALL(t_setsid, SYS_setsid, 0, 0, 0, 0)
CALL(t_setpgid, SYS_setpgid, 0, 0, 0, 0)
CALL(t_setuid, SYS_setresuid, -1, -1, -1, 0)
CALL(t_setgid, SYS_setresgid, -1, -1, -1, 0)
CALL(t_setgroups, SYS_setgroups, 1, 0, 0, 0)
CALL(t_capset, SYS_capset, 0, 0, 0, 0)
CALL(t_keyctl, SYS_keyctl, -1, 0, 0, 0)
CALL(t_add_key, SYS_add_key, 0, 0, 0, 0)
CALL(t_fanotify, SYS_fanotify_init, -1, 0, 0, 0)
CALL(t_pidfd_signal, SYS_pidfd_send_signal, -1, 0, 0, 0)
CALL(t_listen, SYS_listen, -1, 0, 0, 0)
CALL(t_accept, SYS_accept4, -1, 0, 0, 0)
CALL(t_chmod, SYS_fchmodat, AT_FDCWD, there, 0666, 0)
CALL(t_chown, SYS_fchownat, AT_FDCWD, there, 0, 0)
CALL(t_utime, SYS_utimensat, AT_FDCWD, there, 0, 0)
CALL(t_xattr, SYS_setxattr, there, "user.a", "b", 1)
CALL(t_mknod, SYS_mknodat, AT_FDCWD, other, S_IFREG | 0600, 0)
CALL(t_symlink, SYS_symlinkat, there, AT_FDCWD, other, 0)
CALL(t_link, SYS_linkat, AT_FDCWD, there, AT_FDCWD, other)
CALL(t_packets, SYS_socket, AF_PACKET, SOCK_RAW, 0, 0)
CALL(t_alg, SYS_socket, AF_ALG, SOCK_SEQPACKET, 0, 0)
CALL(t_vsock, SYS_socket, AF_VSOCK, SOCK_STREAM, 0, 0)
CALL(t_kill_parent, SYS_kill, getppid(), 0, 0, 0)
CALL(t_kill_all, SYS_kill, -1, 0, 0, 0)
CALL(t_kill_group, SYS_kill, 0, 0, 0, 0)
CALL(t_tgkill, SYS_tgkill, getppid(), getppid(), 0, 0)
CALL(t_prlimit, SYS_prlimit64, getppid(), RLIMIT_NOFILE, 0, 0)
CALL(t_inet, SYS_socket, AF_INET, SOCK_STREAM, 0, 0)
CALL(t_connect, SYS_connect, -1, 0, 0, 0)
CALL(t_bind, SYS_bind, -1, 0, 0, 0)

/* Of a child that could be made after all nothing stays. */
static long t_fork(void) {
  long child = raw(SYS_clone, SIGCHLD, 0, 0, 0);
  if (child == 0) _exit(0);
  if (child > 0) waitpid((pid_t)child, NULL, 0);
  return child;
}
static long t_spawn(void) {
  char *argv[] = { "true", NULL }, *env[] = { NULL };
  pid_t child;
  int error = posix_spawn(&child, "/bin/true", NULL, NULL, argv, env);
  if (error == 0) waitpid(child, NULL, 0);
  errno = error;
  return error == 0 ? 0 : -1;
}
static long opened(int fd) {
  if (fd >= 0) close(fd);
  return fd;
}
static long t_create(void) { return opened(open(other, O_CREAT | O_WRONLY | O_EXCL, 0600)); }
static long t_write(void) { return opened(open(there, O_WRONLY)); }
static long t_read(void) { return opened(open(there, O_RDONLY)); }
static long t_list(void) { return opened(open(outside, O_RDONLY | O_DIRECTORY)); }
static long t_truncate(void) { return truncate(there, 0); }
static long t_unlink(void) { return unlink(there); }
static long t_mkdir(void) { return mkdir(other, 0700); }
static long t_rmdir(void) { return rmdir(other); }
static long t_rename(void) { return rename(there, other); }
static long t_environ(void) {
  char path[64];
  /* The kernel asks nobody where root has CAP_PERFMON: there a user of its own is what helps. */
  errno = EPERM;
  if (geteuid() == 0) return -1;
  snprintf(path, sizeof path, "/proc/%d/environ", (int)getppid());
  return opened(open(path, O_RDONLY));
}
static long t_server(void) {
  struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) }, .sin_port = htons(9) };
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  long done = bind(fd, (struct sockaddr *)&at, sizeof at);
  int error = errno;
  close(fd);
  errno = error;
  return done;
}
static long t_abstract(void) {
  /* The test listens there. */
  struct sockaddr_un at = { .sun_family = AF_UNIX };
  int fd = socket(AF_UNIX, SOCK_STREAM, 0), error;
  size_t n = strlen(outside);
  long done;
  memcpy(at.sun_path + 1, outside, n < 100 ? n : 100);
  done = connect(fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (n < 100 ? n : 100)));
  error = errno;
  close(fd);
  errno = error;
  return done;
}

static const struct act { const char *name; long (*try)(void); int who; char layer; } acts[] = {
  { "ptrace", t_ptrace, ALL, 'c' }, { "vm_readv", t_vm_readv, ALL, 'c' }, { "vm_writev", t_vm_writev, ALL, 'c' },
  { "pidfd_getfd", t_pidfd_getfd, ALL, 'c' }, { "kcmp", t_kcmp, ALL, 'c' }, { "bpf", t_bpf, ALL, 'c' },
  { "perf", t_perf, ALL, 'c' }, { "userfaultfd", t_userfaultfd, ALL, 'c' }, { "init_module", t_init_module, ALL, 'c' },
  { "finit_module", t_finit_module, ALL, 'c' }, { "delete_module", t_delete_module, ALL, 'c' },
  { "kexec", t_kexec, ALL, 'c' }, { "reboot", t_reboot, ALL, 'c' }, { "swapon", t_swapon, ALL, 'c' },
  { "swapoff", t_swapoff, ALL, 'c' }, { "acct", t_acct, ALL, 'c' }, { "settimeofday", t_settimeofday, ALL, 'c' },
  { "clock_settime", t_clock_settime, ALL, 'c' }, { "sethostname", t_hostname, ALL, 'c' },
  { "setdomainname", t_domainname, ALL, 'c' }, { "open_by_handle", t_by_handle, ALL, 'c' },
  { "mount", t_mount, ALL, 'c' }, { "umount", t_umount, ALL, 'c' }, { "pivot_root", t_pivot, ALL, 'c' },
  { "chroot", t_chroot, ALL, 'c' }, { "move_mount", t_move_mount, ALL, 'c' }, { "open_tree", t_open_tree, ALL, 'c' },
  { "fsopen", t_fsopen, ALL, 'c' }, { "setns", t_setns, ALL, 'c' }, { "unshare", t_unshare, ALL, 'c' },
  { "io_uring", t_io_uring, ALL, 'c' }, { "io_uring_enter", t_io_uring_enter, ALL, 'c' },
  { "io_uring_register", t_io_uring_register, ALL, 'c' }, { "fsconfig", t_fsconfig, ALL, 'c' },
  { "fsmount", t_fsmount, ALL, 'c' }, { "fspick", t_fspick, ALL, 'c' }, { "mount_setattr", t_mount_setattr, ALL, 'c' },
#ifdef __x86_64__
  { "kexec_file", t_kexec_file, ALL, 'c' }, { "iopl", t_iopl, ALL, 'c' }, { "ioperm", t_ioperm, ALL, 'c' },
  { "modify_ldt", t_modify_ldt, ALL, 'c' },
#endif
  { "fork", t_fork, LIGHT, 'c' }, { "spawn", t_spawn, LIGHT, 'c' }, { "execve", t_execve, LIGHT, 'c' },
  { "execveat", t_execveat, LIGHT, 'c' }, { "setsid", t_setsid, LIGHT, 'c' }, { "setpgid", t_setpgid, LIGHT, 'c' },
  { "setuid", t_setuid, LIGHT, 'c' }, { "setgid", t_setgid, LIGHT, 'c' }, { "setgroups", t_setgroups, LIGHT, 'c' },
  { "capset", t_capset, LIGHT, 'c' }, { "keyctl", t_keyctl, LIGHT, 'c' }, { "add_key", t_add_key, LIGHT, 'c' },
  { "fanotify", t_fanotify, LIGHT, 'c' }, { "pidfd_signal", t_pidfd_signal, LIGHT, 'c' },
  { "listen", t_listen, LIGHT, 'c' }, { "accept", t_accept, LIGHT, 'c' }, { "chmod", t_chmod, LIGHT, 'c' },
  { "chown", t_chown, LIGHT, 'c' }, { "utime", t_utime, LIGHT, 'c' }, { "xattr", t_xattr, LIGHT, 'c' },
  { "mknod", t_mknod, LIGHT, 'c' }, { "symlink", t_symlink, LIGHT, 'c' }, { "link", t_link, LIGHT, 'c' },
  { "packets", t_packets, LIGHT, 'c' }, { "alg", t_alg, LIGHT, 'c' }, { "vsock", t_vsock, LIGHT, 'c' },
  { "kill_parent", t_kill_parent, LIGHT, 'c' }, { "kill_all", t_kill_all, LIGHT, 'c' },
  { "kill_group", t_kill_group, LIGHT, 'c' }, { "tgkill", t_tgkill, LIGHT, 'c' }, { "prlimit", t_prlimit, LIGHT, 'c' },
  { "inet", t_inet, CPU, 'c' }, { "connect", t_connect, CPU, 'c' }, { "bind", t_bind, CPU, 'c' },
  { "create", t_create, LIGHT, 'f' }, { "write", t_write, LIGHT, 'f' }, { "truncate", t_truncate, LIGHT, 'f' },
  { "read", t_read, LIGHT, 'f' }, { "list", t_list, LIGHT, 'f' }, { "mkdir", t_mkdir, LIGHT, 'f' },
  { "rename", t_rename, LIGHT, 'f' }, { "unlink", t_unlink, LIGHT, 'f' }, { "environ", t_environ, LIGHT, 'f' },
  { "server", t_server, IO, 'b' },
  { "kill_parent", t_kill_parent, EXEC, 's' }, { "tgkill", t_tgkill, EXEC, 's' }, { "abstract", t_abstract, IO, 's' },
};

/* The constructor's errno: its file is loaded when all has been given up. */
static int early = EPERM;
__attribute__((constructor)) static void before_all(void) {
  if (getenv("FORBIDDEN_EARLY") == NULL) return;
  errno = 0;
  t_kcmp();
  early = errno;
}

static hd_ret attempt(const char *json, const hd_ctx *c, int who) {
  char layers[8], path[256], told[400] = "";
  size_t n = sizeof acts / sizeof acts[0], refused = 0, all = 0;
  (void)t_rmdir;
  text(json, "layers", layers, sizeof layers);
  text(json, "outside", outside, sizeof outside);
  /* The rest of the path is no option, so nothing opens it. */
  memmove(outside, outside + 1, strlen(outside));
  snprintf(there, sizeof there, "%s/there", outside);
  snprintf(other, sizeof other, "%s/other", outside);
  for (size_t i = 0; i < n; i++) {
    long done;
    if ((acts[i].who & who) == 0 || strchr(layers, acts[i].layer) == NULL) continue;
    all++;
    errno = 0;
    done = acts[i].try();
    if (done < 0 && (errno == EPERM || errno == EACCES)) refused++;
    else snprintf(told + strlen(told), sizeof told - strlen(told), " %s(%d)", acts[i].name, done < 0 ? errno : 0);
  }
  if (text(json, "open", path, sizeof path) && opened(open(path, O_RDONLY)) < 0)
    snprintf(told + strlen(told), sizeof told - strlen(told), " cannot open: %s", strerror(errno));
  if (text(json, "write", path, sizeof path) && opened(open(path, O_WRONLY | O_CREAT, 0600)) < 0)
    snprintf(told + strlen(told), sizeof told - strlen(told), " cannot write: %s", strerror(errno));
  if (early != EPERM) snprintf(told + strlen(told), sizeof told - strlen(told), " constructor(%d)", early);
  say(c, "refused %zu of %zu%s%s", refused, all, told[0] ? ", but" : "", told);
  return told[0] ? HD_CRIT : HD_OK;
}

static hd_ret run(void *instance, const hd_ctx *c) { return attempt(instance, c, IO); }
static hd_ret run_cpu(void *instance, const hd_ctx *c) { return attempt(instance, c, CPU); }
static hd_ret start(void *instance, const hd_ctx *c, void **task) {
  (void)task;
  return attempt(instance, c, EXEC);
}
static hd_ret step(void *task, const hd_ctx *c, const hd_event *events, size_t n) {
  (void)task; (void)c; (void)events; (void)n;
  return HD_OK;
}

static const hd_plugin plugins[] = {
  RUN_LANE("forbidden", HD_WL_BLOCK, create, run),
  RUN_LANE("forbidden_cpu", HD_WL_CPU, create, run_cpu),
  STEP_LANE("forbidden_exec", HD_WL_EXEC, create, start, step, free),
};
EXPORT(plugins)
