/* What every script finds without an import: console, print, scriptArgs, TextEncoder and TextDecoder, std and os; and
 * Math.random, seeded by the sandbox and not by the clock. */
#include "javascript.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Modules ------------------------------------------------------------------------------------------------------- */

static int give_members(JSContext *ctx, JSModuleDef *module) {
    JSValue object = JS_GetModulePrivateValue(ctx, module);
    JSPropertyEnum *names;
    uint32_t count;
    if (JS_GetOwnPropertyNames(ctx, &names, &count, object, JS_GPN_STRING_MASK)) return -1;
    for (uint32_t i = 0; i < count; i++) {
        const char *name = JS_AtomToCString(ctx, names[i].atom);
        if (!name || JS_SetModuleExport(ctx, module, name, JS_GetProperty(ctx, object, names[i].atom))) return -1;
        JS_FreeCString(ctx, name);
    }
    JS_FreePropertyEnum(ctx, names, count);
    JS_FreeValue(ctx, object);
    return 0;
}

int add_module(JSContext *ctx, const char *name, const JSCFunctionListEntry *list, int count, const char *const *more,
               Fill *fill) {
    JSValue object = JS_NewObject(ctx);
    if (JS_SetPropertyFunctionList(ctx, object, list, count) || (fill && fill(ctx, object))) return -1;
    static const char *const prefixes[] = {"", "qjs:"};
    for (int i = 0; i < COUNT(prefixes); i++) {
        char full[32];
        snprintf(full, sizeof full, "%s%s", prefixes[i], name);
        JSModuleDef *module = JS_NewCModule(ctx, full, give_members);
        if (!module || JS_AddModuleExportList(ctx, module, list, count)) return -1;
        for (const char *const *at = more; at && *at; at++)
            if (JS_AddModuleExport(ctx, module, *at)) return -1;
        JS_SetModulePrivateValue(ctx, module, JS_DupValue(ctx, object));
    }
    JSValue global = JS_GetGlobalObject(ctx);
    int done = JS_DefinePropertyValueStr(ctx, global, name, object, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    JS_FreeValue(ctx, global);
    return done < 0 ? -1 : 0;
}

/* console ------------------------------------------------------------------------------------------------------- */

/* A value as console.log shows it: strings as they are, errors with their stack, other objects as JSON. */
static JSValue shown(JSContext *ctx, JSValueConst value) {
    if (JS_IsSymbol(value) || JS_IsFunction(ctx, value)) return JS_NewString(ctx, JS_IsSymbol(value) ? "[symbol]" : "[function]");
    if (!JS_IsObject(value)) return JS_ToString(ctx, value);
    if (JS_IsError(value)) {
        JSValue text = JS_ToString(ctx, value), stack = JS_GetPropertyStr(ctx, value, "stack");
        const char *first = JS_ToCString(ctx, text), *lines = JS_IsString(stack) ? JS_ToCString(ctx, stack) : NULL;
        if (!first) return JS_EXCEPTION;
        size_t size = strlen(first) + (lines ? strlen(lines) : 0) + 2;
        char *whole = js_malloc(ctx, size);
        if (!whole) return JS_EXCEPTION;
        snprintf(whole, size, "%s\n%s", first, lines ? lines : "");
        JSValue result = JS_NewStringLen(ctx, whole, strlen(whole) - 1);
        js_free(ctx, whole);
        return result;
    }
    JSValue text = JS_JSONStringify(ctx, value, JS_UNDEFINED, JS_UNDEFINED);
    if (JS_IsString(text)) return text;
    if (JS_IsException(text)) JS_FreeValue(ctx, JS_GetException(ctx)); /* it refers to itself, or has a BigInt */
    return JS_ToString(ctx, value);
}

static JSValue print(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv, int to_stderr) {
    (void)this;
    FILE *stream = to_stderr ? stderr : stdout;
    bool failed = false;
    for (int i = 0; i < argc; i++) {
        size_t size;
        JSValue text = shown(ctx, argv[i]);
        if (JS_IsException(text)) return text;
        const char *bytes = JS_ToCStringLen(ctx, &size, text);
        JS_FreeValue(ctx, text);
        if (!bytes) return JS_EXCEPTION;
        failed |= (i && putc(' ', stream) == EOF) || fwrite(bytes, 1, size, stream) < size;
        JS_FreeCString(ctx, bytes);
    }
    failed |= putc('\n', stream) == EOF;
    return failed ? throw_errno(ctx, "cannot write") : JS_UNDEFINED;
}

static const JSCFunctionListEntry console[] = {
    JS_CFUNC_MAGIC_DEF("debug", 0, print, 0), JS_CFUNC_MAGIC_DEF("info", 0, print, 0),
    JS_CFUNC_MAGIC_DEF("log", 0, print, 0),   JS_CFUNC_MAGIC_DEF("error", 0, print, 1),
    JS_CFUNC_MAGIC_DEF("warn", 0, print, 1),
};

/* Text ---------------------------------------------------------------------------------------------------------- */

static JSValue encode(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    if (!argc || JS_IsUndefined(argv[0])) return JS_NewUint8ArrayCopy(ctx, NULL, 0);
    size_t size;
    const char *text = JS_ToCStringLen(ctx, &size, argv[0]);
    if (!text) return JS_EXCEPTION;
    JSValue bytes = JS_NewUint8ArrayCopy(ctx, (const uint8_t *)text, size);
    JS_FreeCString(ctx, text);
    return bytes;
}

/* Whether the bytes are UTF-8: shortest forms only, no surrogates, nothing above U+10FFFF. */
static bool is_utf8(const uint8_t *at, size_t size) {
    for (const uint8_t *end = at + size; at < end;) {
        unsigned first = *at++, more = first < 0x80 ? 0 : first < 0xc2 ? 9 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : 9;
        if (more > (size_t)(end - at)) return false;
        if ((first == 0xe0 && *at < 0xa0) || (first == 0xed && *at > 0x9f)) return false;
        if ((first == 0xf0 && *at < 0x90) || (first == 0xf4 && *at > 0x8f)) return false;
        for (; more; more--)
            if ((*at++ & 0xc0) != 0x80) return false;
    }
    return true;
}

static JSValue decode(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    Bytes bytes = {0};
    JSValue wish = JS_GetPropertyStr(ctx, this, "fatal");
    if (JS_IsException(wish)) return wish;
    bool fatal = JS_ToBool(ctx, wish);
    JS_FreeValue(ctx, wish);
    if (argc && !JS_IsUndefined(argv[0]) && !bytes_of(ctx, argv[0], &bytes)) return JS_EXCEPTION;
    JSValue text;
    if (fatal && !is_utf8(bytes.data, bytes.size)) {
        text = JS_ThrowTypeError(ctx, "the bytes are not UTF-8");
    } else {
        size_t mark = bytes.size >= 3 && !memcmp(bytes.data, "\xef\xbb\xbf", 3) ? 3 : 0;
        text = JS_NewStringLen(ctx, (const char *)bytes.data + mark, bytes.size - mark);
    }
    bytes_done(ctx, &bytes);
    return text;
}

static const JSCFunctionListEntry encoder[] = {
    JS_CFUNC_DEF("encode", 1, encode),
    JS_PROP_STRING_DEF("encoding", "utf-8", JS_PROP_CONFIGURABLE),
};
static const JSCFunctionListEntry decoder[] = {
    JS_CFUNC_DEF("decode", 1, decode),
    JS_PROP_STRING_DEF("encoding", "utf-8", JS_PROP_CONFIGURABLE),
};

/* new TextEncoder(), new TextDecoder("utf-8", {fatal}): there is no other encoding. */
static JSValue construct(JSContext *ctx, JSValueConst target, int argc, JSValueConst *argv) {
    if (argc && !JS_IsUndefined(argv[0])) {
        const char *label = JS_ToCString(ctx, argv[0]);
        if (!label) return JS_EXCEPTION;
        bool known = !strcasecmp(label, "utf-8") || !strcasecmp(label, "utf8");
        if (!known) JS_ThrowRangeError(ctx, "the encoding %s is not known; utf-8 is", label);
        JS_FreeCString(ctx, label);
        if (!known) return JS_EXCEPTION;
    }
    JSValue prototype = JS_GetPropertyStr(ctx, target, "prototype");
    if (JS_IsException(prototype)) return prototype;
    JSValue object = JS_NewObjectProto(ctx, prototype), fatal = JS_FALSE;
    JS_FreeValue(ctx, prototype);
    if (argc > 1 && JS_IsObject(argv[1])) {
        JSValue wish = JS_GetPropertyStr(ctx, argv[1], "fatal");
        if (JS_IsException(wish)) return wish;
        fatal = JS_NewBool(ctx, JS_ToBool(ctx, wish));
        JS_FreeValue(ctx, wish);
    }
    JS_DefinePropertyValueStr(ctx, object, "fatal", fatal, 0);
    return object;
}

static int add_class(JSContext *ctx, JSValueConst global, const char *name, const JSCFunctionListEntry *list, int count) {
    JSValue prototype = JS_NewObject(ctx);
    JSValue constructor = JS_NewCFunction2(ctx, construct, name, 0, JS_CFUNC_constructor, 0);
    if (JS_IsException(constructor) || JS_SetPropertyFunctionList(ctx, prototype, list, count)) return -1;
    JS_SetConstructor(ctx, constructor, prototype);
    JS_FreeValue(ctx, prototype);
    return JS_DefinePropertyValueStr(ctx, global, name, constructor, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
}

/* Chance -------------------------------------------------------------------------------------------------------- */

/* QuickJS seeds its own from the clock: two launches of the same microsecond would have the same numbers. This is
 * splitmix64 over a state from the sandbox, which a frozen launch gives fixed. */
static JSValue chance(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    (void)argv;
    static uint64_t state;
    static bool seeded;
    if (!seeded) {
        getentropy(&state, sizeof state);
        seeded = true;
    }
    uint64_t mixed = state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    return JS_NewFloat64(ctx, (double)(mixed >> 11) * 0x1p-53);
}

int globals_begin(JSContext *ctx, int argc, char **argv) {
    JSValue global = JS_GetGlobalObject(ctx), object = JS_NewObject(ctx), words = JS_NewArray(ctx);
    if (JS_SetPropertyFunctionList(ctx, object, console, COUNT(console))) return -1;
    JS_DefinePropertyValueStr(ctx, global, "console", object, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    for (int i = 0; i < argc; i++) JS_DefinePropertyValueUint32(ctx, words, (uint32_t)i, JS_NewString(ctx, argv[i]), JS_PROP_C_W_E);
    JS_DefinePropertyValueStr(ctx, global, "scriptArgs", words, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE);
    static const JSCFunctionListEntry own[] = {JS_CFUNC_MAGIC_DEF("print", 0, print, 0)};
    if (JS_SetPropertyFunctionList(ctx, global, own, COUNT(own))) return -1;
    JSValue mathematics = JS_GetPropertyStr(ctx, global, "Math");
    JSValue random = JS_NewCFunction(ctx, chance, "random", 0);
    if (JS_DefinePropertyValueStr(ctx, mathematics, "random", random, JS_PROP_WRITABLE | JS_PROP_CONFIGURABLE) < 0) return -1;
    JS_FreeValue(ctx, mathematics);
    int failed = add_class(ctx, global, "TextEncoder", encoder, COUNT(encoder)) < 0 ||
                 add_class(ctx, global, "TextDecoder", decoder, COUNT(decoder)) < 0;
    JS_FreeValue(ctx, global);
    return failed ? -1 : 0;
}
