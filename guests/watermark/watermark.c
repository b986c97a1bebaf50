/* watermark: draws a text or a logo on a JPEG or PNG picture and returns it in the same format.
 *
 * Nothing is written before the whole result is in memory: a picture that turns out damaged gives an error and not one
 * byte of output.
 */
#include "../common/images/asked.h"
#include "../common/images/kinds.h"
#include "../common/memory.h"
#include "watermark.h"

static char name[16] = "watermark";
const char *const program_name = name;

static const char help[] =
    "usage: watermark (--text TEXT | --logo) [option]...\n"
    "Draws TEXT, or a logo, on the JPEG or PNG of standard input; the same format goes to standard output.\n"
    "  --text TEXT        UTF-8, one line (Latin, Greek, Cyrillic)\n"
    "  --logo             the PNG or JPEG of the input `logo` (--in logo=FILE; over HTTP\n"
    "                     in.logo=/CONTAINER/OBJECT), its transparency heeded\n"
    "  --size N|N%        of the text, the font's in pixels, or in percent of the picture's shorter side\n"
    "                     (default 5%); of a logo its width in pixels, or in percent of the picture's\n"
    "                     (default 20%); less where it would not fit the picture; in a URL (?run=)\n"
    "                     and in X-Run a % is written %25\n"
    "  --position WHERE   bottom-right (default), bottom-left, top-right, top-left, center\n"
    "  --opacity X        0 to 1 (default 0.6; of a logo 1)\n"
    "  --color RRGGBB     of the text (default FFFFFF)\n"
    "  --margin N         pixels to the picture's edge (default: half the font size; of a logo 2.5 % of\n"
    "                     the picture's shorter side)\n"
    "  --quality N        of a JPEG: encode anew with quality 1 to 100 (default: leave the picture's\n"
    "                     own; then all but the marked part stays exactly as it is)\n"
    HELP_MAX_PIXELS;

static const Option options[] = {
    {'t', 0, "text", "TEXT"}, {'l', 0, "logo", NULL}, {'s', 0, "size", "N"}, {'p', 0, "position", "WHERE"}, {'o', 0, "opacity", "X"},
    {'c', 0, "color", "RRGGBB"}, {'m', 0, "margin", "N"}, {'q', 0, "quality", "N"}, {'x', 0, "max-pixels", "N"}, {0},
};

void speak_of_logo(int on) {
    strcpy(name, on ? "watermark: logo" : "watermark");
}

/* 0 to 1, written as a plain decimal. */
static double parse_fraction(const char *option, const char *value) {
    double number = 0, step = 0.1;
    int digits = 0;
    const char *c = value;
    for (; *c >= '0' && *c <= '9' && number <= 1; c++, digits++) number = number * 10 + (*c - '0');
    if (*c == '.')
        for (c++; *c >= '0' && *c <= '9'; c++, digits++, step /= 10) number += (*c - '0') * step;
    if (!digits || *c || number > 1) die(2, option, " ", value, ": must be a decimal number from 0 to 1");
    return number;
}

/* N, or N%. */
static void parse_size(Style *style, const Arguments *arguments) {
    size_t size = strlen(arguments->value);
    if (!size || arguments->value[size - 1] != '%') {
        style->size = (int)number_of(arguments, 1, 10000);
        return;
    }
    char digits[4] = {0};
    if (size <= sizeof digits) memcpy(digits, arguments->value, size - 1);
    style->percent = strspn(digits, "0123456789") == size - 1 ? atoi(digits) : 0;
    if (style->percent < 1 || style->percent > 100) die(2, arguments->name, " ", arguments->value, ": must be from 1% to 100%");
}

static Position parse_position(const char *option, const char *value) {
    static const char *const words[] = {"bottom-right", "bottom-left", "top-right", "top-left", "center"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(value, words[i])) return (Position)i;
    die(2, option, " ", value, ": must be bottom-right, bottom-left, top-right, top-left or center");
}

static Style parse_arguments(int argc, char **argv) {
    Style style = {.margin = -1, .opacity = -1, .red = 255, .green = 255, .blue = 255};
    int logo = 0;
    uint8_t rgb[3];
    Arguments arguments = arguments_of(argc, argv, options, help);
    for (int which; (which = next_argument(&arguments)) != NO_MORE;) switch (which) {
        case 't': style.text = arguments.value; break;
        case 'l': logo = 1; break;
        case 's': parse_size(&style, &arguments); break;
        case 'p': style.position = parse_position(arguments.name, arguments.value); break;
        case 'o': style.opacity = parse_fraction(arguments.name, arguments.value); break;
        case 'c':
            color_asked(&arguments, rgb);
            style.red = rgb[0], style.green = rgb[1], style.blue = rgb[2];
            break;
        case 'm': style.margin = (int)number_of(&arguments, 0, 65535); break;
        case 'q': style.quality = (int)number_of(&arguments, 1, 100); break;
        case 'x': max_pixels_asked(&arguments); break;
        default: die(2, arguments.value, ": there is no such argument; --help lists the options");
    }
    if (!style.text && !logo) die(2, "--text TEXT or --logo is missing; --help lists the options");
    if (style.text && logo) die(2, "--text and --logo exclude each other");
    if (style.opacity < 0) style.opacity = logo ? 1 : 0.6;
    return style;
}

int main(int argc, char **argv) {
    Style style = parse_arguments(argc, argv);
    if (style.text) check_text(style.text); /* before the input is read */
    else read_logo();
    size_t size;
    const uint8_t *data = read_input(&size);
    File file = {0};
    Kind kind = kind_of(data, size);
    switch (kind) {
        case JPEG: mark_jpeg(&style, data, size, &file); break;
        case PNG: mark_png(&style, data, size, &file); break;
        default: refuse_kind(data, size, "JPEG and PNG");
    }
    tell_kind(kind);
    file_write(&file);
    return 0;
}
