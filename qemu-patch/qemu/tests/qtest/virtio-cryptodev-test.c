/*
 * virtio-cryptodev: what the device owes its specification, and what a
 * hostile guest can do to it. Numbers in brackets are the specification's.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqtest-single.h"
#include "qemu/bswap.h"
#include "qemu/module.h"
#include "hw/pci/pci_regs.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_cryptodev.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "libqos/virtio-cryptodev.h"

/*
 * Chains that the fuzz test sends in the main loop, and in an iothread;
 * VIRTIO_CRYPTODEV_CHAINS overrides both
 */
#define FUZZ_CHAINS     100000
#define FUZZ_CHAINS_IO  10000
#define AREA_BYTES      (1536 * 1024)
#define WAIT_US         (10 * 1000 * 1000)

#define AES_CBC         11
#define HMAC_SHA256     18

typedef struct Bench {
    QTestState *qts;
    QVirtioDevice *dev;
    QVirtioPCIDevice *pci;
    QGuestAllocator *alloc;
    QVirtQueue *vq;
    uint64_t out;
    uint64_t in;
    uint16_t avail;
} Bench;

static void bench_start(Bench *b)
{
    uint64_t features;

    qvirtio_start_device(b->dev);
    features = qvirtio_get_features(b->dev);
    features &= ~((1ull << VIRTIO_RING_F_INDIRECT_DESC) |
                  (1ull << VIRTIO_RING_F_EVENT_IDX) |
                  QVIRTIO_F_BAD_FEATURE);
    qvirtio_set_features(b->dev, features);
    b->vq = qvirtqueue_setup(b->dev, b->alloc, 0);
    qvirtio_set_driver_ok(b->dev);
}

static void bench_init(Bench *b, void *obj, QGuestAllocator *alloc)
{
    QVirtioCryptodev *cryptodev = obj;

    b->qts = global_qtest;
    b->dev = cryptodev->vdev;
    b->pci = container_of(b->dev, QVirtioPCIDevice, vdev);
    b->alloc = alloc;
    b->out = guest_alloc(alloc, AREA_BYTES);
    b->in = guest_alloc(alloc, AREA_BYTES);
    bench_start(b);
}

static bool needs_reset(Bench *b)
{
    return b->dev->bus->get_status(b->dev) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void bench_restart(Bench *b)
{
    qvirtqueue_cleanup(b->dev->bus, b->vq, b->alloc);
    bench_start(b);
}

static void bench_end(Bench *b)
{
    qvirtio_reset(b->dev);
    qvirtqueue_cleanup(b->dev->bus, b->vq, b->alloc);
    guest_free(b->alloc, b->out);
    guest_free(b->alloc, b->in);
}

/* Sends one chain: the response, whose error is -1 when there was none */
static struct virtio_cryptodev_response call(Bench *b, const void *out,
                                             size_t out_bytes, size_t in_bytes)
{
    struct virtio_cryptodev_response response = { .error = -1 };
    uint32_t head, index, length;
    gint64 end = g_get_monotonic_time() + WAIT_US;

    /* The test driver counts descriptors down only; one chain at a time. */
    qvirtqueue_reset_pool(b->vq);
    qtest_memwrite(b->qts, b->out, out, out_bytes);
    qtest_memwrite(b->qts, b->in, &response, sizeof(response));
    head = qvirtqueue_add(b->qts, b->vq, b->out, out_bytes, false,
                          in_bytes > 0);
    if (in_bytes > 0) {
        qvirtqueue_add(b->qts, b->vq, b->in, in_bytes, true, false);
    }
    qvirtqueue_kick(b->qts, b->dev, b->vq, head);
    while (!qvirtqueue_get_buf(b->qts, b->vq, &index, &length)) {
        if (needs_reset(b)) {
            return response;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        qtest_clock_step(b->qts, 100);
    }
    g_assert_cmpint(index, ==, head);
    qtest_memread(b->qts, b->in, &response, sizeof(response));
    response.error = le32_to_cpu(response.error);
    response.value = le32_to_cpu(response.value);
    response.iv_bytes = le32_to_cpu(response.iv_bytes);
    response.mac_bytes = le32_to_cpu(response.mac_bytes);
    return response;
}

static size_t put_head(uint8_t *out, uint32_t type, uint32_t handle,
                       uint32_t command)
{
    struct virtio_cryptodev_request head = {
        .type = cpu_to_le32(type),
        .handle = cpu_to_le32(handle),
        .command = cpu_to_le32(command),
    };

    memcpy(out, &head, sizeof(head));
    return sizeof(head);
}

static struct virtio_cryptodev_response simple(Bench *b, uint32_t type,
                                               uint32_t handle,
                                               uint32_t command)
{
    uint8_t out[16];

    return call(b, out, put_head(out, type, handle, command), 16);
}

static uint32_t open_file(Bench *b)
{
    struct virtio_cryptodev_response r;

    r = simple(b, VIRTIO_CRYPTODEV_OPEN, 0, 0);
    g_assert_cmpint(r.error, ==, 0);
    return r.value;
}

static struct virtio_cryptodev_response gsession(Bench *b, uint32_t handle,
                                                 uint32_t cipher, uint32_t key,
                                                 uint32_t mac, uint32_t mac_key,
                                                 size_t given)
{
    uint8_t out[2048] = { 0 };
    size_t n = put_head(out, VIRTIO_CRYPTODEV_IOCTL, handle,
                        VIRTIO_CRYPTODEV_GSESSION);
    struct virtio_cryptodev_gsession body = {
        .cipher = cpu_to_le32(cipher),
        .mac = cpu_to_le32(mac),
        .key_bytes = cpu_to_le32(key),
        .mac_key_bytes = cpu_to_le32(mac_key),
    };

    memcpy(out + n, &body, sizeof(body));
    return call(b, out, n + sizeof(body) + given, 16);
}

typedef struct Crypt {
    uint32_t session;
    uint16_t op;
    uint16_t flags;
    uint32_t len;
    uint32_t iv;
    uint32_t result;
    uint32_t mac;
    size_t given;       /* bytes after the structure */
    size_t room;        /* bytes after the response */
} Crypt;

static struct virtio_cryptodev_response crypt_call(Bench *b, uint32_t handle,
                                                   Crypt c)
{
    uint8_t out[4096] = { 0 };
    size_t n = put_head(out, VIRTIO_CRYPTODEV_IOCTL, handle,
                        VIRTIO_CRYPTODEV_CRYPT);
    struct virtio_cryptodev_crypt body = {
        .session = cpu_to_le32(c.session),
        .op = cpu_to_le16(c.op),
        .flags = cpu_to_le16(c.flags),
        .len = cpu_to_le32(c.len),
        .iv_bytes = cpu_to_le32(c.iv),
        .result_bytes = cpu_to_le32(c.result),
        .mac_bytes = cpu_to_le32(c.mac),
    };

    memcpy(out + n, &body, sizeof(body));
    return call(b, out, n + sizeof(body) + c.given, 16 + c.room);
}

/* A chain without room for request or response breaks the device [8] */
static void test_short_chains(void *obj, void *data, QGuestAllocator *alloc)
{
    uint8_t out[16] = { 1 };
    Bench b;

    bench_init(&b, obj, alloc);
    call(&b, out, 15, 16);
    g_assert_true(needs_reset(&b));
    bench_restart(&b);
    call(&b, out, 16, 15);
    g_assert_true(needs_reset(&b));
    bench_restart(&b);
    call(&b, out, 16, 0);
    g_assert_true(needs_reset(&b));
    bench_restart(&b);
    /* And is as good as new after a reset */
    open_file(&b);
    bench_end(&b);
}

/* Handles and sessions are the device's own, and checked [9] [10] */
static void test_handles(void *obj, void *data, QGuestAllocator *alloc)
{
    Crypt c = { .op = 0, .len = 16, .iv = 16, .result = 16,
                .given = 32, .room = 16 };
    uint32_t one, two;
    Bench b;

    bench_init(&b, obj, alloc);
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_CLOSE, 77, 0).error, ==, 9);
    g_assert_cmpint(simple(&b, 4, 0, 0).error, ==, 22);
    one = open_file(&b);
    two = open_file(&b);
    g_assert_cmpint(one, !=, two);
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_IOCTL, one, 99).error, ==, 22);
    g_assert_cmpint(gsession(&b, one, AES_CBC, 16, 0, 0, 16).error, ==, 0);
    c.session = 1;
    g_assert_cmpint(crypt_call(&b, one, c).error, ==, 0);
    g_assert_cmpint(crypt_call(&b, two, c).error, ==, 22);
    g_assert_cmpint(crypt_call(&b, 0, c).error, ==, 9);
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_CLOSE, one, 0).error, ==, 0);
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_CLOSE, one, 0).error, ==, 9);
    g_assert_cmpint(crypt_call(&b, one, c).error, ==, 9);
    bench_end(&b);
}

/* What a chain does not hold is EINVAL, and nothing of it is done [7] [8] */
static void test_lengths(void *obj, void *data, QGuestAllocator *alloc)
{
    Crypt good = { .session = 1, .len = 32, .iv = 16, .result = 32, .mac = 32,
                   .given = 48, .room = 64 };
    Crypt c;
    uint32_t file;
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    g_assert_cmpint(gsession(&b, file, AES_CBC, 16, 0, 0, 15).error, ==, 22);
    g_assert_cmpint(gsession(&b, file, AES_CBC, 65, 0, 0, 65).error, ==, 22);
    g_assert_cmpint(gsession(&b, file, 0, 0, HMAC_SHA256, 513, 513).error,
                    ==, 22);
    g_assert_cmpint(gsession(&b, file, AES_CBC, -1, 0, 0, 64).error, ==, 22);
    g_assert_cmpint(gsession(&b, file, 0, 0, 0, 0, 0).error, ==, 22);
    g_assert_cmpint(gsession(&b, file, AES_CBC, 16, HMAC_SHA256, 8, 24).error,
                    ==, 0);
    g_assert_cmpint(crypt_call(&b, file, good).error, ==, 0);
#define REFUSED(change) do {                                    \
        c = good;                                               \
        change;                                                 \
        g_assert_cmpint(crypt_call(&b, file, c).error, ==, 22); \
    } while (0)
    REFUSED(c.given = 47);
    REFUSED(c.room = 63);
    REFUSED(c.len = 31);
    REFUSED(c.len = 0xfffffff0);
    REFUSED(c.len = 0xfffffff0; c.result = 0xfffffff0);
    REFUSED(c.iv = 15);
    REFUSED(c.iv = 0xffffffff);
    REFUSED(c.result = 0);
    REFUSED(c.mac = 0);
    REFUSED(c.mac = 64);
    REFUSED(c.op = 2);
    REFUSED(c.flags = 0x100);
    REFUSED(c.flags = 4);           /* no room for the IV */
    REFUSED(c.session = 2);
#undef REFUSED
    g_assert_cmpint(crypt_call(&b, file, good).error, ==, 0);
    bench_end(&b);
}

static uint64_t statistic(Bench *b, const char *name)
{
    QDict *answer = qtest_qmp(b->qts, "{'execute': 'qom-get', 'arguments': "
        "{'path': '/machine/peripheral/cd0/virtio-backend', 'property': %s}}",
        name);
    uint64_t value = qdict_get_int(answer, "return");

    qobject_unref(answer);
    return value;
}

/* What is being torn down counts until a thread has done it. */
static void wait_statistic(Bench *b, const char *name, uint64_t value)
{
    gint64 end = g_get_monotonic_time() + WAIT_US;

    while (statistic(b, name) != value) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* A reset ends everything that is open [13] */
static void test_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    uint32_t file;
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    g_assert_cmpint(gsession(&b, file, AES_CBC, 32, 0, 0, 32).error, ==, 0);
    g_assert_cmpint(statistic(&b, "stat-files"), ==, 1);
    g_assert_cmpint(statistic(&b, "stat-sessions"), ==, 1);
    bench_restart(&b);
    wait_statistic(&b, "stat-files", 0);
    wait_statistic(&b, "stat-sessions", 0);
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_CLOSE, file, 0).error, ==, 9);
    bench_end(&b);
}

/*
 * Several chains at once: each has a place of its own in both areas.
 */

#define PLACE_BYTES     (264 * 1024)
/* More than the device does at once, so that a worker has it in hand */
#define LONG_BYTES      (256 * 1024)

/* Makes a chain at place @place ready; it is not sent yet. Returns its head */
static uint32_t prepare(Bench *b, int place, const void *out, size_t out_bytes,
                        size_t in_bytes)
{
    uint64_t out_at = b->out + place * PLACE_BYTES;
    uint64_t in_at = b->in + place * PLACE_BYTES;
    uint32_t head;

    qtest_memwrite(b->qts, out_at, out, out_bytes);
    head = qvirtqueue_add(b->qts, b->vq, out_at, out_bytes, false, true);
    qvirtqueue_add(b->qts, b->vq, in_at, in_bytes, true, false);
    return head;
}

/* A CRYPT of @len bytes of @value in CBC, with a zero IV or the session's */
static uint32_t prepare_crypt(Bench *b, int place, uint32_t handle,
                              uint32_t session, uint8_t value, uint32_t len,
                              bool with_iv)
{
    g_autofree uint8_t *out = g_malloc0(PLACE_BYTES);
    size_t n = put_head(out, VIRTIO_CRYPTODEV_IOCTL, handle,
                        VIRTIO_CRYPTODEV_CRYPT);
    struct virtio_cryptodev_crypt body = {
        .session = cpu_to_le32(session),
        .len = cpu_to_le32(len),
        .iv_bytes = cpu_to_le32(with_iv ? 16 : 0),
        .result_bytes = cpu_to_le32(len),
    };

    memcpy(out + n, &body, sizeof(body));
    n += sizeof(body) + (with_iv ? 16 : 0);
    memset(out + n, value, len);
    return prepare(b, place, out, n + len, 16 + len);
}

/* The chains are made available all at once, and the device is told once. */
static void send_all(Bench *b, const uint32_t *heads, int count)
{
    uint16_t idx = qtest_readw(b->qts, b->vq->avail + 2);

    for (int i = 0; i < count; i++) {
        qtest_writew(b->qts, b->vq->avail + 4 + 2 * ((idx + i) % b->vq->size),
                     heads[i]);
    }
    qtest_writew(b->qts, b->vq->avail + 2, idx + count);
    b->dev->bus->virtqueue_kick(b->dev, b->vq);
}

/* Two descriptors a chain, from descriptor 0 on */
static int place_of(uint32_t head)
{
    return head / 2;
}

/* The head of the chain that the device used next, and its error */
static uint32_t next_used(Bench *b, uint32_t *error)
{
    gint64 end = g_get_monotonic_time() + WAIT_US;
    uint32_t index, length;

    while (!qvirtqueue_get_buf(b->qts, b->vq, &index, &length)) {
        g_assert_false(needs_reset(b));
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        qtest_clock_step(b->qts, 100);
    }
    *error = qtest_readl(b->qts, b->in + place_of(index) * PLACE_BYTES);
    return index;
}

static void assert_used(Bench *b, uint32_t head)
{
    uint32_t error;

    g_assert_cmpint(next_used(b, &error), ==, head);
    g_assert_cmpint(error, ==, 0);
}

/* One session's requests are done in order; others don't wait [11] [15] */
static void test_order(void *obj, void *data, QGuestAllocator *alloc)
{
    uint8_t long_tail[16], expected[32], got[32];
    uint32_t file, one, two, heads[2];
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    one = gsession(&b, file, AES_CBC, 16, 0, 0, 16).value;
    two = gsession(&b, file, AES_CBC, 16, 0, 0, 16).value;

    /* The second goes on from the IV that the first has left. */
    qvirtqueue_reset_pool(b.vq);
    heads[0] = prepare_crypt(&b, 0, file, one, 7, LONG_BYTES, true);
    heads[1] = prepare_crypt(&b, 1, file, one, 9, 32, false);
    send_all(&b, heads, 2);
    assert_used(&b, heads[0]);
    assert_used(&b, heads[1]);
    qtest_memread(b.qts, b.in + 16 + LONG_BYTES - 16, long_tail, 16);
    qtest_memread(b.qts, b.in + PLACE_BYTES + 16, got, 32);

    /* CBC: the same as the block xor the IV, encrypted with a zero IV. */
    for (int i = 0; i < 16; i++) {
        expected[i] = long_tail[i] ^ 9;
    }
    qvirtqueue_reset_pool(b.vq);
    heads[0] = prepare_crypt(&b, 0, file, two, 0, 16, true);
    qtest_memwrite(b.qts, b.out + 16 + 24 + 16, expected, 16);
    send_all(&b, heads, 1);
    assert_used(&b, heads[0]);
    qtest_memread(b.qts, b.in + 16, expected, 16);
    g_assert_cmpmem(got, 16, expected, 16);

    /* A short one of another session overtakes a long one. */
    qvirtqueue_reset_pool(b.vq);
    heads[0] = prepare_crypt(&b, 0, file, one, 7, LONG_BYTES, true);
    heads[1] = prepare_crypt(&b, 1, file, two, 9, 32, true);
    send_all(&b, heads, 2);
    assert_used(&b, heads[1]);
    assert_used(&b, heads[0]);
    bench_end(&b);
}

/* FSESSION and CLOSE wait for what is in progress, and end it all [11] [12] */
static void test_close_waits(void *obj, void *data, QGuestAllocator *alloc)
{
    uint8_t out[64];
    uint32_t file, one, heads[2], session_le;
    size_t n;
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    one = gsession(&b, file, AES_CBC, 16, 0, 0, 16).value;
    gsession(&b, file, AES_CBC, 16, 0, 0, 16);
    g_assert_cmpint(statistic(&b, "stat-sessions"), ==, 2);

    qvirtqueue_reset_pool(b.vq);
    heads[0] = prepare_crypt(&b, 0, file, one, 7, LONG_BYTES, true);
    n = put_head(out, VIRTIO_CRYPTODEV_IOCTL, file, VIRTIO_CRYPTODEV_FSESSION);
    session_le = cpu_to_le32(one);
    memcpy(out + n, &session_le, sizeof(session_le));
    heads[1] = prepare(&b, 1, out, n + sizeof(session_le), 16);
    send_all(&b, heads, 2);
    assert_used(&b, heads[0]);
    assert_used(&b, heads[1]);
    g_assert_cmpint(statistic(&b, "stat-sessions"), ==, 1);

    qvirtqueue_reset_pool(b.vq);
    heads[0] = prepare_crypt(&b, 0, file, 2, 7, LONG_BYTES, true);
    heads[1] = prepare(&b, 1, out, put_head(out, VIRTIO_CRYPTODEV_CLOSE, file,
                                            0), 16);
    send_all(&b, heads, 2);
    assert_used(&b, heads[0]);
    assert_used(&b, heads[1]);
    g_assert_cmpint(statistic(&b, "stat-files"), ==, 0);
    g_assert_cmpint(statistic(&b, "stat-sessions"), ==, 0);
    bench_end(&b);
}

/* A reset waits for what is in progress, and nothing of it is used [13] */
static void test_reset_busy(void *obj, void *data, QGuestAllocator *alloc)
{
    uint32_t file, heads[2];
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    gsession(&b, file, AES_CBC, 16, 0, 0, 16);
    qvirtqueue_reset_pool(b.vq);
    heads[0] = prepare_crypt(&b, 0, file, 1, 7, LONG_BYTES, true);
    heads[1] = prepare_crypt(&b, 1, file, 1, 7, LONG_BYTES, true);
    send_all(&b, heads, 2);
    bench_restart(&b);
    wait_statistic(&b, "stat-files", 0);
    wait_statistic(&b, "stat-sessions", 0);
    open_file(&b);
    bench_end(&b);
}

/* Open files have keys in the host's hands: they can't move elsewhere. */
static void test_migration(void *obj, void *data, QGuestAllocator *alloc)
{
    const char *migrate = "{'execute': 'migrate', "
                          "'arguments': {'uri': 'exec:cat > /dev/null'}}";
    uint32_t file;
    QDict *answer;
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    answer = qtest_qmp(b.qts, migrate);
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(answer, "error"),
                                          "desc"),
                            "the guest has crypto files open"));
    qobject_unref(answer);
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_CLOSE, file, 0).error, ==, 0);
    answer = qtest_qmp(b.qts, migrate);
    g_assert_false(qdict_haskey(answer, "error"));
    qobject_unref(answer);
    answer = qtest_qmp(b.qts, "{'execute': 'migrate_cancel'}");
    qobject_unref(answer);
    bench_end(&b);
}

/*
 * A guest that aims what the device writes at the device's own registers.
 */

/* Where a field of the common configuration is in guest memory */
static uint64_t register_address(Bench *b, size_t offset)
{
    uint32_t bar = PCI_BASE_ADDRESS_0 + 4 * b->pci->bar_idx;
    uint64_t low = qpci_config_readl(b->pci->pdev, bar);
    uint64_t high = qpci_config_readl(b->pci->pdev, bar + 4);

    return (high << 32 | (low & PCI_BASE_ADDRESS_MEM_MASK)) +
           b->pci->common_cfg_offset + offset;
}

static uint64_t status_address(Bench *b)
{
    return register_address(b, offsetof(struct virtio_pci_common_cfg,
                                        device_status));
}

/* Lets the first vector be a write to the device's status */
static void aim_vector(Bench *b)
{
    QPCIDevice *pdev = b->pci->pdev;
    uint64_t entry = pdev->msix_table_off, address = status_address(b);

    qpci_io_writel(pdev, pdev->msix_table_bar,
                   entry + PCI_MSIX_ENTRY_LOWER_ADDR, address);
    qpci_io_writel(pdev, pdev->msix_table_bar,
                   entry + PCI_MSIX_ENTRY_UPPER_ADDR, address >> 32);
}

/* Lets the queue's interrupt reset the device */
static void aim_interrupt(Bench *b)
{
    QVirtQueuePCI *vq = container_of(b->vq, QVirtQueuePCI, vq);

    qpci_msix_enable(b->pci->pdev);
    vq->msix_data = 0;
    qvirtqueue_pci_msix_setup(b->pci, vq, b->alloc, 0);
    aim_vector(b);
}

/*
 * Completing a request must not reset the device in the middle of it: with
 * one request, and with several of one session and a CLOSE behind them.
 */
static void test_interrupt_resets(void *obj, void *data, QGuestAllocator *alloc)
{
    uint32_t file, heads[5];
    uint8_t out[16];
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    gsession(&b, file, AES_CBC, 16, 0, 0, 16);
    aim_interrupt(&b);
    for (int round = 0; round < 20; round++) {
        qvirtqueue_reset_pool(b.vq);
        for (int i = 0; i < 4; i++) {
            heads[i] = prepare_crypt(&b, i, file, 1, 7,
                                     i % 2 ? LONG_BYTES : 16, true);
        }
        heads[4] = prepare(&b, 4, out, put_head(out, VIRTIO_CRYPTODEV_CLOSE,
                                                file, 0), 16);
        send_all(&b, heads, round == 19 ? 5 : 4);
        /* Whatever becomes of them, QEMU goes on. */
        for (int i = 0; i < 50; i++) {
            qtest_clock_step(b.qts, 1000);
            needs_reset(&b);
        }
    }
    qpci_msix_disable(b.pci->pdev);
    bench_restart(&b);
    wait_statistic(&b, "stat-files", 0);
    open_file(&b);
    bench_end(&b);
}

/* The interrupt that tells of an error must not either, while it is told. */
static void test_error_resets(void *obj, void *data, QGuestAllocator *alloc)
{
    QPCIDevice *pdev;
    uint8_t out[16];
    Bench b;

    bench_init(&b, obj, alloc);
    pdev = b.pci->pdev;
    qpci_msix_enable(pdev);
    for (int round = 0; round < 5; round++) {
        uint32_t file = open_file(&b), heads[2];

        gsession(&b, file, AES_CBC, 16, 0, 0, 16);
        b.pci->config_msix_data = 0;
        qvirtio_pci_set_msix_configuration_vector(b.pci, b.alloc, 0);
        aim_vector(&b);
        qvirtqueue_reset_pool(b.vq);
        heads[0] = prepare_crypt(&b, 0, file, 1, 7, LONG_BYTES, true);
        /* One that the device refuses, and one that QEMU does */
        heads[1] = round % 2 ? prepare(&b, 1, out, 15, 16) : 0xffff;
        put_head(out, VIRTIO_CRYPTODEV_OPEN, 0, 0);
        send_all(&b, heads, 2);
        for (int i = 0; i < 50; i++) {
            qtest_clock_step(b.qts, 1000);
            needs_reset(&b);
        }
        bench_restart(&b);
    }
    qpci_msix_disable(pdev);
    bench_restart(&b);
    open_file(&b);
    bench_end(&b);
}

/* Nor does it read or write registers as a chain's memory. */
static void test_chain_in_registers(void *obj, void *data,
                                    QGuestAllocator *alloc)
{
    uint8_t out[16];
    uint64_t good_out, good_in;
    Bench b;

    bench_init(&b, obj, alloc);
    put_head(out, VIRTIO_CRYPTODEV_OPEN, 0, 0);
    good_out = b.out;
    good_in = b.in;
    for (int i = 0; i < 2; i++) {
        uint32_t head;
        gint64 end = g_get_monotonic_time() + WAIT_US;

        qvirtqueue_reset_pool(b.vq);
        qtest_memwrite(b.qts, good_out, out, sizeof(out));
        head = qvirtqueue_add(b.qts, b.vq, i ? good_out :
                              register_address(&b, 0), 16, false, true);
        qvirtqueue_add(b.qts, b.vq, i ? status_address(&b) : good_in, 16,
                       true, false);
        qvirtqueue_kick(b.qts, b.dev, b.vq, head);
        while (!needs_reset(&b)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
            qtest_clock_step(b.qts, 100);
        }
        g_assert_cmpint(statistic(&b, "stat-opens"), ==, 0);
        bench_restart(&b);
    }
    open_file(&b);
    bench_end(&b);
}

/* The rings may lie there too. */
static void test_ring_in_registers(void *obj, void *data,
                                   QGuestAllocator *alloc)
{
    QVirtQueue aimed;
    uint8_t out[16];
    Bench b;

    bench_init(&b, obj, alloc);
    open_file(&b);
    qvirtio_reset(b.dev);
    qvirtio_set_acknowledge(b.dev);
    qvirtio_set_driver(b.dev);
    qvirtio_set_features(b.dev, 1ull << VIRTIO_F_VERSION_1);
    aimed = *b.vq;
    b.dev->bus->queue_select(b.dev, 0);
    /* Small, so that QEMU can map it at all */
    qpci_io_writew(b.pci->pdev, b.pci->bar, b.pci->common_cfg_offset +
                   offsetof(struct virtio_pci_common_cfg, queue_size), 2);
    aimed.used = status_address(&b);
    b.dev->bus->set_queue_address(b.dev, &aimed);
    qpci_io_writew(b.pci->pdev, b.pci->bar, b.pci->common_cfg_offset +
                   offsetof(struct virtio_pci_common_cfg, queue_enable), 1);
    /* QEMU may not be able to map it, and say that a reset is needed. */
    b.dev->bus->set_status(b.dev, b.dev->bus->get_status(b.dev) |
                           VIRTIO_CONFIG_S_DRIVER_OK);
    qtest_memset(b.qts, b.vq->avail, 0, 4);
    qvirtqueue_reset_pool(b.vq);
    for (int i = 0; i < 10; i++) {
        uint32_t head = prepare(&b, i % 2, out,
                                put_head(out, VIRTIO_CRYPTODEV_OPEN, 0, 0),
                                16);

        send_all(&b, &head, 1);
        qtest_clock_step(b.qts, 1000);
        needs_reset(&b);
    }
    bench_restart(&b);
    open_file(&b);
    bench_end(&b);
}

/* One queue can be reset: what came through it ends [13] */
static void test_queue_reset(void *obj, void *data, QGuestAllocator *alloc)
{
    uint32_t file, heads[2];
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    gsession(&b, file, AES_CBC, 16, 0, 0, 16);
    qvirtqueue_reset_pool(b.vq);
    heads[0] = prepare_crypt(&b, 0, file, 1, 7, LONG_BYTES, true);
    heads[1] = prepare_crypt(&b, 1, file, 1, 7, LONG_BYTES, true);
    send_all(&b, heads, 2);
    b.dev->bus->queue_select(b.dev, 0);
    qpci_io_writew(b.pci->pdev, b.pci->bar, b.pci->common_cfg_offset +
                   offsetof(struct virtio_pci_modern_common_cfg, queue_reset),
                   1);
    wait_statistic(&b, "stat-files", 0);
    wait_statistic(&b, "stat-sessions", 0);
    g_assert_false(needs_reset(&b));
    bench_restart(&b);
    open_file(&b);
    bench_end(&b);
}

/* What the monitor says of the device, and what it has of it */
static void test_monitor(void *obj, void *data, QGuestAllocator *alloc)
{
    QDict *answer;
    Bench b;

    bench_init(&b, obj, alloc);
    answer = qtest_qmp(b.qts, "{'execute': 'x-query-virtio-status', "
        "'arguments': {'path': '/machine/peripheral/cd0/virtio-backend'}}");
    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(answer, "return"), "name"),
                    ==, "virtio-cryptodev");
    qobject_unref(answer);
    answer = qtest_qmp(b.qts, "{'execute': 'qom-get', 'arguments': "
        "{'path': '/machine/peripheral/cd0/virtio-backend', "
        "'property': 'stat-backend'}}");
    g_assert_cmpstr(qdict_get_str(answer, "return"), ==, "builtin");
    qobject_unref(answer);
    bench_end(&b);
}

/* Pauses and goes on: what was asked meanwhile is answered then. */
static void test_stopped(void *obj, void *data, QGuestAllocator *alloc)
{
    uint32_t file, head, error, index, length;
    QDict *answer;
    Bench b;

    bench_init(&b, obj, alloc);
    file = open_file(&b);
    gsession(&b, file, AES_CBC, 16, 0, 0, 16);
    answer = qtest_qmp(b.qts, "{'execute': 'stop'}");
    qobject_unref(answer);
    qvirtqueue_reset_pool(b.vq);
    head = prepare_crypt(&b, 0, file, 1, 7, 16, true);
    send_all(&b, &head, 1);
    statistic(&b, "stat-files");
    g_assert_false(qvirtqueue_get_buf(b.qts, b.vq, &index, &length));
    answer = qtest_qmp(b.qts, "{'execute': 'cont'}");
    qobject_unref(answer);
    g_assert_cmpint(next_used(&b, &error), ==, head);
    g_assert_cmpint(error, ==, 0);
    bench_end(&b);
}

/* A handle is known on the queue on which it was opened [9] */
static void test_queues(void *obj, void *data, QGuestAllocator *alloc)
{
    QVirtQueue *first, *second;
    uint32_t one, two;
    Bench b;

    bench_init(&b, obj, alloc);
    first = b.vq;
    one = open_file(&b);
    qvirtio_reset(b.dev);
    bench_restart(&b);
    first = b.vq;
    /* Set up before DRIVER_OK by a driver, and soon enough for the device */
    second = qvirtqueue_setup(b.dev, b.alloc, 1);
    one = open_file(&b);
    b.vq = second;
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_CLOSE, one, 0).error, ==, 9);
    two = open_file(&b);
    g_assert_cmpint(gsession(&b, two, AES_CBC, 16, 0, 0, 16).error, ==, 0);
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_CLOSE, two, 0).error, ==, 0);
    b.vq = first;
    g_assert_cmpint(simple(&b, VIRTIO_CRYPTODEV_CLOSE, one, 0).error, ==, 0);
    qvirtio_reset(b.dev);
    qvirtqueue_cleanup(b.dev->bus, second, b.alloc);
    bench_end(&b);
}

/* Fills @out with something between a good request and noise */
static size_t mutate(GRand *r, uint8_t *out, uint32_t handles)
{
    static const uint32_t commands[] = { 101, 102, 103, 104, 104, 104, 107 };
    static const uint32_t numbers[] = {
        0, 1, 2, 6, 7, 11, 13, 14, 16, 18, 20, 21, 22, 23, 24, 32, 50, 64,
        104, 107, 512, 513, 4096, 0x7fffffff, 0x80000000, 0xfffffff0,
        0xffffffff,
    };
    size_t bytes = g_rand_int_range(r, 0, 2048);
    size_t n;

    for (size_t i = 0; i < bytes; i++) {
        out[i] = g_rand_int(r);
    }
    n = put_head(out, g_rand_int_range(r, 0, 20) ? g_rand_int_range(r, 1, 4) :
                                                   g_rand_int(r),
                 g_rand_int_range(r, 0, handles + 2),
                 commands[g_rand_int_range(r, 0, G_N_ELEMENTS(commands))]);
    for (; n + 4 <= 16 + 24; n += 4) {
        uint32_t value = numbers[g_rand_int_range(r, 0,
                                                  G_N_ELEMENTS(numbers))];

        if (g_rand_int_range(r, 0, 4)) {
            stl_le_p(out + n, value);
        }
    }
    return bytes;
}

/*
 * Cuts @bytes at @base into descriptors from @n on: how many there are then.
 * Now and then one is empty, or lies where no memory is.
 */
static int add_pieces(GRand *r, struct vring_desc *descs, int n, uint64_t base,
                      size_t bytes, bool write)
{
    int pieces = g_rand_int_range(r, 1, 5);

    for (int i = 0; i < pieces; i++) {
        size_t part = bytes;
        bool odd = g_rand_int_range(r, 0, 500) == 0;

        if (i < pieces - 1 && bytes > 1) {
            part = g_rand_int_range(r, odd ? 0 : 1, bytes);
        }
        if (part == 0 && !odd) {
            break;
        }
        odd = g_rand_int_range(r, 0, 500) == 0;
        descs[n].addr = cpu_to_le64(odd ? 0xfffffffffff000ull : base);
        descs[n].len = cpu_to_le32(part);
        descs[n].flags = cpu_to_le16(VRING_DESC_F_NEXT |
                                     (write ? VRING_DESC_F_WRITE : 0));
        descs[n].next = cpu_to_le16(n + 1);
        n++;
        base += part;
        bytes -= part;
    }
    return n;
}

/* Makes the chain at descriptor 0 available; quicker than libqos's way */
static void send_chain(Bench *b, struct vring_desc *descs, int n)
{
    uint16_t ring[2];

    descs[n - 1].flags &= ~cpu_to_le16(VRING_DESC_F_NEXT);
    qtest_memwrite(b->qts, b->vq->desc, descs, n * sizeof(*descs));
    ring[0] = 0;
    qtest_memwrite(b->qts, b->vq->avail + 4 + 2 * (b->avail % b->vq->size),
                   ring, 2);
    ring[1] = cpu_to_le16(++b->avail);
    qtest_memwrite(b->qts, b->vq->avail + 2, &ring[1], 2);
    b->dev->bus->virtqueue_kick(b->dev, b->vq);
}

/* Random and mutated chains neither crash the device nor wedge it */
static void test_fuzz(void *obj, void *data, QGuestAllocator *alloc)
{
    const char *wanted = getenv("VIRTIO_CRYPTODEV_CHAINS");
    uint32_t chains = wanted ? atoi(wanted) : GPOINTER_TO_UINT(data);
    uint32_t seed = g_test_rand_int();
    GRand *r = g_rand_new_with_seed(seed);
    uint8_t out[4096];
    uint32_t handles = 0, answered = 0, resets = 0;
    Bench b;

    g_test_message("seed %u, %u chains", seed, chains);
    bench_init(&b, obj, alloc);
    for (uint32_t i = 0; i < chains; i++) {
        struct vring_desc descs[16];
        size_t out_bytes = mutate(r, out, handles);
        size_t in_bytes = g_rand_int_range(r, 0, 4096);
        uint32_t index, length;
        bool used = false;
        gint64 end = g_get_monotonic_time() + WAIT_US;
        int n;

        /* Something to be used must be open now and then. */
        if (i % 500 == 0) {
            bench_restart(&b);
            handles = open_file(&b);
            gsession(&b, handles, AES_CBC, 16, HMAC_SHA256, 16, 32);
            gsession(&b, handles, 21, 32, 0, 0, 32);
            b.avail = qtest_readw(b.qts, b.vq->avail + 2);
        }
        qtest_bufwrite(b.qts, b.out, out, MAX(out_bytes, 40));
        n = add_pieces(r, descs, 0, b.out, out_bytes, false);
        n = add_pieces(r, descs, n, b.in, in_bytes, true);
        if (n == 0) {
            continue;
        }
        send_chain(&b, descs, n);
        for (;;) {
            used = qvirtqueue_get_buf(b.qts, b.vq, &index, &length);
            if (used || needs_reset(&b)) {
                break;
            }
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
        answered += used;
        if (!used) {
            bench_restart(&b);
            b.avail = 0;
            handles = 0;
            resets++;
        }
    }
    g_test_message("%u answered, %u resets", answered, resets);
    g_assert_cmpint(answered, >, chains / 4);
    /* After all that it works. */
    bench_restart(&b);
    handles = open_file(&b);
    g_assert_cmpint(gsession(&b, handles, AES_CBC, 16, 0, 0, 16).error, ==, 0);
    bench_end(&b);
    g_rand_free(r);
}

static void *with_iothread(GString *command_line, void *arg)
{
    g_string_append(command_line, " -object iothread,id=thread0");
    return arg;
}

static void register_virtio_cryptodev_test(void)
{
    static const struct {
        const char *name;
        void (*test)(void *obj, void *data, QGuestAllocator *alloc);
    } tests[] = {
        { "short-chains", test_short_chains },
        { "handles", test_handles },
        { "lengths", test_lengths },
        { "reset", test_reset },
        { "reset-busy", test_reset_busy },
        { "queue-reset", test_queue_reset },
        { "order", test_order },
        { "close-waits", test_close_waits },
        { "migration", test_migration },
        { "monitor", test_monitor },
        { "stopped", test_stopped },
        { "interrupt-resets", test_interrupt_resets },
        { "error-resets", test_error_resets },
        { "chain-in-registers", test_chain_in_registers },
        { "ring-in-registers", test_ring_in_registers },
        { "fuzz", test_fuzz },
    };
    static const struct {
        const char *name;
        QOSGraphTestOptions options;
    } ways[] = {
        { "", { } },
        { "-ioeventfd", { .edge.extra_device_opts = "ioeventfd=on" } },
        { "-iothread", {
            .edge.extra_device_opts = "ioeventfd=on,iothread=thread0",
            .before = with_iothread,
        } },
    };
    QOSGraphTestOptions queues = { .edge.extra_device_opts = "num-queues=2" };

    for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
        for (size_t t = 0; t < ARRAY_SIZE(tests); t++) {
            g_autofree char *name = g_strdup_printf("%s%s", tests[t].name,
                                                    ways[w].name);
            QOSGraphTestOptions options = ways[w].options;

            options.arg = GUINT_TO_POINTER(w == 0 ? FUZZ_CHAINS :
                                                    FUZZ_CHAINS_IO);
            qos_add_test(name, "virtio-cryptodev", tests[t].test, &options);
        }
    }
    qos_add_test("queues", "virtio-cryptodev", test_queues, &queues);
}

libqos_init(register_virtio_cryptodev_test);
