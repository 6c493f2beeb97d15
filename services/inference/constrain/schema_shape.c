#include "services/inference/constrain/schema_inside.h"

#include <errno.h>
#include <string.h>

static uint32_t add(tg_schema_compiler *c, tg_op op, uint32_t a)
{
    return tg_program_add(c->p, op, a, 0);
}

/* Both ways: the next instruction, and one that is set later. */
static uint32_t or_later(tg_schema_compiler *c)
{
    return tg_program_add(c->p, TG_OP_SPLIT, c->p->len + 1, 0);
}

static void other_way(tg_schema_compiler *c, uint32_t split, uint32_t to)
{
    if (c->p->rc == 0)
        c->p->code[split].b = to;
}

static void separate(tg_schema_compiler *c)
{
    add(c, TG_OP_LEXEME, c->json.comma);
    add(c, TG_OP_LEXEME, c->json.space);
}

/* ---- objects ---- */

typedef struct member {
    tg_str name;
    uint32_t key, rule; /* lexeme, rule */
    bool required;
} member;

typedef struct members {
    member *list;
    uint32_t len;
    uint32_t last_required; /* how many there are up to the last required one */
    bool open;              /* further ones may come */
    uint32_t other_key, other_rule;
} members;

static member *find_member(const members *m, tg_str name)
{
    for (uint32_t i = 0; i < m->len; i++)
        if (tg_str_eq(m->list[i].name, name))
            return &m->list[i];
    return NULL;
}

static int add_member(const tg_schema_compiler *c, members *m, const tg_json_node *at, tg_str name,
                      bool required)
{
    member *known = find_member(m, name);
    if (!known && m->len == TG_SCHEMA_MEMBERS_MAX)
        return tg_schema_refuse(c, at, -EMSGSIZE, "makes it more than 1024 members of one object");
    if (!known) {
        known = &m->list[m->len++];
        *known = (member){.name = name};
    }
    known->required |= required;
    if (required && (uint32_t)(known - m->list) + 1 > m->last_required)
        m->last_required = (uint32_t)(known - m->list) + 1;
    return 0;
}

/* What holds for a member: of each subschema its property, or else its additionalProperties. */
static int of_member(tg_schema_compiler *c, const tg_conjunction *k, const tg_str *name,
                     uint32_t *ret, bool *ret_never)
{
    tg_conjunction inner = {.len = 0};
    int rc = 0;
    for (uint32_t i = 0; i < k->len && rc == 0; i++) {
        const tg_json_node *properties = tg_json_tree_get(k->parts[i].node, "properties");
        const tg_json_node *n = name ? tg_schema_get(properties, *name) : NULL;
        n = n ? n : tg_json_tree_get(k->parts[i].node, "additionalProperties");
        rc = n ? tg_schema_add_part(c, &inner, n) : 0;
    }
    *ret_never = inner.never;
    return rc == 0 ? tg_schema_rule_of(c, &inner, ret) : rc;
}

static int read_members(tg_schema_compiler *c, const tg_conjunction *k, members *m)
{
    bool named = false, more = false;
    size_t room = 1;
    for (uint32_t i = 0; i < k->len; i++) {
        const tg_json_node *properties = tg_json_tree_get(k->parts[i].node, "properties"),
                           *required = tg_json_tree_get(k->parts[i].node, "required");
        room += (properties ? properties->len : 0) + (required ? required->len : 0);
    }
    m->list = tg_arena_zalloc(c->arena, room < TG_SCHEMA_MEMBERS_MAX ? room : TG_SCHEMA_MEMBERS_MAX,
                              sizeof(*m->list));
    if (!m->list)
        return -ENOMEM;
    for (uint32_t i = 0; i < k->len; i++) {
        const tg_json_node *properties = tg_json_tree_get(k->parts[i].node, "properties");
        if (properties && properties->kind != TG_JSON_OBJECT)
            return tg_schema_refuse(c, properties, -EINVAL, "must be an object");
        named |= properties != NULL;
        more |= tg_json_tree_get(k->parts[i].node, "additionalProperties") != NULL;
        for (const tg_json_node *n = properties ? properties->first : NULL; n; n = n->next) {
            int rc = add_member(c, m, n, n->key, false);
            if (rc < 0)
                return rc;
        }
    }
    for (uint32_t i = 0; i < k->len; i++) {
        const tg_json_node *required = tg_json_tree_get(k->parts[i].node, "required");
        if (required && required->kind != TG_JSON_ARRAY)
            return tg_schema_refuse(c, required, -EINVAL, "must be an array of names");
        for (const tg_json_node *n = required ? required->first : NULL; n; n = n->next) {
            int rc = n->kind == TG_JSON_STRING ? add_member(c, m, n, n->text, true)
                                               : tg_schema_refuse(c, n, -EINVAL, "must be a name");
            if (rc < 0)
                return rc;
        }
    }
    m->open = more || !named;
    return 0;
}

static int resolve_members(tg_schema_compiler *c, const tg_conjunction *k, members *m)
{
    bool never;
    int rc = 0;
    tg_str *names = tg_arena_zalloc(c->arena, m->len + 1, sizeof(*names));
    if (!names)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->len && rc == 0; i++) {
        names[i] = m->list[i].name;
        rc = tg_schema_key(c, names[i], &m->list[i].key);
        if (rc == 0)
            rc = of_member(c, k, &names[i], &m->list[i].rule, &never);
    }
    if (rc == 0 && m->open) {
        rc = of_member(c, k, NULL, &m->other_rule, &never);
        m->open = !never;
    }
    return rc == 0 && m->open ? tg_schema_other_key(c, names, m->len, &m->other_key) : rc;
}

/* Behind a member: the next ones, or the end; both where neither is certain. To be followed by the
 * next one's key. */
static int behind_member(tg_schema_compiler *c, const members *m, uint32_t next, uint32_t *ends,
                         uint32_t *ends_len)
{
    if (next >= m->last_required)
        ends[(*ends_len)++] = or_later(c);
    separate(c);
    return c->p->rc;
}

int tg_schema_object(tg_schema_compiler *c, const tg_conjunction *k)
{
    members m = {.len = 0};
    uint32_t ends_len = 0, skip = UINT32_MAX, empty = UINT32_MAX;
    int rc = read_members(c, k, &m);
    if (rc == 0)
        rc = resolve_members(c, k, &m);
    uint32_t *ends = tg_arena_zalloc(c->arena, m.len + 2, sizeof(*ends));
    if (rc < 0 || !ends)
        return rc < 0 ? rc : -ENOMEM;
    add(c, TG_OP_LEXEME, c->json.open);
    add(c, TG_OP_LEXEME, c->json.space);
    if (m.last_required == 0 && (m.len > 0 || m.open))
        empty = or_later(c);
    for (uint32_t i = 0; i < m.len && rc == 0; i++) {
        const bool last = i + 1 == m.len && !m.open;
        if (skip != UINT32_MAX)
            other_way(c, skip, c->p->len);
        skip = m.list[i].required || last ? UINT32_MAX : or_later(c);
        add(c, TG_OP_LEXEME, m.list[i].key);
        add(c, TG_OP_LEXEME, c->json.space);
        rc = tg_schema_to_rule(c, TG_OP_CALL, m.list[i].rule);
        if (rc == 0 && !last)
            rc = behind_member(c, &m, i + 1, ends, &ends_len);
    }
    if (m.open && rc == 0) {
        const uint32_t other = add(c, TG_OP_LEXEME, m.other_key);
        if (skip != UINT32_MAX)
            other_way(c, skip, other);
        add(c, TG_OP_LEXEME, c->json.colon);
        add(c, TG_OP_LEXEME, c->json.space);
        rc = tg_schema_to_rule(c, TG_OP_CALL, m.other_rule);
        if (rc == 0)
            rc = behind_member(c, &m, m.len, ends, &ends_len);
        add(c, TG_OP_JUMP, other);
    }
    for (uint32_t i = 0; i < ends_len; i++)
        other_way(c, ends[i], c->p->len);
    if (m.len > 0 || m.open)
        add(c, TG_OP_LEXEME, c->json.space);
    if (empty != UINT32_MAX)
        other_way(c, empty, c->p->len);
    add(c, TG_OP_LEXEME, c->json.close);
    add(c, TG_OP_RETURN, 0);
    return rc < 0 ? rc : c->p->rc;
}

/* ---- arrays ---- */

/* What holds for item `at`, or for all behind the prefixes of all parts. */
static int of_item(tg_schema_compiler *c, const tg_conjunction *k, uint32_t at, uint32_t *ret,
                   bool *ret_never)
{
    tg_conjunction inner = {.len = 0};
    int rc = 0;
    for (uint32_t i = 0; i < k->len && rc == 0; i++) {
        const tg_json_node *prefix = tg_json_tree_get(k->parts[i].node, "prefixItems");
        const tg_json_node *n = prefix && at < prefix->len ? prefix->first : NULL;
        for (uint32_t s = 0; n && s < at; s++)
            n = n->next;
        n = n ? n : tg_json_tree_get(k->parts[i].node, "items");
        rc = n ? tg_schema_add_part(c, &inner, n) : 0;
    }
    *ret_never = inner.never;
    return rc == 0 ? tg_schema_rule_of(c, &inner, ret) : rc;
}

static int prefix_len(const tg_schema_compiler *c, const tg_conjunction *k, uint32_t *ret)
{
    *ret = 0;
    for (uint32_t i = 0; i < k->len; i++) {
        const tg_json_node *prefix = tg_json_tree_get(k->parts[i].node, "prefixItems");
        if (prefix && (prefix->kind != TG_JSON_ARRAY || prefix->len > TG_SCHEMA_ITEMS_MAX))
            return tg_schema_refuse(c, prefix, -EINVAL, "must be an array of at most 4096 schemas");
        if (prefix && prefix->len > *ret)
            *ret = (uint32_t)prefix->len;
    }
    return 0;
}

int tg_schema_array(tg_schema_compiler *c, const tg_conjunction *k)
{
    uint32_t least = 0, most = 0, prefix = 0, rule = 0, ends_len = 0, back = UINT32_MAX;
    int rc = tg_schema_count(c, k, "minItems", true, TG_SCHEMA_ITEMS_MAX, 0, &least);
    if (rc == 0)
        rc = tg_schema_count(c, k, "maxItems", false, TG_SCHEMA_ITEMS_MAX, UINT32_MAX, &most);
    if (rc == 0)
        rc = prefix_len(c, k, &prefix);
    if (rc == 0 && most < least)
        rc = tg_schema_refuse(c, k->parts[0].node, -EINVAL, "has more minItems than maxItems");
    if (rc < 0)
        return rc;
    /* items that are written one by one: behind them all are alike */
    const uint32_t single = prefix > least ? prefix : least;
    uint32_t *ends =
        tg_arena_zalloc(c->arena, (most < UINT32_MAX ? most : single + 1) + 1, sizeof(*ends));
    if (!ends)
        return -ENOMEM;
    add(c, TG_OP_LEXEME, c->json.open_list);
    add(c, TG_OP_LEXEME, c->json.space);
    const uint32_t empty = least == 0 ? or_later(c) : UINT32_MAX;
    uint32_t item = 0;
    bool never = false;
    for (; item < most && back == UINT32_MAX && rc == 0; item++) {
        const uint32_t here = c->p->len;
        rc = item <= prefix ? of_item(c, k, item, &rule, &never) : 0;
        if (rc < 0 || (never && item >= least))
            break;
        if (item > 0 && item >= least)
            ends[ends_len++] = or_later(c);
        if (item > 0)
            separate(c);
        rc = tg_schema_to_rule(c, TG_OP_CALL, rule);
        if (most == UINT32_MAX && item > 0 && item >= single)
            back = here;
    }
    if (back != UINT32_MAX)
        add(c, TG_OP_JUMP, back);
    for (uint32_t i = 0; i < ends_len; i++)
        other_way(c, ends[i], c->p->len);
    if (item > 0)
        add(c, TG_OP_LEXEME, c->json.space);
    if (empty != UINT32_MAX) {
        other_way(c, empty, c->p->len);
        if (item == 0 && c->p->rc == 0)
            c->p->code[empty].a = c->p->len;
    }
    add(c, TG_OP_LEXEME, c->json.close_list);
    add(c, TG_OP_RETURN, 0);
    return rc < 0 ? rc : c->p->rc;
}
