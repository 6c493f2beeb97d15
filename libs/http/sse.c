#include "libs/http/sse.h"

#include <errno.h>
#include <string.h>

enum { NAME_MAX_BYTES = 256, FIELD_MAX_BYTES = 16 /* a field's name, colon and space */ };

void tg_sse_parser_init(tg_sse_parser *parser, size_t event_max)
{
    *parser = (tg_sse_parser){.event_max = event_max};
    tg_buf_init(&parser->line, event_max + FIELD_MAX_BYTES);
    tg_buf_init(&parser->name, NAME_MAX_BYTES);
    tg_buf_init(&parser->text, event_max);
}

void tg_sse_parser_free(tg_sse_parser *parser)
{
    tg_buf_free(&parser->line);
    tg_buf_free(&parser->name);
    tg_buf_free(&parser->text);
}

static size_t line_length(tg_str bytes)
{
    const char *lf = memchr(bytes.data, '\n', bytes.len);
    size_t len = lf ? (size_t)(lf - bytes.data) : bytes.len;
    const char *cr = memchr(bytes.data, '\r', len);
    return cr ? (size_t)(cr - bytes.data) : len;
}

/* Moves the data out of bytes that are about to go away. */
static int keep_data(tg_sse_parser *parser)
{
    if (!parser->has_data || parser->data.data == parser->text.data)
        return 0;
    tg_buf_clear(&parser->text);
    int rc = tg_buf_add_str(&parser->text, parser->data);
    parser->data = tg_buf_str(&parser->text);
    return rc;
}

static int add_data(tg_sse_parser *parser, tg_str value)
{
    if (value.len > parser->event_max)
        return -ENOSPC;
    if (!parser->has_data) {
        parser->has_data = true;
        parser->data = value;
        return 0;
    }
    int rc = keep_data(parser);
    if (rc == 0)
        rc = tg_buf_add_char(&parser->text, '\n');
    if (rc == 0)
        rc = tg_buf_add_str(&parser->text, value);
    parser->data = tg_buf_str(&parser->text);
    return rc;
}

static int dispatch(tg_sse_parser *parser, tg_sse_on_event *on_event, void *user)
{
    tg_str data = parser->has_data ? parser->data : (tg_str){"", 0};
    int rc = data.len > 0 ? on_event(user, tg_buf_str(&parser->name), data) : 0;
    parser->has_data = false;
    tg_buf_clear(&parser->name);
    return rc;
}

static int take_line(tg_sse_parser *parser, tg_str line, tg_sse_on_event *on_event, void *user)
{
    if (!parser->begun && tg_str_starts(line, "\xEF\xBB\xBF"))
        line = (tg_str){line.data + 3, line.len - 3};
    parser->begun = true;
    if (line.len == 0)
        return dispatch(parser, on_event, user);
    const char *colon = memchr(line.data, ':', line.len);
    tg_str field = {line.data, colon ? (size_t)(colon - line.data) : line.len};
    tg_str value = {colon ? colon + 1 : "", colon ? line.len - field.len - 1 : 0};
    if (value.len > 0 && value.data[0] == ' ')
        value = (tg_str){value.data + 1, value.len - 1};
    if (tg_str_is(field, "data"))
        return add_data(parser, value);
    if (tg_str_is(field, "event")) {
        tg_buf_clear(&parser->name);
        return tg_buf_add_str(&parser->name, value);
    }
    return 0;
}

/* The line's start came with an earlier feed. */
static int take_split_line(tg_sse_parser *parser, tg_str rest, tg_sse_on_event *on_event,
                           void *user)
{
    int rc = tg_buf_add_str(&parser->line, rest);
    if (rc == 0)
        rc = take_line(parser, tg_buf_str(&parser->line), on_event, user);
    if (rc == 0)
        rc = keep_data(parser);
    tg_buf_clear(&parser->line);
    return rc;
}

int tg_sse_parser_feed(tg_sse_parser *parser, tg_str bytes, tg_sse_on_event *on_event, void *user)
{
    int rc = 0;
    while (rc == 0 && bytes.len > 0) {
        if (parser->skip_lf && bytes.data[0] == '\n')
            bytes = (tg_str){bytes.data + 1, bytes.len - 1};
        parser->skip_lf = false;
        if (bytes.len == 0)
            break;
        size_t len = line_length(bytes);
        tg_str line = {bytes.data, len};
        if (len > parser->event_max + FIELD_MAX_BYTES)
            return -ENOSPC; /* whether or not the line came in one piece */
        if (len == bytes.len) {
            rc = tg_buf_add_str(&parser->line, line);
            break;
        }
        parser->skip_lf = bytes.data[len] == '\r';
        bytes = (tg_str){bytes.data + len + 1, bytes.len - len - 1};
        rc = parser->line.len > 0 ? take_split_line(parser, line, on_event, user)
                                  : take_line(parser, line, on_event, user);
    }
    return rc < 0 ? rc : keep_data(parser);
}
