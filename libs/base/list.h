/* An intrusive doubly linked list: the node lives inside the element, so adding and removing never
 * allocate and removing needs no search. A list head is a node that points to itself when empty. */
#ifndef TG_BASE_LIST_H
#define TG_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tg_list {
    struct tg_list *next, *prev;
} tg_list;

#define TG_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define TG_LIST_EACH(node, head)                                                                   \
    for (tg_list *node = (head)->next; node != (head); node = node->next)

static inline void tg_list_init(tg_list *head) { head->next = head->prev = head; }
static inline bool tg_list_empty(const tg_list *head) { return head->next == head; }

static inline void tg_list_add_tail(tg_list *head, tg_list *node)
{
    node->prev = head->prev;
    node->next = head;
    head->prev->next = node;
    head->prev = node;
}

/* Safe to call twice: a removed node points to itself. */
static inline void tg_list_remove(tg_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = node;
}

#endif
