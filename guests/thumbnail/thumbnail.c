/* thumbnail: a JPEG, PNG or WebP made small.
 *
 * The picture is decoded as small as its kind allows, but at least twice as large as the result (so that the filter, and
 * not the decoder, makes the result), then scaled row by row. It comes out upright: EXIF's orientation is heeded and, as
 * all metadata but the colour profile, left behind.
 */
#include <math.h>

#include "../common/images/asked.h"
#include "../common/images/fit.h"
#include "../common/images/resample.h"
#include "../common/images/room.h"
#include "../common/memory.h"

const char *const program_name = "thumbnail";

static const char help[] =
    "usage: thumbnail (--fit WxH | --fill WxH | --crop X,Y,W,H) [option]...\n"
    "Makes the JPEG, PNG or WebP of standard input small; it goes to standard output.\n"
    "  --fit WxH          as large as it can be within W x H pixels, its shape kept\n"
    "  --fill WxH         exactly W x H pixels: what of it does not fit that shape is cut off,\n"
    "                     as much on either side\n"
    "  --crop X,Y,W,H     first only this part, in pixels of the picture as it is shown;\n"
    "                     alone, or with --fit or --fill\n"
    "  --enlarge          pictures smaller than asked for are enlarged (default: they keep their size;\n"
    "                     with --fill they get the shape)\n"
    "  --format KIND      jpeg, png or webp (default: the picture's own)\n"
    "  --quality N        of JPEG and WebP, 1 to 100 (default 85, of WebP 80); a PNG has none\n"
    "  --lossless         of WebP\n"
    "  --background RRGGBB  behind what is transparent, where it becomes a JPEG (default FFFFFF)\n"
    HELP_MAX_PIXELS
    "It comes out upright, CMYK as RGB. The colour profile is kept, and of a PNG that stays one also\n"
    "gAMA, cHRM, sRGB and cICP; all other metadata is not.\n";

typedef struct {
    uint32_t width, height;
} Size;

typedef struct {
    Size fit, fill, crop;
    uint32_t crop_x, crop_y;
    int enlarge, quality, lossless;
    Kind format;
    uint8_t background[3];
} Wish;

static const Option options[] = {
    {'f', 0, "fit", "WxH"}, {'F', 0, "fill", "WxH"}, {'c', 0, "crop", "X,Y,W,H"}, {'e', 0, "enlarge", NULL}, {'o', 0, "format", "KIND"},
    {'q', 0, "quality", "N"}, {'l', 0, "lossless", NULL}, {'b', 0, "background", "RRGGBB"}, {'x', 0, "max-pixels", "N"}, {0},
};

/* `count` numbers with the separator between them; false when they are none, or out of bounds. */
static int numbers(const char *text, char separator, uint32_t least, uint32_t *into, int count) {
    for (int i = 0; i < count; i++) {
        uint64_t number = 0;
        const char *begin = text;
        for (; *text >= '0' && *text <= '9' && number <= SIDE_LIMIT; text++) number = number * 10 + (uint64_t)(*text - '0');
        if (text == begin || number > SIDE_LIMIT || number < least || *text != (i + 1 < count ? separator : 0)) return 0;
        into[i] = (uint32_t)number;
        text++;
    }
    return 1;
}

static Size size_of(const Arguments *arguments) {
    uint32_t sides[2];
    if (!numbers(arguments->value, 'x', 1, sides, 2))
        die(2, arguments->name, " ", arguments->value, ": must be a width and a height from 1 to 65535, such as 512x512");
    return (Size){sides[0], sides[1]};
}

static Wish wish_of(int argc, char **argv) {
    Wish wish = {.format = NO_KIND, .background = {255, 255, 255}};
    Arguments arguments = arguments_of(argc, argv, options, help);
    for (int which; (which = next_argument(&arguments)) != NO_MORE;) switch (which) {
        case 'f': wish.fit = size_of(&arguments); break;
        case 'F': wish.fill = size_of(&arguments); break;
        case 'c': {
            uint32_t part[4];
            if (!numbers(arguments.value, ',', 0, part, 4) || !part[2] || !part[3])
                die(2, arguments.name, " ", arguments.value, ": must be X,Y,W,H in pixels, such as 100,50,640,480");
            wish.crop_x = part[0], wish.crop_y = part[1];
            wish.crop = (Size){part[2], part[3]};
            break;
        }
        case 'e': wish.enlarge = 1; break;
        case 'o': wish.format = kind_asked(&arguments); break;
        case 'q': wish.quality = (int)number_of(&arguments, 1, 100); break;
        case 'l': wish.lossless = 1; break;
        case 'b': color_asked(&arguments, wish.background); break;
        case 'x': max_pixels_asked(&arguments); break;
        default: die(2, arguments.value, ": there is no such argument; --help lists the options");
    }
    if (!wish.fit.width && !wish.fill.width && !wish.crop.width) die(2, "--fit WxH, --fill WxH or --crop X,Y,W,H is missing; --help lists the options");
    if (wish.fit.width && wish.fill.width) die(2, "--fit and --fill exclude each other");
    return wish;
}

static uint32_t at_least_one(double value) {
    return value < 1 ? 1 : (uint32_t)(value + 0.5);
}

/* The result's size, and the part of the shown picture that it is made of, both as it is shown. */
static Size plan(const Wish *wish, Size shown, Box *box) {
    *box = (Box){0, 0, shown.width, shown.height};
    if (wish->crop.width) {
        if ((uint64_t)wish->crop_x + wish->crop.width > shown.width || (uint64_t)wish->crop_y + wish->crop.height > shown.height)
            die(2, "--crop reaches beyond the picture, which is ", decimal(shown.width).digits, " x ", decimal(shown.height).digits, " pixels");
        *box = (Box){wish->crop_x, wish->crop_y, wish->crop_x + wish->crop.width, wish->crop_y + wish->crop.height};
    }
    double width = box->right - box->left, height = box->bottom - box->top;
    if (wish->fill.width) {
        Size to = wish->fill;
        double scale = fmax(to.width / width, to.height / height); /* of the picture */
        double part_width = to.width / scale, part_height = to.height / scale;
        box->left += (width - part_width) / 2;
        box->right = box->left + part_width;
        box->top += (height - part_height) / 2;
        box->bottom = box->top + part_height;
        if (scale > 1 && !wish->enlarge) to = (Size){at_least_one(part_width), at_least_one(part_height)};
        return to;
    }
    double scale = 1;
    if (wish->fit.width) scale = fmin(wish->fit.width / width, wish->fit.height / height);
    if (scale > 1 && !wish->enlarge) scale = 1;
    return (Size){at_least_one(width * scale), at_least_one(height * scale)};
}

/* The part in the stored picture's pixels, which may be fewer than it has, as it is decoded smaller. */
static Box stored_box(const Box *shown, int orientation, Size full, Size decoded) {
    Box box = *shown;
    if (orientation >= 5) box = (Box){shown->top, shown->left, shown->bottom, shown->right};
    if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8)
        box = (Box){full.width - box.right, box.top, full.width - box.left, box.bottom};
    if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7)
        box = (Box){box.left, full.height - box.bottom, box.right, full.height - box.top};
    double across = (double)decoded.width / full.width, down = (double)decoded.height / full.height;
    return (Box){fmax(0, box.left * across), fmax(0, box.top * down), fmin(decoded.width, box.right * across), fmin(decoded.height, box.bottom * down)};
}

int main(int argc, char **argv) {
    Wish wish = wish_of(argc, argv);
    size_t size;
    const uint8_t *data = read_input(&size);
    Source source;
    source_open(&source, data, size, 1);
    source_narrow(&source);
    int turned = source.orientation >= 5;
    Size full = {source.width, source.height}, shown = turned ? (Size){full.height, full.width} : full;
    Box box;
    Size result = plan(&wish, shown, &box), stored = turned ? (Size){result.height, result.width} : result;
    /* Twice as many pixels as the result is going to have, for the part that it is made of. */
    double across = 2 * result.width / (box.right - box.left), down = 2 * result.height / (box.bottom - box.top);
    Size wanted = {(uint32_t)fmin(shown.width, ceil(shown.width * across)), (uint32_t)fmin(shown.height, ceil(shown.height * down))};
    source_scale(&source, turned ? wanted.height : wanted.width, turned ? wanted.width : wanted.height);
    Box part = stored_box(&box, source.orientation, full, (Size){source.width, source.height});

    Kind kind = wish.format == NO_KIND ? source.kind : wish.format;
    int channels = fit_channels(kind, source.channels, wish.background);
    About about = {.icc = fit_profile(source.about.icc, channels), .cicp = source.about.cicp, .png = source.about.png, .only_color = 1};
    Target target = {.kind = kind, .width = result.width, .height = result.height, .channels = channels, .about = &about,
                     .quality = wish.quality ? wish.quality : kind == WEBP ? 80 : 85, .lossless = wish.lossless, .method = kind == PNG ? 6 : 4};
    uint64_t pixels = (uint64_t)result.width * result.height, row_size = (uint64_t)source.width * source.channels * 2;
    uint64_t need = source_need(&source) + resample_need(source.width, &part, stored.width, stored.height) + row_size +
                    pixels * source.channels + target_need(&target) + (2 << 20);
    if (pixels > (uint64_t)full.width * full.height) set_room_aside("the result would be", result.width, result.height, need);
    else set_room_aside("the picture is", full.width, full.height, need);
    uint8_t *row = room_or_die(row_size), *small = room_or_die(pixels * source.channels);
    Resampler *resampler = resample_start(source.width, source.height, source.channels, &part, stored.width, stored.height);
    source_start(&source);
    for (uint32_t y = 0; y < source.height; y++) {
        source_row(&source, row);
        resample_row(resampler, row, small);
    }
    source_end(&source);

    uint8_t *line = room_or_die((uint64_t)result.width * 8), *fitted = line + (size_t)result.width * 4;
    target_start(&target);
    for (uint32_t v = 0; v < result.height; v++) {
        for (uint32_t u = 0; u < result.width; u++) {
            uint32_t x, y;
            stored_place(source.orientation, stored.width, stored.height, u, v, &x, &y);
            memcpy(line + (size_t)u * source.channels, small + ((size_t)y * stored.width + x) * source.channels, (size_t)source.channels);
        }
        fit_row(kind, source.channels, wish.background, line, fitted, result.width);
        target_row(&target, fitted);
    }
    target_end(&target);
    tell_kind(kind);
    file_write(&target.file);
    return 0;
}
