/*
 * virtio-cryptodevd: what it gives up before it listens to a guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sysexits.h>

#include "log.h"
#include "sandbox.h"

/* The ioctls of /dev/crypto: 'c', 101 to 112; size and direction are free */
#define IOCTL_FIRST 101
#define IOCTL_LAST  112
#define IOCTL_MASK  0xffff
#define IOCTL(nr)   ('c' << 8 | (nr))

static const int allowed[] = {
    /* messages, rings, metrics */
    SCMP_SYS(accept4), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),
    SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(read), SCMP_SYS(write),
    SCMP_SYS(writev), SCMP_SYS(close), SCMP_SYS(fcntl), SCMP_SYS(fcntl64),
    SCMP_SYS(getsockopt), SCMP_SYS(fstat), SCMP_SYS(fstat64),
    SCMP_SYS(fstatfs), SCMP_SYS(fstatfs64), SCMP_SYS(poll), SCMP_SYS(ppoll),
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl),
    SCMP_SYS(unlink), SCMP_SYS(unlinkat),
    /* memory and threads */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
    SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
    SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(gettid),
    SCMP_SYS(getpid), SCMP_SYS(membarrier), SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* signals and time */
    SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
    SCMP_SYS(tgkill), SCMP_SYS(restart_syscall), SCMP_SYS(alarm),
    SCMP_SYS(setitimer), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),
    /* keys and IVs of OpenSSL's own */
    SCMP_SYS(getrandom),
};

/* What glibc and OpenSSL try, and do without where it is not to be had */
static const int tried[] = {
    SCMP_SYS(prctl), SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(readlink),
    SCMP_SYS(ioctl), SCMP_SYS(sysinfo),
};

static void check(int error, const char *what)
{
    if (error) {
        die(EX_OSERR, "sandbox: %s: %s (see --no-sandbox)", what,
            strerror(error < 0 ? -error : error));
    }
}

/* With @action, @count calls; those that the architecture lacks are skipped */
static void add(scmp_filter_ctx filter, uint32_t action, const int *calls,
                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check(seccomp_rule_add(filter, action, calls[i], 0), "a rule");
    }
}

/* Memory that is not to be executed; no call with PROT_EXEC matches */
static void allow_memory(scmp_filter_ctx filter)
{
    static const int calls[] = {
        SCMP_SYS(mmap), SCMP_SYS(mmap2), SCMP_SYS(mprotect)
    };

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 1,
                               SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)),
              "memory");
    }
}

/*
 * Threads, no processes. The flags of clone3(2) can't be looked at; glibc goes
 * back to clone(2) where there is none.
 */
static void allow_threads(scmp_filter_ctx filter)
{
    check(seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3),
                           0), "threads");
    check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                           SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD,
                                   CLONE_THREAD)), "threads");
}

/* What glibc makes of fstat(2): newfstatat(2) of a descriptor */
static void allow_fstat(scmp_filter_ctx filter)
{
    check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1,
                           SCMP_A3(SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH,
                                   AT_EMPTY_PATH)), "fstat");
}

static void allow_node(scmp_filter_ctx filter)
{
    static const int calls[] = { SCMP_SYS(open), SCMP_SYS(openat) };

    add(filter, SCMP_ACT_ALLOW, calls, 2);
    for (unsigned nr = IOCTL_FIRST; nr <= IOCTL_LAST; nr++) {
        check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                               SCMP_A1(SCMP_CMP_MASKED_EQ, IOCTL_MASK,
                                       IOCTL(nr))), "the node");
    }
}

static void filter_calls(bool opens_files)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);

    if (!filter) {
        die(EX_OSERR, "sandbox: no memory");
    }
    /* Also for the threads that are there already */
    check(seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1), "threads");
    add(filter, SCMP_ACT_ALLOW, allowed, sizeof(allowed) / sizeof(allowed[0]));
    allow_memory(filter);
    allow_threads(filter);
    allow_fstat(filter);
    check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
                           SCMP_A0(SCMP_CMP_EQ, AF_UNIX)), "sockets");
    if (opens_files) {
        allow_node(filter);
    }
    for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
        int call = tried[i];

        if (opens_files &&
            (call == SCMP_SYS(open) || call == SCMP_SYS(openat) ||
             call == SCMP_SYS(ioctl))) {
            continue;       /* the filter can't say both of one call */
        }
        check(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 0),
              "a rule");
    }
    check(seccomp_load(filter), "seccomp");
    seccomp_release(filter);
}

void sandbox_enter(bool opens_files)
{
    const struct rlimit none = { 0, 0 };

    /* Neither a core file nor a debugger of the same user shows keys */
    check(setrlimit(RLIMIT_CORE, &none) ? errno : 0, "RLIMIT_CORE");
    check(prctl(PR_SET_DUMPABLE, 0) ? errno : 0, "PR_SET_DUMPABLE");
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? errno : 0,
          "PR_SET_NO_NEW_PRIVS");
    filter_calls(opens_files);
}
