/*
 * virtio-cryptodevd: lines of its log
 *
 * A line is one write(2), so that those of several threads do not mix. Where
 * stderr is the journal's, it starts with a priority as sd-daemon(3) has it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

static void write_line(int priority, const char *format, va_list ap)
{
    char line[512];
    size_t start = 0, end;
    ssize_t written;

    if (getenv("JOURNAL_STREAM")) {
        start = snprintf(line, sizeof(line), "<%d>", priority);
    }
    start += snprintf(line + start, sizeof(line) - start, "%s: ", PROGRAM);
    vsnprintf(line + start, sizeof(line) - start - 1, format, ap);

    /* What libraries say ends in newlines, and may hold what others sent */
    end = strlen(line);
    while (line[end - 1] == '\n') {
        end--;
    }
    for (size_t i = start; i < end; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    line[end++] = '\n';
    written = write(STDERR_FILENO, line, end);
    (void)written;      /* nowhere is left to say it */
}

void log_line(int priority, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    write_line(priority, format, ap);
    va_end(ap);
}

void die(int status, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    write_line(LOG_ERR, format, ap);
    va_end(ap);
    exit(status);
}
