/* The named channels: /dev/in/NAME to read, /dev/out/NAME to write. */
#ifndef INSITU_CHANNELS_H
#define INSITU_CHANNELS_H

#include <dirent.h>
#include <fcntl.h>

#include "io.h"

#define NAMES_MOST 1024
#define CHANNEL_PATH 280 /* of a directory entry: a name has 255 bytes at most */

typedef struct {
    size_t count;
    char *names[NAMES_MOST]; /* in the order of their bytes */
} Names;

/* The channels of one way, "in" or "out". None when the launch names none. Dies when there are more than NAMES_MOST. */
static void channel_names(const char *way, Names *found) {
    char path[16] = "/dev/";
    strcat(path, way);
    found->count = 0;
    DIR *directory = opendir(path);
    if (!directory) {
        if (errno == ENOENT) return;
        die(1, "cannot list ", path, ": ", strerror(errno));
    }
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (found->count == NAMES_MOST)
            die(2, "more than ", decimal(NAMES_MOST).digits, " named channels are given");
        char *name = strdup(entry->d_name);
        if (!name) die(2, "not enough memory");
        size_t at = found->count++;
        for (; at && strcmp(found->names[at - 1], name) > 0; at--) found->names[at] = found->names[at - 1];
        found->names[at] = name;
    }
    closedir(directory);
}

/* The descriptor of a channel, or -1 when there is none of that name. `flags`: O_RDONLY or O_WRONLY. */
static int channel_open(const char *way, const char *name, int flags) {
    char path[CHANNEL_PATH];
    size_t size = strlen(way) + strlen(name) + 7;
    if (size > sizeof path || strchr(name, '/')) return -1;
    strcpy(path, "/dev/");
    strcat(strcat(strcat(path, way), "/"), name);
    int fd = open(path, flags);
    if (fd < 0 && errno != ENOENT) die(1, "cannot open ", path, ": ", strerror(errno));
    return fd;
}

#endif
