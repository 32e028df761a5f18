/* Runs a picture through a compiled EfficientNet-Lite0 and prints the five likeliest classes.

       classify PICTURE.ppm [THREADS]

   PICTURE: a binary PPM (P6, 8 bits) of 224 x 224 pixels. No runtime, no allocation besides the context's memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "effnet.h"

#define SIDE 224
#define PIXELS (SIDE * SIDE)

/* The pixels as the network wants them: three planes, (value - 127) / 128. 0 if the file is not such a picture. */
static int read_picture(const char *path, float *planes)
{
    static unsigned char bytes[3 * PIXELS];
    int width = 0, height = 0, largest = 0, read = 0;
    FILE *file = fopen(path, "rb");
    if (!file)
        return 0;
    if (fscanf(file, "P6 %d %d %d", &width, &height, &largest) == 3 && fgetc(file) != EOF && width == SIDE && height == SIDE &&
        largest == 255)
        read = fread(bytes, 1, sizeof bytes, file) == sizeof bytes;
    fclose(file);
    for (int i = 0; read && i < PIXELS; i++)
        for (int c = 0; c < 3; c++)
            planes[c * PIXELS + i] = ((float)bytes[3 * i + c] - 127.0f) / 128.0f;
    return read;
}

static int best(const float *scores, int count)
{
    int found = 0;
    for (int i = 1; i < count; i++)
        if (scores[i] > scores[found])
            found = i;
    return found;
}

int main(int count, char **arguments)
{
    static float planes[3 * PIXELS], scores[IRC_EFFNET_OUTPUT_ELEMENTS];
    const int threads = count > 2 ? atoi(arguments[2]) : 1;
    if (count < 2 || !read_picture(arguments[1], planes)) {
        fprintf(stderr, "usage: classify PICTURE.ppm [THREADS], a binary PPM of 224 x 224 pixels\n");
        return 2;
    }
    const size_t size = irc_effnet_size(threads);
    char *memory = malloc(size + 64);
    irc_effnet *net = NULL;
    int code = memory ? 0 : IRC_EFFNET_NO_MEMORY;
    if (!code)
        code = irc_effnet_init(memory + (64 - (size_t)memory % 64) % 64, size, threads, NULL, &net);
    if (!code)
        code = irc_effnet_run(net, planes, scores);
    if (code) {
        fprintf(stderr, "classify: %s\n", irc_effnet_error(code));
        free(memory);
        return 1;
    }
    printf("%s, %d thread%s\n", irc_effnet_isa(net), threads, threads == 1 ? "" : "s");
    for (int i = 0; i < 5; i++) {
        const int found = best(scores, IRC_EFFNET_OUTPUT_ELEMENTS);
        printf("class %d: %.3f\n", found, scores[found]);
        scores[found] = -1e30f;
    }
    irc_effnet_free(net);
    free(memory);
    return 0;
}
