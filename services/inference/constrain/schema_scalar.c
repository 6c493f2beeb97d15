#include "services/inference/constrain/schema_inside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- kept lexemes ---- */

static bool kept(const tg_schema_compiler *c, tg_str made_of, uint32_t *ret)
{
    for (uint32_t i = 0; i < c->lexemes_len; i++) {
        if (tg_str_eq(c->lexemes[i].made_of, made_of)) {
            *ret = c->lexemes[i].number;
            return true;
        }
    }
    return false;
}

/* Counts what an automaton took to make. */
static int spend(tg_schema_compiler *c, const tg_dfa *dfa)
{
    c->work += dfa->work;
    return c->work <= TG_SCHEMA_WORK_MAX
               ? 0
               : tg_error_set(c->err, -EMSGSIZE,
                              "json_schema: its patterns, lengths and bounds together take more "
                              "than %u million steps to compile",
                              TG_SCHEMA_WORK_MAX / 1000000);
}

/* Takes the automaton over. */
static int keep(tg_schema_compiler *c, tg_str made_of, tg_dfa *dfa, uint32_t *ret)
{
    int rc = spend(c, dfa);
    *ret = tg_program_lexeme(c->p, dfa);
    rc = rc < 0 ? rc : c->p->rc;
    if (rc < 0)
        return rc;
    char *copy = tg_arena_strdup(c->arena, made_of);
    if (!copy)
        return -ENOMEM;
    if (c->lexemes_len == c->lexemes_cap) {
        const uint32_t cap = c->lexemes_cap ? 2 * c->lexemes_cap : 64;
        tg_schema_lexeme *more = tg_arena_alloc(c->arena, cap * sizeof(*more));
        if (!more)
            return -ENOMEM;
        if (c->lexemes_len > 0)
            memcpy(more, c->lexemes, c->lexemes_len * sizeof(*more));
        c->lexemes = more;
        c->lexemes_cap = cap;
    }
    c->lexemes[c->lexemes_len++] = (tg_schema_lexeme){{copy, made_of.len}, *ret};
    return 0;
}

static int keep_regex(tg_schema_compiler *c, tg_str made_of, const tg_regex *regex, uint32_t *ret)
{
    tg_dfa *dfa = NULL;
    const int rc = tg_dfa_from_regex(regex, c->err, &dfa);
    return rc < 0 ? rc : keep(c, made_of, dfa, ret);
}

static int parse(const tg_schema_compiler *c, const char *pattern, const tg_regex **ret)
{
    return tg_regex_parse(tg_str_of(pattern), true, c->arena, c->err, ret);
}

/* What both allow; `have` goes, and NULL stands for no restriction. */
static int restrict_to(tg_schema_compiler *c, tg_dfa **have, tg_dfa *also)
{
    tg_dfa *both = also;
    int rc = spend(c, also);
    if (rc < 0) {
        tg_dfa_free(also);
        tg_dfa_free(*have);
    } else if (*have) {
        rc = tg_dfa_both(*have, also, c->err, &both);
        tg_dfa_free(also);
        tg_dfa_free(*have);
    }
    *have = rc < 0 ? NULL : both;
    return rc;
}

/* ---- counts ---- */

int tg_schema_count(const tg_schema_compiler *c, const tg_conjunction *k, const char *name,
                    bool least, uint32_t most, uint32_t otherwise, uint32_t *ret)
{
    *ret = otherwise;
    for (uint32_t i = 0; i < k->len; i++) {
        const tg_json_node *n = tg_json_tree_get(k->parts[i].node, name);
        if (!n)
            continue;
        if (n->kind != TG_JSON_NUMBER || !n->is_int || n->integer < 0 ||
            n->integer > (int64_t)most) {
            char why[64];
            snprintf(why, sizeof(why), "must be a whole number from 0 to %u", most);
            return tg_schema_refuse(c, n, -ENOTSUP, why);
        }
        const uint32_t count = (uint32_t)n->integer;
        *ret = least ? (count > *ret ? count : *ret) : (count < *ret ? count : *ret);
    }
    return 0;
}

/* ---- literals ---- */

static int write_string(tg_buf *out, tg_str text)
{
    static const char from[] = "\"\\\b\f\n\r\t", into[] = "\"\\bfnrt";
    int rc = tg_buf_add_char(out, '"');
    for (size_t i = 0; i < text.len && rc == 0; i++) {
        const unsigned char b = (unsigned char)text.data[i];
        const char *known = b ? strchr(from, b) : NULL;
        rc = known ? tg_buf_printf(out, "\\%c", into[known - from])
             : b < 0x20 ? tg_buf_printf(out, "\\u%04x", b) : tg_buf_add_char(out, (char)b);
    }
    return rc == 0 ? tg_buf_add_char(out, '"') : rc;
}

/* As deep as the tree, which is bounded. */
static int write_value(tg_buf *out, const tg_json_node *n)
{
    int rc = 0;
    switch (n->kind) {
    case TG_JSON_NULL: return tg_buf_add_text(out, "null");
    case TG_JSON_BOOL: return tg_buf_add_text(out, n->boolean ? "true" : "false");
    case TG_JSON_NUMBER: return tg_buf_add_str(out, n->text);
    case TG_JSON_STRING: return write_string(out, n->text);
    default: break;
    }
    rc = tg_buf_add_char(out, n->kind == TG_JSON_OBJECT ? '{' : '[');
    for (const tg_json_node *child = n->first; child && rc == 0; child = child->next) {
        if (n->kind == TG_JSON_OBJECT) {
            rc = write_string(out, child->key);
            rc = rc == 0 ? tg_buf_add_char(out, ':') : rc;
        }
        rc = rc == 0 ? write_value(out, child) : rc;
        if (child->next && rc == 0)
            rc = tg_buf_add_char(out, ',');
    }
    return rc == 0 ? tg_buf_add_char(out, n->kind == TG_JSON_OBJECT ? '}' : ']') : rc;
}

/* Balanced, so that a thousand texts nest ten deep. */
static const tg_regex *any_of(const tg_schema_compiler *c, const tg_str *texts, size_t len)
{
    if (len == 1)
        return tg_regex_text(c->arena, texts[0]);
    return tg_regex_alt(c->arena, any_of(c, texts, len / 2),
                        any_of(c, texts + len / 2, len - len / 2));
}

/* Texts one behind the other in `all`, which begins with what kind of lexeme it is; each begins
 * where starts says. */
static int keep_texts(tg_schema_compiler *c, tg_str all, const size_t *starts, size_t len,
                      uint32_t *ret)
{
    if (kept(c, all, ret))
        return 0;
    tg_str *texts = tg_arena_zalloc(c->arena, len, sizeof(*texts));
    if (!texts)
        return -ENOMEM;
    for (size_t i = 0; i < len; i++)
        texts[i] =
            (tg_str){all.data + starts[i], (i + 1 < len ? starts[i + 1] : all.len) - starts[i]};
    return keep_regex(c, all, any_of(c, texts, len), ret);
}

int tg_schema_literals(tg_schema_compiler *c, const tg_json_node *const *values, size_t len,
                       uint32_t *ret)
{
    size_t *starts = tg_arena_zalloc(c->arena, len + 1, sizeof(*starts));
    tg_buf all;
    tg_buf_init(&all, 0);
    int rc = starts ? tg_buf_add_text(&all, "value ") : -ENOMEM;
    for (size_t i = 0; i < len && rc == 0; i++) {
        starts[i] = all.len;
        rc = write_value(&all, values[i]);
    }
    if (rc == 0)
        rc = keep_texts(c, tg_buf_str(&all), starts, len, ret);
    tg_buf_free(&all);
    return rc;
}

int tg_schema_key(tg_schema_compiler *c, tg_str name, uint32_t *ret)
{
    tg_buf all;
    tg_buf_init(&all, 0);
    int rc = tg_buf_add_text(&all, "key ");
    const size_t start = all.len;
    if (rc == 0)
        rc = write_string(&all, name);
    if (rc == 0)
        rc = tg_buf_add_char(&all, ':');
    if (rc == 0)
        rc = keep_texts(c, tg_buf_str(&all), &start, 1, ret);
    tg_buf_free(&all);
    return rc;
}

/* ---- strings ---- */

#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,29}[A-Za-z0-9])?"
#define HOST LABEL "(\\." LABEL "){0,6}"
#define LEAP_YEAR "([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)"
#define DATE                                                                                       \
    "([1-9][0-9]{3}-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|"                                    \
    "[1-9][0-9]{3}-(0[469]|11)-(0[1-9]|[12][0-9]|30)|"                                             \
    "[1-9][0-9]{3}-02-(0[1-9]|1[0-9]|2[0-8])|" LEAP_YEAR "-02-29)"
#define TIME                                                                                       \
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?"                                     \
    "(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define BYTE "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define GROUP "[0-9a-f]{1,4}"
#define ATOM "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}"
#define IN_PATH "([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*"

static const struct format { /* RFC 3339, 4122, 2673, 4291, 5321, 1123, 3986; each a part of what
                                its standard allows */
    const char *name, *pattern;
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "T" TIME},
    {"duration",
     "P([0-9]{1,4}W|([0-9]{1,4}Y([0-9]{1,4}M([0-9]{1,4}D)?)?|[0-9]{1,4}M([0-9]{1,4}D)?|[0-9]{1,4}D)"
     "(T([0-9]{1,4}H([0-9]{1,4}M([0-9]{1,4}S)?)?|[0-9]{1,4}M([0-9]{1,4}S)?|[0-9]{1,4}S))?|"
     "T([0-9]{1,4}H([0-9]{1,4}M([0-9]{1,4}S)?)?|[0-9]{1,4}M([0-9]{1,4}S)?|[0-9]{1,4}S))"},
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"},
    {"ipv4", BYTE "(\\." BYTE "){3}"},
    {"ipv6", "(" GROUP ":){7}" GROUP "|(" GROUP ":){1,7}:|(" GROUP ":){1,6}:" GROUP "|(" GROUP
             ":){1,5}(:" GROUP "){1,2}|"
             "(" GROUP ":){1,4}(:" GROUP "){1,3}|(" GROUP ":){1,3}(:" GROUP "){1,4}|(" GROUP
             ":){1,2}(:" GROUP "){1,5}|" GROUP ":(:" GROUP "){1,6}|:((:" GROUP "){1,7}|:)"},
    {"email", ATOM "(\\." ATOM "){0,3}@" LABEL "(\\." LABEL "){1,6}"},
    {"hostname", HOST},
    {"uri", "[a-z][a-z0-9+.-]{0,15}://" HOST "(:[1-9][0-9]{0,3})?(/" IN_PATH ")?(\\?" IN_PATH
            ")?(#" IN_PATH ")?"},
};

static int format_of(const tg_schema_compiler *c, const tg_json_node *n, const tg_regex **ret)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
        if (n->kind == TG_JSON_STRING && tg_str_is(n->text, formats[i].name))
            return parse(c, formats[i].pattern, ret);
    return tg_schema_refuse(c, n, -ENOTSUP,
                            "is not supported; date, time, date-time, duration, uuid, ipv4, ipv6, "
                            "email, hostname and uri are");
}

static const tg_regex *quoted(const tg_schema_compiler *c, const tg_regex *inside)
{
    const tg_regex *quote = tg_regex_text(c->arena, TG_STR("\""));
    return tg_regex_cat(c->arena, quote, tg_regex_cat(c->arena, inside, quote));
}

/* characters: counting more is done without the escapes that no one needs, for each costs states */
enum { LONG = 1024 };

/* A string of so many characters. `shortest`: only in the spelling that expressions are given. */
static int counted(const tg_schema_compiler *c, uint32_t least, uint32_t most, bool shortest,
                   tg_dfa **ret)
{
    static const tg_points all = {0, 0x10ffff};
    const tg_regex *one = NULL;
    tg_dfa *unit = NULL;
    int rc = 0;
    if (shortest)
        one = tg_regex_in_json(c->arena, tg_regex_set(c->arena, &all, 1));
    else
        rc = parse(c,
                   least > LONG || (most > LONG && most < UINT32_MAX)
                       ? "[^\\x00-\\x1f\"\\\\]|\\\\[\"\\\\/bfnrt]"
                       : TG_JSON_CHARACTER,
                   &one);
    if (rc == 0)
        rc = tg_dfa_from_regex(one, c->err, &unit);
    if (rc == 0)
        rc = tg_dfa_quoted(unit, least, most, c->p->reach, c->err, ret);
    tg_dfa_free(unit);
    return rc;
}

/* Intersects with the pattern and format of one subschema. */
static int restrict_string(tg_schema_compiler *c, const tg_json_node *schema, tg_dfa **dfa)
{
    const tg_json_node *pattern = tg_json_tree_get(schema, "pattern"),
                       *format = tg_json_tree_get(schema, "format");
    for (int i = 0; i < 2; i++) {
        const tg_json_node *n = i == 0 ? pattern : format;
        const tg_regex *regex = NULL;
        tg_dfa *one = NULL;
        if (!n)
            continue;
        if (n->kind != TG_JSON_STRING)
            return tg_schema_refuse(c, n, -EINVAL, "must be a string");
        int rc = i == 0 ? tg_regex_parse(n->text, false, c->arena, c->err, &regex)
                        : format_of(c, n, &regex);
        if (rc == 0)
            rc = tg_dfa_from_regex(quoted(c, tg_regex_in_json(c->arena, regex)), c->err, &one);
        if (rc == 0)
            rc = restrict_to(c, dfa, one);
        if (rc < 0)
            return tg_schema_refuse(c, n, rc, NULL);
    }
    return 0;
}

static int make_string(tg_schema_compiler *c, const tg_conjunction *k, uint32_t least,
                       uint32_t most, tg_str made_of, uint32_t *ret)
{
    tg_dfa *dfa = NULL;
    int rc = 0;
    for (uint32_t i = 0; i < k->len && rc == 0; i++)
        rc = restrict_string(c, k->parts[i].node, &dfa);
    if (rc == 0 && (!dfa || least > 0 || most < UINT32_MAX)) {
        tg_dfa *lengths = NULL;
        rc = counted(c, least, most, dfa != NULL, &lengths);
        if (rc == 0)
            rc = restrict_to(c, &dfa, lengths);
        if (rc < 0)
            tg_schema_refuse(c, k->parts[0].node, rc, NULL);
    }
    if (rc < 0) {
        tg_dfa_free(dfa);
        return rc;
    }
    return keep(c, made_of, dfa, ret);
}

int tg_schema_string(tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret)
{
    uint32_t least, most;
    tg_buf made_of;
    tg_buf_init(&made_of, 0);
    int rc = tg_schema_count(c, k, "minLength", true, TG_SCHEMA_LENGTH_MAX, 0, &least);
    if (rc == 0)
        rc = tg_schema_count(c, k, "maxLength", false, TG_SCHEMA_LENGTH_MAX, UINT32_MAX, &most);
    if (rc == 0)
        rc = tg_buf_printf(&made_of, "string %u to %u", least, most);
    const size_t plain = made_of.len;
    for (uint32_t i = 0; i < k->len && rc == 0; i++) {
        const tg_json_node *pattern = tg_json_tree_get(k->parts[i].node, "pattern"),
                           *format = tg_json_tree_get(k->parts[i].node, "format");
        if (pattern)
            rc = tg_buf_printf(&made_of, " pattern %zu " TG_STR_FMT, pattern->text.len,
                               TG_STR_ARG(pattern->text));
        if (format && rc == 0)
            rc = tg_buf_printf(&made_of, " format %zu " TG_STR_FMT, format->text.len,
                               TG_STR_ARG(format->text));
    }
    if (rc == 0 && least == 0 && most == UINT32_MAX && made_of.len == plain)
        *ret = c->json.string;
    else if (rc == 0 && !kept(c, tg_buf_str(&made_of), ret))
        rc = make_string(c, k, least, most, tg_buf_str(&made_of), ret);
    tg_buf_free(&made_of);
    return rc;
}

int tg_schema_number(tg_schema_compiler *c, const tg_conjunction *k, bool integer, uint32_t *ret)
{
    tg_dfa *dfa = NULL;
    bool bounded = false;
    tg_buf made_of;
    tg_buf_init(&made_of, 0);
    int rc = tg_schema_number_key(k, integer, &made_of, &bounded);
    if (rc == 0 && !bounded) {
        *ret = integer ? c->json.integer : c->json.number;
    } else if (rc == 0 && !kept(c, tg_buf_str(&made_of), ret)) {
        rc = tg_schema_bounded_number(c, k, integer, &dfa);
        if (rc == 0)
            rc = keep(c, tg_buf_str(&made_of), dfa, ret);
    }
    tg_buf_free(&made_of);
    return rc;
}

int tg_schema_other_key(tg_schema_compiler *c, const tg_str *names, size_t len, uint32_t *ret)
{
    size_t *starts = tg_arena_zalloc(c->arena, len + 1, sizeof(*starts));
    tg_str *texts = tg_arena_zalloc(c->arena, len + 1, sizeof(*texts));
    tg_dfa *any = NULL, *known = NULL, *dfa = NULL;
    tg_buf all;
    tg_buf_init(&all, 0);
    int rc = starts && texts ? tg_buf_add_text(&all, "key but ") : -ENOMEM;
    for (size_t i = 0; i < len && rc == 0; i++) {
        starts[i] = all.len;
        rc = write_string(&all, names[i]);
    }
    for (size_t i = 0; i < len && rc == 0; i++)
        texts[i] =
            (tg_str){all.data + starts[i], (i + 1 < len ? starts[i + 1] : all.len) - starts[i]};
    if (rc == 0 && len == 0) {
        *ret = c->json.string;
    } else if (rc == 0 && !kept(c, tg_buf_str(&all), ret)) {
        rc = counted(c, 0, UINT32_MAX, true, &any);
        if (rc == 0)
            rc = tg_dfa_from_regex(any_of(c, texts, len), c->err, &known);
        if (rc == 0)
            rc = tg_dfa_without(any, known, c->err, &dfa);
        if (rc == 0)
            rc = keep(c, tg_buf_str(&all), dfa, ret);
    }
    tg_dfa_free(any);
    tg_dfa_free(known);
    tg_buf_free(&all);
    return rc;
}
