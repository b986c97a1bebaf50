/* Text to a stamp: UTF-8, layout with kerning, anti-aliased glyphs, a soft halo around them. */
#include <math.h>

#include "watermark.h"

static void *get_memory(size_t size) {
    void *memory = malloc(size ? size : 1);
    if (!memory) die(2, "not enough memory for a mark of this size");
    return memory;
}

#define STBTT_malloc(size, context) ((void)(context), get_memory(size))
#define STBTT_free(memory, context) ((void)(context), free(memory))
#define STBTT_STATIC
#define STB_TRUETYPE_IMPLEMENTATION
#include "stb_truetype.h"

#define TEXT_LIMIT 1000 /* characters */

static const uint8_t font_data[] = {
#embed "Roboto-Medium.ttf"
};

typedef struct {
    int glyph;
    double x; /* of its origin, for a font of one pixel, kerning included */
} Placed;

typedef struct {
    Placed glyphs[TEXT_LIMIT];
    int count;
    double left, top, right, bottom; /* of the ink, for a font of one pixel; y grows downwards from the base line */
} Line;

static stbtt_fontinfo font;
static float em; /* the scale at which the font has one pixel */

/* The next character of strict UTF-8, or -1. */
static int32_t next_character(const uint8_t **at) {
    const uint8_t *c = *at;
    int more = *c < 0x80 ? 0 : *c >= 0xc2 && *c < 0xe0 ? 1 : *c >= 0xe0 && *c < 0xf0 ? 2 : *c >= 0xf0 && *c < 0xf5 ? 3 : -1;
    if (more < 0) return -1;
    int32_t value = more == 0 ? *c : *c & (0x3f >> more);
    for (int i = 1; i <= more; i++) {
        if ((c[i] & 0xc0) != 0x80) return -1; /* also the NUL that ends the text */
        value = value << 6 | (c[i] & 0x3f);
    }
    if ((more == 2 && (value < 0x800 || (value >= 0xd800 && value < 0xe000))) ||
        (more == 3 && (value < 0x10000 || value > 0x10ffff)))
        return -1;
    *at = c + more + 1;
    return value;
}

static const char *hexadecimal(int32_t value) {
    static char digits[8];
    int at = 7;
    digits[at] = 0;
    for (int i = 0; i < 4 || value; i++, value >>= 4) digits[--at] = "0123456789ABCDEF"[value & 15];
    return digits + at;
}

static void lay_out(const char *text, Line *line) {
    if (!font.data && !stbtt_InitFont(&font, font_data, 0)) die(1, "the built-in font cannot be read");
    em = stbtt_ScaleForMappingEmToPixels(&font, 1);
    const uint8_t *at = (const uint8_t *)text;
    double x = 0;
    int visible = 0;
    *line = (Line){.left = INFINITY, .top = INFINITY, .right = -INFINITY, .bottom = -INFINITY};
    for (int previous = 0; *at;) {
        int32_t character = next_character(&at);
        if (character < 0) die(2, "--text is not valid UTF-8");
        if (character < 0x20 || (character >= 0x7f && character < 0xa0))
            die(2, "--text holds the control character U+", hexadecimal(character), "; it must be one line of plain text");
        if (line->count == TEXT_LIMIT) die(2, "--text is longer than ", decimal(TEXT_LIMIT).digits, " characters");
        int glyph = stbtt_FindGlyphIndex(&font, character);
        if (!glyph) die(2, "--text holds U+", hexadecimal(character), ", for which the built-in font has no glyph");
        if (previous) x += em * stbtt_GetGlyphKernAdvance(&font, previous, glyph);
        int advance, bearing, left, bottom, right, top;
        stbtt_GetGlyphHMetrics(&font, glyph, &advance, &bearing);
        if (stbtt_GetGlyphBox(&font, glyph, &left, &bottom, &right, &top)) {
            line->left = fmin(line->left, x + em * left);
            line->right = fmax(line->right, x + em * right);
            line->top = fmin(line->top, -em * top);
            line->bottom = fmax(line->bottom, -em * bottom);
            visible = 1;
        }
        line->glyphs[line->count++] = (Placed){glyph, x};
        x += em * advance;
        previous = glyph;
    }
    if (!line->count) die(2, "--text is empty");
    if (!visible) die(2, "--text holds nothing but white space");
}

/* Draws the line into a plane of coverage, its ink's top left corner at (pad, pad). */
static uint8_t *draw(const Line *line, double size, int pad, int width, int height) {
    uint8_t *plane = get_memory((size_t)width * height);
    memset(plane, 0, (size_t)width * height);
    float scale = (float)(em * size);
    int base = pad - (int)floor(line->top * size);
    for (int i = 0; i < line->count; i++) {
        double x = pad + (line->glyphs[i].x - line->left) * size;
        float shift = (float)(x - floor(x));
        int left, top, right, bottom, glyph = line->glyphs[i].glyph;
        stbtt_GetGlyphBitmapBoxSubpixel(&font, glyph, scale, scale, shift, 0, &left, &top, &right, &bottom);
        int w = right - left, h = bottom - top;
        if (w <= 0 || h <= 0) continue;
        uint8_t *bitmap = get_memory((size_t)w * h);
        stbtt_MakeGlyphBitmapSubpixel(&font, bitmap, w, h, w, scale, scale, shift, 0, glyph);
        for (int row = 0; row < h; row++) {
            int y = base + top + row;
            if (y < 0 || y >= height) continue;
            for (int column = 0; column < w; column++) {
                int to = (int)floor(x) + left + column;
                if (to < 0 || to >= width) continue;
                uint8_t *pixel = &plane[(size_t)y * width + to], cover = bitmap[(size_t)row * w + column];
                if (cover > *pixel) *pixel = cover;
            }
        }
        free(bitmap);
    }
    return plane;
}

/* One pass of a box blur along lines of `count` pixels `step` apart. */
static void blur_lines(uint8_t *plane, int lines, size_t line_step, int count, size_t step, int radius) {
    uint8_t *line = get_memory((size_t)count);
    for (int i = 0; i < lines; i++) {
        uint8_t *at = plane + i * line_step;
        for (int k = 0; k < count; k++) line[k] = at[k * step];
        int sum = 0;
        for (int k = 0; k < radius && k < count; k++) sum += line[k];
        for (int k = 0; k < count; k++) {
            if (k + radius < count) sum += line[k + radius];
            if (k > radius) sum -= line[k - radius - 1];
            at[k * step] = (uint8_t)(sum / (2 * radius + 1));
        }
    }
    free(line);
}

void check_text(const char *text) {
    static Line line;
    lay_out(text, &line);
}

Stamp text_stamp(const Style *style, int width, int height) {
    static Line line;
    lay_out(style->text, &line);
    int shorter = width < height ? width : height;
    double size = style->percent ? fmax(1, shorter * style->percent / 100.0) : style->size ? style->size : fmax(10, shorter * 0.05);
    int margin = margin_for(style, (int)ceil(size / 2), width, height);
    /* Two pixels less: what rounding and anti-aliasing may add. */
    double room_x = fmax(width - 2 * margin - 2, 0.5), room_y = fmax(height - 2 * margin - 2, 0.5);
    size = fmin(size, fmin(room_x / (line.right - line.left), room_y / (line.bottom - line.top)));

    int radius = (int)fmax(1, round(size / 24)), pad = 3 * radius + 1;
    int ink_width = (int)ceil((line.right - line.left) * size) + 1, ink_height = (int)ceil((line.bottom - line.top) * size) + 1;
    Stamp stamp = {.width = ink_width + 2 * pad, .height = ink_height + 2 * pad};
    size_t count = (size_t)stamp.width * stamp.height;
    uint8_t *ink = draw(&line, size, pad, stamp.width, stamp.height), *halo = get_memory(count);
    memcpy(halo, ink, count);
    for (int pass = 0; pass < 3; pass++) {
        blur_lines(halo, stamp.height, (size_t)stamp.width, stamp.width, 1, radius);
        blur_lines(halo, stamp.width, 1, stamp.height, (size_t)stamp.width, radius);
    }
    const int color[3] = {style->red, style->green, style->blue};
    int halo_color = 299 * color[0] + 587 * color[1] + 114 * color[2] < 100000 ? 255 : 0;
    stamp.pixels = get_memory(count * 4);
    for (size_t i = 0; i < count; i++) {
        double of_ink = ink[i] / 255.0 * style->opacity;
        double of_halo = fmin(1, halo[i] / 255.0 * 1.6) * 0.5 * style->opacity * (1 - of_ink);
        for (int k = 0; k < 3; k++) stamp.pixels[4 * i + k] = (uint8_t)(color[k] * of_ink + halo_color * of_halo + 0.5);
        stamp.pixels[4 * i + 3] = (uint8_t)(255 * (of_ink + of_halo) + 0.5);
    }
    free(ink);
    free(halo);
    place(style, margin, width, height, &stamp, ink_width, ink_height);
    stamp.left -= pad;
    stamp.top -= pad;
    return stamp;
}
