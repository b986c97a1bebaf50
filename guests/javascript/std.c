/* The module `std`: files, the environment, the end. */
#include "javascript.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

/* open(path, flags): null where it cannot be opened, as in QuickJS. */
static JSValue open_file(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    const char *path = JS_ToCString(ctx, argv[0]);
    const char *mode = argc > 1 && !JS_IsUndefined(argv[1]) ? JS_ToCString(ctx, argv[1]) : "r";
    if (!path || !mode) return JS_EXCEPTION;
    if (!*mode || !strchr("rwa", *mode) || mode[strspn(mode, "rwa+bx")])
        return JS_ThrowTypeError(ctx, "a file is opened with \"r\", \"w\" or \"a\", and \"+\", \"b\", \"x\", not with \"%s\"", mode);
    FILE *stream = fopen(path, mode);
    JS_FreeCString(ctx, path);
    if (!stream) return JS_NULL;
    setvbuf(stream, NULL, _IOFBF, 64 << 10);
    return file_object(ctx, stream);
}

/* loadFile(path, {binary}): a string, or a Uint8Array; null where there is no such file. */
static JSValue load_file(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    int binary = 0;
    if (argc > 1 && JS_IsObject(argv[1])) {
        JSValue wish = JS_GetPropertyStr(ctx, argv[1], "binary");
        if (JS_IsException(wish)) return wish;
        binary = JS_ToBool(ctx, wish);
        JS_FreeValue(ctx, wish);
    }
    const char *path = JS_ToCString(ctx, argv[0]);
    if (!path) return JS_EXCEPTION;
    FILE *stream = fopen(path, "rb");
    JS_FreeCString(ctx, path);
    if (!stream) return JS_NULL;
    size_t size;
    uint8_t *data = read_rest(ctx, stream, SIZE_MAX, &size);
    fclose(stream);
    if (!data) return JS_EXCEPTION;
    JSValue value = binary ? JS_NewUint8ArrayCopy(ctx, data, size) : JS_NewStringLen(ctx, (char *)data, size);
    js_free(ctx, data);
    return value;
}

static JSValue write_file(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    Bytes bytes;
    const char *path = JS_ToCString(ctx, argv[0]);
    if (!path || !bytes_of(ctx, argv[1], &bytes)) return JS_EXCEPTION;
    FILE *stream = fopen(path, "wb");
    bool failed = !stream || fwrite(bytes.data, 1, bytes.size, stream) < bytes.size;
    failed |= stream && fclose(stream);
    bytes_done(ctx, &bytes);
    JSValue result = JS_UNDEFINED;
    if (failed) {
        char what[200];
        snprintf(what, sizeof what, "cannot write %s", path);
        result = throw_errno(ctx, what);
    }
    JS_FreeCString(ctx, path);
    return result;
}

static JSValue get_variable(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    const char *name = JS_ToCString(ctx, argv[0]);
    if (!name) return JS_EXCEPTION;
    const char *value = getenv(name);
    JS_FreeCString(ctx, name);
    return value ? JS_NewString(ctx, value) : JS_UNDEFINED;
}

static JSValue get_variables(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    (void)argv;
    JSValue all = JS_NewObject(ctx);
    for (char **at = environ; at && *at && !JS_IsException(all); at++) {
        const char *equals = strchr(*at, '=');
        if (!equals) continue;
        JSAtom name = JS_NewAtomLen(ctx, *at, (size_t)(equals - *at));
        if (JS_DefinePropertyValue(ctx, all, name, JS_NewString(ctx, equals + 1), JS_PROP_C_W_E) < 0) return JS_EXCEPTION;
        JS_FreeAtom(ctx, name);
    }
    return all;
}

static JSValue leave(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    int32_t code = 0;
    if (argc && !JS_IsUndefined(argv[0]) && JS_ToInt32(ctx, &code, argv[0])) return JS_EXCEPTION;
    end(code & 0xff);
}

static JSValue collect(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    (void)argv;
    JS_RunGC(JS_GetRuntime(ctx));
    return JS_UNDEFINED;
}

static JSValue describe(JSContext *ctx, JSValueConst this, int argc, JSValueConst *argv) {
    (void)this;
    (void)argc;
    int32_t number;
    return JS_ToInt32(ctx, &number, argv[0]) ? JS_EXCEPTION : JS_NewString(ctx, strerror(number));
}

static const JSCFunctionListEntry members[] = {
    JS_CFUNC_DEF("exit", 1, leave),
    JS_CFUNC_DEF("gc", 0, collect),
    JS_CFUNC_DEF("getenv", 1, get_variable),
    JS_CFUNC_DEF("getenviron", 0, get_variables),
    JS_CFUNC_DEF("loadFile", 1, load_file),
    JS_CFUNC_DEF("open", 2, open_file),
    JS_CFUNC_DEF("strerror", 1, describe),
    JS_CFUNC_DEF("writeFile", 2, write_file),
    JS_PROP_INT32_DEF("SEEK_SET", SEEK_SET, JS_PROP_CONFIGURABLE),
    JS_PROP_INT32_DEF("SEEK_CUR", SEEK_CUR, JS_PROP_CONFIGURABLE),
    JS_PROP_INT32_DEF("SEEK_END", SEEK_END, JS_PROP_CONFIGURABLE),
};

static const char *const streams[] = {"in", "out", "err", NULL};

static int fill(JSContext *ctx, JSValueConst object) {
    FILE *const files[] = {stdin, stdout, stderr};
    for (int i = 0; streams[i]; i++)
        if (JS_DefinePropertyValueStr(ctx, object, streams[i], file_object(ctx, files[i]), JS_PROP_C_W_E) < 0) return -1;
    return 0;
}

int std_begin(JSContext *ctx) { return add_module(ctx, "std", members, COUNT(members), streams, fill); }
