/* The input, forwards, through one small window: standard input cannot be sought in. */
#include "info.h"

static struct {
    size_t used, have;
    uint8_t bytes[64 << 10];
} window;

static size_t fill(void) {
    window.used = 0;
    window.have = read_some(window.bytes, sizeof window.bytes);
    return window.have;
}

size_t take(void *into, size_t size) {
    size_t taken = 0;
    while (taken < size) {
        if (window.used == window.have && !fill()) break;
        size_t part = window.have - window.used;
        if (part > size - taken) part = size - taken;
        memcpy((uint8_t *)into + taken, window.bytes + window.used, part);
        window.used += part;
        taken += part;
    }
    return taken;
}

int pass_over(uint64_t size) {
    size_t held = window.have - window.used;
    if (size <= held) {
        window.used += (size_t)size;
        return 1;
    }
    size -= held;
    window.used = window.have;
    while (size) {
        if (!fill()) return 0;
        window.used = size < window.have ? (size_t)size : window.have;
        size -= window.used;
    }
    return 1;
}

size_t look(const uint8_t **first) {
    while (window.have < KIND_BYTES) {
        size_t got = read_some(window.bytes + window.have, sizeof window.bytes - window.have);
        if (!got) break;
        window.have += got;
    }
    *first = window.bytes;
    return window.have < KIND_BYTES ? window.have : KIND_BYTES;
}
