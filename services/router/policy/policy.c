#include "services/router/policy/policy_inside.h"

#include "libs/base/id.h"
#include "libs/config/schema.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TASK_TYPES_MAX = 64, NAME_MAX_LEN = 63 };

/* ---- the document as it is written ---- */

typedef struct written_match {
    const char *const *task_types;
    size_t task_type_count;
} written_match;

typedef struct written_rule {
    const char *name, *route_to, *cost_cap;
    written_match match;
    const char *const *fallbacks;
    size_t fallback_count;
    int on_cap;
    uint32_t ttft_budget_ms, latency_budget_ms;
} written_rule;

typedef struct written_policy {
    const char *name, *default_task_type;
    const written_rule *rules;
    size_t rule_count;
} written_policy;

typedef struct written {
    uint32_t version;
    written_policy policy;
} written;

#define AT(type, member) .offset = offsetof(type, member)
#define COUNT_AT(type, member) .count_offset = offsetof(type, member)
#define SCHEMA(what, type, table)                                                                  \
    {                                                                                              \
        .name = (what), .size = sizeof(type), .fields = (table),                                   \
        .count = sizeof(table) / sizeof((table)[0])                                                \
    }

static const tg_field match_fields[] = {
    {"task_type", TG_FIELD_STRINGS, AT(written_match, task_types),
     COUNT_AT(written_match, task_type_count), .min = 1, .max = TASK_TYPES_MAX,
     .doc = "Values of X-Task-Type that the rule is for."},
};
static const tg_schema match_schema = SCHEMA("'match'", written_match, match_fields);

static const char *const on_cap_names[] = {"default", "reject", "clamp", "next_rule", NULL};

static const tg_field rule_fields[] = {
    {"name", TG_FIELD_ID, AT(written_rule, name), .required = true, .doc = "name of the rule"},
    {"match", TG_FIELD_STRUCT, AT(written_rule, match), .schema = &match_schema,
     .doc = "which requests it is for; absent: all"},
    {"route_to", TG_FIELD_STRING, AT(written_rule, route_to), .required = true,
     .doc = "target to try first"},
    {"fallback", TG_FIELD_STRINGS, AT(written_rule, fallbacks),
     COUNT_AT(written_rule, fallback_count), .min = 1, .max = TG_POLICY_FALLBACKS_MAX,
     .doc = "targets to try after it, in order"},
    {"cost_cap_usd_per_request", TG_FIELD_STRING, AT(written_rule, cost_cap),
     .doc = "most a request may cost, in dollars"},
    {"on_cap", TG_FIELD_ENUM, AT(written_rule, on_cap), .names = on_cap_names,
     .fallback = "default", .doc = "what to do over the cap"},
    {"ttft_budget_ms", TG_FIELD_DURATION, AT(written_rule, ttft_budget_ms),
     .max = TG_POLICY_BUDGET_MS_MAX,
     .doc = "longest that the first token may take, by what was observed lately; 0: as long as it "
            "takes"},
    {"latency_budget_ms", TG_FIELD_DURATION, AT(written_rule, latency_budget_ms),
     .max = TG_POLICY_BUDGET_MS_MAX,
     .doc = "longest that a whole answer may take, by what was observed lately; 0: as long as it "
            "takes"},
};
static const tg_schema rule_schema = SCHEMA("a rule", written_rule, rule_fields);

static const tg_field policy_fields[] = {
    {"name", TG_FIELD_ID, AT(written_policy, name), .required = true, .doc = "name of the policy"},
    {"default_task_type", TG_FIELD_ID, AT(written_policy, default_task_type),
     .doc = "task type of requests without X-Task-Type"},
    {"rules", TG_FIELD_STRUCTS, AT(written_policy, rules), COUNT_AT(written_policy, rule_count),
     .required = true, .min = 1, .max = TG_POLICY_RULES_MAX, .schema = &rule_schema,
     .doc = "a list of rules; the first that matches wins"},
};
static const tg_schema policy_schema = SCHEMA("'routing_policy'", written_policy, policy_fields);

static const tg_field document_fields[] = {
    {"version", TG_FIELD_U32, AT(written, version), .fallback = "1", .min = 1, .max = 1,
     .doc = "version of this format"},
    {"routing_policy", TG_FIELD_STRUCT, AT(written, policy), .schema = &policy_schema,
     .required = true, .doc = "the policy itself"},
};
static const tg_schema document_schema = SCHEMA("a policy", written, document_fields);

/* ---- written → compiled ---- */

/* "nearest" of the targets, and at most a few of them, for an unknown name. */
static int unknown_target(const tg_yaml_node *at, const tg_targets *targets, const char *name,
                          tg_error *err)
{
    char list[300] = "";
    size_t count = tg_targets_count(targets), used = 0;
    const char **ids = calloc(count + 1, sizeof *ids);
    if (!ids)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        ids[i] = tg_targets_at(targets, i)->id;
        if (used < sizeof list)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", ids[i]);
    }
    const char *nearest = tg_str_nearest(name, ids, count);
    free(ids);
    if (nearest)
        return tg_yaml_error(at, err, "unknown target '%s'; did you mean '%s'? (known: %s)", name,
                             nearest, list);
    return tg_yaml_error(at, err, "unknown target '%s' (known: %s)", name, list);
}

static int add_target(tg_rule *rule, const tg_yaml_node *at, const tg_targets *targets,
                      const char *name, tg_error *err)
{
    int index = tg_targets_find(targets, tg_str_of(name));
    if (index < 0)
        return unknown_target(at, targets, name, err);
    for (size_t i = 0; i < rule->target_count; i++)
        if (rule->targets[i] == index)
            return tg_yaml_error(at, err, "target '%s' is tried by this rule already", name);
    rule->targets[rule->target_count++] = index;
    return 0;
}

/* The n-th name of a node that is one value or a list. */
static const tg_yaml_node *name_node(const tg_yaml_node *node, size_t n)
{
    if (node->type == TG_YAML_SCALAR)
        return node;
    for (node = node->first; n > 0; n--)
        node = node->next;
    return node;
}

static int compile_targets(const written_rule *from, const tg_rule_place *place,
                           const tg_targets *targets, tg_rule *to, tg_error *err)
{
    int rc = add_target(to, place->route_to, targets, from->route_to, err);
    for (size_t i = 0; rc == 0 && i < from->fallback_count; i++)
        rc = add_target(to, name_node(place->fallback, i), targets, from->fallbacks[i], err);
    return rc;
}

static int compile_cap(const written_rule *from, const tg_rule_place *place, tg_rule *to,
                       tg_error *err)
{
    to->on_cap = (tg_on_cap)from->on_cap;
    if (!from->cost_cap) {
        if (place->on_cap)
            return tg_yaml_error(place->on_cap, err,
                                 "'on_cap' needs a 'cost_cap_usd_per_request' beside it");
        return 0;
    }
    if (tg_money_parse_usd(tg_str_of(from->cost_cap), &to->cost_cap) < 0 || to->cost_cap <= 0)
        return tg_yaml_error(
            place->cost_cap, err,
            "'cost_cap_usd_per_request' is '%s'; allowed: dollars above 0 such as 0.05, "
            "with at most 12 decimals",
            from->cost_cap);
    return 0;
}

static bool is_name(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= NAME_MAX_LEN &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

static int add_task_type(tg_policy *policy, size_t room, const char *name)
{
    for (size_t i = 0; i < policy->task_type_count; i++)
        if (strcmp(policy->task_types[i], name) == 0)
            return 0;
    if (policy->task_type_count == room)
        return -ENOMEM;
    policy->task_types[policy->task_type_count++] = name;
    return 0;
}

static int compile_task_types(const written_rule *from, const tg_yaml_node *rule_node, size_t room,
                              tg_policy *policy, tg_rule *to, tg_error *err)
{
    const tg_yaml_node *node = tg_yaml_get(tg_yaml_get(rule_node, "match"), "task_type");
    for (size_t i = 0; i < from->match.task_type_count; i++) {
        const char *name = from->match.task_types[i];
        if (!is_name(name))
            return tg_yaml_error(
                name_node(node, i), err,
                "task type '%s'; allowed: 1 to 63 letters, digits, '.', '_' and '-'", name);
        int rc = add_task_type(policy, room, name);
        if (rc < 0)
            return rc;
    }
    to->task_types = from->match.task_types;
    to->task_type_count = from->match.task_type_count;
    return 0;
}

static int compile_rule(const written_rule *from, const tg_yaml_node *node,
                        const tg_targets *targets, size_t room, tg_policy *policy, tg_error *err)
{
    tg_rule *to = &policy->rules[policy->rule_count];
    tg_rule_place *place = &policy->places[policy->rule_count];
    *place = (tg_rule_place){.rule = node,
                             .route_to = tg_yaml_get(node, "route_to"),
                             .fallback = tg_yaml_get(node, "fallback"),
                             .cost_cap = tg_yaml_get(node, "cost_cap_usd_per_request"),
                             .on_cap = tg_yaml_get(node, "on_cap")};
    for (size_t i = 0; i < policy->rule_count; i++)
        if (strcmp(policy->rules[i].name, from->name) == 0)
            return tg_yaml_error(tg_yaml_get(node, "name"), err, "rule '%s' is there twice",
                                 from->name);
    to->name = from->name;
    to->ttft_budget_ms = from->ttft_budget_ms;
    to->latency_budget_ms = from->latency_budget_ms;
    int rc = compile_task_types(from, node, room, policy, to, err);
    if (rc == 0)
        rc = compile_targets(from, place, targets, to, err);
    if (rc == 0)
        rc = compile_cap(from, place, to, err);
    policy->rule_count++;
    return rc;
}

static bool has_catch_all(const tg_policy *policy)
{
    for (size_t i = 0; i < policy->rule_count; i++)
        if (policy->rules[i].task_type_count == 0)
            return true;
    return false;
}

static int check_default(const tg_policy *policy, const tg_yaml_node *at, tg_error *err)
{
    if (!policy->default_task_type || has_catch_all(policy))
        return 0;
    for (size_t i = 0; i < policy->task_type_count; i++)
        if (strcmp(policy->task_types[i], policy->default_task_type) == 0)
            return 0;
    const char *nearest =
        tg_str_nearest(policy->default_task_type, policy->task_types, policy->task_type_count);
    return tg_yaml_error(at, err, "no rule is for default_task_type '%s'%s%s%s",
                         policy->default_task_type, nearest ? "; did you mean '" : "",
                         nearest ? nearest : "", nearest ? "'?" : "");
}

static int compile(const written_policy *from, const tg_yaml_node *node, const tg_targets *targets,
                   tg_policy *policy, tg_error *err)
{
    size_t room = 0;
    for (size_t i = 0; i < from->rule_count; i++)
        room += from->rules[i].match.task_type_count;
    policy->name = from->name;
    policy->default_task_type = from->default_task_type;
    policy->rules = tg_arena_zalloc(&policy->arena, from->rule_count, sizeof *policy->rules);
    policy->places = tg_arena_zalloc(&policy->arena, from->rule_count, sizeof *policy->places);
    policy->task_types = tg_arena_zalloc(&policy->arena, room + 1, sizeof *policy->task_types);
    if (!policy->rules || !policy->places || !policy->task_types)
        return -ENOMEM;
    const tg_yaml_node *rule = tg_yaml_get(node, "rules")->first;
    for (size_t i = 0; i < from->rule_count; i++, rule = rule->next) {
        int rc = compile_rule(&from->rules[i], rule, targets, room, policy, err);
        if (rc < 0)
            return rc;
    }
    return check_default(policy, tg_yaml_get(node, "default_task_type"), err);
}

static int stamp_version(tg_policy *policy, tg_str text)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    memcpy(policy->version, "p-", 2);
    tg_hex(digest, 6, policy->version + 2);
    return 0;
}

int tg_policy_parse(const char *file, tg_str text, const tg_targets *targets, tg_error *err,
                    tg_policy **ret)
{
    written document;
    const tg_yaml_node *root;
    tg_policy *policy = calloc(1, sizeof *policy);
    if (!policy)
        return -ENOMEM;
    tg_arena_init(&policy->arena, 0);
    int rc = tg_yaml_parse(&policy->arena, file, text, NULL, err, &root);
    if (rc == 0)
        rc = tg_schema_read(&document_schema, root, &policy->arena, err, &document);
    if (rc == 0)
        rc = compile(&document.policy, tg_yaml_get(root, "routing_policy"), targets, policy, err);
    if (rc == 0)
        rc = stamp_version(policy, text);
    if (rc < 0) {
        tg_policy_free(policy);
        return tg_error_set(err, rc, "%s: out of memory", file);
    }
    *ret = policy;
    return 0;
}

tg_policy *tg_policy_free(tg_policy *policy)
{
    if (policy) {
        tg_arena_free(&policy->arena);
        free(policy);
    }
    return NULL;
}

const char *tg_policy_name(const tg_policy *policy) { return policy->name; }
const char *tg_policy_version(const tg_policy *policy) { return policy->version; }
const char *tg_policy_default_task_type(const tg_policy *policy)
{
    return policy->default_task_type;
}
size_t tg_policy_rule_count(const tg_policy *policy) { return policy->rule_count; }
const tg_rule *tg_policy_rule(const tg_policy *policy, size_t index)
{
    return &policy->rules[index];
}
size_t tg_policy_task_type_count(const tg_policy *policy) { return policy->task_type_count; }
const char *tg_policy_task_type(const tg_policy *policy, size_t index)
{
    return policy->task_types[index];
}
