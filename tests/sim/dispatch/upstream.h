/* The simulated providers: what each exchange will say is drawn when it starts, bytes, cuts, delays
 * and all.
 *
 * An exchange delivers its bytes in random pieces at random times by the simulation's clock. It
 * keeps what it meant to say, so that the simulation can tell what the router should have made of
 * it.
 */
#ifndef TG_SIM_DISPATCH_UPSTREAM_H
#define TG_SIM_DISPATCH_UPSTREAM_H

#include "libs/base/buf.h"
#include "libs/base/list.h"
#include "libs/http/transport.h"

typedef struct sim_script { /* what one exchange meant to say */
    bool whole;             /* status 200, a complete answer and a clean end */
    bool has_usage;         /* the answer reports its tokens */
    uint64_t input, output; /* tokens reported */
    unsigned status;        /* 0: it never answered */
    char text[512];         /* the model's words */
} sim_script;

struct tg_upstream {
    tg_list node;
    tg_upstream_on_event *on_event;
    void *user;
    bool paused, head_sent, stalls;
    bool anthropic, stream;
    uint64_t next_ns; /* when it has something to say */
    tg_buf bytes;
    size_t sent, cut; /* bytes delivered; bytes it will deliver in all */
    tg_upstream_failure failure;
    uint64_t retry_after_s;
    sim_script script;
};

typedef struct sim_net {
    tg_transport transport; /* first, so that `self` is the net */
    uint64_t *random, *now_ns;
    tg_list live;
    size_t live_count;
} sim_net;

void sim_net_init(sim_net *net, uint64_t *random, uint64_t *now_ns);
uint64_t sim_net_next(const sim_net *net); /* when something happens; UINT64_MAX: never */
void sim_net_step(sim_net *net);           /* delivers what is due now */

uint64_t sim_below(uint64_t *random, uint64_t limit);
static inline bool sim_chance(uint64_t *random, unsigned percent)
{
    return sim_below(random, 100) < percent;
}

#endif
