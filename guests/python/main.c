/* CPython as a guest that can be frozen half-way: started once, when its snapshot is made, and run many times from there.
 *
 *   wizer-initialize   starts the interpreter and calls insitu_boot.start(); then, if there are arguments behind the
 *                      program's name, insitu_boot.prepare(argv). A snapshot is taken when it returns, and still
 *                      exports it: called in an instance of a snapshot, it only prepares.
 *   _start             insitu_boot.run(argv, environ) -> exit code. In a module that is no snapshot it starts the
 *                      interpreter first, so that both behave alike.
 *
 * An exception that leaves start() or prepare() is printed and ends the program with 1: no snapshot is made of it.
 *
 * What a run has of its own: arguments and environment are asked of the host each time, and the C library is told to
 * forget what it knew of them and of its directories. What it has not: string hashes. Every dictionary and set of the
 * snapshot is laid out by them, so their seed is fixed (as with PYTHONHASHSEED=0).
 *
 * Stacks. There are two: the engine's, for return addresses and locals (3 MiB, MAX_WASM_STACK in sandbox/raw.py), and
 * this module's own, for what C takes the address of (STACK in recipe.py). Python's own limits on recursion in C must be
 * met before either is full, for the end of a stack is a trap and no RecursionError: recipe.py lowers them, and
 * tests/python/test_limits.py tries the deepest paths there are. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdlib.h>
#include <wasi/libc-environ.h>

#define LIBRARY L"/lib/python3.13"
#define PACKAGES L"/lib/site"
#define BOOT "insitu_boot"

/* Of the C library, without a header: the second is the linker's. */
void __wasilibc_reset_preopens(void);
void __wasilibc_populate_preopens(void);
void __wasm_call_ctors(void);

extern char **environ;

static bool started;

PyMODINIT_FUNC PyInit__imaging(void);
PyMODINIT_FUNC PyInit__imagingft(void);
PyMODINIT_FUNC PyInit__imagingmath(void);
PyMODINIT_FUNC PyInit__imagingmorph(void);
PyMODINIT_FUNC PyInit__webp(void);

static struct _inittab modules[] = {
    {"PIL._imaging", PyInit__imaging},
    {"PIL._imagingft", PyInit__imagingft},
    {"PIL._imagingmath", PyInit__imagingmath},
    {"PIL._imagingmorph", PyInit__imagingmorph},
    {"PIL._webp", PyInit__webp},
    {NULL, NULL},
};

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "python: %s\n", what);
    exit(1);
}

/* The exception that is set, as Python prints it. SystemExit too, which PyErr_Print() would obey. */
static _Noreturn void fail_with_exception(void) {
    PyObject *exception = PyErr_GetRaisedException();
    if (exception)
        PyErr_DisplayException(exception);
    else
        fprintf(stderr, "python: failed without an exception\n");
    exit(1);
}

static void check(PyStatus status) {
    if (PyStatus_Exception(status))
        fail(status.err_msg ? status.err_msg : "the interpreter cannot start");
}

static void set(PyConfig *config, wchar_t **field, const wchar_t *text) {
    check(PyConfig_SetString(config, field, text));
}

static void start_interpreter(void) {
    PyPreConfig before;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    check(Py_PreInitialize(&before));
    if (PyImport_ExtendInittab(modules))
        fail("no memory for the table of modules");

    PyConfig config;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    config.write_bytecode = 0;
    config.pathconfig_warnings = 0;
    config.install_signal_handlers = 0;
    config.use_hash_seed = 1;
    config.hash_seed = 0;
    config.module_search_paths_set = 1;
    check(PyWideStringList_Append(&config.module_search_paths, LIBRARY));
    check(PyWideStringList_Append(&config.module_search_paths, PACKAGES));
    set(&config, &config.program_name, L"python");
    set(&config, &config.executable, L"");
    set(&config, &config.base_executable, L"");
    set(&config, &config.home, L"/");
    set(&config, &config.prefix, L"/");
    set(&config, &config.base_prefix, L"/");
    set(&config, &config.exec_prefix, L"/");
    set(&config, &config.base_exec_prefix, L"/");
    set(&config, &config.stdlib_dir, LIBRARY);
    PyStatus status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    check(status);
}

static PyObject *boot(void) {
    PyObject *module = PyImport_ImportModule(BOOT);
    if (!module)
        fail_with_exception();
    return module;
}

static void start(void) {
    start_interpreter();
    PyObject *module = boot(), *done = PyObject_CallMethod(module, "start", NULL);
    Py_DECREF(module);
    if (!done)
        fail_with_exception();
    Py_DECREF(done);
    started = true;
}

/* Those up to the first null pointer, as a list of bytes. */
static PyObject *bytes_list(char **strings) {
    PyObject *list = PyList_New(0);
    for (; list && strings && *strings; strings++) {
        PyObject *item = PyBytes_FromString(*strings);
        if (!item || PyList_Append(list, item))
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    if (!list)
        fail_with_exception();
    return list;
}

/* The directories and the environment that the host gives now, not those of the snapshot. */
static void refresh(void) {
    __wasilibc_reset_preopens();
    __wasilibc_populate_preopens();
    __wasilibc_deinitialize_environ();
    __wasilibc_initialize_environ();
}

int __main_argc_argv(int argc, char **argv);
int __main_void(void); /* of the C library: asks the host for the arguments and calls main() with them */

static bool preparing;

__attribute__((export_name("wizer-initialize"))) void wizer_initialize(void) {
    if (!started)
        __wasm_call_ctors(); /* as _start does; the C library is not to be used before */
    preparing = true;
    if (__main_void())
        exit(1);
    preparing = false;
}

static int prepare(int argc, char **argv) {
    if (argc < 2)
        return 0;
    PyObject *module = boot(), *list = bytes_list(argv);
    PyObject *done = PyObject_CallMethod(module, "prepare", "O", list);
    if (!done)
        fail_with_exception();
    Py_DECREF(done);
    Py_DECREF(list);
    Py_DECREF(module);
    return 0;
}

static int run(char **argv) {
    PyObject *module = boot(), *list = bytes_list(argv), *variables = bytes_list(environ);
    PyObject *code = PyObject_CallMethod(module, "run", "OO", list, variables);
    if (!code)
        fail_with_exception();
    long number = PyLong_AsLong(code);
    if (number == -1 && PyErr_Occurred())
        fail_with_exception();
    return number & 0xff; /* nothing is let go of: the instance ends with this run */
}

int main(int argc, char **argv) {
    refresh();
    if (!started)
        start();
    return preparing ? prepare(argc, argv) : run(argv);
}
