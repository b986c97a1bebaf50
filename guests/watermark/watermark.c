/* watermark: draws a text on a JPEG or PNG picture and returns it in the same format.
 *
 * Nothing is written before the whole result is in memory: a picture that turns out damaged gives an error and not one
 * byte of output.
 */
#include "../common/memory.h"
#include "watermark.h"

const char *const program_name = "watermark";

static const char help[] =
    "usage: watermark --text TEXT [option]...\n"
    "Draws TEXT on the JPEG or PNG of standard input; the same format goes to standard output.\n"
    "  --text TEXT        UTF-8, one line (Latin, Greek, Cyrillic)\n"
    "  --size N           font size in pixels (default: 5 % of the picture's shorter side);\n"
    "                     less where the text would not fit the picture\n"
    "  --position WHERE   bottom-right (default), bottom-left, top-right, top-left, center\n"
    "  --opacity X        0 to 1 (default 0.6)\n"
    "  --color RRGGBB     of the text (default FFFFFF)\n"
    "  --margin N         pixels to the picture's edge (default: half the font size)\n"
    "  --quality N        of a JPEG: encode anew with quality 1 to 100 (default: leave the picture's\n"
    "                     own; then all but the marked part stays exactly as it is)\n"
    "Limits: 32000 pixels a side, 100 megapixels.\n";

void check_dimensions(uint64_t width, uint64_t height) {
    const char *problem = NULL;
    if (!width || !height) problem = "; it is empty";
    else if (width > SIDE_LIMIT || height > SIDE_LIMIT) problem = "; the limit is 32000 a side";
    else if (width * height > AREA_LIMIT) problem = "; the limit is 100 megapixels";
    if (problem) die(2, "the picture is ", decimal(width).digits, " x ", decimal(height).digits, " pixels", problem);
}

static int parse_int(const char *option, const char *value, int least, int most) {
    int number = 0;
    const char *c = value;
    for (; *c >= '0' && *c <= '9' && number <= most; c++) number = number * 10 + (*c - '0');
    if (c == value || *c || number < least || number > most)
        die(2, option, " ", value, ": must be a whole number from ", decimal((uint64_t)least).digits, " to ",
            decimal((uint64_t)most).digits);
    return number;
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

static void parse_color(Style *style, const char *option, const char *value) {
    const char *digits = value + (*value == '#');
    uint32_t color = 0;
    int count = 0;
    for (; digits[count]; count++) {
        char c = digits[count];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0 || count == 6) {
            count = 0;
            break;
        }
        color = color << 4 | (uint32_t)digit;
    }
    if (count != 6) die(2, option, " ", value, ": must be six hexadecimal digits, RRGGBB");
    style->red = (int)(color >> 16);
    style->green = (int)(color >> 8 & 255);
    style->blue = (int)(color & 255);
}

static Position parse_position(const char *option, const char *value) {
    static const char *const words[] = {"bottom-right", "bottom-left", "top-right", "top-left", "center"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(value, words[i])) return (Position)i;
    die(2, option, " ", value, ": must be bottom-right, bottom-left, top-right, top-left or center");
}

static Style parse_arguments(int argc, char **argv) {
    static const char *const options[] = {"--text", "--size", "--position", "--opacity", "--color", "--margin", "--quality"};
    Style style = {.margin = -1, .opacity = 0.6, .red = 255, .green = 255, .blue = 255};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help")) {
            if (write_all(1, help, sizeof help - 1)) _exit(1);
            _exit(0);
        }
        size_t which = 0, count = sizeof options / sizeof *options, length = 0;
        for (; which < count; which++) {
            length = strlen(options[which]);
            if (!strncmp(argv[i], options[which], length) && (!argv[i][length] || argv[i][length] == '=')) break;
        }
        if (which == count) die(2, argv[i], ": no such option; --help lists them");
        const char *option = options[which], *value = argv[i] + length + 1;
        if (!argv[i][length]) {
            if (++i == argc) die(2, option, " needs a value");
            value = argv[i];
        }
        switch (which) {
            case 0: style.text = value; break;
            case 1: style.size = parse_int(option, value, 1, 10000); break;
            case 2: style.position = parse_position(option, value); break;
            case 3: style.opacity = parse_fraction(option, value); break;
            case 4: parse_color(&style, option, value); break;
            case 5: style.margin = parse_int(option, value, 0, SIDE_LIMIT); break;
            case 6: style.quality = parse_int(option, value, 1, 100); break;
        }
    }
    if (!style.text) die(2, "--text TEXT is missing; --help lists the options");
    return style;
}

int main(int argc, char **argv) {
    static const uint8_t png[8] = {137, 'P', 'N', 'G', '\r', '\n', 26, '\n'};
    Style style = parse_arguments(argc, argv);
    make_mark(&style, 1000, 1000, 1); /* dies now, before the input is read, if the text cannot be drawn */
    size_t size;
    const uint8_t *data = read_input(&size);
    const Piece *piece = NULL;
    if (!size) die(2, "the input is empty");
    if (size >= 3 && data[0] == 0xff && data[1] == 0xd8 && data[2] == 0xff) piece = mark_jpeg(&style, data, size);
    else if (size >= 8 && !memcmp(data, png, 8)) piece = mark_png(&style, data, size);
    else die(2, "the input is neither a JPEG nor a PNG picture");
    for (; piece; piece = piece->next)
        if (write_all(1, piece->data, piece->size)) die(1, "cannot write standard output: ", strerror(errno));
    return 0;
}
