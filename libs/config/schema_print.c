#include "libs/config/scalar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct printer {
    tg_buf *out;
    const char *prefix; /* "# " for what is shown but not set */
    unsigned indent;
    bool dash; /* the next line starts a list's item */
    int status;
} printer;

static const void *at(const void *base, size_t offset) { return (const char *)base + offset; }

static void put(printer *p, const char *text)
{
    if (p->status == 0)
        p->status = tg_buf_add_text(p->out, text);
}

static void begin_line(printer *p)
{
    put(p, p->prefix);
    for (unsigned i = p->dash ? 2 : 0; i < p->indent; i++)
        put(p, " ");
    if (p->dash)
        put(p, "- ");
    p->dash = false;
}

/* A double-quoted YAML scalar. */
static void put_quoted(printer *p, const char *text)
{
    put(p, "\"");
    for (; *text; text++) {
        char piece[8] = {*text, '\0'};
        if (*text == '"' || *text == '\\')
            snprintf(piece, sizeof piece, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            snprintf(piece, sizeof piece, "\\x%02x", (unsigned char)*text);
        put(p, piece);
    }
    put(p, "\"");
}

static void put_doc(printer *p, const tg_field *field)
{
    bool number = field->type == TG_FIELD_U32 || field->type == TG_FIELD_U64 ||
                  field->type == TG_FIELD_DURATION || field->type == TG_FIELD_BYTES;
    begin_line(p);
    put(p, "# ");
    put(p, field->doc);
    if (field->required) {
        put(p, " Required.");
    } else if (field->fallback && *field->fallback) {
        put(p, " Default: ");
        put(p, field->fallback);
        put(p, ".");
    }
    if (number) {
        char allowed[160];
        tg_scalar_allowed(field, allowed, sizeof allowed);
        put(p, " Allowed: ");
        put(p, allowed);
        put(p, ".");
    }
    for (size_t i = 0; field->type == TG_FIELD_ENUM && field->names[i]; i++) {
        put(p, i ? ", " : " Allowed: ");
        put(p, field->names[i]);
        put(p, field->names[i + 1] ? "" : ".");
    }
    put(p, "\n");
}

static void put_strings(printer *p, const char *const *list, size_t count)
{
    put(p, "[");
    for (size_t i = 0; i < count; i++) {
        put(p, i ? ", " : "");
        put_quoted(p, list[i]);
    }
    put(p, "]");
}

static void put_scalar(printer *p, const tg_field *field, const void *value)
{
    char text[40];
    const char *string;
    switch (field->type) {
    case TG_FIELD_BOOL:
        put(p, *(const bool *)value ? "true" : "false");
        break;
    case TG_FIELD_ENUM:
        put(p, field->names[*(const int *)value]);
        break;
    case TG_FIELD_U64:
    case TG_FIELD_BYTES:
        tg_scalar_format(field, *(const uint64_t *)value, text, sizeof text);
        put(p, text);
        break;
    case TG_FIELD_U32:
    case TG_FIELD_DURATION:
        tg_scalar_format(field, *(const uint32_t *)value, text, sizeof text);
        put(p, text);
        break;
    default:
        string = *(const char *const *)value;
        put_quoted(p, string ? string : "");
    }
}

static bool is_text(const tg_field *field)
{
    return field->type == TG_FIELD_STRING || field->type == TG_FIELD_ID ||
           field->type == TG_FIELD_ADDRESS;
}

static void put_default(printer *p, const tg_field *field)
{
    if (field->type == TG_FIELD_STRINGS)
        put_strings(p, &field->fallback, field->fallback ? 1 : 0);
    else if (is_text(field))
        put_quoted(p, field->fallback ? field->fallback : "");
    else if (field->fallback)
        put(p, field->fallback);
    else if (field->type == TG_FIELD_BOOL)
        put(p, "false");
    else if (field->type == TG_FIELD_ENUM)
        put(p, field->names[0]);
    else { /* a required number is shown as the least that is allowed */
        char text[40];
        tg_scalar_format(field, field->required ? field->min : 0, text, sizeof text);
        put(p, text);
    }
}

static void put_schema(printer *p, const tg_schema *schema, const void *value);

static void put_list(printer *p, const tg_field *field, const void *value)
{
    size_t count = value ? *(const size_t *)at(value, field->count_offset) : 0;
    const char *item = value ? *(const char *const *)at(value, field->offset) : NULL;
    const char *prefix = p->prefix;
    put(p, count ? "\n" : " []\n");
    if (count == 0)
        p->prefix = "# "; /* one item, to show what it may hold */
    p->indent += 4;
    for (size_t i = 0; i < (count ? count : 1); i++) {
        p->dash = true;
        put_schema(p, field->schema, item);
        item = item ? item + field->schema->size : NULL;
    }
    p->indent -= 4;
    p->prefix = prefix;
}

/* "key: value"; commented out when there is no value and no default either. */
static void put_line(printer *p, const tg_field *field, const void *value)
{
    const void *from = value ? at(value, field->offset) : NULL;
    const char *prefix = p->prefix;
    if (from && is_text(field) && !*(const char *const *)from)
        from = NULL;
    if (!from && (field->required || (is_text(field) && !field->fallback)))
        p->prefix = "# ";
    begin_line(p);
    put(p, field->name);
    put(p, ": ");
    if (!from)
        put_default(p, field);
    else if (field->type == TG_FIELD_STRINGS)
        put_strings(p, *(const char *const *const *)from,
                    *(const size_t *)at(value, field->count_offset));
    else
        put_scalar(p, field, from);
    put(p, "\n");
    p->prefix = prefix;
}

static void put_field(printer *p, const tg_field *field, const void *value)
{
    bool nested = field->type == TG_FIELD_STRUCT || field->type == TG_FIELD_STRUCTS;
    put_doc(p, field);
    if (!nested) {
        put_line(p, field, value);
        return;
    }
    begin_line(p);
    put(p, field->name);
    put(p, ":");
    if (field->type == TG_FIELD_STRUCTS) {
        put_list(p, field, value);
        return;
    }
    put(p, "\n");
    p->indent += 2;
    put_schema(p, field->schema, value ? at(value, field->offset) : NULL);
    p->indent -= 2;
}

static void put_schema(printer *p, const tg_schema *schema, const void *value)
{
    for (size_t i = 0; i < schema->count; i++)
        put_field(p, &schema->fields[i], value);
}

int tg_schema_print(const tg_schema *schema, const void *value, tg_buf *out)
{
    printer p = {.out = out, .prefix = ""};
    put_schema(&p, schema, value);
    return p.status;
}
