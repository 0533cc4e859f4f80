/* SPDX-License-Identifier: MIT */
/* cryptodev-tool: what its files share. Each command is a function of a line's words. */
#ifndef CRYPTODEV_TOOL_H
#define CRYPTODEV_TOOL_H

#include <stddef.h>
#include <stdint.h>

#include "cryptodev.h"

/* The longest data that a line may ask for */
#define MAX (4 << 20)

/* cryptodev-tool-text.c */
size_t bytes_of(const char *word, uint8_t *out, size_t max);
void print_hex(const uint8_t *bytes, size_t n);
void print_sum(const uint8_t *bytes, size_t n);
void fill(uint8_t *out, size_t n, uint32_t seed);
void answer(int failed);
uint64_t now(void);

/* cryptodev-tool-memory.c */
uint8_t *place_of(const char *word);
void print_place(const void *address);
void do_anon(char **w);
void do_map(char **w);
void do_unmap(char **w);
void do_move(char **w);
void do_resize(char **w);
void do_put(char **w);
void do_get(char **w);
void do_sum(char **w);

/* cryptodev-tool-calls.c: one call, with data in the line */
void do_session(char **w);
void do_crypt(char **w);
void do_auth(char **w);
void do_srtp(char **w);
void do_zeros(char **w);
void do_badptr(char **w);

/* cryptodev-tool-placed.c: one call, with everything in named memory */
void do_call(char **w);
void do_authcall(char **w);
void do_queue(char **w);
void do_fetch(char **w);
void do_poll(char **w);

/* cryptodev-tool-stress.c */
void do_stress(char **w);
void do_churn(char **w);
void do_sidebyside(char **w);

#endif
