/*
 * virtio cryptodev: chains, resets and settles as a fuzzer thinks them up
 *
 * The first byte chooses the backend and where work is done; then come
 * commands, each a byte and what it takes (see run()). Whatever they are, no
 * chain is lost or answered out of its bounds, and after each input nothing is
 * alive.
 *
 * With VCD_TEST_SEEDS=DIR in the environment the program writes the inputs to
 * begin with into DIR and ends; qemu-patch/test/seeds/ was made so.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <sanitizer/lsan_interface.h>

#include "harness.h"

#define CHAINS_MAX      256
/* Looking for leaks takes much longer than an input does. */
#define INPUTS_PER_LOOK 1000

enum command {
    RAW, OPEN, CLOSE, GSESSION, FSESSION, GSESSINFO, CRYPT, RESET, SETTLE,
    COMPLETE, SPOIL, FAIL_NEXT, AUTHCRYPT, CPHASH, COMMANDS
};

struct input {
    const uint8_t *data;
    size_t bytes;
};

struct state {
    struct bed *bed;
    struct chain *chains[CHAINS_MAX];
    unsigned count;
    /* A byte of the next message that is changed: where and how; 0: none */
    uint8_t spoil_at, spoil_with;
};

/* Bytes past the end are 0. */
static uint8_t next(struct input *input)
{
    if (input->bytes == 0) {
        return 0;
    }
    input->bytes--;
    return *input->data++;
}

static uint32_t next16(struct input *input)
{
    uint32_t low = next(input);

    return low | next(input) << 8;
}

static uint32_t algorithm(struct input *input)
{
    uint8_t n = next(input);

    /* Mostly one that there is; 255 for none */
    return n == 255 ? 0 : n < 200 ? vcd_algorithms[n % vcd_algorithm_count].id :
                                    n;
}

/* Chains that have come back are looked over and freed. */
static void sweep(struct state *state)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < state->count; i++) {
        struct chain *chain = state->chains[i];

        if (chain->state == CHAIN_SENT) {
            state->chains[kept++] = chain;
            continue;
        }
        if (chain->state == CHAIN_COMPLETED) {
            struct virtio_cryptodev_response response = chain_response(chain);

            CHECK(response.error <= 133);
            if (response.error) {
                CHECK_EQUAL(chain->written, RESPONSE_BYTES);
                CHECK(!response.value && !response.iv_bytes &&
                      !response.mac_bytes);
            } else {
                chain_check_untouched(chain, chain->written);
            }
        }
        chain_free(chain);
    }
    state->count = kept;
}

static void send(struct state *state, uint8_t queue, struct message message)
{
    struct bed_queue *to = &state->bed->queues[queue % 2];
    struct chain *chain;

    if (state->spoil_with && state->spoil_at < message.out_bytes) {
        message.out[state->spoil_at] ^= state->spoil_with;
        state->spoil_with = 0;
    }
    if (state->count == CHAINS_MAX) {
        vcd_queue_reset(to->vcd);
        vcd_queue_reset(state->bed->queues[!(queue % 2)].vcd);
        sweep(state);
    }
    chain = send_message(to, message);
    if (chain->submitted < 0) {
        /* As a transport does then */
        chain_free(chain);
        vcd_queue_reset(to->vcd);
        return;
    }
    state->chains[state->count++] = chain;
}

static void send_raw(struct state *state, struct input *input, uint8_t queue)
{
    struct message message = { .in_bytes = next(input) };
    size_t bytes = next(input);

    bytes = bytes < input->bytes ? bytes : input->bytes;
    message_append(&message, input->data, bytes);
    input->data += bytes;
    input->bytes -= bytes;
    send(state, queue, message);
}

static void send_gsession(struct state *state, struct input *input,
                          uint8_t queue)
{
    static const uint8_t key_bytes[] = { 16, 24, 32, 64, 8, 0, 1, 65 };
    uint8_t key[VCD_MAC_KEY_MAX + 1];
    uint32_t handle = next(input), cipher = algorithm(input),
             mac = algorithm(input);
    uint32_t key_size = key_bytes[next(input) % ARRAY_SIZE(key_bytes)];
    uint32_t mac_key_size = next16(input) % sizeof(key);

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = i * 5;
    }
    send(state, queue, message_gsession(handle, cipher, mac, key, key_size,
                                        key, mac_key_size));
}

static void send_crypt(struct state *state, struct input *input, uint8_t queue)
{
    static const uint8_t source[0x10000];
    static const uint8_t digests[] = { 0, 32, 16, 20, 28, 48, 64, 1 };
    static const uint8_t ivs[] = { 16, 0, 8, 7 };
    uint32_t handle = next(input);
    struct crypt crypt = {
        .session = next(input), .op = next(input) % 3,
        .flags = next(input) & 0x47, .src = source, .len = next16(input),
        .iv = source, .iv_bytes = ivs[next(input) % ARRAY_SIZE(ivs)],
    };
    uint8_t results = next(input);

    /* Mostly whole blocks */
    crypt.len &= results & 0x80 ? ~0u : ~15u;
    crypt.result_bytes = results & 0x40 ? 0 : crypt.len + (results & 0x20);
    crypt.mac_bytes = digests[results % ARRAY_SIZE(digests)];
    crypt.iv_back = crypt.flags & VCD_WRITE_IV ? 16 : 0;
    send(state, queue, message_crypt(handle, &crypt));
}

/* Sizes mostly as the form has them, which @wrong makes wrong ones of */
static void send_authcrypt(struct state *state, struct input *input,
                           uint8_t queue)
{
    static const uint8_t data[0x10000];
    static const uint8_t ivs[] = { 12, 16, 8, 0 };
    uint32_t handle = next(input);
    struct auth auth = {
        .session = next(input), .op = next(input) % 3,
        .flags = next(input) & 0x35, .src = data, .len = next16(input),
        .iv = data, .iv_bytes = ivs[next(input) % ARRAY_SIZE(ivs)],
        .data = data, .data_bytes = next16(input) % 4100,
        .tag_bytes = next(input) % 66,
    };
    uint8_t wrong = next(input);

    if (auth.flags & VCD_FORM_TLS) {
        auth.len &= auth.op == 1 ? ~15u : ~0u;
        auth.result_bytes = auth.op == 1 ? auth.len :
            (auth.len + auth.tag_bytes + 16) / 16 * 16;
    } else if (auth.flags & VCD_FORM_SRTP) {
        auth.result_bytes = auth.len;
        auth.auth_before = auth.data_bytes - auth.data_bytes / 4;
        auth.auth_len = auth.data_bytes + auth.len;
        auth.tag = auth.op == 1 ? data : NULL;
        auth.back = auth.op == 1 ? 0 : auth.tag_bytes;
    } else {
        auth.result_bytes = auth.op == 1 ? auth.len - auth.tag_bytes :
                                           auth.len + auth.tag_bytes;
    }
    auth.result_bytes += wrong & 3;
    /* No more room than a fuzzer has */
    auth.result_bytes %= 0x20000;
    auth.back += wrong & 4 ? 0 : 16;
    send(state, queue, message_authcrypt(handle, &auth));
}

static void run(struct state *state, struct input *input)
{
    uint8_t command = next(input), queue = command >> 7;
    struct bed_queue *bed_queue = &state->bed->queues[queue];
    uint32_t a, b;

    switch ((command & 0x7f) % COMMANDS) {
    case RAW:
        send_raw(state, input, queue);
        break;
    case OPEN:
        send(state, queue, message_open());
        break;
    case CLOSE:
        send(state, queue, message_close(next(input)));
        break;
    case GSESSION:
        send_gsession(state, input, queue);
        break;
    case FSESSION:
        a = next(input);
        send(state, queue, message_fsession(a, next(input)));
        break;
    case GSESSINFO:
        a = next(input);
        send(state, queue, message_gsessinfo(a, next(input)));
        break;
    case CRYPT:
        send_crypt(state, input, queue);
        break;
    case RESET:
        vcd_queue_reset(bed_queue->vcd);
        CHECK_EQUAL(vcd_queue_in_flight(bed_queue->vcd), 0);
        break;
    case SETTLE:
        vcd_queue_settle(bed_queue->vcd, next(input) % 2);
        CHECK_EQUAL(vcd_queue_in_flight(bed_queue->vcd), 0);
        break;
    case COMPLETE:
        queue_pump(bed_queue, 0);
        sweep(state);
        break;
    case SPOIL:
        state->spoil_at = next(input) % 48;
        state->spoil_with = next(input);
        break;
    case FAIL_NEXT:
        a = next(input);
        call_fails(a % CALLS, a & 0x80 ? EIO : 0);
        break;
    case AUTHCRYPT:
        send_authcrypt(state, input, queue);
        break;
    case CPHASH:
        a = next(input);
        b = next(input);
        send(state, queue, message_cphash(a, b, next(input)));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const struct vcd_backend *const backends[] = {
        &vcd_backend_libcrypto, &test_backend, &test_backend_blocking,
        &test_backend_crypt, &vcd_backend_null,
    };
    static unsigned inputs;
    struct input input = { data, bytes };
    struct state state = { 0 };
    uint8_t how = next(&input);
    struct vcd_config config = {
        .num_queues = 2, .max_files = 3, .max_sessions = 3,
        .max_device_sessions = 5, .max_bytes = 40000, .max_threads = 2,
        .max_buffered = 60000, .inline_ns = how & 0x80 ? 0 : 1000000,
        .inline_alone_ns = how & 0x80 ? 0 : 1000000,
    };
    const struct vcd_backend *backend =
        backends[(how & 0x0f) % ARRAY_SIZE(backends)];

    random_seed(how);
    state.bed = how & 0x40 ? bed_new_holding(backend, &config) :
                             bed_new(backend, &config);
    state.bed->whole = how & 0x20;
    while (input.bytes > 0) {
        run(&state, &input);
    }
    for (int i = 0; i < 2; i++) {
        vcd_queue_settle(state.bed->queues[i].vcd, 1);
    }
    sweep(&state);
    CHECK_EQUAL(state.count, 0);
    bed_free(state.bed);
    if (++inputs % INPUTS_PER_LOOK == 0) {
        CHECK(!__lsan_do_recoverable_leak_check());
    }
    return 0;
}

/*
 * The inputs to begin with
 */

static void write_seed(const char *dir, const char *name, const void *data,
                       size_t bytes)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "wb");
    CHECK(file && fwrite(data, bytes, 1, file) == 1 && fclose(file) == 0);
}

static void write_seeds(const char *dir)
{
    /* Indexes of vcd_algorithms: 3 AES-CBC, 5 AES-CTR, 22 SHA-256 */
    static const uint8_t cipher[] = {
        0x00, OPEN, COMPLETE,
        GSESSION, 1, 3, 255, 0, 0, 0, COMPLETE, GSESSINFO, 1, 1,
        CRYPT, 1, 1, 0, 0, 64, 0, 0, 0,
        CRYPT, 1, 1, 1, VCD_WRITE_IV, 64, 0, 1, 0,
        FSESSION, 1, 1, CLOSE, 1, COMPLETE,
    };
    static const uint8_t cipher_and_hash[] = {
        0x82, OPEN, OPEN | 0x80, COMPLETE, COMPLETE | 0x80,
        GSESSION, 1, 5, 22, 2, 0, 0, GSESSION | 0x80, 1, 3, 22, 0, 0, 0,
        SETTLE, 1, SETTLE | 0x80, 1,
        CRYPT, 1, 1, 0, 0, 0, 128, 0, 1,
        CRYPT | 0x80, 1, 1, 1, 0, 0, 64, 0, 1, CRYPT, 1, 1, 1, 0, 32, 0, 1, 1,
        RESET, OPEN, SETTLE | 0x80, 0, CLOSE | 0x80, 1,
    };
    static const uint8_t parts_of_a_hash[] = {
        0x21, OPEN, COMPLETE, GSESSION, 1, 255, 22, 5, 0, 0, COMPLETE,
        CRYPT, 1, 1, 0, VCD_UPDATE | VCD_RESET, 64, 0, 1, 0x40,
        CRYPT, 1, 1, 0, VCD_UPDATE, 3, 0, 1, 0xc0,
        CRYPT, 1, 1, 0, VCD_FINAL, 0, 0, 1, 0x41,
        CRYPT, 1, 1, 0, VCD_UPDATE, 0, 0, 1, 0x41,
    };
    static const uint8_t spoilt[] = {
        0x41, OPEN, COMPLETE, SPOIL, 16, 1, GSESSION, 1, 3, 22, 0, 0, 0,
        SPOIL, 24, 0xff, CRYPT, 1, 1, 0, 0, 64, 0, 0, 1,
        FAIL_NEXT, 0x84, CRYPT, 1, 1, 0, 0, 64, 0, 0, 1,
        RAW, 15, 16, 1, 0, 0, 0,
        RAW, 16, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    };
    static const uint8_t limits[] = {
        0xc3, OPEN, OPEN, OPEN, OPEN, SETTLE, 1,
        GSESSION, 1, 3, 255, 0, 0, 0, GSESSION, 1, 3, 255, 0, 0, 0,
        GSESSION, 1, 3, 255, 0, 0, 0, GSESSION, 1, 3, 255, 0, 0, 0,
        GSESSION, 2, 3, 255, 0, 0, 0, GSESSION, 2, 3, 255, 0, 0, 0,
        GSESSION, 2, 3, 255, 0, 0, 0,
        RESET, OPEN, OPEN, OPEN, OPEN, RESET, OPEN | 0x80,
    };

    /* 10 AES-GCM, 3 AES-CBC, 5 AES-CTR, 14 HMAC-SHA-1, 24 SHA-256 */
    static const uint8_t authcrypt[] = {
        0x00, OPEN, COMPLETE, GSESSION, 1, 10, 255, 0, 0, 0,
        GSESSION, 1, 3, 14, 0, 20, 0, GSESSION, 1, 5, 14, 0, 20, 0, COMPLETE,
        AUTHCRYPT, 1, 1, 0, 0, 40, 0, 0, 20, 0, 16, 0,
        AUTHCRYPT, 1, 1, 1, 0, 40, 0, 0, 20, 0, 16, 0,
        AUTHCRYPT, 1, 2, 0, 0x14, 40, 0, 1, 13, 0, 20, 0,
        AUTHCRYPT, 1, 2, 1, 0x10, 64, 0, 1, 13, 0, 20, 0,
        AUTHCRYPT, 1, 3, 0, 0x24, 40, 0, 1, 16, 0, 10, 0,
        AUTHCRYPT, 1, 3, 1, 0x20, 40, 0, 3, 16, 0, 10, 0, COMPLETE,
    };
    static const uint8_t hash_copies[] = {
        0x81, OPEN, COMPLETE, GSESSION, 1, 255, 24, 5, 0, 0,
        GSESSION, 1, 255, 24, 5, 0, 0, SETTLE, 1,
        CRYPT, 1, 1, 0, VCD_UPDATE | VCD_RESET, 64, 0, 1, 0x40,
        CPHASH, 1, 2, 1, CPHASH, 1, 1, 2, CPHASH, 1, 1, 1,
        CRYPT, 1, 2, 0, VCD_FINAL, 0, 0, 1, 0x41,
        FSESSION, 1, 1, CPHASH, 1, 2, 1, CLOSE, 1, COMPLETE,
    };

    write_seed(dir, "authcrypt", authcrypt, sizeof(authcrypt));
    write_seed(dir, "hash-copies", hash_copies, sizeof(hash_copies));
    write_seed(dir, "cipher", cipher, sizeof(cipher));
    write_seed(dir, "cipher-and-hash", cipher_and_hash,
               sizeof(cipher_and_hash));
    write_seed(dir, "parts-of-a-hash", parts_of_a_hash,
               sizeof(parts_of_a_hash));
    write_seed(dir, "spoilt", spoilt, sizeof(spoilt));
    write_seed(dir, "limits", limits, sizeof(limits));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *dir = getenv("VCD_TEST_SEEDS");

    (void)argc;
    (void)argv;
    vcd_libcrypto_init();
    if (dir) {
        write_seeds(dir);
        exit(0);
    }
    return 0;
}
