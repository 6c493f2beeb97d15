/* What an upstream's error means for the next attempt, and errors in the client's own dialect. */
#include "services/router/dialect/codec.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- upstream errors ---- */

static tg_str text_of(tg_json object, const char *key)
{
    tg_str text = {"", 0};
    tg_json_str(tg_json_get(object, key), &text);
    return text;
}

static tg_str first_of(tg_str a, tg_str b) { return a.len > 0 ? a : b; }

/* OpenAI and Anthropic: {"error":{…}}; Bedrock: {"message":…}, its type in a header or in __type.
 */
static void read_words(tg_provider provider, tg_json root, tg_upstream_error *ret)
{
    tg_str type = {"", 0}, message = {"", 0};
    tg_json error = tg_json_get(root, "error");
    if (provider == TG_PROVIDER_BEDROCK) {
        type = text_of(root, "__type");
        message = first_of(text_of(root, "message"), text_of(root, "Message"));
        const char *hash = type.len > 0 ? memchr(type.data, '#', type.len) : NULL;
        if (hash) /* "com.amazon.coral.service#AccessDeniedException" */
            type = (tg_str){hash + 1, type.len - (size_t)(hash + 1 - type.data)};
    } else if (tg_json_type_of(error) == TG_JSON_STRING) {
        tg_json_str(error, &message);
    } else {
        type = first_of(text_of(error, "code"), text_of(error, "type"));
        message = text_of(error, "message");
    }
    tg_str_copy(ret->type, sizeof ret->type, type);
    tg_str_copy(ret->message, sizeof ret->message, message);
}

/* Bedrock's type stands in a header that does not get here; the status tells most of them apart. */
static const char *bedrock_type(unsigned status)
{
    switch (status) {
    case 400:
        return "ValidationException";
    case 403:
        return "AccessDeniedException";
    case 404:
        return "ResourceNotFoundException";
    case 408:
        return "ModelTimeoutException";
    case 424:
        return "ModelErrorException";
    case 429:
        return "ThrottlingException";
    case 503:
        return "ServiceUnavailableException";
    default:
        return status >= 500 ? "InternalServerException" : "";
    }
}

static bool is_key_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '_' || c == '*' || c == '.';
}

/* Providers echo keys in messages ("Incorrect API key provided: sk-…"); they go no further. */
static void hide_keys(char *text)
{
    static const char *const marks[] = {"sk-", "AKIA", "ASIA", "Bearer "};
    for (char *p = text; *p; p++) {
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
            size_t len = strlen(marks[i]);
            if (strncmp(p, marks[i], len) != 0 || (p > text && is_key_char(p[-1])))
                continue;
            for (char *q = p; q < p + len || is_key_char(*q); q++)
                *q = '*';
        }
    }
}

static bool is_one_of(const char *word, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0)
            return true;
    return false;
}

/* Money, credentials and names: the same request fails until someone acts, but other targets may
 * serve. */
static bool is_permanent(unsigned status, const tg_upstream_error *error)
{
    static const char *const words[] = {"insufficient_quota", "billing_not_active",
                                        "billing_hard_limit_reached", "billing_error",
                                        "account_deactivated"};
    if (status == 401 || status == 402 || status == 403 || status == 404)
        return true;
    if (is_one_of(error->type, words, sizeof words / sizeof *words))
        return true;
    return strstr(error->message, "credit balance is too low") !=
           NULL; /* Anthropic says so with 400 */
}

static void judge(unsigned status, tg_upstream_error *ret)
{
    static const char *const throttles[] = {"ThrottlingException", "ServiceQuotaExceededException"};
    ret->permanent = is_permanent(status, ret);
    ret->quota = (status == 429 && strcmp(ret->type, "ModelNotReadyException") != 0) ||
                 is_one_of(ret->type, throttles, sizeof throttles / sizeof *throttles);
    ret->capacity = status == 529 || status == 503 || strcmp(ret->type, "overloaded_error") == 0 ||
                    strcmp(ret->type, "ModelNotReadyException") == 0;
    ret->retryable = ret->permanent || ret->quota || ret->capacity || status == 408 ||
                     status == 409 || status == 424 || status >= 500;
}

void tg_dialect_decode_error(tg_provider provider, unsigned status, tg_str body, tg_json_doc *doc,
                             tg_upstream_error *ret)
{
    tg_error ignored = {""};
    tg_json root;
    *ret = (tg_upstream_error){.type = ""};
    if (tg_json_parse(doc, body, TG_CODEC_EVENT_MAX, &ignored, &root) == 0)
        read_words(provider, root, ret);
    if (provider == TG_PROVIDER_BEDROCK && !ret->type[0])
        snprintf(ret->type, sizeof ret->type, "%s", bedrock_type(status));
    judge(status, ret);
    if (status == 401 || status == 403) /* such texts name the credential */
        snprintf(ret->message, sizeof ret->message,
                 "the provider refused the gateway's credential (HTTP %u)", status);
    else if (!ret->message[0])
        snprintf(ret->message, sizeof ret->message, "the provider answered HTTP %u", status);
    hide_keys(ret->message);
    ret->message[tg_utf8_whole(ret->message, strlen(ret->message))] = '\0'; /* where it was cut */
}

/* ---- errors for the client ---- */

static const char *type_of_status(tg_dialect dialect, unsigned status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 402:
        return dialect == TG_DIALECT_ANTHROPIC ? "billing_error" : "invalid_request_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return dialect == TG_DIALECT_ANTHROPIC ? "request_too_large" : "invalid_request_error";
    case 429:
        return "rate_limit_error";
    case 503:
    case 529:
        return "overloaded_error";
    case 504:
        return "timeout_error";
    default:
        return status >= 500 ? "api_error" : "invalid_request_error";
    }
}

static void write_pair(tg_json_out *out, const char *key, const char *value)
{
    tg_json_out_key(out, key);
    if (value && *value)
        tg_json_out_text(out, value);
    else
        tg_json_out_null(out);
}

int tg_dialect_encode_error(tg_dialect dialect, unsigned status, const char *type, const char *code,
                            const char *message, const char *request_id, tg_buf *to)
{
    bool anthropic = dialect == TG_DIALECT_ANTHROPIC;
    tg_json_out out = tg_json_out_to(to);
    tg_json_out_begin_object(&out);
    if (anthropic)
        write_pair(&out, "type", "error");
    tg_json_out_key(&out, "error");
    tg_json_out_begin_object(&out);
    if (anthropic) {
        write_pair(&out, "type", type && *type ? type : type_of_status(dialect, status));
        write_pair(&out, "message", message);
        tg_json_out_end_object(&out);
        write_pair(&out, "request_id", request_id);
    } else {
        write_pair(&out, "message", message);
        write_pair(&out, "type", type && *type ? type : type_of_status(dialect, status));
        write_pair(&out, "param", NULL);
        write_pair(&out, "code", code);
        tg_json_out_end_object(&out);
    }
    tg_json_out_end_object(&out);
    return out.status;
}
