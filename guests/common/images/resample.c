#include "resample.h"

#include <math.h>
#include <string.h>

#include "room.h"

#define LOBES 3.0

/* A pixel as four floats: grey and alpha use the first two. */
typedef float Pixel __attribute__((vector_size(16)));

/* What one place of the result takes: `count` places of the source from `first`, with these weights. */
typedef struct {
    uint32_t first, count;
    float *weights;
} Span;

struct Resampler {
    uint32_t width, height, to_width, to_height;
    int channels, has_alpha;
    Span *across, *down;
    uint32_t band;       /* rows that are kept, in a ring */
    uint32_t in, out;    /* rows taken and finished */
    Pixel *source;       /* the row at hand, from the first pixel that matters */
    Pixel *rows;         /* band * to_width */
    uint32_t from, to;   /* the pixels of a row that matter */
};

static double lanczos(double x) {
    if (x < 0) x = -x;
    if (x < 1e-9) return 1;
    if (x >= LOBES) return 0;
    double turn = M_PI * x;
    return LOBES * sin(turn) * sin(turn / LOBES) / (turn * turn);
}

static double reach_of(double scale) {
    return LOBES * (scale > 1 ? scale : 1);
}

static uint32_t most_weights(double scale) {
    return (uint32_t)(2 * reach_of(scale)) + 3;
}

static uint64_t spans_size(double scale, uint32_t count) {
    return (uint64_t)count * (sizeof(Span) + most_weights(scale) * sizeof(float)) + 32;
}

/* The spans of `count` places that lie evenly from `begin` to `end`, of a source that has `size` places. */
static Span *make_spans(double begin, double end, uint32_t size, uint32_t count) {
    double scale = (end - begin) / count, wide = scale > 1 ? scale : 1, reach = reach_of(scale);
    Span *spans = room_or_die(spans_size(scale, count));
    float *weights = (float *)(spans + count);
    for (uint32_t i = 0; i < count; i++) {
        double center = begin + (i + 0.5) * scale, sum = 0;
        double low = floor(center - reach + 0.5), high = floor(center + reach + 0.5);
        uint32_t first = low > 0 ? (uint32_t)low : 0, last = high < size ? (uint32_t)high : size;
        if (first >= size) first = size - 1;
        if (last <= first) last = first + 1;
        for (uint32_t at = first; at < last; at++) {
            double weight = lanczos((at + 0.5 - center) / wide);
            weights[at - first] = (float)weight;
            sum += weight;
        }
        for (uint32_t k = 0; k < last - first; k++) weights[k] = sum ? (float)(weights[k] / sum) : 1.0f / (float)(last - first);
        spans[i] = (Span){first, last - first, weights};
        weights += last - first;
    }
    return spans;
}

static uint64_t band_size(double scale) {
    return most_weights(scale) + 1;
}

uint64_t resample_need(uint32_t width, const Box *box, uint32_t to_width, uint32_t to_height) {
    double across = (box->right - box->left) / to_width, down = (box->bottom - box->top) / to_height;
    return spans_size(across, to_width) + spans_size(down, to_height) + ((uint64_t)width + band_size(down) * to_width) * sizeof(Pixel) + 4096;
}

Resampler *resample_start(uint32_t width, uint32_t height, int channels, const Box *box, uint32_t to_width, uint32_t to_height) {
    Resampler *r = room_or_die(sizeof *r);
    *r = (Resampler){.width = width, .height = height, .to_width = to_width, .to_height = to_height, .channels = channels,
                     .has_alpha = !(channels & 1)};
    r->across = make_spans(box->left, box->right, width, to_width);
    r->down = make_spans(box->top, box->bottom, height, to_height);
    r->band = 1;
    for (uint32_t i = 0; i < to_height; i++)
        if (r->down[i].count > r->band) r->band = r->down[i].count;
    r->from = r->across[0].first;
    r->to = r->across[to_width - 1].first + r->across[to_width - 1].count;
    r->source = room_or_die((uint64_t)(r->to - r->from) * sizeof(Pixel));
    r->rows = room_or_die((uint64_t)r->band * to_width * sizeof(Pixel));
    return r;
}

uint32_t resample_rows(const Resampler *r) {
    const Span *last = &r->down[r->to_height - 1];
    return last->first + last->count;
}

static void load(Resampler *r, const uint8_t *row) {
    Pixel *to = r->source;
    row += (size_t)r->from * r->channels;
    for (uint32_t i = r->from; i < r->to; i++, to++, row += r->channels) {
        switch (r->channels) {
            case 1: *to = (Pixel){row[0], 0, 0, 0}; break;
            case 2: *to = (Pixel){row[0] * (row[1] / 255.0f), row[1], 0, 0}; break;
            case 3: *to = (Pixel){row[0], row[1], row[2], 0}; break;
            default: {
                float alpha = row[3] / 255.0f;
                *to = (Pixel){row[0] * alpha, row[1] * alpha, row[2] * alpha, row[3]};
            }
        }
    }
}

static uint8_t rounded(float value) {
    return value <= 0 ? 0 : value >= 255 ? 255 : (uint8_t)(value + 0.5f);
}

static void store(const Resampler *r, Pixel pixel, uint8_t *to) {
    int colors = r->channels - r->has_alpha;
    if (r->has_alpha) {
        float alpha = pixel[colors];
        to[colors] = rounded(alpha);
        for (int i = 0; i < colors; i++) to[i] = alpha < 0.5f ? 0 : rounded(pixel[i] * 255.0f / alpha);
        return;
    }
    for (int i = 0; i < colors; i++) to[i] = rounded(pixel[i]);
}

static void finish_row(Resampler *r, uint8_t *result) {
    const Span *span = &r->down[r->out];
    for (uint32_t x = 0; x < r->to_width; x++) {
        Pixel sum = {0};
        for (uint32_t k = 0; k < span->count; k++) sum += r->rows[(size_t)((span->first + k) % r->band) * r->to_width + x] * span->weights[k];
        store(r, sum, result + (size_t)x * r->channels);
    }
}

void resample_row(Resampler *r, const uint8_t *row, uint8_t *result) {
    uint32_t at = r->in++;
    if (r->out == r->to_height || at < r->down[r->out].first) return;
    load(r, row);
    Pixel *to = r->rows + (size_t)(at % r->band) * r->to_width;
    for (uint32_t x = 0; x < r->to_width; x++) {
        const Span *span = &r->across[x];
        const Pixel *from = r->source + (span->first - r->from);
        Pixel sum = {0};
        for (uint32_t k = 0; k < span->count; k++) sum += from[k] * span->weights[k];
        to[x] = sum;
    }
    while (r->out < r->to_height && r->down[r->out].first + r->down[r->out].count <= r->in) {
        finish_row(r, result + (size_t)r->out * r->to_width * r->channels);
        r->out++;
    }
}
