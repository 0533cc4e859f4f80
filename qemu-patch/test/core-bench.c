/*
 * virtio cryptodev: how many operations a second the core does
 *
 * From submit to complete, AES-128-CBC, each in flight in a session of its
 * own. Prints "backend bytes in_flight operations_per_second" lines.
 *
 *   core-bench [MILLISECONDS OF EACH]
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

#define IN_FLIGHT_MAX   8

static uint64_t measure(const struct vcd_backend *backend, uint32_t bytes,
                        unsigned in_flight, uint64_t ms)
{
    static const uint8_t source[1 << 16];
    /* As an iothread or the daemon has it */
    struct vcd_config config = VCD_CONFIG_DEFAULT;
    struct bed *bed;
    struct bed_queue *queue;
    struct chain *chains[IN_FLIGHT_MAX];
    uint64_t start, end, done = 0;
    uint32_t handle;

    config.inline_ns = 40000;
    config.inline_alone_ns = 120000;
    bed = bed_new(backend, &config);
    queue = &bed->queues[0];
    handle = must_open(queue);
    bed->whole = true;
    for (unsigned i = 0; i < in_flight; i++) {
        uint32_t session = must_gsession(queue, handle, AES_CBC, 0,
                                         source, 16, NULL, 0);

        chains[i] = chain_new(queue, message_crypt(handle, &(struct crypt) {
            .session = session, .src = source, .len = bytes,
            .result_bytes = bytes, .iv = source, .iv_bytes = 16,
        }));
    }
    start = now_ns();
    end = start + ms * 1000000;
    while (now_ns() < end) {
        for (unsigned i = 0; i < in_flight; i++) {
            if (chains[i]->state != CHAIN_SENT) {
                chain_submit(chains[i]);
            }
        }
        do {
            queue_pump(queue, 100);
            for (unsigned i = 0; i < in_flight; i++) {
                if (chains[i]->state == CHAIN_COMPLETED) {
                    chains[i]->state = CHAIN_NEW;
                    done++;
                }
            }
        } while (vcd_queue_in_flight(queue->vcd) == in_flight);
    }
    end = now_ns();
    for (unsigned i = 0; i < in_flight; i++) {
        if (chains[i]->state == CHAIN_SENT) {
            CHECK_EQUAL(chain_wait(chains[i]), 0);
        }
        chain_free(chains[i]);
    }
    bed_free(bed);
    return done * 1000000000 / (end - start);
}

int main(int argc, char **argv)
{
    static const struct vcd_backend *const backends[] = {
        &vcd_backend_null, &vcd_backend_libcrypto,
    };
    uint64_t ms = argc > 1 ? strtoull(argv[1], NULL, 10) : 300;

    vcd_libcrypto_init();
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        for (uint32_t bytes = 16; bytes <= 1 << 16; bytes *= 8) {
            for (unsigned n = 1; n <= IN_FLIGHT_MAX; n *= 8) {
                printf("%s %u %u %llu\n", backends[i]->name, bytes, n,
                       (unsigned long long)measure(backends[i], bytes, n,
                                                   ms));
                fflush(stdout);
            }
        }
    }
    return 0;
}
