#include "libs/config/yaml.h"

#include "libs/base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

typedef struct reader {
    yaml_parser_t yaml;
    yaml_event_t event; /* the current one; owned until the next */
    bool have_event;
    tg_arena *arena;
    tg_error *err;
    const char *path;
    tg_yaml_env *env;
    size_t nodes;
} reader;

/* The text of an error that ends up in one line of a log must be one line itself. */
int tg_yaml_error(const tg_yaml_node *at, tg_error *err, const char *format, ...)
{
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    return tg_error_set(err, -EINVAL, "%s:%u:%u: %s", at->path, at->line, at->column, text);
}

int tg_yaml_unknown(const tg_yaml_node *key, const char *const *known, size_t count, tg_error *err)
{
    char list[400];
    size_t used = 0;
    list[0] = '\0';
    for (size_t i = 0; i < count && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", known[i]);
    const char *nearest = tg_str_nearest(key->text.data, known, count);
    if (nearest)
        return tg_yaml_error(key, err, "unknown key '%s'; did you mean '%s'? (known: %s)",
                             key->text.data, nearest, list);
    return tg_yaml_error(key, err, "unknown key '%s' (known: %s)", key->text.data, list);
}

const tg_yaml_node *tg_yaml_get(const tg_yaml_node *mapping, const char *key)
{
    if (!mapping || mapping->type != TG_YAML_MAPPING)
        return NULL;
    for (const tg_yaml_node *member = mapping->first; member; member = member->next)
        if (tg_str_is(member->key->text, key))
            return member;
    return NULL;
}

bool tg_yaml_is(const tg_yaml_node *scalar, const char *text)
{
    return scalar && scalar->type == TG_YAML_SCALAR && tg_str_is(scalar->text, text);
}

const char *tg_yaml_type_name(const tg_yaml_node *node)
{
    static const char *const names[] = {"a value", "a list", "a mapping"};
    return names[node->type];
}

static int fail_at(reader *r, yaml_mark_t mark, const char *reason)
{
    tg_yaml_node at = {
        .path = r->path, .line = (uint32_t)mark.line + 1, .column = (uint32_t)mark.column + 1};
    return tg_yaml_error(&at, r->err, "%s", reason);
}

static int next_event(reader *r)
{
    if (r->have_event)
        yaml_event_delete(&r->event);
    r->have_event = false;
    if (yaml_parser_parse(&r->yaml, &r->event)) {
        r->have_event = true;
        return 0;
    }
    if (r->yaml.error == YAML_MEMORY_ERROR)
        return tg_error_set(r->err, -ENOMEM, "%s: out of memory", r->path);
    /* Of bytes that are not UTF-8 only the offset is known; the reader stands close before them. */
    bool encoding = r->yaml.error == YAML_READER_ERROR;
    return fail_at(r, encoding ? r->yaml.mark : r->yaml.problem_mark,
                   r->yaml.problem ? r->yaml.problem : "not valid YAML");
}

/* ---- the environment ---- */

static bool name_char(char c, bool first)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (!first && c >= '0' && c <= '9');
}

/* Appends the value of the reference that starts at *at ("${") and moves *at behind it. */
static int expand_one(reader *r, const tg_yaml_node *node, const char **at, tg_buf *out)
{
    const char *name = *at + 2, *end = name;
    while (name_char(*end, end == name))
        end++;
    const char *fallback = strncmp(end, ":-", 2) == 0 ? end + 2 : NULL;
    const char *close = fallback ? strchr(fallback, '}') : *end == '}' ? end : NULL;
    if (end == name || !close)
        return tg_yaml_error(node, r->err,
                             "'%s': a reference is written ${NAME} or ${NAME:-default}",
                             node->text.data);
    char *copy = tg_arena_strdup(r->arena, (tg_str){name, (size_t)(end - name)});
    if (!copy)
        return -ENOMEM;
    const char *value = r->env(copy);
    *at = close + 1;
    if (fallback && (!value || !*value))
        return tg_buf_add(out, fallback, (size_t)(close - fallback));
    if (!value)
        return tg_yaml_error(
            node, r->err, "the environment variable %s is not set (${%s:-default} gives a default)",
            copy, copy);
    return tg_buf_add_text(out, value);
}

static int expand(reader *r, tg_yaml_node *node)
{
    if (!r->env || !strstr(node->text.data, "${"))
        return 0;
    tg_buf out;
    tg_buf_init(&out, TG_YAML_BYTES_MAX);
    int rc = tg_buf_reserve(&out, 0);
    const char *at = node->text.data;
    for (const char *ref; rc == 0 && (ref = strstr(at, "${")) != NULL;) {
        rc = tg_buf_add(&out, at, (size_t)(ref - at));
        at = ref;
        if (rc == 0)
            rc = expand_one(r, node, &at, &out);
    }
    if (rc == 0)
        rc = tg_buf_add_text(&out, at);
    char *copy = rc == 0 ? tg_arena_strdup(r->arena, tg_buf_str(&out)) : NULL;
    if (rc == 0 && !copy)
        rc = -ENOMEM;
    if (rc == 0)
        node->text = (tg_str){copy, out.len};
    tg_buf_free(&out);
    if (rc == -ENOSPC)
        return tg_yaml_error(node, r->err, "the value is too long");
    return rc;
}

/* ---- nodes ---- */

static int new_node(reader *r, tg_yaml_type type, tg_yaml_node **ret)
{
    yaml_mark_t mark = r->event.start_mark;
    if (++r->nodes > TG_YAML_NODES_MAX)
        return fail_at(r, mark, "more than 200000 values in one file");
    tg_yaml_node *node = tg_arena_zalloc(r->arena, 1, sizeof *node);
    if (!node)
        return -ENOMEM;
    node->type = type;
    node->path = r->path;
    node->line = (uint32_t)mark.line + 1;
    node->column = (uint32_t)mark.column + 1;
    *ret = node;
    return 0;
}

static int read_scalar(reader *r, bool is_key, tg_yaml_node **ret)
{
    const char *text = (const char *)r->event.data.scalar.value;
    size_t len = r->event.data.scalar.length;
    tg_yaml_node *node = NULL;
    int rc = new_node(r, TG_YAML_SCALAR, &node);
    if (rc < 0)
        return rc;
    if (memchr(text, '\0', len))
        return fail_at(r, r->event.start_mark, "a value must not hold a NUL byte");
    char *copy = tg_arena_strdup(r->arena, (tg_str){text, len});
    if (!copy)
        return -ENOMEM;
    node->text = (tg_str){copy, len};
    node->plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->null = node->plain && (len == 0 || strcmp(copy, "~") == 0 || strcmp(copy, "null") == 0);
    rc = is_key ? 0 : expand(r, node);
    *ret = node;
    return rc;
}

static int read_node(reader *r, unsigned depth, tg_yaml_node **ret);

static int read_key(reader *r, const tg_yaml_node *mapping, tg_yaml_node **ret)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return fail_at(r, r->event.start_mark, "a key must be a plain name");
    if (r->event.data.scalar.anchor || r->event.data.scalar.tag)
        return fail_at(r, r->event.start_mark, "anchors, aliases and tags are not allowed");
    tg_yaml_node *key = NULL;
    int rc = read_scalar(r, true, &key);
    if (rc < 0)
        return rc;
    const tg_yaml_node *other = tg_yaml_get(mapping, key->text.data);
    if (other)
        return tg_yaml_error(key, r->err, "key '%s' was already given at line %u", key->text.data,
                             other->key->line);
    if (mapping->count >= TG_YAML_MEMBERS_MAX)
        return tg_yaml_error(key, r->err, "more than 1024 keys in one mapping");
    rc = next_event(r);
    *ret = key;
    return rc;
}

/* The event that opened it is current; the one that closes it is current afterwards. */
static int read_children(reader *r, tg_yaml_node *parent, unsigned depth)
{
    bool mapping = parent->type == TG_YAML_MAPPING;
    yaml_event_type_t end = mapping ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    const tg_yaml_node **last = &parent->first;
    if (depth > TG_YAML_DEPTH_MAX)
        return fail_at(r, r->event.start_mark, "nested deeper than 32 levels");
    int rc = next_event(r);
    while (rc == 0 && r->event.type != end) {
        tg_yaml_node *key = NULL, *child = NULL;
        if (mapping)
            rc = read_key(r, parent, &key);
        if (rc == 0)
            rc = read_node(r, depth, &child);
        if (rc < 0)
            break;
        child->key = key;
        *last = child;
        last = &child->next;
        parent->count++;
        rc = next_event(r);
    }
    return rc;
}

static int read_node(reader *r, unsigned depth, tg_yaml_node **ret)
{
    const yaml_event_t *event = &r->event;
    tg_yaml_node *node = NULL;
    bool marked = event->type == YAML_ALIAS_EVENT;
    if (event->type == YAML_SCALAR_EVENT)
        marked = event->data.scalar.anchor || event->data.scalar.tag;
    else if (event->type == YAML_MAPPING_START_EVENT)
        marked = event->data.mapping_start.anchor || event->data.mapping_start.tag;
    else if (event->type == YAML_SEQUENCE_START_EVENT)
        marked = event->data.sequence_start.anchor || event->data.sequence_start.tag;
    if (marked)
        return fail_at(r, event->start_mark, "anchors, aliases and tags are not allowed");
    if (event->type == YAML_SCALAR_EVENT)
        return read_scalar(r, false, ret);
    int rc = new_node(
        r, event->type == YAML_MAPPING_START_EVENT ? TG_YAML_MAPPING : TG_YAML_SEQUENCE, &node);
    if (rc == 0)
        rc = read_children(r, node, depth + 1);
    if (rc == 0)
        *ret = node;
    return rc;
}

static int read_document(reader *r, tg_yaml_node **ret)
{
    int rc = next_event(r); /* stream start */
    if (rc == 0)
        rc = next_event(r);
    if (rc == 0 && r->event.type == YAML_STREAM_END_EVENT)
        return fail_at(r, (yaml_mark_t){0, 0, 0}, "the file is empty");
    if (rc == 0)
        rc = next_event(r); /* past document start */
    if (rc == 0)
        rc = read_node(r, 0, ret);
    if (rc == 0)
        rc = next_event(r); /* document end */
    if (rc == 0)
        rc = next_event(r);
    if (rc == 0 && r->event.type != YAML_STREAM_END_EVENT)
        return fail_at(r, r->event.start_mark,
                       "a file holds one document; a second one starts here");
    return rc;
}

int tg_yaml_parse(tg_arena *arena, const char *path, tg_str text, tg_yaml_env *env, tg_error *err,
                  const tg_yaml_node **ret_root)
{
    reader r = {.arena = arena, .err = err, .env = env};
    tg_yaml_node *root = NULL;
    r.path = tg_arena_strdup(arena, tg_str_of(path));
    if (!r.path)
        return -ENOMEM;
    if (text.len > TG_YAML_BYTES_MAX)
        return tg_error_set(err, -E2BIG, "%s: %zu bytes; at most %zu are allowed", path, text.len,
                            TG_YAML_BYTES_MAX);
    if (!yaml_parser_initialize(&r.yaml))
        return -ENOMEM;
    yaml_parser_set_encoding(&r.yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)(text.len ? text.data : ""),
                                 text.len);
    int rc = read_document(&r, &root);
    if (r.have_event)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.yaml);
    if (rc < 0)
        return tg_error_set(err, rc, "%s: out of memory", path);
    *ret_root = root;
    return 0;
}
