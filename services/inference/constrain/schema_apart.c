/* oneOf: whether two branches can be met by one value. */
#include "services/inference/constrain/schema_inside.h"

#include <errno.h>

static bool is_required(const tg_conjunction *k, tg_str name)
{
    for (uint32_t i = 0; i < k->len; i++) {
        const tg_json_node *required = tg_json_tree_get(k->parts[i].node, "required");
        for (const tg_json_node *n = required && required->kind == TG_JSON_ARRAY ? required->first
                                                                                 : NULL;
             n; n = n->next)
            if (n->kind == TG_JSON_STRING && tg_str_eq(n->text, name))
                return true;
    }
    return false;
}

static int member_values(const tg_schema_compiler *c, const tg_conjunction *k, tg_str name,
                         const tg_json_node ***ret, size_t *ret_len)
{
    tg_conjunction inner = {.len = 0};
    int rc = 0;
    for (uint32_t i = 0; i < k->len && rc == 0; i++) {
        const tg_json_node *n =
            tg_schema_get(tg_json_tree_get(k->parts[i].node, "properties"), name);
        rc = n ? tg_schema_add_part(c, &inner, n) : 0;
    }
    return rc == 0 ? tg_schema_listed(c, &inner, TG_IS_ANY, ret, ret_len) : rc;
}

static bool apart(const tg_json_node *const *a, size_t a_len, const tg_json_node *const *b,
                  size_t b_len)
{
    for (size_t i = 0; i < a_len; i++)
        for (size_t k = 0; k < b_len; k++)
            if (tg_schema_equal(a[i], b[k]))
                return false;
    return a && b;
}

/* Whether no object is of both: some member that both require has values apart. */
static int objects_apart(const tg_schema_compiler *c, const tg_conjunction *a,
                         const tg_conjunction *b, bool *ret)
{
    *ret = false;
    for (uint32_t i = 0; i < a->len; i++) {
        const tg_json_node *required = tg_json_tree_get(a->parts[i].node, "required");
        for (const tg_json_node *n = required && required->kind == TG_JSON_ARRAY ? required->first
                                                                                 : NULL;
             n && !*ret; n = n->next) {
            const tg_json_node **of_a, **of_b;
            size_t a_len, b_len;
            if (n->kind != TG_JSON_STRING || !is_required(b, n->text))
                continue;
            int rc = member_values(c, a, n->text, &of_a, &a_len);
            if (rc == 0)
                rc = member_values(c, b, n->text, &of_b, &b_len);
            if (rc < 0)
                return rc;
            *ret = apart(of_a, a_len, of_b, b_len);
        }
    }
    return 0;
}

int tg_schema_check_apart(const tg_schema_compiler *c, const tg_json_node *one,
                          const tg_json_node *other, uint32_t outer)
{
    tg_conjunction a = {.len = 0}, b = {.len = 0};
    const tg_json_node **of_a, **of_b;
    size_t a_len, b_len;
    uint32_t types_a, types_b;
    bool are = false;
    int rc = tg_schema_add_part(c, &a, one);
    if (rc == 0)
        rc = tg_schema_add_part(c, &b, other);
    if (rc == 0)
        rc = tg_schema_types(c, &a, &types_a);
    if (rc == 0)
        rc = tg_schema_types(c, &b, &types_b);
    if (rc == 0)
        rc = tg_schema_listed(c, &a, types_a, &of_a, &a_len);
    if (rc == 0)
        rc = tg_schema_listed(c, &b, types_b, &of_b, &b_len);
    if (rc < 0)
        return rc;
    /* Only what is generated of the one must not be of the other. */
    const uint32_t common = outer & ((tg_schema_types_meant(&a, types_a) & types_b) |
                                     (tg_schema_types_meant(&b, types_b) & types_a));
    are = common == 0 || a.never || b.never || apart(of_a, a_len, of_b, b_len);
    if (!are && common == TG_IS_OBJECT)
        rc = objects_apart(c, &a, &b, &are);
    return rc < 0 || are
               ? rc
               : tg_schema_refuse(
                     c, other, -ENOTSUP,
                     "one value could be of this branch of oneOf and of another; anyOf says that");
}
