/* Tells data teams how requests are routed: a tollgate.v1.Decision for each plan, on the topic of
 * decisions.
 *
 * Best effort, by libs/usage/publisher.h. Threads: the loop's.
 */
#ifndef TG_ROUTER_EDGE_DECISIONS_H
#define TG_ROUTER_EDGE_DECISIONS_H

#include "services/router/edge/chat.h"

/* Publishes chat->plan, if the router has a publisher. Uses the chat's arena. */
void tg_edge_publish_decision(tg_edge_chat *chat, const tg_facts *facts, const tg_fleet *fleet,
                              tg_now now);

#endif
