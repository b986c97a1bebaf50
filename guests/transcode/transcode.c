/* transcode: a JPEG, PNG or WebP into another of these, or into the same made anew.
 *
 * Row by row where both kinds allow it. A picture that EXIF says is turned comes out turned, so that it is the same in
 * whatever looks at it; then it is held whole. A JPEG that becomes a JPEG without --quality is not decoded: its
 * coefficients stay exactly as they are, and so does the way in which it is turned.
 */
#include "../common/images/asked.h"
#include "../common/images/exif.h"
#include "../common/images/fit.h"
#include "../common/images/room.h"
#include "../common/memory.h"
#include "transcode.h"

const char *const program_name = "transcode";

static const char help[] =
    "usage: transcode --to KIND [option]...\n"
    "Turns the JPEG, PNG or WebP of standard input into KIND: jpeg, png or webp.\n"
    "  --quality N        of JPEG and WebP, 1 to 100 (default 85, of WebP 80); a JPEG that becomes a\n"
    "                     JPEG without it loses nothing: its coefficients are coded anew\n"
    "  --progressive      of a JPEG\n"
    "  --lossless         of a WebP\n"
    "  --method N         of a WebP 0, quick, to 6, small (default 4); of a PNG 1 to 9 (default 4)\n"
    "  --background RRGGBB  behind what is transparent, where it becomes a JPEG (default FFFFFF)\n"
    "  --strip            leave out EXIF, XMP, texts and resolution; what colours mean stays\n"
    "  --keep             keep them (default), as far as KIND has a place for them: a JPEG for EXIF, XMP,\n"
    "                     colour profile, comments and resolution; a PNG for all that is read; a WebP for\n"
    "                     EXIF, XMP and profile. Other texts of a PNG, gAMA, cHRM, sRGB and cICP stay only\n"
    "                     in a PNG\n"
    HELP_MAX_PIXELS
    "A picture that is shown turned comes out turned, and says so, and CMYK becomes RGB, without its profile,\n"
    "unless it is a JPEG that loses nothing.\n";

static const Option options[] = {
    {'t', 't', "to", "KIND"}, {'q', 'q', "quality", "N"}, {'p', 'p', "progressive", NULL}, {'l', 'l', "lossless", NULL}, {'m', 'm', "method", "N"},
    {'b', 0, "background", "RRGGBB"}, {'s', 's', "strip", NULL}, {'k', 'k', "keep", NULL}, {'x', 0, "max-pixels", "N"}, {0},
};

typedef struct {
    Kind to;
    int quality, progressive, lossless, method, strip, keep;
    uint8_t background[3];
} Wish;

static Wish wish_of(int argc, char **argv) {
    Wish wish = {.to = NO_KIND, .method = -1, .background = {255, 255, 255}};
    Arguments arguments = arguments_of(argc, argv, options, help);
    for (int which; (which = next_argument(&arguments)) != NO_MORE;) switch (which) {
        case 't': wish.to = kind_asked(&arguments); break;
        case 'q': wish.quality = (int)number_of(&arguments, 1, 100); break;
        case 'p': wish.progressive = 1; break;
        case 'l': wish.lossless = 1; break;
        case 'm': wish.method = (int)number_of(&arguments, 0, 9); break;
        case 'b': color_asked(&arguments, wish.background); break;
        case 's': wish.strip = 1; break;
        case 'k': wish.keep = 1; break;
        case 'x': max_pixels_asked(&arguments); break;
        default: die(2, arguments.value, ": there is no such argument; --help lists the options");
    }
    if (wish.to == NO_KIND) die(2, "--to KIND is missing; --help lists the options");
    if (wish.to == WEBP && wish.method > 6) die(2, "--method of a WebP is 0 to 6");
    if (wish.to == PNG && !wish.method) die(2, "--method of a PNG is 1 to 9");
    if (wish.method >= 0 && wish.to == JPEG) die(2, "--method does not go with --to jpeg");
    if (wish.quality && wish.to == PNG) die(2, "--quality does not go with --to png, which loses nothing; --method makes it smaller");
    if (wish.strip && wish.keep) die(2, "--strip and --keep exclude each other");
    if (wish.progressive && wish.to != JPEG) die(2, "--progressive goes with --to jpeg only");
    if (wish.lossless && wish.to == JPEG) die(2, "--lossless does not go with --to jpeg; a JPEG that becomes one without --quality loses nothing");
    return wish;
}

/* A copy of EXIF, or XMP, that says the picture is shown as it is stored: what was turned is upright now. */
static Bytes upright_exif(Bytes exif) {
    if (!exif.data) return exif;
    uint8_t *copy = room_or_die(exif.size);
    memcpy(copy, exif.data, exif.size);
    exif_set_upright(copy, exif.size);
    return (Bytes){copy, exif.size};
}

static Bytes upright_xmp(Bytes xmp) {
    static const char name[] = "tiff:Orientation";
    size_t length = sizeof name - 1;
    if (!xmp.data) return xmp;
    uint8_t *copy = room_or_die(xmp.size);
    memcpy(copy, xmp.data, xmp.size);
    for (size_t at = 0; at + length + 4 < xmp.size; at++) {
        if (memcmp(copy + at, name, length)) continue;
        uint8_t *value = copy + at + length; /* ="6", or >6< */
        while (value < copy + xmp.size - 1 && (*value == '=' || *value == '"' || *value == '\'' || *value == '>')) value++;
        if (value > copy + at + length && *value >= '2' && *value <= '8') *value = '1';
    }
    return (Bytes){copy, xmp.size};
}

static About about_of(const Source *source, const Wish *wish, int channels) {
    About about = {.icc = fit_profile(source->about.icc, channels), .cicp = source->about.cicp, .png = source->about.png, .only_color = wish->strip};
    if (wish->strip) return about;
    about.comments = source->about.comments;
    about.density = source->about.density;
    if (source->orientation >= 5) about.density = (Density){about.density.unit, about.density.y, about.density.x};
    int turned = source->orientation != 1;
    about.exif = turned ? upright_exif(source->about.exif) : source->about.exif;
    about.xmp = turned ? upright_xmp(source->about.xmp) : source->about.xmp;
    return about;
}

/* Row `v` of the picture as it is shown, out of the whole stored one. */
static void turned_row(const Source *source, const uint8_t *whole, uint32_t v, uint32_t width, size_t pixel, uint8_t *row) {
    for (uint32_t u = 0; u < width; u++) {
        uint32_t x, y;
        stored_place(source->orientation, source->width, source->height, u, v, &x, &y);
        const uint8_t *from = whole + ((size_t)y * source->width + x) * pixel;
        for (size_t i = 0; i < pixel; i++) *row++ = from[i];
    }
}

static void transcode(Source *source, const Wish *wish, File *file) {
    if (wish->to != PNG) source_narrow(source);
    int turned = source->orientation != 1, sideways = source->orientation >= 5;
    int channels = fit_channels(wish->to, source->channels, wish->background);
    size_t pixel = (size_t)source->channels * (source->wide ? 2 : 1), row_size = source->width * pixel;
    Target target = {.kind = wish->to, .width = sideways ? source->height : source->width, .height = sideways ? source->width : source->height,
                     .channels = channels, .wide = source->wide, .quality = wish->quality ? wish->quality : wish->to == WEBP ? 80 : 85,
                     .progressive = wish->progressive, .lossless = wish->lossless, .method = wish->method >= 0 ? wish->method : 4};
    uint64_t whole_size = turned ? (uint64_t)row_size * source->height : 0, line = 8 * (uint64_t)(source->width > source->height ? source->width : source->height);
    uint64_t coefficients = wish->progressive ? (uint64_t)source->width * source->height * channels * 2 : 0;
    set_room_aside("the picture is", source->width, source->height,
                   source_need(source) + whole_size + 2 * line + target_need(&target) + coefficients + (1 << 20));
    About about = about_of(source, wish, channels);
    target.about = &about;
    uint8_t *row = room_or_die(line), *fitted = room_or_die(line), *whole = turned ? room_or_die(whole_size) : NULL;
    source_start(source);
    if (turned) {
        for (uint32_t y = 0; y < source->height; y++) source_row(source, whole + (size_t)y * row_size);
        source_end(source);
    }
    target_start(&target);
    for (uint32_t y = 0; y < target.height; y++) {
        if (turned) turned_row(source, whole, y, target.width, pixel, row);
        else source_row(source, row);
        if (source->wide || channels == source->channels) {
            target_row(&target, row);
        } else {
            fit_row(wish->to, source->channels, wish->background, row, fitted, target.width);
            target_row(&target, fitted);
        }
    }
    if (!turned) source_end(source);
    target_end(&target);
    *file = target.file;
}

int main(int argc, char **argv) {
    Wish wish = wish_of(argc, argv);
    size_t size;
    const uint8_t *data = read_input(&size);
    Source source;
    File file = {0};
    source_open(&source, data, size, wish.strip);
    if (source.kind == JPEG && wish.to == JPEG && !wish.quality) recode(&source, wish.progressive, wish.strip, &file);
    else transcode(&source, &wish, &file);
    tell_kind(wish.to);
    file_write(&file);
    return 0;
}
