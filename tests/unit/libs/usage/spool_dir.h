/* A directory of its own for a spool under test, and what lies in it. */
#ifndef TG_TESTS_UNIT_LIBS_USAGE_SPOOL_DIR_H
#define TG_TESTS_UNIT_LIBS_USAGE_SPOOL_DIR_H

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL_FILES_MAX 64
#define SPOOL_FILE_MAX (1u << 20)

typedef struct spool_file {
    char name[64];
    char *data;
    size_t len;
} spool_file;

typedef struct spool_files {
    spool_file items[SPOOL_FILES_MAX];
    size_t count;
} spool_files;

static inline void spool_dir_make(char path[64])
{
    strcpy(path,
           access("/dev/shm", W_OK) == 0 ? "/dev/shm/tg-spool-XXXXXX" : "/tmp/tg-spool-XXXXXX");
    if (!mkdtemp(path))
        abort();
}

static inline void spool_dir_clear(const char *path)
{
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            unlink(name);
    }
    if (dir)
        closedir(dir);
}

static inline void spool_dir_remove(const char *path)
{
    spool_dir_clear(path);
    rmdir(path);
}

static inline int spool_file_order(const void *a, const void *b)
{
    return strcmp(((const spool_file *)a)->name, ((const spool_file *)b)->name);
}

/* Reads every segment, in order. */
static inline void spool_files_read(const char *path, spool_files *files)
{
    DIR *dir = opendir(path);
    files->count = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char name[512];
        if (!strstr(e->d_name, ".seg") || files->count == SPOOL_FILES_MAX)
            continue;
        spool_file *file = &files->items[files->count++];
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        snprintf(file->name, sizeof file->name, "%.60s", e->d_name);
        file->data = malloc(SPOOL_FILE_MAX);
        int fd = open(name, O_RDONLY);
        ssize_t n = fd < 0 || !file->data ? -1 : read(fd, file->data, SPOOL_FILE_MAX);
        if (n < 0)
            abort();
        file->len = (size_t)n;
        close(fd);
    }
    closedir(dir);
    qsort(files->items, files->count, sizeof *files->items, spool_file_order);
}

static inline void spool_file_write(const char *path, const char *name, const char *data,
                                    size_t len)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", path, name);
    int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len)
        abort();
    close(fd);
}

static inline void spool_files_free(spool_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->items[i].data);
    files->count = 0;
}

#endif
