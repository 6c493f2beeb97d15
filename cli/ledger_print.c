#include "cli/ledger_print.h"

#include "libs/json/json.h"
#include "libs/money/money.h"

#include <stdio.h>
#include <string.h>

#define PICOUSD_TEXT 48

static tg_picousd_sum join(int64_t high, uint64_t low)
{
    return tg_money_join((tg_money_words){high, low});
}

/* A whole number of pico-dollars. */
static const char *picousd(tg_picousd_sum sum, char to[PICOUSD_TEXT])
{
    unsigned __int128 rest = sum < 0 ? -(unsigned __int128)sum : (unsigned __int128)sum;
    char *at = to + PICOUSD_TEXT - 1;
    *at = '\0';
    do {
        *--at = (char)('0' + (int)(rest % 10));
        rest /= 10;
    } while (rest > 0);
    if (sum < 0)
        *--at = '-';
    return at;
}

static const char *dollars(tg_picousd_sum sum, char to[TG_MONEY_TEXT])
{
    tg_money_format_usd(sum, to);
    return to;
}

static void put_text(tg_json_out *out, const char *key, const char *value)
{
    tg_json_out_key(out, key);
    tg_json_out_text(out, value);
}

static void put_u64(tg_json_out *out, const char *key, uint64_t value)
{
    tg_json_out_key(out, key);
    tg_json_out_u64(out, value);
}

static void put_bool(tg_json_out *out, const char *key, bool value)
{
    tg_json_out_key(out, key);
    tg_json_out_bool(out, value);
}

/* "NAME_picousd" and "NAME_usd". */
static void put_money(tg_json_out *out, const char *name, tg_picousd_sum sum)
{
    char key[64], number[PICOUSD_TEXT], text[TG_MONEY_TEXT];
    snprintf(key, sizeof key, "%s_picousd", name);
    put_text(out, key, picousd(sum, number));
    snprintf(key, sizeof key, "%s_usd", name);
    put_text(out, key, dollars(sum, text));
}

static void put_line_break(tg_buf *buf, const tg_json_out *out)
{
    if (out->status == 0)
        printf("%s\n", buf->data);
    tg_buf_free(buf);
}

/* ---- statement ---- */

static void statement_json(const Tollgate__V1__StatementResponse *s)
{
    tg_buf buf;
    tg_buf_init(&buf, 0);
    tg_json_out out = tg_json_out_to(&buf);
    tg_json_out_begin_object(&out);
    tg_json_out_key(&out, "lines");
    tg_json_out_begin_array(&out);
    for (size_t i = 0; i < s->n_lines; i++) {
        const Tollgate__V1__StatementLine *l = s->lines[i];
        tg_json_out_begin_object(&out);
        put_text(&out, "tenant", l->tenant);
        put_text(&out, "target", l->target);
        put_text(&out, "model", l->model);
        put_text(&out, "task_type", l->task_type);
        put_u64(&out, "attempts", l->attempts);
        put_u64(&out, "estimated_attempts", l->estimated_attempts);
        put_u64(&out, "input_tokens", l->input_tokens);
        put_u64(&out, "cache_read_tokens", l->cache_read_tokens);
        put_u64(&out, "cache_write_tokens", l->cache_write_tokens);
        put_u64(&out, "output_tokens", l->output_tokens);
        put_money(&out, "cost", join(l->cost_picousd_high, l->cost_picousd_low));
        put_bool(&out, "price_assumed", l->price_assumed);
        tg_json_out_end_object(&out);
    }
    tg_json_out_end_array(&out);
    put_money(&out, "total", join(s->total_picousd_high, s->total_picousd_low));
    put_text(&out, "price_book", s->price_book);
    tg_json_out_end_object(&out);
    put_line_break(&buf, &out);
}

/* RFC 4180: quoted where needed, quotes doubled. */
static void csv_text(const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, stdout);
    } else {
        putchar('"');
        for (; *text; text++) {
            if (*text == '"')
                putchar('"');
            putchar(*text);
        }
        putchar('"');
    }
    putchar(',');
}

static void statement_csv(const Tollgate__V1__StatementResponse *s)
{
    puts("tenant,target,model,task_type,attempts,estimated_attempts,input_tokens,cache_read_tokens,"
         "cache_write_tokens,output_tokens,cost_picousd,cost_usd,price_assumed");
    for (size_t i = 0; i < s->n_lines; i++) {
        const Tollgate__V1__StatementLine *l = s->lines[i];
        tg_picousd_sum cost = join(l->cost_picousd_high, l->cost_picousd_low);
        char number[PICOUSD_TEXT], text[TG_MONEY_TEXT];
        csv_text(l->tenant);
        csv_text(l->target);
        csv_text(l->model);
        csv_text(l->task_type);
        printf("%llu,%llu,%llu,%llu,%llu,%llu,%s,%s,%s\n", (unsigned long long)l->attempts,
               (unsigned long long)l->estimated_attempts, (unsigned long long)l->input_tokens,
               (unsigned long long)l->cache_read_tokens, (unsigned long long)l->cache_write_tokens,
               (unsigned long long)l->output_tokens, picousd(cost, number),
               dollars(cost, text) + 1 /* without the $ */, l->price_assumed ? "true" : "false");
    }
}

/* Decimals shown of an amount: at least two, without the zeros at the end. */
static int decimals_of(tg_picousd_sum sum)
{
    char text[TG_MONEY_TEXT];
    return (int)strlen(strchr(dollars(sum, text), '.') + 1);
}

/* With zeros up to that many decimals, so that the points of a column stand below each other. */
static const char *aligned(tg_picousd_sum sum, int decimals, char to[TG_MONEY_TEXT + 16])
{
    dollars(sum, to);
    for (int i = decimals_of(sum); i < decimals; i++)
        strcat(to, "0");
    return to;
}

/* The widest of a column's texts. */
static int wider(int width, const char *text)
{
    int len = (int)strlen(text);
    return len > width ? len : width;
}

/* Widths of the columns whose texts vary, and the decimals of the cost. */
typedef struct columns {
    int tenant, target, model, task, cost, decimals;
} columns;

static columns measure(const Tollgate__V1__StatementResponse *s)
{
    columns c = {6, 6, 5, 9, 4, decimals_of(join(s->total_picousd_high, s->total_picousd_low))};
    char text[TG_MONEY_TEXT + 16];
    for (size_t i = 0; i < s->n_lines; i++) {
        const Tollgate__V1__StatementLine *l = s->lines[i];
        int decimals = decimals_of(join(l->cost_picousd_high, l->cost_picousd_low));
        c.tenant = wider(c.tenant, l->tenant);
        c.target = wider(c.target, l->target);
        c.model = wider(c.model, l->model);
        c.task = wider(c.task, l->task_type);
        c.decimals = decimals > c.decimals ? decimals : c.decimals;
    }
    c.cost =
        wider(c.cost, aligned(join(s->total_picousd_high, s->total_picousd_low), c.decimals, text));
    return c;
}

static void statement_table(const Tollgate__V1__StatementResponse *s)
{
    columns c = measure(s);
    char text[TG_MONEY_TEXT + 16];
    bool assumed = false, estimated = false;
    printf("%-*s  %-*s  %-*s  %-*s  %8s  %12s  %12s  %12s  %12s  %*s\n", c.tenant, "tenant",
           c.target, "target", c.model, "model", c.task, "task type", "attempts", "input",
           "cache read", "cache write", "output", c.cost, "cost");
    for (size_t i = 0; i < s->n_lines; i++) {
        const Tollgate__V1__StatementLine *l = s->lines[i];
        printf("%-*s  %-*s  %-*s  %-*s  %8llu  %12llu  %12llu  %12llu  %12llu  %*s%s%s\n", c.tenant,
               l->tenant, c.target, l->target, c.model, l->model, c.task, l->task_type,
               (unsigned long long)l->attempts, (unsigned long long)l->input_tokens,
               (unsigned long long)l->cache_read_tokens, (unsigned long long)l->cache_write_tokens,
               (unsigned long long)l->output_tokens, c.cost,
               aligned(join(l->cost_picousd_high, l->cost_picousd_low), c.decimals, text),
               l->price_assumed ? " *" : "", l->estimated_attempts ? " ~" : "");
        assumed = assumed || l->price_assumed;
        estimated = estimated || l->estimated_attempts;
    }
    printf("%*s\n\nprices of %s\n",
           c.tenant + c.target + c.model + c.task + c.cost + 8 + 4 * 12 + 2 * 9,
           aligned(join(s->total_picousd_high, s->total_picousd_low), c.decimals, text),
           s->price_book);
    if (assumed)
        puts("* the price is an assumption, not a provider's list price");
    if (estimated)
        puts("~ some tokens are estimates, because no report of them came");
}

void tg_ledger_print_statement(const Tollgate__V1__StatementResponse *statement,
                               tg_ledger_format format)
{
    if (format == TG_LEDGER_JSON)
        statement_json(statement);
    else if (format == TG_LEDGER_CSV)
        statement_csv(statement);
    else
        statement_table(statement);
}

/* ---- verification ---- */

void tg_ledger_print_verification(const Tollgate__V1__VerifyResponse *v, tg_ledger_format format)
{
    if (format == TG_LEDGER_JSON) {
        tg_buf buf;
        tg_buf_init(&buf, 0);
        tg_json_out out = tg_json_out_to(&buf);
        tg_json_out_begin_object(&out);
        put_bool(&out, "ok", v->ok);
        put_u64(&out, "transactions", v->transactions);
        put_u64(&out, "postings", v->postings);
        put_u64(&out, "duplicates", v->duplicates);
        put_u64(&out, "quarantined", v->quarantined);
        tg_json_out_key(&out, "problems");
        tg_json_out_begin_array(&out);
        for (size_t i = 0; i < v->n_problems; i++)
            tg_json_out_text(&out, v->problems[i]);
        tg_json_out_end_array(&out);
        tg_json_out_end_object(&out);
        put_line_break(&buf, &out);
        return;
    }
    printf(
        "transactions  %12llu\npostings      %12llu\nduplicates    %12llu  seen again, not posted\n"
        "quarantined   %12llu  set aside, with their reasons\n",
        (unsigned long long)v->transactions, (unsigned long long)v->postings,
        (unsigned long long)v->duplicates, (unsigned long long)v->quarantined);
    for (size_t i = 0; i < v->n_problems; i++)
        printf("  %s\n", v->problems[i]);
    puts(v->ok ? "the ledger is right: every transaction balances, every balance is the sum of its "
                 "postings, every price agrees"
               : "the ledger is WRONG");
}

/* ---- comparison ---- */

void tg_ledger_print_comparison(const Tollgate__V1__CompareResponse *c, tg_ledger_format format)
{
    tg_picousd_sum actual = join(c->actual_picousd_high, c->actual_picousd_low);
    tg_picousd_sum there = join(c->there_picousd_high, c->there_picousd_low);
    if (format == TG_LEDGER_JSON) {
        tg_buf buf;
        tg_buf_init(&buf, 0);
        tg_json_out out = tg_json_out_to(&buf);
        tg_json_out_begin_object(&out);
        put_text(&out, "target", c->target);
        put_u64(&out, "attempts", c->attempts);
        put_money(&out, "actual", actual);
        put_money(&out, "there", there);
        tg_json_out_end_object(&out);
        put_line_break(&buf, &out);
        return;
    }
    const tg_picousd_sum sums[] = {actual, there, there - actual};
    char labels[3][96] = {"as they ran", "", "difference"}, texts[3][TG_MONEY_TEXT + 16];
    int label = 0, width = 0, decimals = 2;
    snprintf(labels[1], sizeof labels[1], "all on %s", c->target);
    for (int i = 0; i < 3; i++)
        decimals = decimals_of(sums[i]) > decimals ? decimals_of(sums[i]) : decimals;
    for (int i = 0; i < 3; i++) {
        label = wider(label, labels[i]);
        width = wider(width, aligned(sums[i], decimals, texts[i]));
    }
    printf("%llu attempts\n", (unsigned long long)c->attempts);
    for (int i = 0; i < 3; i++)
        printf("  %-*s  %*s\n", label, labels[i], width, texts[i]);
}
