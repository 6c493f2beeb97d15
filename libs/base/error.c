#include "libs/base/error.h"

#include <stdio.h>
#include <string.h>

int tg_error_set(tg_error *err, int status, const char *format, ...)
{
    if (err && err->text[0] == '\0') {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
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
}
