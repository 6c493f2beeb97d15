#include "libs/base/log.h"

#include "libs/base/clock.h"
#include "libs/base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static struct {
    char service[32];
    char instance[32];
    tg_log_level least;
    int fd;
} state = {.service = "tollgate", .least = TG_LOG_INFO, .fd = 2};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const secret_keys[] = {"authorization", "api_key", "key",     "secret",
                                          "token",         "prompt",  "content", "body"};

void tg_log_setup(const char *service, const char *instance, tg_log_level least)
{
    snprintf(state.service, sizeof state.service, "%s", service);
    snprintf(state.instance, sizeof state.instance, "%s", instance ? instance : "");
    state.least = least;
}

int tg_log_level_parse(const char *name, tg_log_level *ret)
{
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret = (tg_log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

void tg_log_fd(int fd) { state.fd = fd; }

typedef struct line {
    char data[TG_LOG_LINE_MAX];
    size_t len;
    bool full; /* something did not fit */
} line;

static const char cut_mark[] = ",\"cut\":true";
enum {
    LINE_END = sizeof cut_mark - 1 + 2
}; /* always fits: the mark, the closing brace, the line's end */

static void put(line *l, const char *text, size_t len)
{
    if (l->full || len > sizeof l->data - LINE_END - l->len) {
        l->full = true;
        return;
    }
    memcpy(l->data + l->len, text, len);
    l->len += len;
}

static void put_text(line *l, const char *text) { put(l, text, strlen(text)); }

/* Length of something that looks like a credential at p, 0 if nothing does. */
static size_t credential_len(const char *p)
{
    static const char *const marks[] = {"sk-",      "AKIA",    "tg_live_",
                                        "tg_test_", "Bearer ", "bearer "};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        size_t mark = strlen(marks[i]);
        if (strncmp(p, marks[i], mark) == 0)
            return mark + strcspn(p + mark, " \t\r\n\"',;");
    }
    return 0;
}

/* Length of the UTF-8 character at p, which is NUL-terminated; 0 when it is none. */
static size_t utf8_len(const char *p)
{
    for (size_t len = 2; len <= 4; len++)
        if (strnlen(p, len) == len && tg_utf8_valid(p, len))
            return len;
    return 0;
}

static void put_json_string(line *l, const char *text)
{
    put(l, "\"", 1);
    while (*text) {
        size_t secret = credential_len(text);
        unsigned char c = (unsigned char)*text;
        char escaped[8];
        if (secret > 0) {
            put_text(l, "[redacted]");
            text += secret;
            continue;
        }
        if (c == '"' || c == '\\') {
            snprintf(escaped, sizeof escaped, "\\%c", c);
            put_text(l, escaped);
        } else if (c < 0x20) {
            snprintf(escaped, sizeof escaped, "\\u%04x", c);
            put_text(l, escaped);
        } else if (c < 0x80) {
            put(l, text, 1);
        } else {
            size_t character = utf8_len(text);
            put(l, character ? text : "\xef\xbf\xbd", character ? character : 3);
            text += character ? character - 1 : 0;
        }
        text++;
    }
    put(l, "\"", 1);
}

static bool is_secret(const char *key)
{
    for (size_t i = 0; i < sizeof secret_keys / sizeof *secret_keys; i++)
        if (strcasecmp(key, secret_keys[i]) == 0)
            return true;
    return false;
}

static void put_pair(line *l, const char *key, const char *format, va_list *args)
{
    char value[1024];
    size_t n = strlen(format);
    bool text = n == 0 || format[n - 1] == 's';
    if (strcmp(format, "%s") == 0) {
        const char *given = va_arg(*args, const char *);
        if (!tg_str_copy(value, sizeof value, tg_str_of(given)))
            value[tg_utf8_whole(value, sizeof value - 1)] = '\0';
    } else if (strstr(format, "ll") || strstr(format, "%l") || strstr(format, "z")) {
        unsigned long given = va_arg(*args, unsigned long);
        if (n > 0 && format[n - 1] == 'd')
            snprintf(value, sizeof value, "%ld", (long)given);
        else
            snprintf(value, sizeof value, "%lu", given);
    } else {
        int given = va_arg(*args, int);
        if (n > 0 && format[n - 1] == 'u')
            snprintf(value, sizeof value, "%u", (unsigned)given);
        else
            snprintf(value, sizeof value, "%d", given);
    }
    put(l, ",", 1);
    put_json_string(l, key);
    put(l, ":", 1);
    if (is_secret(key))
        put_text(l, "\"[redacted]\"");
    else if (text)
        put_json_string(l, value);
    else
        put_text(l, value);
}

void tg_log(tg_log_level level, const char *event, ...)
{
    if (level < state.least)
        return;
    line l;
    bool cut = false;
    l.len = 0;
    l.full = false;
    char when[TG_CLOCK_TEXT];
    tg_clock_format(tg_clock_wall_ns(), when, sizeof when);
    put_text(&l, "{\"time\":\"");
    put_text(&l, when);
    put_text(&l, "\",\"level\":\"");
    put_text(&l, level_names[level]);
    put_text(&l, "\",\"service\":");
    put_json_string(&l, state.service);
    if (state.instance[0]) {
        put_text(&l, ",\"instance\":");
        put_json_string(&l, state.instance);
    }
    put_text(&l, ",\"event\":");
    put_json_string(&l, event);
    va_list args;
    va_start(args, event);
    for (const char *key; (key = va_arg(args, const char *));) {
        const char *format = va_arg(args, const char *);
        const size_t before = l.len;
        put_pair(&l, key, format, &args);
        if (l.full) { /* the pair goes, whole; a shorter one may still fit */
            l.len = before;
            l.full = false;
            cut = true;
        }
    }
    va_end(args);
    if (cut) {
        memcpy(l.data + l.len, cut_mark, sizeof cut_mark - 1);
        l.len += sizeof cut_mark - 1;
    }
    l.data[l.len++] = '}';
    l.data[l.len++] = '\n';
    ssize_t written = write(state.fd, l.data, l.len);
    (void)written; /* nowhere left to report it */
}
