/* `import`: scripts and, `with { type: "json" }`, JSON, from the guest's files. A name that begins with a dot is relative
 * to the importing script; that, and one that begins with a slash, becomes the one absolute path of its file, so that
 * nothing is loaded twice. */
#include "javascript.h"

#include <errno.h>
#include <string.h>

static int set_meta(JSContext *ctx, JSModuleDef *module, const char *name, bool is_main) {
    JSValue meta = JS_GetImportMeta(ctx, module);
    if (JS_IsException(meta)) return -1;
    char url[4096];
    snprintf(url, sizeof url, "file://%s", name);
    const char *slash = strrchr(name, '/');
    size_t folder = slash ? (slash == name ? 1 : (size_t)(slash - name)) : 0;
    JS_DefinePropertyValueStr(ctx, meta, "url", JS_NewString(ctx, url), JS_PROP_C_W_E);
    JS_DefinePropertyValueStr(ctx, meta, "main", JS_NewBool(ctx, is_main), JS_PROP_C_W_E);
    JS_DefinePropertyValueStr(ctx, meta, "filename", JS_NewString(ctx, name), JS_PROP_C_W_E);
    JS_DefinePropertyValueStr(ctx, meta, "dirname", JS_NewStringLen(ctx, name, folder), JS_PROP_C_W_E);
    JS_FreeValue(ctx, meta);
    return 0;
}

JSValue module_compile(JSContext *ctx, const char *name, const char *source, size_t size, bool is_main) {
    JSValue module = JS_Eval(ctx, source, size, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
    if (!JS_IsException(module) && set_meta(ctx, JS_VALUE_GET_PTR(module), name, is_main)) return JS_EXCEPTION;
    return module;
}

static int give_json(JSContext *ctx, JSModuleDef *module) {
    return JS_SetModuleExport(ctx, module, "default", JS_GetModulePrivateValue(ctx, module));
}

static JSModuleDef *json_module(JSContext *ctx, const char *name, const char *source, size_t size) {
    JSValue value = JS_ParseJSON(ctx, source, size, name);
    if (JS_IsException(value)) return NULL;
    JSModuleDef *module = JS_NewCModule(ctx, name, give_json);
    if (!module || JS_AddModuleExport(ctx, module, "default") < 0) return NULL;
    JS_SetModulePrivateValue(ctx, module, value);
    return module;
}

/* 1: there is a type and it is JSON; 0: there is none; -1: thrown. */
static int wants_json(JSContext *ctx, JSValueConst attributes) {
    if (JS_IsUndefined(attributes)) return 0;
    JSValue type = JS_GetPropertyStr(ctx, attributes, "type");
    if (JS_IsException(type)) return -1;
    if (JS_IsUndefined(type)) return 0;
    const char *word = JS_ToCString(ctx, type);
    JS_FreeValue(ctx, type);
    if (!word) return -1;
    int known = !strcmp(word, "json");
    if (!known) JS_ThrowTypeError(ctx, "a module of type \"%s\" cannot be imported; \"json\" can", word);
    JS_FreeCString(ctx, word);
    return known ? 1 : -1;
}

static int check_attributes(JSContext *ctx, void *opaque, JSValueConst attributes) {
    (void)opaque;
    return wants_json(ctx, attributes) < 0 ? -1 : 0;
}

static JSModuleDef *load(JSContext *ctx, const char *name, void *opaque, JSValueConst attributes) {
    (void)opaque;
    int json = wants_json(ctx, attributes);
    if (json < 0) return NULL;
    FILE *file = fopen(name, "rb");
    if (!file) {
        JS_ThrowReferenceError(ctx, "cannot import %s: %s", name, strerror(errno));
        return NULL;
    }
    size_t size;
    uint8_t *source = read_rest(ctx, file, SIZE_MAX, &size);
    fclose(file);
    if (!source) return NULL;
    JSModuleDef *module = NULL;
    if (json) {
        module = json_module(ctx, name, (char *)source, size);
    } else {
        JSValue value = module_compile(ctx, name, (char *)source, size, false);
        /* The runtime holds the module: it stays although this value is given up. */
        if (!JS_IsException(value)) {
            module = JS_VALUE_GET_PTR(value);
            JS_FreeValue(ctx, value);
        }
    }
    js_free(ctx, source);
    return module;
}

/* The path without empty parts, "." and ".."; `into` has as much room as `path`, and one more. */
static void straighten(const char *path, char *into) {
    size_t used = 0;
    while (*path) {
        size_t size = strcspn(path, "/");
        if (size == 2 && !memcmp(path, "..", 2)) {
            while (used && into[--used] != '/') {}
        } else if (size && !(size == 1 && *path == '.')) {
            into[used++] = '/';
            memcpy(into + used, path, size);
            used += size;
        }
        path += size + (path[size] == '/');
    }
    into[used] = 0;
}

static char *normalize(JSContext *ctx, const char *base, const char *name, void *opaque) {
    (void)opaque;
    if (*name != '.' && *name != '/') return js_strdup(ctx, name);
    const char *slash = strrchr(base, '/');
    size_t folder = *name == '.' && slash ? (size_t)(slash - base) + 1 : 0, size = strlen(name);
    char *whole = js_malloc(ctx, 2 * (folder + size + 2));
    if (!whole) return NULL;
    memcpy(whole, base, folder);
    memcpy(whole + folder, name, size + 1);
    char *path = whole + folder + size + 1;
    straighten(whole, path);
    memmove(whole, path, strlen(path) + 1);
    return whole;
}

void modules_begin(JSRuntime *runtime) { JS_SetModuleLoaderFunc2(runtime, normalize, load, check_attributes, NULL); }
