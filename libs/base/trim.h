/* Gives memory back that only a start needed: free pages of the heap, and clean pages of programs
 * and libraries.
 *
 * A service's libraries run a good deal of code when they initialise and little of it again, and
 * those pages stay resident until memory is short. They are copies of files, so letting go of them
 * costs a minor fault, from the page cache, for each that is used again. Segments that can be
 * written are left alone: the dynamic linker wrote into them.
 *
 * Threads: any; others may run meanwhile.
 */
#ifndef TG_BASE_TRIM_H
#define TG_BASE_TRIM_H

void tg_trim(void);

#endif
