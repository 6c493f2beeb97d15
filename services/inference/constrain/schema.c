#include "services/inference/constrain/schema_inside.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---- */

/* Writes the JSON pointer to `to` behind what is there. */
static bool point_to(const tg_json_node *from, const tg_json_node *to, tg_buf *out)
{
    if (from == to)
        return true;
    size_t at = 0;
    for (const tg_json_node *n = from->first; n; n = n->next, at++) {
        const size_t len = out->len;
        if (from->kind == TG_JSON_ARRAY)
            tg_buf_printf(out, "/%zu", at);
        else
            tg_buf_printf(out, "/" TG_STR_FMT, (int)(n->key.len < 80 ? n->key.len : 80),
                          n->key.data);
        if (point_to(n, to, out))
            return true;
        out->len = len;
    }
    return false;
}

int tg_schema_refuse(const tg_schema_compiler *c, const tg_json_node *at, int rc, const char *why)
{
    tg_buf pointer;
    tg_buf_init(&pointer, 0);
    point_to(c->root, at, &pointer);
    const int len = pointer.len < 300 ? (int)pointer.len : 300;
    const char *text = pointer.data ? pointer.data : "";
    if (why)
        tg_error_set(c->err, rc, "json_schema, at \"%.*s\": %s", len, text, why);
    else if (c->err && strncmp(c->err->text, "json_schema", 11) != 0)
        tg_error_prefix(c->err, "json_schema, at \"%.*s\"", len, text);
    tg_buf_free(&pointer);
    return rc;
}

/* ---- the tree ---- */

const tg_json_node *tg_schema_get(const tg_json_node *object, tg_str name)
{
    for (const tg_json_node *n = object && object->kind == TG_JSON_OBJECT ? object->first : NULL; n;
         n = n->next)
        if (tg_str_eq(n->key, name))
            return n;
    return NULL;
}

bool tg_schema_equal(const tg_json_node *a, const tg_json_node *b)
{
    if (a->kind != b->kind || a->len != b->len)
        return false;
    switch (a->kind) {
    case TG_JSON_NULL: return true;
    case TG_JSON_BOOL: return a->boolean == b->boolean;
    case TG_JSON_NUMBER:
        return a->is_int && b->is_int ? a->integer == b->integer : a->number == b->number;
    case TG_JSON_STRING: return tg_str_eq(a->text, b->text);
    default: break;
    }
    const tg_json_node *other = b->first;
    for (const tg_json_node *n = a->first; n; n = n->next) {
        if (a->kind == TG_JSON_OBJECT)
            other = tg_schema_get(b, n->key);
        if (!other || !tg_schema_equal(n, other))
            return false;
        other = a->kind == TG_JSON_ARRAY ? other->next : other;
    }
    return true;
}

/* A step of a pointer: ~0, ~1 and %XX are decoded. The length, or SIZE_MAX. */
static size_t decode_step(tg_str step, char *to, size_t size)
{
    size_t len = 0;
    for (size_t i = 0; i < step.len; i++) {
        char b = step.data[i];
        if (len == size)
            return SIZE_MAX;
        if (b == '%') {
            char hex[3] = {0}, *end = hex;
            if (i + 2 < step.len)
                memcpy(hex, step.data + i + 1, 2);
            b = (char)strtoul(hex, &end, 16);
            if (end != hex + 2 || hex[0] == '+' || hex[0] == '-' || hex[0] == ' ')
                return SIZE_MAX;
            i += 2;
        }
        if (b == '~' && i + 1 < step.len)
            b = step.data[++i] == '1' ? '/' : '~';
        to[len++] = b;
    }
    return len;
}

static int follow(const tg_schema_compiler *c, const tg_json_node *ref, const tg_json_node **ret)
{
    if (ref->kind != TG_JSON_STRING || ref->text.len == 0 || ref->text.data[0] != '#' ||
        (ref->text.len > 1 && ref->text.data[1] != '/'))
        return tg_schema_refuse(c, ref, -ENOTSUP,
                                "is supported as \"#\" or \"#/…\" only: within the document");
    const tg_json_node *n = c->root;
    for (size_t i = 1; i < ref->text.len && n;) {
        char name[256];
        const size_t start = ++i;
        while (i < ref->text.len && ref->text.data[i] != '/')
            i++;
        const size_t len =
            decode_step((tg_str){ref->text.data + start, i - start}, name, sizeof(name));
        uint64_t at = 0;
        if (len == SIZE_MAX) {
            n = NULL;
        } else if (n->kind == TG_JSON_ARRAY && tg_str_u64((tg_str){name, len}, &at) == 0 &&
                   at < n->len) {
            for (n = n->first; at > 0; at--)
                n = n->next;
        } else {
            n = tg_schema_get(n, (tg_str){name, len});
        }
    }
    *ret = n;
    return n ? 0 : tg_schema_refuse(c, ref, -EINVAL, "points to nothing in the document");
}

/* ---- keywords ---- */

static const char *const known_keywords[] = {"type",
                                             "enum",
                                             "const",
                                             "anyOf",
                                             "oneOf",
                                             "allOf",
                                             "$ref",
                                             "nullable",
                                             "properties",
                                             "required",
                                             "additionalProperties",
                                             "items",
                                             "prefixItems",
                                             "minItems",
                                             "maxItems",
                                             "minLength",
                                             "maxLength",
                                             "pattern",
                                             "format",
                                             "minimum",
                                             "maximum",
                                             "exclusiveMinimum",
                                             "exclusiveMaximum",
                                             "multipleOf",
                                             "$defs",
                                             "definitions",
                                             "title",
                                             "description",
                                             "default",
                                             "examples",
                                             "$schema",
                                             "$id",
                                             "$comment",
                                             "deprecated",
                                             "readOnly",
                                             "writeOnly",
                                             "discriminator"};

static int check_keywords(const tg_schema_compiler *c, const tg_json_node *schema)
{
    for (const tg_json_node *n = schema->first; n; n = n->next) {
        bool known = (tg_str_is(n->key, "uniqueItems") && n->kind == TG_JSON_BOOL && !n->boolean) ||
                     ((tg_str_is(n->key, "minProperties") || tg_str_is(n->key, "minContains")) &&
                      n->is_int && n->integer == 0);
        for (size_t i = 0; i < sizeof(known_keywords) / sizeof(*known_keywords) && !known; i++)
            known = tg_str_is(n->key, known_keywords[i]);
        if (!known)
            return tg_schema_refuse(c, n, -ENOTSUP, "this keyword is not supported");
        if (tg_str_is(n->key, "$id") && schema != c->root)
            return tg_schema_refuse(c, n, -ENOTSUP, "is supported at the root only");
        if (tg_str_is(n->key, "nullable") && n->kind != TG_JSON_BOOL)
            return tg_schema_refuse(c, n, -EINVAL, "must be true or false");
        if ((tg_str_is(n->key, "anyOf") || tg_str_is(n->key, "oneOf") ||
             tg_str_is(n->key, "allOf") || tg_str_is(n->key, "enum")) &&
            (n->kind != TG_JSON_ARRAY || n->len == 0))
            return tg_schema_refuse(c, n, -EINVAL, "must be an array that is not empty");
    }
    return 0;
}

int tg_schema_add_part(const tg_schema_compiler *c, tg_conjunction *k, const tg_json_node *schema)
{
    if (schema->kind == TG_JSON_BOOL) {
        k->never |= !schema->boolean;
        return 0;
    }
    if (schema->kind != TG_JSON_OBJECT)
        return tg_schema_refuse(c, schema, -EINVAL, "must be a schema: an object, true or false");
    for (uint32_t i = 0; i < k->len; i++) {
        if (k->parts[i].node != schema)
            continue;
        return k->parts[i].any_done || k->parts[i].one_done
                   ? tg_schema_refuse(c, schema, -ENOTSUP,
                                      "comes back to itself with no value in between")
                   : 0;
    }
    if (k->len == TG_SCHEMA_PARTS_MAX)
        return tg_schema_refuse(c, schema, -EMSGSIZE,
                                "more than 16 subschemas hold for one value here");
    k->parts[k->len++] = (tg_schema_part){.node = schema};
    const tg_json_node *ref = tg_json_tree_get(schema, "$ref"),
                       *all = tg_json_tree_get(schema, "allOf"), *target = NULL;
    int rc = check_keywords(c, schema);
    if (rc == 0 && ref)
        rc = follow(c, ref, &target);
    if (rc == 0 && ref)
        rc = tg_schema_add_part(c, k, target);
    for (const tg_json_node *n = all ? all->first : NULL; n && rc == 0; n = n->next)
        rc = tg_schema_add_part(c, k, n);
    return rc;
}

/* ---- types ---- */

static uint32_t type_named(tg_str name)
{
    static const char *const names[] = {"null", "boolean", "string", "array", "object", "integer"};
    for (uint32_t i = 0; i < 6; i++)
        if (tg_str_is(name, names[i]))
            return 1u << i;
    return tg_str_is(name, "number") ? TG_IS_INTEGER | TG_IS_FRACTION : 0;
}

int tg_schema_types(const tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret)
{
    *ret = TG_IS_ANY;
    for (uint32_t i = 0; i < k->len; i++) {
        const tg_json_node *type = tg_json_tree_get(k->parts[i].node, "type"),
                           *nullable = tg_json_tree_get(k->parts[i].node, "nullable");
        uint32_t types = 0;
        if (!type)
            continue;
        for (const tg_json_node *n = type->kind == TG_JSON_ARRAY ? type->first : type; n;
             n = type->kind == TG_JSON_ARRAY ? n->next : NULL) {
            const uint32_t one = n->kind == TG_JSON_STRING ? type_named(n->text) : 0;
            if (one == 0)
                return tg_schema_refuse(
                    c, n, -EINVAL,
                    "is no type; null, boolean, number, integer, string, array and object are");
            types |= one;
        }
        *ret &= nullable && nullable->boolean ? types | TG_IS_NULL : types;
    }
    return 0;
}

uint32_t tg_schema_types_meant(const tg_conjunction *k, uint32_t types)
{
    static const struct {
        const char *keyword;
        uint32_t types;
    } means[] = {{"properties", TG_IS_OBJECT},
                 {"required", TG_IS_OBJECT},
                 {"additionalProperties", TG_IS_OBJECT},
                 {"items", TG_IS_ARRAY},
                 {"prefixItems", TG_IS_ARRAY},
                 {"minItems", TG_IS_ARRAY},
                 {"maxItems", TG_IS_ARRAY},
                 {"minLength", TG_IS_STRING},
                 {"maxLength", TG_IS_STRING},
                 {"pattern", TG_IS_STRING},
                 {"format", TG_IS_STRING},
                 {"minimum", TG_IS_INTEGER | TG_IS_FRACTION},
                 {"maximum", TG_IS_INTEGER | TG_IS_FRACTION},
                 {"exclusiveMinimum", TG_IS_INTEGER | TG_IS_FRACTION},
                 {"exclusiveMaximum", TG_IS_INTEGER | TG_IS_FRACTION},
                 {"multipleOf", TG_IS_INTEGER | TG_IS_FRACTION}};
    uint32_t meant = 0;
    if (types != TG_IS_ANY)
        return types;
    for (uint32_t i = 0; i < k->len; i++)
        for (size_t w = 0; w < sizeof(means) / sizeof(*means); w++)
            meant |= tg_json_tree_get(k->parts[i].node, means[w].keyword) ? means[w].types : 0;
    return meant ? meant : types;
}

static uint32_t type_of(const tg_json_node *value)
{
    static const uint32_t of[] = {TG_IS_NULL,   TG_IS_BOOLEAN, TG_IS_FRACTION,
                                  TG_IS_STRING, TG_IS_ARRAY,   TG_IS_OBJECT};
    const bool whole =
        value->kind == TG_JSON_NUMBER && (value->is_int || floor(value->number) == value->number);
    return whole ? TG_IS_INTEGER : of[value->kind];
}

/* ---- values ---- */

static const tg_json_node *values_of(const tg_schema_part *part, bool *ret_single)
{
    const tg_json_node *only = tg_json_tree_get(part->node, "const"),
                       *many = tg_json_tree_get(part->node, "enum");
    *ret_single = only != NULL;
    return only ? only : many ? many->first : NULL;
}

static bool is_listed(const tg_json_node *list, const tg_json_node *value, bool single)
{
    for (const tg_json_node *n = list; n; n = single ? NULL : n->next)
        if (tg_schema_equal(n, value))
            return true;
    return false;
}

static bool holds(const tg_conjunction *k, const tg_json_node *value)
{
    for (uint32_t i = 0; i < k->len; i++) {
        bool single;
        const tg_json_node *list = values_of(&k->parts[i], &single),
                           *many = tg_json_tree_get(k->parts[i].node, "enum");
        if (list && !is_listed(list, value, single))
            return false;
        if (single && many && !is_listed(many->first, value, false))
            return false;
    }
    return true;
}

int tg_schema_listed(const tg_schema_compiler *c, const tg_conjunction *k, uint32_t types,
                     const tg_json_node ***ret, size_t *ret_len)
{
    *ret = NULL;
    *ret_len = 0;
    for (uint32_t i = 0; i < k->len; i++) {
        bool single;
        size_t len = 0;
        const tg_json_node *list = values_of(&k->parts[i], &single);
        if (!list)
            continue;
        for (const tg_json_node *n = list; n; n = single ? NULL : n->next)
            len++;
        *ret = tg_arena_alloc(c->arena, (len + 1) * sizeof(**ret));
        if (!*ret)
            return -ENOMEM;
        for (const tg_json_node *n = list; n; n = single ? NULL : n->next)
            if ((type_of(n) & types) && holds(k, n))
                (*ret)[(*ret_len)++] = n;
        return 0;
    }
    return 0;
}

static int check_beside_values(const tg_schema_compiler *c, const tg_conjunction *k)
{
    static const char *const shaping[] = {"properties", "required",         "additionalProperties",
                                          "items",      "prefixItems",      "minItems",
                                          "maxItems",   "minLength",        "maxLength",
                                          "pattern",    "format",           "minimum",
                                          "maximum",    "exclusiveMinimum", "exclusiveMaximum",
                                          "multipleOf"};
    for (uint32_t i = 0; i < k->len; i++) {
        for (size_t w = 0; w < sizeof(shaping) / sizeof(*shaping); w++) {
            const tg_json_node *n = tg_json_tree_get(k->parts[i].node, shaping[w]);
            if (n)
                return tg_schema_refuse(c, n, -ENOTSUP, "is not supported beside enum or const");
        }
    }
    return 0;
}

/* ---- rules ---- */

static uint64_t hash_of(const tg_conjunction *k)
{
    uint64_t hash = 0xcbf29ce484222325u + k->never;
    for (uint32_t i = 0; i < k->len; i++) {
        const tg_schema_part *p = &k->parts[i];
        hash = (hash ^ (uint64_t)p->node->at * 8 ^ (uint64_t)p->any_done * 2 ^ p->one_done) *
               0x100000001b3u;
    }
    return hash;
}

static bool same(const tg_conjunction *a, const tg_conjunction *b)
{
    if (a->len != b->len || a->never != b->never)
        return false;
    for (uint32_t i = 0; i < a->len; i++)
        if (a->parts[i].node != b->parts[i].node || a->parts[i].any_done != b->parts[i].any_done ||
            a->parts[i].one_done != b->parts[i].one_done)
            return false;
    return true;
}

/* Twice the room in the arena, when it is full. NULL: out of memory. */
static void *room(tg_arena *arena, void *have, uint32_t len, uint32_t *cap, size_t size)
{
    if (len < *cap)
        return have;
    *cap = *cap ? 2 * *cap : 64;
    void *more = tg_arena_alloc(arena, *cap * size);
    if (more && len > 0)
        memcpy(more, have, len * size);
    return more;
}

int tg_schema_rule_of(tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret)
{
    const uint64_t hash = hash_of(k);
    for (uint32_t i = 0; i < c->rules_len; i++) {
        if (c->rules[i].hash == hash && same(&c->rules[i].k, k)) {
            *ret = i;
            return 0;
        }
    }
    if (c->rules_len == TG_SCHEMA_RULES_MAX)
        return tg_error_set(c->err, -EMSGSIZE,
                            "json_schema: more than the %d different subschemas allowed",
                            TG_SCHEMA_RULES_MAX);
    c->rules = room(c->arena, c->rules, c->rules_len, &c->rules_cap, sizeof(*c->rules));
    if (!c->rules)
        return -ENOMEM;
    c->rules[c->rules_len] = (tg_schema_rule){.k = *k, .hash = hash};
    *ret = c->rules_len++;
    return 0;
}

int tg_schema_to_rule(tg_schema_compiler *c, tg_op op, uint32_t rule)
{
    const uint32_t pc = tg_program_add(c->p, op, 0, c->p->len + 1);
    c->fixups = room(c->arena, c->fixups, c->fixups_len, &c->fixups_cap, sizeof(*c->fixups));
    if (!c->fixups)
        return -ENOMEM;
    c->fixups[c->fixups_len++] = (tg_schema_fixup){pc, rule};
    return c->p->rc;
}

/* A way for each branch of the first anyOf or oneOf that is not done. *ret_done: there was one. */
static int write_branches(tg_schema_compiler *c, const tg_conjunction *k, bool *ret_done)
{
    uint32_t at = 0, types = 0, rule = 0;
    bool any = false;
    *ret_done = false;
    for (; at < k->len && !*ret_done; at += !*ret_done) {
        any = !k->parts[at].any_done && tg_json_tree_get(k->parts[at].node, "anyOf");
        *ret_done = any || (!k->parts[at].one_done && tg_json_tree_get(k->parts[at].node, "oneOf"));
    }
    if (!*ret_done)
        return 0;
    const tg_json_node *branches = tg_json_tree_get(k->parts[at].node, any ? "anyOf" : "oneOf");
    int rc = tg_schema_types(c, k, &types);
    if (branches->len > (any ? TG_SCHEMA_ALTERNATIVES_MAX : TG_SCHEMA_BRANCHES_MAX))
        return tg_schema_refuse(c, branches, -EMSGSIZE,
                                any ? "has more than the 256 branches allowed"
                                    : "has more than the 64 branches allowed");
    for (const tg_json_node *n = branches->first; n && rc == 0; n = n->next) {
        for (const tg_json_node *before = branches->first; before != n && rc == 0 && !any;
             before = before->next)
            rc = tg_schema_check_apart(c, before, n, types);
        tg_conjunction inner = *k;
        inner.parts[at].any_done |= any;
        inner.parts[at].one_done |= !any;
        rc = rc == 0 ? tg_schema_add_part(c, &inner, n) : rc;
        rc = rc == 0 ? tg_schema_rule_of(c, &inner, &rule) : rc;
        rc = rc == 0 ? tg_schema_to_rule(c, n->next ? TG_OP_SPLIT : TG_OP_JUMP, rule) : rc;
    }
    return rc;
}

static void write_lexeme(tg_schema_compiler *c, uint32_t lexeme)
{
    tg_program_add(c->p, TG_OP_LEXEME, lexeme, 0);
    tg_program_add(c->p, TG_OP_RETURN, 0, 0);
}

static int write_type(tg_schema_compiler *c, const tg_conjunction *k, uint32_t type)
{
    uint32_t lexeme = 0;
    int rc = 0;
    switch (type) {
    case TG_IS_OBJECT: return tg_schema_object(c, k);
    case TG_IS_ARRAY: return tg_schema_array(c, k);
    case TG_IS_NULL: lexeme = c->json.null; break;
    case TG_IS_BOOLEAN: lexeme = c->json.boolean; break;
    case TG_IS_STRING: rc = tg_schema_string(c, k, &lexeme); break;
    default: rc = tg_schema_number(c, k, type == TG_IS_INTEGER, &lexeme);
    }
    if (rc == 0)
        write_lexeme(c, lexeme);
    return rc < 0 ? rc : c->p->rc;
}

static int write_types(tg_schema_compiler *c, const tg_conjunction *k, uint32_t types)
{
    int rc = 0;
    if (types & TG_IS_FRACTION)
        types &= ~(uint32_t)TG_IS_INTEGER; /* numbers with a fraction, and without */
    for (uint32_t type = 1; type <= TG_IS_FRACTION && rc == 0; type <<= 1) {
        if (!(types & type))
            continue;
        types &= ~type;
        const uint32_t split = types ? tg_program_add(c->p, TG_OP_SPLIT, c->p->len + 1, 0) : 0;
        rc = write_type(c, k, type);
        if (split && rc == 0)
            c->p->code[split].b = c->p->len;
    }
    return rc;
}

static int write_rule(tg_schema_compiler *c, const tg_conjunction *k)
{
    const tg_json_node **values;
    size_t values_len;
    uint32_t types, lexeme;
    bool done = k->never;
    int rc = done ? 0 : write_branches(c, k, &done);
    if (rc == 0 && k->never)
        tg_program_add(c->p, TG_OP_JUMP, c->p->len, 0); /* no way to an end */
    if (rc < 0 || done)
        return rc;
    rc = tg_schema_types(c, k, &types);
    if (rc == 0)
        rc = tg_schema_listed(c, k, types, &values, &values_len);
    if (rc < 0)
        return rc;
    if (values) {
        rc = check_beside_values(c, k);
        if (rc == 0 && values_len == 0)
            tg_program_add(c->p, TG_OP_JUMP, c->p->len, 0);
        else if (rc == 0)
            rc = tg_schema_literals(c, values, values_len, &lexeme);
        if (rc == 0 && values_len > 0)
            write_lexeme(c, lexeme);
        return rc;
    }
    types = tg_schema_types_meant(k, types);
    if (types == TG_IS_ANY)
        tg_program_add(c->p, TG_OP_JUMP, c->json.value, 0);
    else if (types == 0)
        tg_program_add(c->p, TG_OP_JUMP, c->p->len, 0);
    else
        rc = write_types(c, k, types);
    return rc;
}

int tg_schema_write(tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret)
{
    uint32_t root;
    c->rules_len = c->fixups_len = 0;
    int rc = tg_schema_rule_of(c, k, &root);
    for (uint32_t i = 0; i < c->rules_len && rc == 0; i++) {
        const tg_conjunction one = c->rules[i].k; /* rules grow meanwhile */
        c->rules[i].pc = c->p->len;
        rc = write_rule(c, &one);
        if (rc == 0)
            rc = c->p->rc;
    }
    for (uint32_t i = 0; i < c->fixups_len && rc == 0; i++)
        c->p->code[c->fixups[i].pc].a = c->rules[c->fixups[i].rule].pc;
    if (rc == 0)
        *ret = c->rules[root].pc;
    return rc;
}

int tg_program_json_schema(tg_program *p, tg_str schema, tg_arena *arena, tg_error *err)
{
    tg_schema_compiler c = {.p = p, .arena = arena, .err = err};
    tg_conjunction all = {.len = 0};
    uint32_t root = 0;
    if (schema.len > TG_SCHEMA_BYTES_MAX)
        return tg_error_set(err, -EMSGSIZE, "a JSON schema of %zu bytes; at most %u are allowed",
                            schema.len, TG_SCHEMA_BYTES_MAX);
    int rc = tg_json_tree_parse(schema, arena, err, &c.root);
    if (rc < 0) {
        tg_error_prefix(err, "json_schema");
        return rc;
    }
    tg_program_json_parts(p, arena, err, &c.json);
    if (p->rc == 0)
        rc = tg_schema_add_part(&c, &all, c.root);
    if (rc == 0 && p->rc == 0)
        rc = tg_schema_write(&c, &all, &root);
    p->start = tg_program_add(p, TG_OP_CALL, root, 0);
    tg_program_add(p, TG_OP_DONE, 0, 0);
    /* which says why a program is too large */
    return rc < 0 && p->rc == 0 ? rc : tg_program_finish(p, err);
}
