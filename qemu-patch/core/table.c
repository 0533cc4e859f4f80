/*
 * virtio cryptodev: things by a number that the table gives
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdlib.h>

#include "internal.h"

#define FIRST_BUCKETS   16

bool vcd_table_init(struct vcd_table *table)
{
    table->buckets = calloc(FIRST_BUCKETS, sizeof(*table->buckets));
    table->mask = FIRST_BUCKETS - 1;
    table->count = 0;
    table->last = 0;
    return table->buckets != NULL;
}

void vcd_table_destroy(struct vcd_table *table)
{
    free(table->buckets);
    table->buckets = NULL;
}

static void insert(struct vcd_table *table, struct vcd_node *node)
{
    struct vcd_node **bucket = &table->buckets[node->number & table->mask];

    node->next = *bucket;
    *bucket = node;
}

/* Numbers follow each other: their low bits spread them evenly. */
static void grow(struct vcd_table *table)
{
    struct vcd_node **old = table->buckets;
    uint32_t size = table->mask + 1;
    struct vcd_node **new = calloc(2 * (size_t)size, sizeof(*new));

    if (!new) {
        /* It works as it is, more slowly. */
        return;
    }
    table->buckets = new;
    table->mask = 2 * size - 1;
    for (uint32_t i = 0; i < size; i++) {
        while (old[i]) {
            struct vcd_node *node = old[i];

            old[i] = node->next;
            insert(table, node);
        }
    }
    free(old);
}

struct vcd_node *vcd_table_find(const struct vcd_table *table, uint32_t number)
{
    struct vcd_node *node = table->buckets[number & table->mask];

    while (node && node->number != number) {
        node = node->next;
    }
    return node;
}

void vcd_table_add(struct vcd_table *table, struct vcd_node *node)
{
    if (table->count > table->mask) {
        grow(table);
    }
    /* A number that is taken is passed over: they wrap after 2^32. */
    do {
        node->number = ++table->last;
    } while (node->number == 0 || vcd_table_find(table, node->number));
    insert(table, node);
    table->count++;
}

void vcd_table_remove(struct vcd_table *table, struct vcd_node *node)
{
    struct vcd_node **at = &table->buckets[node->number & table->mask];

    while (*at != node) {
        at = &(*at)->next;
    }
    *at = node->next;
    table->count--;
}

struct vcd_node *vcd_table_any(const struct vcd_table *table, uint32_t *bucket)
{
    for (; *bucket <= table->mask; ++*bucket) {
        if (table->buckets[*bucket]) {
            return table->buckets[*bucket];
        }
    }
    return NULL;
}
