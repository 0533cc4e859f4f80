/*
 * virtio-cryptodevd: its options
 *
 * They have the names of the properties of QEMU's own device.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "log.h"
#include "options.h"
#include "virtio_cryptodev.h"

/*
 * Work that costs no more than a thread's being woken is done on the spot, and
 * some more where no other request would wait for it
 */
#define INLINE_NS 40000
#define INLINE_ALONE_NS 120000

/* An option whose value is a number: where it goes, and what is allowed */
struct number {
    const char *name;
    size_t offset;
    bool wide;          /* 64 bits */
    uint64_t min, max;
};

#define NUMBER(name, field, min, max) \
    { name, offsetof(struct options, field), \
      sizeof(((struct options *)0)->field) == 8, min, max }

static const struct number numbers[] = {
    NUMBER("num-queues", config.num_queues, 1, VIRTIO_CRYPTODEV_MAX_QUEUES),
    NUMBER("max-files", config.max_files, 1, 1 << 20),
    NUMBER("max-sessions", config.max_sessions, 1, 1 << 20),
    NUMBER("max-device-sessions", config.max_device_sessions, 1, 1 << 24),
    NUMBER("max-bytes", config.max_bytes, 1, VIRTIO_CRYPTODEV_MAX_BYTES),
    NUMBER("max-threads", config.max_threads, 0, 1024),
    NUMBER("max-buffered", config.max_buffered, 4096, 1ULL << 40),
    NUMBER("fd", fd, 3, INT_MAX),
};

enum {
    OPTION_SOCKET = 256,
    OPTION_SOCKET_MODE,
    OPTION_METRICS_SOCKET,
    OPTION_BACKEND,
    OPTION_PATH,
    OPTION_NO_SANDBOX,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_NUMBER,      /* and those behind it: numbers[] */
};

static const char help[] =
"Usage: " PROGRAM " --socket PATH [OPTION]...\n"
"Gives a guest of stock QEMU a virtio cryptodev device (vhost-user).\n"
"\n"
"Where QEMU finds it:\n"
"  --socket PATH              listen there\n"
"  --socket-mode MODE         its permissions, octal (0600)\n"
"  --fd N                     in place of both: a socket that listens already\n"
"\n"
"Where the work is done:\n"
"  --backend NAME             auto: cryptodev where it is, else libcrypto\n"
"                             cryptodev: the host's /dev/crypto\n"
"                             libcrypto: OpenSSL\n"
"                             null: does NOT encrypt, for measuring\n"
"  --path PATH                the node of the backend cryptodev (/dev/crypto)\n"
"\n"
"Limits of the guest (sizes may end in K, M or G):\n"
"  --num-queues N             1 to 64 (1); QEMU's num_vqs must not be greater\n"
"  --max-files N              open at the same time (1024)\n"
"  --max-sessions N           of one file (1024)\n"
"  --max-device-sessions N    of all files (64K)\n"
"  --max-bytes SIZE           of one operation (1M)\n"
"  --max-threads N            0: as many as suit the backend (0)\n"
"  --max-buffered SIZE        copies that threads work on (64M)\n"
"\n"
"Operation:\n"
"  --metrics-socket PATH      /metrics (Prometheus) and /healthz, HTTP over a\n"
"                             unix socket\n"
"  --no-sandbox               without seccomp, for debugging\n"
"  --help, --version\n"
"\n"
"Examples:\n"
"  " PROGRAM " --socket /run/vm1.sock\n"
"  qemu-system-x86_64 ... -m 1G \\\n"
"    -object memory-backend-memfd,id=ram,size=1G,share=on \\\n"
"    -machine q35,memory-backend=ram \\\n"
"    -chardev socket,id=vcd,path=/run/vm1.sock \\\n"
"    -device vhost-user-test-device-pci,virtio-id=38,num_vqs=1,vq_size=1024,"
"config_size=32,chardev=vcd\n"
"\n"
"  " PROGRAM " --socket vm2.sock --num-queues 4 --max-files 64 \\\n"
"    --metrics-socket vm2.metrics\n"
"  curl --unix-socket vm2.metrics http://localhost/metrics\n";

/* A whole number, with K, M or G behind it. False for what is none. */
static bool parse_size(const char *text, uint64_t *value)
{
    static const char units[] = "KMG";
    const char *unit;
    char *end;
    unsigned shift;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *value = strtoull(text, &end, 10);
    if (errno) {
        return false;
    }
    if (*end == '\0') {
        return true;
    }
    unit = strchr(units, *end);
    if (!unit || end[1] != '\0') {
        return false;
    }
    shift = 10 * (unit - units + 1);
    if (*value > UINT64_MAX >> shift) {
        return false;
    }
    *value <<= shift;
    return true;
}

static void set_number(struct options *options, const struct number *number,
                       const char *text)
{
    char *field = (char *)options + number->offset;
    uint64_t value;

    if (!parse_size(text, &value) ||
        value < number->min || value > number->max) {
        die(EX_USAGE, "--%s %s: must be a number from %llu to %llu, like "
            "4096, 64K or 1M", number->name, text,
            (unsigned long long)number->min, (unsigned long long)number->max);
    }
    if (number->wide) {
        *(uint64_t *)field = value;
    } else {
        *(uint32_t *)field = value;
    }
}

static mode_t parse_mode(const char *text)
{
    char *end;
    unsigned long mode = strtoul(text, &end, 8);

    if (*text < '0' || *text > '7' || *end != '\0' || mode > 0777) {
        die(EX_USAGE, "--socket-mode %s: must be octal, from 0 to 0777, like "
            "0660", text);
    }
    return mode;
}

static const char *parse_backend(const char *name)
{
    static const char *const names[] = {
        "auto", "libcrypto", "cryptodev", "null"
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i]) == 0) {
            return names[i];
        }
    }
    die(EX_USAGE, "--backend %s: must be auto, libcrypto, cryptodev or null",
        name);
}

void options_parse(struct options *options, int argc, char **argv)
{
    enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };
    static const struct option fixed[] = {
        { "socket", required_argument, NULL, OPTION_SOCKET },
        { "socket-mode", required_argument, NULL, OPTION_SOCKET_MODE },
        { "metrics-socket", required_argument, NULL, OPTION_METRICS_SOCKET },
        { "backend", required_argument, NULL, OPTION_BACKEND },
        { "path", required_argument, NULL, OPTION_PATH },
        { "no-sandbox", no_argument, NULL, OPTION_NO_SANDBOX },
        { "help", no_argument, NULL, OPTION_HELP },
        { "version", no_argument, NULL, OPTION_VERSION },
    };
    enum { FIXED = sizeof(fixed) / sizeof(fixed[0]) };
    struct option all[FIXED + NUMBERS + 1] = { 0 };
    const char *error;
    int option;

    memcpy(all, fixed, sizeof(fixed));
    for (int i = 0; i < NUMBERS; i++) {
        all[FIXED + i] = (struct option) {
            numbers[i].name, required_argument, NULL, OPTION_NUMBER + i
        };
    }

    *options = (struct options) {
        .fd = -1,
        .socket_mode = 0600,
        .backend = "auto",
        .path = "/dev/crypto",
        .sandbox = true,
        .config = VCD_CONFIG_DEFAULT,
    };
    options->config.inline_ns = INLINE_NS;
    options->config.inline_alone_ns = INLINE_ALONE_NS;

    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", all, NULL)) != -1) {
        switch (option) {
        case OPTION_SOCKET:
            options->socket = optarg;
            break;
        case OPTION_SOCKET_MODE:
            options->socket_mode = parse_mode(optarg);
            break;
        case OPTION_METRICS_SOCKET:
            options->metrics_socket = optarg;
            break;
        case OPTION_BACKEND:
            options->backend = parse_backend(optarg);
            break;
        case OPTION_PATH:
            options->path = optarg;
            break;
        case OPTION_NO_SANDBOX:
            options->sandbox = false;
            break;
        case OPTION_HELP:
            fputs(help, stdout);
            exit(EX_OK);
        case OPTION_VERSION:
            puts(PROGRAM " " VERSION);
            exit(EX_OK);
        case ':':
            die(EX_USAGE, "%s: needs a value; see --help", argv[optind - 1]);
        case '?':
            die(EX_USAGE, "%s: no such option, or not with a value; see --help",
                argv[optind - 1]);
        default:
            set_number(options, &numbers[option - OPTION_NUMBER], optarg);
        }
    }

    if (optind < argc) {
        die(EX_USAGE, "%s: only options are taken; see --help", argv[optind]);
    }
    if (!options->socket == (options->fd < 0)) {
        die(EX_USAGE, "--socket PATH or --fd N must be given, one of both");
    }
    error = vcd_config_error(&options->config);
    if (error) {
        die(EX_USAGE, "%s", error);
    }
}
