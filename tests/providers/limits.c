#include "tests/providers/limits.h"

#include <stdio.h>
#include <string.h>

struct terms {
    int64_t rpm, tpm, otpm; /* otpm: Anthropic's own count of output */
    bool enforce, reserve_output, settle;
};

static struct terms terms[DIALECTS] = {
    [OPENAI] = {1000000, 1000000000, 1000000000, false, true, false},
    [ANTHROPIC] = {1000000, 1000000000, 1000000000, false, false, true},
    [BEDROCK] = {1000000, 1000000000, 1000000000, false, true, true},
};

struct limit_account {
    uint64_t key_hash; /* 0: free */
    uint64_t last_ms;
    double requests, tokens, output; /* what is left */
};

static struct limit_account accounts[LIMITS_ACCOUNTS_MAX];

static double refill(double left, int64_t per_minute, uint64_t passed_ms)
{
    double full = (double)per_minute;
    left += full * (double)passed_ms / 60000;
    return left > full ? full : left;
}

static struct limit_account *account_of(enum dialect dialect, const char *key, const char *model,
                                        uint64_t now_ms)
{
    const struct terms *t = &terms[dialect];
    uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)dialect;
    for (const char *p = key; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    hash = (hash ^ 0xff) * 0x100000001b3u;
    for (const char *p = model; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    hash |= 1;
    struct limit_account *oldest = &accounts[0];
    for (size_t i = 0; i < LIMITS_ACCOUNTS_MAX; i++) {
        struct limit_account *account = &accounts[i];
        if (account->key_hash == 0) {
            oldest = account;
            break;
        }
        if (account->key_hash == hash) {
            uint64_t passed = now_ms > account->last_ms ? now_ms - account->last_ms : 0;
            account->requests = refill(account->requests, t->rpm, passed);
            account->tokens = refill(account->tokens, t->tpm, passed);
            account->output = refill(account->output, t->otpm, passed);
            account->last_ms = now_ms;
            return account;
        }
        if (account->last_ms < oldest->last_ms)
            oldest = account;
    }
    *oldest = (struct limit_account){hash, now_ms, (double)t->rpm, (double)t->tpm, (double)t->otpm};
    return oldest;
}

/* Whole units left, and how long until the bucket is full or, refused, until `need` fits. */
static struct limit_view view_of(double left, int64_t per_minute, double need, bool refused)
{
    double missing = refused ? need - left : (double)per_minute - left;
    double reset_s = per_minute > 0 ? missing * 60 / (double)per_minute : 60;
    return (struct limit_view){per_minute, left > 0 ? (int64_t)left : 0, reset_s > 0 ? reset_s : 0};
}

static double cost_of(const struct terms *t, int64_t input, int64_t max_output)
{
    return (double)(input + (t->reserve_output ? max_output : 0));
}

bool limits_admit(enum dialect dialect, const char *key, const char *model, int64_t input,
                  int64_t max_output, uint64_t now_ms, struct limits_view *ret)
{
    const struct terms *t = &terms[dialect];
    struct limit_account *account = account_of(dialect, key, model, now_ms);
    double cost = cost_of(t, input, max_output);
    bool no_request = t->enforce && account->requests < 1;
    bool no_tokens = t->enforce && account->tokens < cost;
    bool no_output = t->enforce && account->output < 1;
    bool refused = no_request || no_tokens || no_output;
    if (!refused) {
        account->requests -= 1;
        account->tokens -= cost;
        if (!t->enforce) { /* whoever does not refuse must not say that nothing is left */
            account->requests = account->requests < 1 ? 1 : account->requests;
            account->tokens = account->tokens < 1 ? 1 : account->tokens;
        }
    }
    ret->requests = view_of(account->requests, t->rpm, 1, no_request);
    ret->tokens = view_of(account->tokens, t->tpm, cost, no_tokens);
    ret->output = view_of(account->output, t->otpm, 1, no_output);
    ret->wait_s = 0;
    if (no_request)
        ret->wait_s = ret->requests.reset_s;
    if (no_tokens && ret->tokens.reset_s > ret->wait_s)
        ret->wait_s = ret->tokens.reset_s;
    if (no_output && ret->output.reset_s > ret->wait_s)
        ret->wait_s = ret->output.reset_s;
    return !refused;
}

void limits_settle(enum dialect dialect, const char *key, const char *model, int64_t max_output,
                   int64_t output, uint64_t now_ms)
{
    const struct terms *t = &terms[dialect];
    if (!t->enforce)
        return;
    struct limit_account *account = account_of(dialect, key, model, now_ms);
    account->output -= (double)output;
    if (t->reserve_output && t->settle)
        account->tokens += (double)(max_output - output);
}

void limits_exhaust(struct limits_view *view, double reset_s)
{
    struct limit_view *each[] = {&view->requests, &view->tokens, &view->output};
    for (size_t i = 0; i < 3; i++) {
        each[i]->left = 0;
        each[i]->reset_s = reset_s;
    }
    view->wait_s = reset_s;
}

static int set_count(json_t *value, int64_t *at)
{
    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < 1)
        return -1;
    *at = json_integer_value(value);
    return 0;
}

static int set_truth(json_t *value, bool *at)
{
    if (!value)
        return 0;
    *at = json_is_true(value);
    return json_is_boolean(value) ? 0 : -1;
}

int limits_set(json_t *object, char *why, size_t why_size)
{
    const char *name = json_string_value(json_object_get(object, "dialect"));
    for (int d = 0; name && d < DIALECTS; d++) {
        struct terms t = terms[d];
        if (strcmp(name, dialect_faces[d]->name) != 0)
            continue;
        if (set_count(json_object_get(object, "rpm"), &t.rpm) < 0 ||
            set_count(json_object_get(object, "tpm"), &t.tpm) < 0 ||
            set_count(json_object_get(object, "otpm"), &t.otpm) < 0 ||
            set_truth(json_object_get(object, "enforce"), &t.enforce) < 0 ||
            set_truth(json_object_get(object, "reserve_output"), &t.reserve_output) < 0 ||
            set_truth(json_object_get(object, "settle"), &t.settle) < 0) {
            snprintf(why, why_size, "rpm, tpm, otpm: 1 or more; the others: true or false");
            return -1;
        }
        terms[d] = t;
        memset(accounts, 0, sizeof accounts); /* all start anew, full */
        return 0;
    }
    snprintf(why, why_size, "dialect: openai, anthropic or bedrock");
    return -1;
}
