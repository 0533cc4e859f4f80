/*
 * virtio-cryptodevd: a virtio cryptodev device for stock QEMU, as a process of
 * its own (vhost-user)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "backend.h"
#include "connection.h"
#include "daemon.h"
#include "handover.h"
#include "lie.h"
#include "log.h"
#include "notify.h"
#include "options.h"
#include "sandbox.h"
#include "socket.h"
#include "statistics.h"

/* An end that takes longer is made without what keeps it, s */
#define END_SECONDS 5

static struct options options;
static struct daemon device;

/*
 * Signals
 */

static volatile sig_atomic_t stopping;
static int stop_fd;

/* Also for signal handlers */
static void remove_sockets(void)
{
    if (options.socket) {
        unlink(options.socket);
    }
    if (options.metrics_socket) {
        unlink(options.metrics_socket);
    }
}

static void on_stop(int signal)
{
    int saved = errno;

    (void)signal;
    stopping = true;
    eventfd_write(stop_fd, 1);
    alarm(END_SECONDS);
    errno = saved;
}

static void on_alarm(int signal)
{
    (void)signal;
    remove_sockets();
    _exit(EX_OK);
}

/* There is no going on: which of guest memory's pages is gone is not known */
static void on_bus_error(int signal)
{
    static const char line[] =
        PROGRAM ": the front end has taken guest memory away\n";
    ssize_t written = write(STDERR_FILENO, line, sizeof(line) - 1);

    (void)signal;
    (void)written;
    _exit(EXIT_FAILURE);
}

static void handle_signals(void)
{
    static const struct {
        int signal;
        void (*handler)(int signal);
    } handlers[] = {
        { SIGTERM, on_stop },
        { SIGINT, on_stop },
        { SIGALRM, on_alarm },
        { SIGBUS, on_bus_error },
        { SIGPIPE, SIG_IGN },
    };

    stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0) {
        die(EX_OSERR, "eventfd: %s", strerror(errno));
    }
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        struct sigaction action = {
            .sa_handler = handlers[i].handler,
            .sa_flags = SA_RESTART,
        };

        sigfillset(&action.sa_mask);
        sigaction(handlers[i].signal, &action, NULL);
    }
}

/*
 * The device
 */

static void set_config(const struct vcd_backend *backend)
{
    const struct vcd_config *config = &options.config;
    uint32_t instance = 0;

    while (instance == 0) {
        if (getrandom(&instance, sizeof(instance), 0) != sizeof(instance)) {
            die(EX_OSERR, "getrandom: %s", strerror(errno));
        }
    }
    device.config = (struct virtio_cryptodev_config) {
        .magic = htole32(VIRTIO_CRYPTODEV_MAGIC),
        .version = htole32(VIRTIO_CRYPTODEV_VERSION),
        .instance = htole32(instance),
        .backend = htole32(backend->id),
        .max_files = htole32(config->max_files),
        .max_sessions = htole32(config->max_sessions),
        .max_bytes = htole32(config->max_bytes),
        .num_queues = htole16(config->num_queues),
    };
}

static void make_device(const struct vcd_backend *backend)
{
    static const struct vcd_ops ops = {
        .complete = queue_complete,
        .drop = queue_drop,
        .wake = queue_wake,
    };

    set_config(backend);
    device.backend = backend->name;
    device.num_queues = options.config.num_queues;
    device.device = vcd_device_new(&options.config, backend,
                                   (void *)options.path, &ops, NULL);
    device.queues = calloc(device.num_queues, sizeof(*device.queues));
    if (!device.device || !device.queues) {
        die(EX_OSERR, "no memory");
    }
}

/* The main thread alone gets signals that are meant for the process */
static void start_threads(int metrics_fd)
{
    sigset_t all, before;
    int error = 0;

    sigfillset(&all);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < device.num_queues && !error; i++) {
        error = queue_init(&device.queues[i], i,
                           vcd_device_queue(device.device, i));
    }
    if (!error && metrics_fd >= 0) {
        error = statistics_start(&device, metrics_fd);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        die(EX_OSERR, "a thread: %s", strerror(error));
    }
}

/*
 * Serving
 */

/* As the hard limit allows: each file of a guest may be one of the host */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int listening_socket(void)
{
    int listening = 0;
    socklen_t size = sizeof(listening);

    if (options.socket) {
        return socket_listen(options.socket, options.socket_mode);
    }
    if (!socket_is_stream(options.fd) ||
        getsockopt(options.fd, SOL_SOCKET, SO_ACCEPTCONN, &listening,
                   &size) < 0 || !listening) {
        die(EX_IOERR, "--fd %d: no unix stream socket that listens",
            options.fd);
    }
    fcntl(options.fd, F_SETFD, FD_CLOEXEC);
    fcntl(options.fd, F_SETFL, O_NONBLOCK);
    return options.fd;
}

static struct connection *accept_connection(int listen_fd)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) {
            return NULL;
        }
        remove_sockets();
        die(EX_IOERR, "accept: %s", strerror(errno));
    }
    return connection_new(&device, fd, -1);
}

/* One connection at a time, until the process is to end */
static void serve(int listen_fd, struct connection *connection)
{
    while (!stopping) {
        struct pollfd fds[] = {
            { .fd = stop_fd, .events = POLLIN },
            { .fd = listen_fd, .events = POLLIN },
        };

        if (connection) {
            fds[1].fd = connection_fd(connection);
            fds[1].events = connection_events(connection);
        }
        if (poll(fds, 2, connection ? connection_timeout(connection) : -1) < 0 ||
            fds[0].revents != 0) {
            continue;
        }
        if (!connection) {
            connection = accept_connection(listen_fd);
        } else if (!connection_run(connection)) {
            connection_free(connection);
            handover_forget();
            connection = NULL;
        }
    }
    if (connection) {
        /* Kept where somebody keeps it: whoever is started next goes on */
        connection_free(connection);
    }
}

int main(int argc, char **argv)
{
    const struct vcd_backend *backend;
    struct connection *connection = NULL;
    int listen_fd, metrics_fd = -1, socket, channel;

    lie_take_options(&argc, argv);
    options_parse(&options, argc, argv);
    notify_open();
    handle_signals();
    raise_limit();
    backend = backend_choose(&options);
    listen_fd = listening_socket();
    if (options.metrics_socket) {
        metrics_fd = socket_listen(options.metrics_socket,
                                   options.socket_mode);
    }
    make_device(backend);
    start_threads(metrics_fd);
    if (handover_take(&socket, &channel)) {
        log_line(LOG_NOTICE, "goes on with the connection of an earlier "
                 "process");
        connection = connection_new(&device, socket, channel);
        if (!connection) {
            handover_forget();
        }
    }
    handover_init();
    if (options.sandbox) {
        sandbox_enter(backend->may_block);
    }
    notify_send("READY=1", -1);

    serve(listen_fd, connection);
    remove_sockets();
    return EX_OK;
}
