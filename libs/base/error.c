#include "libs/base/error.h"

#include "libs/base/str.h"

#include <stdio.h>
#include <string.h>

/* A text that was cut must not end in half a character: it goes into JSON answers. */
static void end_on_a_character(tg_error *err)
{
    size_t len = strlen(err->text);
    if (len == sizeof err->text - 1)
        err->text[tg_utf8_whole(err->text, len)] = '\0';
}

int tg_error_set(tg_error *err, int status, const char *format, ...)
{
    if (err && err->text[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
        end_on_a_character(err);
    }
    return status;
}

void tg_error_prefix(tg_error *err, const char *format, ...)
{
    if (!err)
        return;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (used < 0 || (size_t)used >= sizeof err->text)
        return;
    snprintf(err->text + used, sizeof err->text - (size_t)used, ": %s", old);
    end_on_a_character(err);
}
