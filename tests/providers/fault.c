#include "tests/providers/fault.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct rule {
    struct fault fault;
    char dialect[16], model[FAULT_NAME_BYTES];
    int64_t left; /* -1: no end */
    int64_t percent;
    uint64_t hits;
};

static struct rule rules[FAULT_RULES_MAX]; /* oldest first */
static unsigned rule_count;
static uint64_t last_id;

enum kind { INTEGER, NUMBER, TRUTH, TEXT };

struct field {
    const char *name;
    enum kind kind;
    size_t at, size;
    int64_t least, most;
};

#define FIELD(name, kind, member, least, most)                                                     \
    {                                                                                              \
        name, kind, offsetof(struct fault, member), sizeof((struct fault *)0)->member, least, most \
    }

static const struct field fields[] = {
    FIELD("status", INTEGER, status, 400, 599),
    FIELD("code", TEXT, code, 0, 0),
    FIELD("reset_s", NUMBER, reset_s, 0, 86400),
    FIELD("slow_headers_ms", INTEGER, slow_headers_ms, 0, FAULT_DELAY_MS_MAX),
    FIELD("slow_first_ms", INTEGER, slow_first_ms, 0, FAULT_DELAY_MS_MAX),
    FIELD("slow_token_ms", INTEGER, slow_token_ms, 0, FAULT_DELAY_MS_MAX),
    FIELD("stall_after", INTEGER, stall_after, 0, INT32_MAX),
    FIELD("cut_at_byte", INTEGER, cut_at_byte, 0, INT32_MAX),
    FIELD("error_after", INTEGER, error_after, 0, INT32_MAX),
    FIELD("usage_delta", INTEGER, usage_delta, INT32_MIN, INT32_MAX),
    FIELD("input_delta", INTEGER, input_delta, INT32_MIN, INT32_MAX),
    FIELD("no_usage", TRUTH, no_usage, 0, 0),
    FIELD("model", TEXT, model, 0, 0),
    FIELD("tier", TEXT, tier, 0, 0),
    FIELD("tokens", INTEGER, tokens, 0, 20000),
    FIELD("reasoning_tokens", INTEGER, reasoning_tokens, 0, INT32_MAX),
    FIELD("cache_read", INTEGER, cache_read, 0, INT32_MAX),
    FIELD("cache_write", INTEGER, cache_write, 0, INT32_MAX),
    FIELD("cache_write_1h", INTEGER, cache_write_1h, 0, INT32_MAX),
};

void fault_none(struct fault *ret)
{
    *ret = (struct fault){
        .reset_s = 1, .stall_after = -1, .cut_at_byte = -1, .error_after = -1, .tokens = -1};
}

static int set_field(const struct field *field, json_t *value, struct fault *ret)
{
    char *at = (char *)ret + field->at;
    if (field->kind == TEXT) {
        if (!json_is_string(value) || json_string_length(value) >= field->size)
            return -1;
        memcpy(at, json_string_value(value), json_string_length(value) + 1);
    } else if (field->kind == TRUTH) {
        if (!json_is_boolean(value))
            return -1;
        *(bool *)at = json_is_true(value);
    } else {
        if (!json_is_number(value) || (field->kind == INTEGER && !json_is_integer(value)))
            return -1;
        double number = json_number_value(value);
        if (number < (double)field->least || number > (double)field->most)
            return -1;
        if (field->kind == INTEGER)
            *(int64_t *)(void *)at = json_integer_value(value);
        else
            *(double *)(void *)at = number;
    }
    return 0;
}

static int set_named(const char *name, json_t *value, struct fault *ret)
{
    if (strcmp(name, "retry_after") == 0) {
        ret->no_retry_after = json_is_false(value);
        return json_is_boolean(value) ? 0 : -1;
    }
    if (strcmp(name, "write") == 0) {
        const char *how = json_is_string(value) ? json_string_value(value) : "";
        ret->write_all = strcmp(how, "all") == 0;
        return ret->write_all || strcmp(how, "token") == 0 ? 0 : -1;
    }
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(name, fields[i].name) == 0)
            return set_field(&fields[i], value, ret);
    return -1;
}

int fault_parse(json_t *object, struct fault *ret, char *why, size_t why_size)
{
    struct fault fault;
    const char *name;
    json_t *value;
    fault_none(&fault);
    if (!json_is_object(object)) {
        snprintf(why, why_size, "a fault is a JSON object");
        return -1;
    }
    json_object_foreach(object, name, value)
    {
        if (set_named(name, value, &fault) < 0) {
            snprintf(why, why_size, "fault: '%.64s' is unknown or out of range", name);
            return -1;
        }
    }
    *ret = fault;
    return 0;
}

static int rule_parse(json_t *object, struct rule *ret, char *why, size_t why_size)
{
    const char *dialect = json_string_value(json_object_get(object, "dialect"));
    json_t *model = json_object_get(object, "model"), *count = json_object_get(object, "count");
    json_t *percent = json_object_get(object, "percent");
    *ret = (struct rule){.left = -1, .percent = 100};
    if (!dialect || (strcmp(dialect, "*") != 0 && strcmp(dialect, "openai") != 0 &&
                     strcmp(dialect, "anthropic") != 0 && strcmp(dialect, "bedrock") != 0)) {
        snprintf(why, why_size, "dialect: openai, anthropic, bedrock or *");
        return -1;
    }
    if ((model && (!json_is_string(model) || json_string_length(model) >= sizeof ret->model)) ||
        (count && (!json_is_integer(count) || json_integer_value(count) < -1)) ||
        (percent && (!json_is_integer(percent) || json_integer_value(percent) < 1 ||
                     json_integer_value(percent) > 100))) {
        snprintf(why, why_size, "model: a name; count: -1 or more; percent: 1 to 100");
        return -1;
    }
    snprintf(ret->dialect, sizeof ret->dialect, "%s", dialect);
    snprintf(ret->model, sizeof ret->model, "%s", model ? json_string_value(model) : "");
    if (count)
        ret->left = json_integer_value(count);
    if (percent)
        ret->percent = json_integer_value(percent);
    return fault_parse(json_object_get(object, "fault"), &ret->fault, why, why_size);
}

int fault_add(json_t *object, uint64_t *ret_id, char *why, size_t why_size)
{
    struct rule rule;
    unsigned kept = 0;
    if (rule_parse(object, &rule, why, why_size) < 0)
        return -1;
    for (unsigned i = 0; i < rule_count; i++) /* those used up make room */
        if (rules[i].left != 0)
            rules[kept++] = rules[i];
    rule_count = kept;
    if (rule_count == FAULT_RULES_MAX) {
        snprintf(why, why_size, "there are %d rules already", FAULT_RULES_MAX);
        return -1;
    }
    rule.fault.rule = *ret_id = ++last_id;
    rules[rule_count++] = rule;
    return 0;
}

unsigned fault_clear(void)
{
    unsigned count = rule_count;
    rule_count = 0;
    return count;
}

void fault_list(struct buf *out)
{
    buf_text(out, "[");
    for (unsigned i = 0; i < rule_count; i++) {
        buf_printf(out, "%s{\"id\":%llu,\"dialect\":\"%s\",\"model\":", i ? "," : "",
                   (unsigned long long)rules[i].fault.rule, rules[i].dialect);
        buf_json_text(out, rules[i].model);
        buf_printf(out, ",\"left\":%lld,\"percent\":%lld,\"hits\":%llu}", (long long)rules[i].left,
                   (long long)rules[i].percent, (unsigned long long)rules[i].hits);
    }
    buf_text(out, "]");
}

bool fault_pick(const char *dialect, const char *model, uint64_t draw, struct fault *ret)
{
    for (unsigned i = rule_count; i-- > 0;) {
        struct rule *rule = &rules[i];
        if (rule->left == 0 ||
            (strcmp(rule->dialect, "*") != 0 && strcmp(rule->dialect, dialect) != 0) ||
            (rule->model[0] && strcmp(rule->model, model) != 0) ||
            (int64_t)(draw % 100) >= rule->percent)
            continue;
        if (rule->left > 0)
            rule->left--;
        rule->hits++;
        *ret = rule->fault;
        return true;
    }
    return false;
}
