/* The scheduler in a simulated world: seeded requests of several tenants, aborts, choices, guesses,
 * a small KV memory, made-up tokens.
 *
 *     sim-engine [--schedules N] [--seed S]
 *
 * A schedule is a world of its own: memory, places and budget of random sizes, a few hundred steps
 * of arrivals and aborts, and then steps until all is done. What must hold after every step,
 * whatever happens:
 *
 *   - no step has more tokens or rows of logits than the budget, and none is empty while somebody
 *     could run;
 *   - every KV block is free, cached or owned as often as counted; promises are what running
 *     sequences may still take;
 *   - tenants' counts are those of the sequences that are there; nobody gives way twice;
 *   - a waiting interactive sequence is through before a stated number of virtual tokens has been
 *     served (see bound_of), and a batch one before the world ends;
 *   - when all is done no block is owned and nothing is promised.
 *
 * Exit status 0, or 1 after a line that says what failed and the seed to see it again.
 */
#include "libs/base/clock.h"
#include "services/inference/engine/sched.h"
#include "tests/unit/services/inference/tiny_model.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TENANTS = 4,
    LIVE_MAX = 64,
    PROMPT_MAX = 80,
    OUTPUT_MAX = 40,
    REQUEST_COST = PROMPT_MAX + 2 * OUTPUT_MAX
};
static const char *const tenants[TENANTS] = {"acme", "globex", "initech", "umbrella"};

typedef struct life { /* of a sequence */
    tg_seq *seq;
    uint64_t bound; /* served_total by which it must be through; UINT64_MAX: only in the end */
    bool runs;
    uint32_t gave_way; /* times */
} life;

typedef struct world {
    tg_kv *kv;
    tg_sched sched;
    life lives[LIVE_MAX];
    uint64_t ids, served_total, admitted, aborted, cached, guessed, copied;
} world;

static uint64_t seed, state, schedule;
static const tg_model *model;

#define MUST(condition, ...) ((condition) ? (void)0 : fail(#condition, __VA_ARGS__))

__attribute__((format(printf, 2, 3))) static void fail(const char *condition, const char *format,
                                                       ...)
{
    va_list args;
    va_start(args, format);
    printf("sim-engine: ");
    vprintf(format, args);
    va_end(args);
    printf("\n  must hold: %s\n  in schedule %llu of: sim-engine --seed %llu\n", condition,
           (unsigned long long)schedule, (unsigned long long)seed);
    exit(1);
}

static uint32_t below(uint32_t limit) { return (uint32_t)(tiny_random(&state) % limit); }

/* Virtual tokens that may be served before an interactive sequence that arrives now is through. Its
 * tenant's older requests go first. Until all that is served every other tenant gets as much at
 * most, and what was under way: the largest request in each place. */
static uint64_t bound_of(const world *w, const tg_seq *seq)
{
    /* With guesses, at worst as many rows are computed for a token as can be guessed and one. */
    const uint64_t cost =
        w->sched.drafter.guess ? PROMPT_MAX + 2 * OUTPUT_MAX * (1 + TG_GUESSES_MAX) : REQUEST_COST;
    uint64_t own = cost;
    for (size_t i = 0; i < LIVE_MAX; i++)
        if (w->lives[i].seq && w->lives[i].seq->share == seq->share)
            own += cost;
    return w->served_total + TENANTS * (own + w->sched.max_seqs * cost);
}

/* Guesses anything; how much of it comes true is drawn in step(). */
static uint32_t guess(void *user, const uint32_t *tokens, uint32_t len, uint32_t most,
                      uint32_t *ret)
{
    (void)user;
    const uint32_t guesses = below(3) == 0 ? 0 : below(most + 1);
    for (uint32_t i = 0; i < guesses; i++)
        ret[i] = tokens[len - 1];
    return guesses;
}

static life *free_life(world *w)
{
    life *l = w->lives;
    while (l < w->lives + LIVE_MAX && l->seq)
        l++;
    return l < w->lives + LIVE_MAX ? l : NULL;
}

static void arrive(world *w)
{
    tg_token_list tokens = {0};
    tg_seq *leader = NULL;
    /* equal prompts meet in the prefix cache */
    const uint32_t len = 1 + below(PROMPT_MAX), token = below(3);
    for (uint32_t i = 0; i < len; i++)
        tg_token_list_add(&tokens, token);
    const tg_gen_request r = {.max_tokens = 1 + below(OUTPUT_MAX),
                              .priority = below(4) == 0,
                              .tokens = tokens.ids,
                              .tokens_len = len,
                              .tenant = tg_str_of(tenants[below(TENANTS)])};
    for (uint32_t choices = below(5) == 0 ? 1 + below(4) : 1; choices > 0; choices--) {
        life *l = free_life(w);
        tg_seq *seq = NULL;
        const int rc =
            l ? tg_seq_new(&r, model, w->kv, 1024, tg_kv_count(w->kv).total, &tokens, NULL, &seq)
              : -EMSGSIZE;
        if (rc == -EMSGSIZE) /* it can never fit: refused at the door */
            break;
        MUST(rc == 0, "a request was refused: %d", rc);
        if (leader)
            tg_sched_follow(seq, leader);
        seq->id = ++w->ids;
        if (tg_sched_enqueue(&w->sched, seq) < 0) {
            tg_sched_unfollow(seq);
            tg_seq_free(seq);
            break;
        }
        leader = leader ? leader : seq;
        *l = (life){.seq = seq, .bound = seq->priority == 0 ? bound_of(w, seq) : UINT64_MAX};
    }
    tg_token_list_free(&tokens);
}

static life *life_of(world *w, const tg_seq *seq)
{
    for (size_t i = 0; i < LIVE_MAX; i++)
        if (w->lives[i].seq == seq)
            return &w->lives[i];
    fail("life", "a sequence nobody knows");
    return NULL;
}

static void leave(world *w, tg_seq *seq)
{
    life_of(w, seq)->seq = NULL;
    tg_sched_remove(&w->sched, seq);
    tg_seq_free(seq);
}

static bool is_running(const world *w, const tg_seq *seq)
{
    for (uint32_t i = 0; i < w->sched.running_len; i++)
        if (w->sched.running[i] == seq)
            return true;
    return false;
}

static void check(world *w, uint32_t planned)
{
    uint32_t promised = 0, seqs = 0, running = 0;
    tg_str salt;
    void *value;
    MUST(planned <= w->sched.budget, "a step of %u tokens, the budget is %u", planned,
         w->sched.budget);
    MUST(planned > 0 || w->sched.running_len == 0, "a step of nothing with %u running",
         w->sched.running_len);
    MUST(tg_kv_check(w->kv), "the block pool contradicts itself");
    for (uint32_t i = 0; i < w->sched.running_len; i++)
        promised += w->sched.running[i]->blocks_needed - w->sched.running[i]->blocks_len;
    MUST(w->sched.promised == promised, "%u blocks are promised, counted are %u", w->sched.promised,
         promised);
    const tg_kv_counts counts = tg_kv_count(w->kv);
    MUST(counts.free + counts.cached >= promised, "more is promised than there is");
    for (size_t at = 0; tg_map_next(w->sched.tenants, &at, &salt, &value);) {
        seqs += ((const tg_tenant_share *)value)->seqs;
        running += ((const tg_tenant_share *)value)->running;
    }
    MUST(seqs == w->sched.waiting_len + w->sched.running_len && running == w->sched.running_len,
         "tenants count %u sequences, %u running", seqs, running);
    for (size_t i = 0; i < LIVE_MAX; i++) {
        life *l = &w->lives[i];
        if (!l->seq)
            continue;
        const bool runs = is_running(w, l->seq);
        l->gave_way += l->runs && !runs;
        l->runs = runs;
        MUST(l->gave_way <= 1, "sequence %llu gave way %u times", (unsigned long long)l->seq->id,
             l->gave_way);
        MUST(w->served_total <= l->bound, "sequence %llu waits past its bound",
             (unsigned long long)l->seq->id);
    }
}

static void step(world *w)
{
    const uint64_t preempted = w->sched.preempted;
    w->admitted += tg_sched_admit(&w->sched, 1);
    MUST(w->sched.preempted - preempted <= w->sched.max_seqs,
         "more gave way than there are places");
    const uint32_t planned = tg_sched_plan(&w->sched);
    uint32_t sum = 0, rows = 0, copied = 0;
    for (uint32_t i = 0; i < w->sched.running_len; i++)
        rows += w->sched.running[i]->rows;
    MUST(rows <= w->sched.running_len + w->sched.spare_rows, "%u rows of logits", rows);
    for (uint32_t i = w->sched.running_len; i > 0; i--) {
        tg_seq *seq = w->sched.running[i - 1];
        sum += seq->planned;
        if (seq->planned == 0)
            continue;
        w->served_total += (uint64_t)seq->planned * (seq->computed < seq->prompt_len ? 1 : 2);
        const uint32_t right = below(seq->guesses + 1);
        w->guessed += seq->guesses;
        copied += seq->copy.from != seq->copy.to;
        seq->copy = (tg_block_copy){0};
        tg_sched_advance(&w->sched, seq, right);
        if (seq->computed == seq->len + right) {
            seq->len += right;
            seq->tokens[seq->len++] = below(5);
        }
        if (seq->len == seq->limit) {
            w->cached += seq->usage.cached_tokens;
            leave(w, seq);
        }
    }
    w->copied += copied;
    if (planned > 0) /* whatever steps seem to cost, guesses stay within the budgets */
        tg_step_cost_learn(&w->sched.cost, planned, below(2) == 0 ? below(1000) : planned * 1000);
    MUST(sum == planned, "planned are %u tokens, said was %u", sum, planned);
    check(w, planned);
}

typedef struct sums {
    uint64_t admitted, preempted, aborted, cached, guessed, copied;
} sums;

static void run_schedule(sums *all)
{
    static const uint8_t key[16] = {9};
    world w = {0};
    const uint32_t max_seqs = 1 + below(6), blocks = 6 + below(40);
    MUST(tg_kv_new(blocks, key, &w.kv) == 0, "no memory");
    w.sched = (tg_sched){.kv = w.kv,
                         .max_seqs = max_seqs,
                         .max_queue = 1 + below(LIVE_MAX),
                         .budget = max_seqs + below(64),
                         .spare_rows = below(40)};
    if (below(2) == 0)
        w.sched.drafter.guess = guess;
    MUST(tg_sched_init(&w.sched) == 0, "no memory");
    /* a few long enough to starve */
    const uint32_t steps = below(20) == 0 ? 3000 : 50 + below(200), often = 1 + below(6);
    for (uint32_t i = 0; i < steps; i++) {
        if (below(often) == 0)
            arrive(&w);
        for (uint32_t many = below(30) == 0 ? 1 + below(8) : 0; many > 0; many--) {
            life *l = &w.lives[below(LIVE_MAX)];
            if (l->seq) {
                leave(&w, l->seq);
                w.aborted++;
            }
        }
        step(&w);
    }
    for (uint32_t i = 0; w.sched.running_len + w.sched.waiting_len > 0; i++) {
        MUST(i < 100000, "it does not end");
        step(&w);
    }
    MUST(w.sched.promised == 0 && tg_kv_count(w.kv).used == 0 && tg_map_count(w.sched.tenants) == 0,
         "something is left");
    all->admitted += w.admitted;
    all->preempted += w.sched.preempted;
    all->aborted += w.aborted;
    all->cached += w.cached;
    all->guessed += w.guessed;
    all->copied += w.copied;
    tg_sched_free(&w.sched);
    tg_kv_free(w.kv);
}

int main(int argc, char **argv)
{
    uint64_t schedules = 20000;
    sums all = {0};
    tg_buf file;
    tg_gguf *gguf = NULL;
    tg_model *loaded = NULL;
    seed = tg_clock_wall_ns() / 1000;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t value;
        const bool is_seed = strcmp(argv[i], "--seed") == 0;
        if ((!is_seed && strcmp(argv[i], "--schedules") != 0) ||
            tg_str_u64(tg_str_of(argv[i + 1]), &value) < 0) {
            fprintf(stderr, "usage: sim-engine [--schedules N] [--seed S]\n");
            return 2;
        }
        *(is_seed ? &seed : &schedules) = value;
    }
    state = seed;
    tiny_model((tiny_conf){.seed = 1, .layers = 1}, &file);
    MUST(tg_gguf_parse((const uint8_t *)file.data, file.len, NULL, &gguf) == 0, "no model");
    MUST(tg_model_new(gguf, NULL, &loaded) == 0, "no model");
    model = loaded;
    for (schedule = 0; schedule < schedules; schedule++)
        run_schedule(&all);
    MUST(schedules < 100 || (all.preempted > 0 && all.aborted > 0 && all.cached > 0 &&
                             all.guessed > 0 && all.copied > 0),
         "the schedules miss what they are for");
    printf("sim-engine: %llu schedules: %llu admissions, %llu gave way, %llu aborts, %llu cached "
           "tokens, %llu guesses, "
           "%llu copied blocks; seed %llu\n",
           (unsigned long long)schedules, (unsigned long long)all.admitted,
           (unsigned long long)all.preempted, (unsigned long long)all.aborted,
           (unsigned long long)all.cached, (unsigned long long)all.guessed,
           (unsigned long long)all.copied, (unsigned long long)seed);
    tg_model_free(loaded);
    tg_buf_free(&file);
    return 0;
}
