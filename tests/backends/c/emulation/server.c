/* Serves calls of the integer kernels: requests on standard input, answers on standard output.

   request  ::= int32 function, int32 threads, int32 count, buffer x count
   buffer   ::= int64 bytes (-1: NULL), the bytes
   answer   ::= the bytes of the last buffer, and for pack_b those of the last but one before them

   Each buffer ends IRC_SLACK bytes before a page that cannot be touched. The first buffer is the struct. Outputs are given with
   IRC_SLACK guard bytes on both sides. */
#define _GNU_SOURCE
#include ISA_HEADER

#include "conv.h"
#include "depthwise.h"
#include "pack_b.h"
#include "winograd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CONV, CONV_SCRATCH, WINOGRAD, DEPTHWISE, PACK_B, ROW_SUMS };
#define MOST 16

typedef struct buffer {
    int64_t bytes;
    unsigned char *data, *memory;
    size_t mapped;
} buffer;

static void read_all(void *to, size_t bytes)
{
    if (bytes && fread(to, 1, bytes, stdin) != bytes)
        exit(bytes == sizeof(int32_t) ? 0 : 2);
}

static buffer read_buffer(void)
{
    buffer b = {0, NULL, NULL, 0};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    read_all(&b.bytes, sizeof b.bytes);
    if (b.bytes < 0)
        return b;
    b.mapped = ((size_t)b.bytes + IRC_SLACK + page - 1) / page * page + page;
    b.memory = mmap(NULL, b.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b.memory == MAP_FAILED || mprotect(b.memory + b.mapped - page, page, PROT_NONE))
        exit(3);
    b.data = b.memory + b.mapped - page - IRC_SLACK - b.bytes;
    read_all(b.data, (size_t)b.bytes);
    memset(b.data + b.bytes, 0xA5, IRC_SLACK);
    return b;
}

static void write_buffer(const buffer *b) { fwrite(b->data, 1, (size_t)b->bytes, stdout); }

static void call(int32_t function, int thread, int threads, const buffer *b, void *scratch)
{
    irc_conv conv;
    irc_depthwise depthwise;
    if (function <= WINOGRAD) {
        memcpy(&conv, b[0].data, sizeof conv);
        conv.run_offset = (const int32_t *)(const void *)b[1].data;
        if (function == CONV)
            irc_conv_u8(&conv, b[2].data, (const int8_t *)b[3].data, (const int32_t *)(void *)b[4].data,
                        (const int32_t *)(void *)b[5].data, (const float *)(void *)b[6].data, (const float *)(void *)b[7].data,
                        b[8].data, b[9].data + IRC_SLACK, thread, threads);
        else if (function == CONV_SCRATCH)
            irc_conv_scratch_u8(&conv, b[2].data, (const int8_t *)b[3].data, (const int32_t *)(void *)b[4].data,
                                (const int32_t *)(void *)b[5].data, (const float *)(void *)b[6].data,
                                (const float *)(void *)b[7].data, b[8].data, b[9].data + IRC_SLACK, scratch, thread, threads);
        else
            irc_winograd_u8(&conv, b[2].data, (const int8_t *)b[3].data, (const float *)(void *)b[6].data,
                            (const float *)(void *)b[7].data, b[8].data, b[9].data + IRC_SLACK, scratch, thread, threads);
    } else if (function == DEPTHWISE) {
        memcpy(&depthwise, b[0].data, sizeof depthwise);
        irc_depthwise_u8(&depthwise, b[1].data, (const int8_t *)b[2].data, (const float *)(void *)b[3].data,
                         (const float *)(void *)b[4].data, b[5].data, b[6].data + IRC_SLACK, thread, threads);
    } else if (function == PACK_B) {
        irc_pack_b_u8((const irc_pack_b *)(void *)b[0].data, b[1].data, (int8_t *)b[2].data + IRC_SLACK,
                      (int32_t *)(void *)(b[3].data + IRC_SLACK), thread, threads);
    } else {
        irc_row_sums_u8((const irc_row_sums *)(void *)b[0].data, b[1].data, (int32_t *)(void *)(b[2].data + IRC_SLACK), thread,
                        threads);
    }
}

int main(void)
{
    const size_t bytes = IRC_WINOGRAD_SCRATCH > IRC_CONV_SCRATCH ? IRC_WINOGRAD_SCRATCH : IRC_CONV_SCRATCH;
    void *scratch = aligned_alloc(64, bytes);
    for (;;) {
        int32_t function, threads, count;
        buffer b[MOST];
        read_all(&function, sizeof function);
        read_all(&threads, sizeof threads);
        read_all(&count, sizeof count);
        if (count > MOST || !scratch)
            return 4;
        for (int32_t i = 0; i < count; i++)
            b[i] = read_buffer();
        memset(scratch, 0xA5, bytes);
        for (int32_t t = 0; t < threads; t++)
            call(function, t, threads, b, scratch);
        if (function == PACK_B)
            write_buffer(&b[count - 2]);
        write_buffer(&b[count - 1]);
        fflush(stdout);
        for (int32_t i = 0; i < count; i++)
            if (b[i].memory)
                munmap(b[i].memory, b[i].mapped);
    }
}
