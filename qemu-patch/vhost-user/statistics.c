/*
 * virtio-cryptodevd: numbers for whoever watches it
 *
 * HTTP/1.0 on a unix socket: /metrics in Prometheus's text format, /healthz.
 * One client after the other, with little patience, in a thread of its own: it
 * answers also when the main thread does not, and says so.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "statistics.h"

#define PREFIX "virtio_cryptodevd_"

/* A client has so long for its request, and for taking the answer */
#define PATIENCE_MS 2000
/* Settling takes two seconds at most; who takes so long is stuck */
#define STUCK_MS 10000

static struct daemon *watched;
static int listening;

static const struct {
    bool counter;
    const char *help;
} stats[VCD_STATS] = {
    [VCD_STAT_OPENS] = { true, "Files that the guest has opened" },
    [VCD_STAT_FILES] = { false, "Files that are open" },
    [VCD_STAT_SESSIONS] = { false, "Sessions that are open" },
    [VCD_STAT_OPERATIONS] = { true, "Operations that were done" },
    [VCD_STAT_BYTES] = { true, "Bytes that were worked on" },
    [VCD_STAT_ERRORS] = { true, "Requests that were answered with an error" },
    [VCD_STAT_THREADS] = { false, "Threads that do work" },
    [VCD_STAT_BUFFERED] = { false, "Bytes of copies that threads work on" },
    [VCD_STAT_IN_THREADS] = { true, "Operations that a thread was handed" },
};

static void head(FILE *out, const char *name, bool counter, const char *help)
{
    fprintf(out, "# HELP " PREFIX "%s %s.\n# TYPE " PREFIX "%s %s\n",
            name, help, name, counter ? "counter" : "gauge");
}

static void number(FILE *out, const char *name, bool counter, const char *help,
                   unsigned long long value)
{
    head(out, name, counter, help);
    fprintf(out, PREFIX "%s %llu\n", name, value);
}

/* As Prometheus wants names: "in-threads" is in_threads, counters _total */
static void core_numbers(FILE *out)
{
    for (int stat = 0; stat < VCD_STATS; stat++) {
        char name[64];

        snprintf(name, sizeof(name), "%s%s", vcd_stat_name(stat),
                 stats[stat].counter ? "_total" : "");
        for (char *dash = name; (dash = strchr(dash, '-')); ) {
            *dash = '_';
        }
        number(out, name, stats[stat].counter, stats[stat].help,
               vcd_device_stat(watched->device, stat));
    }
    head(out, "algorithm_operations_total", true, "Operations by algorithm");
    for (size_t i = 0; i < vcd_algorithm_count; i++) {
        fprintf(out, PREFIX "algorithm_operations_total{algorithm=\"%s\"} "
                "%llu\n", vcd_algorithms[i].name, (unsigned long long)
                vcd_device_stat_algorithm(watched->device, i));
    }
}

static void queue_numbers(FILE *out)
{
    static const char *const names[QUEUE_STATES] = {
        "stopped", "running", "broken", "stale"
    };
    unsigned counts[QUEUE_STATES] = { 0 };

    for (unsigned i = 0; i < watched->num_queues; i++) {
        counts[watched->queues[i].state]++;
    }
    head(out, "queues", false, "Queues by state");
    for (int state = 0; state < QUEUE_STATES; state++) {
        fprintf(out, PREFIX "queues{state=\"%s\"} %u\n", names[state],
                counts[state]);
    }
}

static void metrics(FILE *out)
{
    head(out, "info", false, "What this is");
    fprintf(out, PREFIX "info{version=\"" VERSION "\",backend=\"%s\","
            "instance=\"%08x\"} 1\n", watched->backend,
            watched->config.instance);
    number(out, "connected", false, "Whether a front end is connected",
           watched->connected);
    number(out, "connections_total", true, "Connections", watched->connections);
    number(out, "refused_connections_total", true,
           "Connections that were closed for what they sent",
           watched->refused);
    number(out, "messages_total", true, "Messages of front ends",
           watched->messages);
    queue_numbers(out);
    core_numbers(out);
}

static bool is_stuck(void)
{
    unsigned long long since = watched->busy_since;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return since != 0 &&
           now.tv_sec * 1000ULL + now.tv_nsec / 1000000 - since > STUCK_MS;
}

/* The answer to @request, to be freed, or NULL */
static char *answer(const char *request, size_t *size)
{
    static const char type[] =
        "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n\r\n";
    char *text;
    FILE *out = open_memstream(&text, size);

    if (!out) {
        return NULL;
    }
    if (strncmp(request, "GET /metrics ", 13) == 0) {
        fprintf(out, "HTTP/1.0 200 OK\r\n%s", type);
        metrics(out);
    } else if (strncmp(request, "GET /healthz ", 13) == 0) {
        if (is_stuck()) {
            fprintf(out, "HTTP/1.0 503 Service Unavailable\r\n%sstuck\n", type);
        } else {
            fprintf(out, "HTTP/1.0 200 OK\r\n%sok\n", type);
        }
    } else {
        fprintf(out, "HTTP/1.0 404 Not Found\r\n%sThere are /metrics and "
                "/healthz.\n", type);
    }
    return fclose(out) == 0 ? text : NULL;
}

/* Whether @fd is ready within what is left of the client's time */
static bool wait_for(int fd, short events, int *left)
{
    struct pollfd pollfd = { .fd = fd, .events = events };
    struct timespec before, after;
    bool ready;

    clock_gettime(CLOCK_MONOTONIC, &before);
    ready = *left > 0 && poll(&pollfd, 1, *left) > 0;
    clock_gettime(CLOCK_MONOTONIC, &after);
    *left -= (after.tv_sec - before.tv_sec) * 1000 +
             (after.tv_nsec - before.tv_nsec) / 1000000;
    return ready;
}

static bool read_request(int fd, char *request, size_t size, int *left)
{
    size_t have = 0;

    while (have < size - 1 && wait_for(fd, POLLIN, left)) {
        ssize_t got = recv(fd, request + have, size - 1 - have, MSG_DONTWAIT);

        if (got <= 0) {
            return false;
        }
        have += got;
        request[have] = '\0';
        if (strstr(request, "\r\n\r\n") || strstr(request, "\n\n")) {
            return true;
        }
    }
    return false;
}

static void serve(int fd)
{
    char request[4096];
    int left = PATIENCE_MS;
    size_t size, sent = 0;
    char *text;

    if (!read_request(fd, request, sizeof(request), &left)) {
        return;
    }
    text = answer(request, &size);
    while (text && sent < size && wait_for(fd, POLLOUT, &left)) {
        ssize_t n = send(fd, text + sent, size - sent,
                         MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0) {
            break;
        }
        sent += n;
    }
    free(text);
}

static void *run(void *opaque)
{
    struct pollfd pollfd = { .fd = listening, .events = POLLIN };

    (void)opaque;
    for (;;) {
        int fd;

        poll(&pollfd, 1, -1);
        fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            serve(fd);
            close(fd);
        } else if (errno != EAGAIN && errno != ECONNABORTED) {
            /* No descriptors, or no memory: later, perhaps */
            poll(NULL, 0, 100);
        }
    }
    return NULL;
}

int statistics_start(struct daemon *daemon, int fd)
{
    pthread_t thread;

    watched = daemon;
    listening = fd;
    return pthread_create(&thread, NULL, run, NULL);
}
