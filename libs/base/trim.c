#include "libs/base/trim.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* What of one object is mapped from its file and never written: code, constants, symbols. A failure
 * leaves the pages where they are. */
static int drop_clean(struct dl_phdr_info *object, size_t size, void *page_size)
{
    const uintptr_t page = *(const uintptr_t *)page_size;
    (void)size;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || segment->p_flags & PF_W)
            continue;
        const uintptr_t begin = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        const uintptr_t end =
            (object->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);
        if (end > begin)
            (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
    return 0;
}

void tg_trim(void)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    dl_iterate_phdr(drop_clean, &page);
#if defined(__GLIBC__)
    malloc_trim(0);
#endif
}
