/* tollgate model inspect FILE [--json] [--chat-template F] [--tool-format T] [--kv-tokens N]
 *                             [--kv-type f16|q8] [--max-seqs N] [--threads N]
 *
 * What is in a GGUF file, split ones included, and what serving it will take. A file that cannot be
 * served is shown all the same as far as it can be read, with the reason and exit status 1. Strings
 * are the file's own: in text bytes that are not printable are shown as '.'. */
#include "cli/commands.h"

#include "libs/json/json.h"
#include "services/inference/engine/memory.h"
#include "services/inference/model/chat.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_BYTES_MAX 80 /* of a string of metadata, in text */
#define TYPES_MAX 64       /* tensor types with a number below it */

static const char usage_text[] =
    "usage: tollgate model inspect FILE [--json] [options]\n"
    "  --chat-template F  the template in file F instead of the model's own\n"
    "  --tool-format T    none, hermes, llama3 or mistral, whatever the template says\n"
    "  --kv-tokens N      tokens whose keys and values are held (16384)\n"
    "  --kv-type T        f16 or q8: what keys and values are rounded to (f16)\n"
    "  --max-seqs N       sequences computed together (8)\n"
    "  --threads N        0: one per processor (0)\n";

typedef struct type_sum {
    const char *name;
    uint64_t tensors, bytes;
} type_sum;

typedef struct report {
    const char *path, *chat_template, *tool_format;
    bool json;
    uint32_t kv_tokens, max_seqs, threads;
    tg_kv_type kv_type;
    tg_gguf *gguf;   /* NULL once the model has it */
    tg_model *model; /* NULL: it cannot be served, and `why` says so */
    tg_error why;
    const tg_gguf *file; /* either's */
    type_sum types[TYPES_MAX];
    tg_backend_needs needs;
    tg_memory_room room;
} report;

static void sum_types(report *r)
{
    for (size_t i = 0; i < tg_gguf_tensor_count(r->file); i++) {
        const tg_gguf_tensor *t = tg_gguf_tensor_at(r->file, i);
        type_sum *sum = &r->types[(unsigned)t->type % TYPES_MAX];
        sum->name = tg_dtype_get(t->type)->name;
        sum->tensors++;
        sum->bytes += t->size_bytes;
    }
}

/* A string of the metadata; empty where the file has none. */
static tg_str text_of(const report *r, const char *key)
{
    tg_str ret = {"", 0};
    tg_gguf_str(r->file, key, NULL, &ret);
    return ret;
}

/* ---- text ---- */

static void print_str(tg_str text)
{
    const size_t len = text.len < SHOWN_BYTES_MAX ? text.len : SHOWN_BYTES_MAX;
    for (size_t i = 0; i < len; i++)
        putchar(text.data[i] >= 0x20 && text.data[i] < 0x7f ? text.data[i] : '.');
    if (len < text.len)
        printf("... (%zu bytes)", text.len);
}

static double mb(uint64_t bytes) { return (double)bytes * 1e-6; }

static const char *kv_name(const report *r) { return r->kv_type == TG_KV_Q8 ? "q8" : "f16"; }

static const char *chat_state(const tg_model *m)
{
    static const char *const states[] = {"none", "supported", "unsupported"};
    return states[m->chat];
}

static void print_chat(const tg_model *m)
{
    printf("chat       template %s", chat_state(m));
    if (m->chat == TG_CHAT_UNSUPPORTED)
        printf(" (%s)", m->template_problem);
    printf("; tools %s, calls %s, thinking %s\n", m->answer.takes_tools ? "offered" : "not offered",
           tg_tool_format_name(m->answer.tools), tg_reasoning_format_name(m->answer.reasoning));
}

static void print_model(const report *r)
{
    const tg_model *m = r->model;
    const tg_model_shape *s = &m->shape;
    printf("model      ");
    print_str(tg_str_of(m->name));
    printf(", %s, %s\n", m->arch->name, m->quantisation);
    printf("shape      %u layers of width %u, %u heads of %u on %u key heads, feed-forward %u, "
           "vocabulary %u%s\n",
           s->layers, s->width, s->heads, s->head_dim, s->kv_heads, s->ffn_width, s->vocab,
           m->output == m->token_embd ? ", tied" : "");
    printf("tokenizer  ");
    print_str(text_of(r, "tokenizer.ggml.model"));
    printf(" ");
    print_str(text_of(r, "tokenizer.ggml.pre"));
    printf("; a chat template of %zu bytes\n", text_of(r, "tokenizer.chat_template").len);
    print_chat(m);
    printf("context    %u tokens", s->context);
    if (s->window)
        printf(", of which the latest %u are seen", s->window);
    printf("; RoPE base %g%s%s\nends with ", (double)s->rope_theta,
           s->rope_scale > 1 ? ", scaled" : "", m->rope_freqs ? ", with rope_freqs" : "");
    for (size_t i = 0; i < m->stop_ids_len; i++) {
        printf(" %u ", m->stop_ids[i]);
        print_str(tg_tokenizer_piece(m->tokenizer, m->stop_ids[i]));
    }
    const tg_backend_needs *n = &r->needs;
    printf("\nneeds      %.0f MB: weights %.0f MB, KV of %u tokens in %s %.0f MB, scratch %.0f MB, "
           "the rest %.0f MB\n",
           mb(tg_memory_total(n)), mb(n->weights_bytes), r->kv_tokens, kv_name(r), mb(n->kv_bytes),
           mb(n->scratch_bytes), mb(TG_MEMORY_OVERHEAD_BYTES));
    printf("fits       %s: %s leaves %.0f MB\n", tg_memory_total(n) <= r->room.bytes ? "yes" : "no",
           r->room.what, mb(r->room.bytes));
}

static void print_text(const report *r)
{
    printf("file       %s, %.1f MB", r->path, mb(tg_gguf_file_bytes(r->file)));
    if (tg_gguf_part_count(r->file) > 1)
        printf(" in %u parts", tg_gguf_part_count(r->file));
    putchar('\n');
    if (r->model)
        print_model(r);
    else
        printf("not served %s\n", r->why.text);
    printf("\ntensors\n");
    for (size_t i = 0; i < TYPES_MAX; i++)
        if (r->types[i].tensors)
            printf("  %-6s %6llu  %10.1f MB\n", r->types[i].name,
                   (unsigned long long)r->types[i].tensors, mb(r->types[i].bytes));
    printf("\nmetadata\n");
    for (size_t i = 0; i < tg_gguf_key_count(r->file); i++) {
        tg_gguf_value value;
        printf("  ");
        print_str(tg_gguf_key_at(r->file, i, &value));
        printf(": ");
        switch (value.kind) {
        case TG_GGUF_IS_U64: printf("%llu", (unsigned long long)value.u64); break;
        case TG_GGUF_IS_I64: printf("%lld", (long long)value.i64); break;
        case TG_GGUF_IS_F64: printf("%g", value.f64); break;
        case TG_GGUF_IS_BOOL: printf(value.u64 ? "true" : "false"); break;
        case TG_GGUF_IS_STR: print_str(value.str); break;
        case TG_GGUF_IS_ARRAY:
            printf("%llu x %s", (unsigned long long)value.u64, value.type);
            break;
        }
        printf("\n");
    }
}

/* ---- JSON ---- */

static void put_u64(tg_json_out *out, const char *key, uint64_t value)
{
    tg_json_out_key(out, key);
    tg_json_out_u64(out, value);
}

static void put_text(tg_json_out *out, const char *key, const char *value)
{
    tg_json_out_key(out, key);
    tg_json_out_text(out, value);
}

static void put_value(tg_json_out *out, const tg_gguf_value *value)
{
    switch (value->kind) {
    case TG_GGUF_IS_U64: tg_json_out_u64(out, value->u64); break;
    case TG_GGUF_IS_I64: tg_json_out_i64(out, value->i64); break;
    case TG_GGUF_IS_BOOL: tg_json_out_bool(out, value->u64 != 0); break;
    case TG_GGUF_IS_STR: tg_json_out_str(out, value->str); break;
    case TG_GGUF_IS_F64:
        if (value->f64 - value->f64 == 0)
            tg_json_out_f64(out, value->f64);
        else
            tg_json_out_null(out); /* JSON has no infinities */
        break;
    case TG_GGUF_IS_ARRAY:
        tg_json_out_begin_object(out);
        tg_json_out_key(out, "array_of");
        tg_json_out_text(out, value->type);
        put_u64(out, "count", value->u64);
        tg_json_out_end_object(out);
        break;
    }
}

/* Entries, not an object: nothing keeps a file from naming a key twice. */
static void put_metadata(tg_json_out *out, const report *r)
{
    tg_json_out_key(out, "metadata");
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < tg_gguf_key_count(r->file); i++) {
        tg_gguf_value value;
        tg_str key = tg_gguf_key_at(r->file, i, &value);
        tg_json_out_begin_object(out);
        tg_json_out_key(out, "key");
        tg_json_out_str(out, key);
        tg_json_out_key(out, "value");
        put_value(out, &value);
        tg_json_out_end_object(out);
    }
    tg_json_out_end_array(out);
}

static void put_model(tg_json_out *out, const report *r)
{
    const tg_model *m = r->model;
    const tg_model_shape *s = &m->shape;
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"layers", s->layers},
        {"width", s->width},
        {"heads", s->heads},
        {"kv_heads", s->kv_heads},
        {"head_dim", s->head_dim},
        {"ffn_width", s->ffn_width},
        {"vocab", s->vocab},
        {"context", s->context},
        {"window", s->window},
        {"kv_bytes_per_token", tg_backend_kv_block_bytes(m, r->kv_type) / TG_KV_BLOCK_TOKENS}};
    const struct {
        const char *key;
        uint64_t value;
    } needs[] = {{"weights_bytes", r->needs.weights_bytes},
                 {"kv_bytes", r->needs.kv_bytes},
                 {"kv_tokens", r->kv_tokens},
                 {"scratch_bytes", r->needs.scratch_bytes},
                 {"overhead_bytes", TG_MEMORY_OVERHEAD_BYTES},
                 {"total_bytes", tg_memory_total(&r->needs)},
                 {"room_bytes", r->room.bytes}};
    tg_json_out_key(out, "model");
    tg_json_out_begin_object(out);
    put_text(out, "name", m->name);
    put_text(out, "architecture", m->arch->name);
    put_text(out, "quantisation", m->quantisation);
    put_text(out, "kv_type", kv_name(r));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put_u64(out, numbers[i].key, numbers[i].value);
    tg_json_out_key(out, "stop_ids");
    tg_json_out_begin_array(out);
    for (size_t i = 0; i < m->stop_ids_len; i++)
        tg_json_out_u64(out, m->stop_ids[i]);
    tg_json_out_end_array(out);
    tg_json_out_key(out, "tokenizer");
    tg_json_out_str(out, text_of(r, "tokenizer.ggml.model"));
    tg_json_out_key(out, "pre_tokenizer");
    tg_json_out_str(out, text_of(r, "tokenizer.ggml.pre"));
    put_u64(out, "chat_template_bytes", text_of(r, "tokenizer.chat_template").len);
    put_text(out, "chat_template", chat_state(m));
    put_text(out, "chat_template_problem", m->template_problem);
    tg_json_out_key(out, "takes_tools");
    tg_json_out_bool(out, m->answer.takes_tools);
    put_text(out, "tool_format", tg_tool_format_name(m->answer.tools));
    put_text(out, "reasoning_format", tg_reasoning_format_name(m->answer.reasoning));
    tg_json_out_end_object(out);
    tg_json_out_key(out, "needs");
    tg_json_out_begin_object(out);
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++)
        put_u64(out, needs[i].key, needs[i].value);
    tg_json_out_key(out, "fits");
    tg_json_out_bool(out, tg_memory_total(&r->needs) <= r->room.bytes);
    tg_json_out_end_object(out);
}

static int print_json(const report *r)
{
    tg_buf buf;
    tg_buf_init(&buf, (size_t)1 << 30);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_begin_object(&out);
    tg_json_out_key(&out, "file");
    tg_json_out_text(&out, r->path);
    put_u64(&out, "bytes", tg_gguf_file_bytes(r->file));
    put_u64(&out, "parts", tg_gguf_part_count(r->file));
    tg_json_out_key(&out, "not_served_because");
    if (r->model)
        tg_json_out_null(&out);
    else
        tg_json_out_text(&out, r->why.text);
    if (r->model)
        put_model(&out, r);
    tg_json_out_key(&out, "tensors");
    tg_json_out_begin_array(&out);
    for (size_t i = 0; i < TYPES_MAX; i++) {
        if (r->types[i].tensors == 0)
            continue;
        tg_json_out_begin_object(&out);
        tg_json_out_key(&out, "type");
        tg_json_out_text(&out, r->types[i].name);
        put_u64(&out, "count", r->types[i].tensors);
        put_u64(&out, "bytes", r->types[i].bytes);
        tg_json_out_end_object(&out);
    }
    tg_json_out_end_array(&out);
    put_metadata(&out, r);
    tg_json_out_end_object(&out);
    if (out.status == 0) {
        fwrite(buf.data, 1, buf.len, stdout);
        putchar('\n');
    }
    tg_buf_free(&buf);
    return out.status;
}

/* ---- the command ---- */

static int inspect(report *r)
{
    tg_error err = {""};
    int rc = tg_gguf_open(r->path, &err, &r->gguf);
    if (rc < 0) {
        fprintf(stderr, "tollgate model: %s\n", err.text[0] ? err.text : strerror(-rc));
        return 1;
    }
    r->file = r->gguf;
    sum_types(r);
    const tg_backend_conf conf = {.threads = r->threads,
                                  .kv_blocks = r->kv_tokens / TG_KV_BLOCK_TOKENS,
                                  .kv_type = r->kv_type,
                                  .step_tokens_max = 256,
                                  .step_logits_max = r->max_seqs};
    rc = tg_model_open(r->path, &r->why, &r->model); /* its own view: a refused one is gone */
    if (rc == 0)
        rc = tg_chat_configure(r->model, r->chat_template, r->tool_format, &r->why);
    if (rc == 0)
        rc = tg_backend_plan_cpu(r->model, &conf, &r->why, &r->needs);
    if (rc < 0)
        r->model = tg_model_free(r->model);
    tg_memory_room_find("", 0, &r->room);
    if (r->json && print_json(r) < 0)
        fprintf(stderr, "tollgate model: out of memory\n");
    else if (!r->json)
        print_text(r);
    return rc < 0;
}

static int parse_u32(const char *name, const char *text, uint32_t least, uint32_t most,
                     uint32_t *ret)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && *end == '\0' && value >= least && value <= most) {
        *ret = (uint32_t)value;
        return 0;
    }
    fprintf(stderr, "tollgate model: --%s is '%s'; %u to %u are allowed\n", name, text, least,
            most);
    return 2;
}

static int parse_kv_type(const char *text, tg_kv_type *ret)
{
    *ret = strcmp(text, "q8") == 0 ? TG_KV_Q8 : TG_KV_F16;
    if (*ret == TG_KV_Q8 || strcmp(text, "f16") == 0)
        return 0;
    fprintf(stderr, "tollgate model: --kv-type is '%s'; f16 and q8 are allowed\n", text);
    return 2;
}

int tg_cli_model(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"chat-template", required_argument, NULL, 'c'},
                                            {"tool-format", required_argument, NULL, 'f'},
                                            {"kv-tokens", required_argument, NULL, 'k'},
                                            {"kv-type", required_argument, NULL, 'K'},
                                            {"max-seqs", required_argument, NULL, 's'},
                                            {"threads", required_argument, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    report r = {.kv_tokens = 16384, .max_seqs = 8};
    int rc = argc > 1 && strcmp(argv[1], "inspect") == 0 ? 0 : 2;
    for (int c; rc == 0 && (c = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1;) {
        switch (c) {
        case 'j': r.json = true; break;
        case 'c': r.chat_template = optarg; break;
        case 'f': r.tool_format = optarg; break;
        case 'k': rc = parse_u32("kv-tokens", optarg, 32, 1u << 30, &r.kv_tokens); break;
        case 'K': rc = parse_kv_type(optarg, &r.kv_type); break;
        case 's': rc = parse_u32("max-seqs", optarg, 1, 256, &r.max_seqs); break;
        case 't': rc = parse_u32("threads", optarg, 0, TG_THREADS_MAX, &r.threads); break;
        default: rc = 2;
        }
    }
    if (rc == 0 && optind != argc - 2)
        rc = 2;
    if (rc != 0) {
        fputs(usage_text, stderr);
        return rc;
    }
    r.path = argv[argc - 1];
    rc = inspect(&r);
    tg_model_free(r.model);
    tg_gguf_free(r.gguf);
    return rc;
}
