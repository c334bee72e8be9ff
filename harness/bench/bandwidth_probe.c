/*
 * How fast the CPUs read memory, in the way a language model's decode reads its weights: every thread reads its
 * share of a working set from one end to the other, again and again, and does next to nothing with it.
 *
 * No single loop is the fastest everywhere, so there are many: by width of the loads, by how many places are read
 * at once, and with or without software prefetch. Kernels take turns within each round, so that a disturbance of
 * the host hits all of them. A pass reads the next part of the working set, no more than fits into the time a
 * scheduler gives at once: on a busy host some passes then run undisturbed, even where we may not come first.
 * Each pass is printed; choosing is left to whoever reads it.
 *
 * Prints one JSON document. Exit status 0, or 2 with one line on stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define MAX_THREADS 1024
#define MAX_ROUNDS 1000
#define MAX_KERNELS 64
#define BLOCK 1024                 /* bytes a kernel reads in one place before it goes to the next place */
#define SHARE_UNIT (16 * BLOCK)    /* each thread's part is a multiple of it, so that it splits into places */
#define PASS (64L << 20)           /* bytes a pass reads: about so many a thread, or all threads at least */
#define LONGEST_SPIN 1000000       /* nanoseconds a thread waits for the others without sleeping */
#define HUGE_PAGE (2L << 20)

typedef uint64_t (*read_fn)(const char *from, size_t bytes);

struct kernel {
    const char *name, *needs; /* `needs`: the CPU feature, "" for none */
    read_fn read;
    int sums; /* it returns the sum of all words, by which one that leaves some out is found */
};

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("bandwidth_probe: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

/*
 * A kernel: 8 independent sums, so that no load waits for another one; the share read in `places` parts in turns;
 * a prefetch `ahead` bytes in front where that is not 0. The loads are volatile to stay in ascending order: left
 * to the compiler they were not, which the CPU's own prefetcher did not follow, at a third of the speed.
 */
typedef uint64_t vector16 __attribute__((vector_size(16)));
typedef uint64_t vector32 __attribute__((vector_size(32)));
typedef uint64_t vector64 __attribute__((vector_size(64)));

#define READER(isa, target_isa, vector, places, ahead)                                        \
    __attribute__((noinline, target(target_isa))) static uint64_t read_##isa##_##places##_##ahead( \
        const char *from, size_t bytes) {                                                     \
        vector s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0}, s5 = {0}, s6 = {0}, s7 = {0}; \
        const size_t part = bytes / (places);                                                 \
        for (size_t at = 0; at < part; at += BLOCK) {                                         \
            for (size_t place = 0; place < (places); place++) {                               \
                const char *block = from + place * part + at;                                 \
                if (ahead)                                                                    \
                    for (size_t line = 0; line < BLOCK; line += 64)                           \
                        __builtin_prefetch(block + line + (ahead), 0, 0);                     \
                const volatile vector *v = (const volatile vector *)block;                    \
                for (size_t i = 0; i < BLOCK / sizeof(vector); i += 8) {                      \
                    s0 += v[i];                                                               \
                    s1 += v[i + 1];                                                           \
                    s2 += v[i + 2];                                                           \
                    s3 += v[i + 3];                                                           \
                    s4 += v[i + 4];                                                           \
                    s5 += v[i + 5];                                                           \
                    s6 += v[i + 6];                                                           \
                    s7 += v[i + 7];                                                           \
                }                                                                             \
            }                                                                                 \
        }                                                                                     \
        const vector sum = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));                 \
        uint64_t total = 0;                                                                   \
        for (size_t i = 0; i < sizeof(vector) / sizeof(uint64_t); i++)                        \
            total += sum[i];                                                                  \
        return total;                                                                         \
    }

#define READERS(isa, target_isa, vector)     \
    READER(isa, target_isa, vector, 1, 0)    \
    READER(isa, target_isa, vector, 1, 1024) \
    READER(isa, target_isa, vector, 4, 0)    \
    READER(isa, target_isa, vector, 4, 1024)

#define KERNELS_OF(isa, feature)                             \
    {#isa, feature, read_##isa##_1_0, 1},                       \
        {#isa "-prefetch", feature, read_##isa##_1_1024, 1},    \
        {#isa "-4places", feature, read_##isa##_4_0, 1}, {      \
        #isa "-4places-prefetch", feature, read_##isa##_4_1024, 1 \
    }

READERS(sse2, "sse2", vector16)
READERS(avx2, "avx2", vector32)
READERS(avx512, "avx512f", vector64)

/* Wrong on purpose, never chosen unless asked for: 8 bytes a load, each waiting for the sum before it. With this
   one the check against a decode is seen to find out a probe that understates. */
__attribute__((noinline, optimize("no-tree-vectorize", "no-unroll-loops"))) static uint64_t
read_naive(const char *from, size_t bytes) {
    uint64_t sum = 0;
    for (size_t at = 0; at < bytes; at += sizeof sum) {
        sum = (sum ^ *(const volatile uint64_t *)(from + at)) * 0x9e3779b97f4a7c15;
    }
    return sum;
}

static const struct kernel KERNELS[] = {
    KERNELS_OF(sse2, ""),
    KERNELS_OF(avx2, "avx2"),
    KERNELS_OF(avx512, "avx512f"),
    {"naive", "", read_naive, 0},
};
#define KERNEL_COUNT (sizeof KERNELS / sizeof KERNELS[0])

static int cpu_has(const char *feature) {
    if (!*feature)
        return 1;
    if (!strcmp(feature, "avx2"))
        return __builtin_cpu_supports("avx2");
    return __builtin_cpu_supports("avx512f");
}

/* --- the threads of one series: same number of threads, same pages, kernels in turns */

struct series {
    int threads, rounds, parts, repeats; /* a pass reads one of `parts` of the working set `repeats` times */
    int cpus[MAX_THREADS];
    size_t part; /* bytes of a thread's share of a part */
    char *memory[MAX_THREADS];
    int kernels[MAX_KERNELS], kernel_count;
    pthread_barrier_t barrier;
    atomic_long awake; /* threads that have come to a pass, of all passes together */
    int64_t began[MAX_THREADS], ended[MAX_THREADS], computed[MAX_THREADS]; /* nanoseconds */
    const char *wrong[MAX_THREADS];                                        /* kernel that read something else */
};

struct worker {
    struct series *series;
    int number;
};

static volatile uint64_t unused_sum;

static int64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    int error = pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    if (error)
        fail("cannot run on CPU %d: %s", cpu, strerror(error));
}

/* Threads wake up one after the other; here they wait for the last one, so that all of them read at once. */
static void start_together(struct series *series, long passes) {
    const long all = passes * series->threads;
    const int64_t patience = nanoseconds(CLOCK_MONOTONIC) + LONGEST_SPIN;
    atomic_fetch_add(&series->awake, 1);
    while (atomic_load(&series->awake) < all && nanoseconds(CLOCK_MONOTONIC) < patience)
        ;
}

static void *work(void *argument) {
    struct worker *me = argument;
    struct series *series = me->series;
    const int number = me->number;
    pin(series->cpus[number]);
    /* Written by the thread that reads it: the pages are then on this CPU's memory node. */
    const uint64_t words = series->part / sizeof(uint64_t);
    uint64_t *memory = (uint64_t *)series->memory[number];
    for (uint64_t word = 0; word < words * (uint64_t)series->parts; word++)
        memory[word] = word + 1;
    int part = 0;
    long passes = 0;
    for (int round = 0; round < series->rounds; round++) {
        for (int k = 0; k < series->kernel_count; k++) {
            const struct kernel *kernel = &KERNELS[series->kernels[k]];
            const char *from = series->memory[number] + (size_t)part * series->part;
            pthread_barrier_wait(&series->barrier);
            start_together(series, ++passes);
            const int64_t computed = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
            series->began[number] = nanoseconds(CLOCK_MONOTONIC);
            uint64_t got = 0;
            for (int repeat = 0; repeat < series->repeats; repeat++)
                got += kernel->read(from, series->part);
            series->ended[number] = nanoseconds(CLOCK_MONOTONIC);
            series->computed[number] = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - computed;
            const uint64_t sum = words * words * (uint64_t)part + words * (words + 1) / 2;
            if (kernel->sums && got != sum * (uint64_t)series->repeats)
                series->wrong[number] = kernel->name;
            unused_sum = got;
            part = (part + 1) % series->parts;
            pthread_barrier_wait(&series->barrier); /* now the first thread reads the clocks */
            pthread_barrier_wait(&series->barrier);
        }
        /* One part is read untimed, or each kernel might meet the same ones again in every round. */
        if (series->parts > 1)
            unused_sum = KERNELS[series->kernels[0]].read(
                series->memory[number] + (size_t)part * series->part, series->part);
        part = (part + 1) % series->parts;
    }
    return NULL;
}

struct pass {
    double seconds, cpu_share;
};

static struct pass passes[MAX_ROUNDS][MAX_KERNELS];

/* A pass lasts from the first thread's start to the last one's end. `cpu_share`: of its time the least that a
   thread really had its CPU; less than 1 where something else ran there. */
static struct pass pass_of(const struct series *series) {
    int64_t began = INT64_MAX, ended = INT64_MIN;
    double share = 1;
    for (int t = 0; t < series->threads; t++) {
        if (series->began[t] < began)
            began = series->began[t];
        if (series->ended[t] > ended)
            ended = series->ended[t];
        const double own = (double)series->computed[t] / (double)(series->ended[t] - series->began[t]);
        if (own < share)
            share = own;
    }
    return (struct pass){(double)(ended - began) / 1e9, share};
}

static long anonymous_huge_kib(void) {
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    char line[256];
    long kib = 0;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "AnonHugePages: %ld kB", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib;
}

/* Ahead of all ordinary processes where we may, so that a pass runs undisturbed; 1 when that is so. */
static int come_first(void) {
    const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    return sched_setscheduler(0, SCHED_FIFO, &lowest) == 0;
}

/* Leaves the CPUs to everybody else for as long as we had them. */
static void rest(double seconds) {
    const struct timespec pause = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&pause, NULL);
}

/* Runs a series and prints its part of the JSON document. */
static void run_series(struct series *series, int huge, int ahead, int first) {
    static struct worker workers[MAX_THREADS];
    static pthread_t threads[MAX_THREADS];
    const size_t share = series->part * (size_t)series->parts;
    const size_t mapped = (share + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE + HUGE_PAGE;
    char *mappings[MAX_THREADS];
    for (int t = 0; t < series->threads; t++) {
        mappings[t] = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mappings[t] == MAP_FAILED)
            fail("cannot have %zu bytes of memory: %s", mapped, strerror(errno));
        madvise(mappings[t], mapped, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        series->memory[t] =
            (char *)(((uintptr_t)mappings[t] + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
    }
    atomic_store(&series->awake, 0);
    pthread_barrier_init(&series->barrier, NULL, (unsigned)series->threads + 1);
    for (int t = 0; t < series->threads; t++) {
        workers[t] = (struct worker){series, t};
        int error = pthread_create(&threads[t], NULL, work, &workers[t]);
        if (error)
            fail("cannot start thread %d: %s", t + 1, strerror(error));
    }
    for (int round = 0; round < series->rounds; round++)
        for (int k = 0; k < series->kernel_count; k++) {
            pthread_barrier_wait(&series->barrier);
            pthread_barrier_wait(&series->barrier);
            passes[round][k] = pass_of(series);
            if (ahead)
                rest(passes[round][k].seconds);
            pthread_barrier_wait(&series->barrier);
        }
    for (int t = 0; t < series->threads; t++)
        pthread_join(threads[t], NULL);
    for (int t = 0; t < series->threads; t++)
        if (series->wrong[t])
            fail("kernel '%s' did not read everything once", series->wrong[t]);
    const long huge_kib = anonymous_huge_kib();
    for (int t = 0; t < series->threads; t++)
        munmap(mappings[t], mapped);
    pthread_barrier_destroy(&series->barrier);

    const double read = (double)series->part * series->threads * series->repeats;
    for (int k = 0; k < series->kernel_count; k++) {
        printf("%s\n  {\"threads\": %d, \"kernel\": \"%s\", \"pages\": \"%s\", \"huge_kib\": %ld, \"passes\": [",
               first && k == 0 ? "" : ",", series->threads, KERNELS[series->kernels[k]].name,
               huge ? "huge" : "small", huge_kib);
        /* Round 0 warms up: caches, page tables and the clock. */
        for (int round = 1; round < series->rounds; round++)
            printf("%s[%.4f, %.3f]", round == 1 ? "" : ", ", read / passes[round][k].seconds / 1e9,
                   passes[round][k].cpu_share);
        printf("]}");
    }
    fflush(stdout);
}

/* --- the command line */

static long number(const char *option, const char *text, long low, long high) {
    char *end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < low || value > high)
        fail("%s must be a whole number from %ld to %ld, not '%s'", option, low, high, text);
    return value;
}

static int numbers(const char *option, char *text, int *into, int most, long low, long high) {
    int count = 0;
    char *rest = text;
    for (char *part; (part = strsep(&rest, ","));) {
        if (count == most)
            fail("%s must have at most %d entries", option, most);
        into[count++] = (int)number(option, part, low, high);
    }
    return count;
}

static int chosen_kernels(char *names, int *into) {
    int count = 0;
    if (!names) { /* the widest loads this CPU has, and the next narrower ones */
        const char *const widest[] = {"avx512f", "avx2", ""};
        for (int w = 0, kinds = 0; w < 3 && kinds < 2; w++) {
            const int before = count;
            for (size_t k = 0; k + 1 < KERNEL_COUNT; k++)
                if (!strcmp(KERNELS[k].needs, widest[w]) && cpu_has(widest[w]))
                    into[count++] = (int)k;
            kinds += count > before;
        }
        return count;
    }
    char *rest = names;
    for (char *name; (name = strsep(&rest, ","));) {
        size_t k = 0;
        while (k < KERNEL_COUNT && strcmp(KERNELS[k].name, name))
            k++;
        if (k == KERNEL_COUNT)
            fail("there is no kernel '%s'", name);
        if (!cpu_has(KERNELS[k].needs))
            fail("kernel '%s' needs a CPU with %s", name, KERNELS[k].needs);
        if (count == MAX_KERNELS)
            fail("--kernels must have at most %d entries", MAX_KERNELS);
        into[count++] = (int)k;
    }
    return count;
}

int main(int argc, char **argv) {
    static struct series series;
    int thread_counts[MAX_THREADS], series_count = 0, cpu_count = 0;
    long bytes = 0;
    char *kernels = NULL;
    const char *pages = "both";
    series.rounds = 8;
    for (int i = 1; i < argc; i += 2) {
        char *option = argv[i], *value = argv[i + 1];
        if (!value)
            fail("%s needs a value", option);
        if (!strcmp(option, "--bytes"))
            bytes = number(option, value, SHARE_UNIT, 1L << 44);
        else if (!strcmp(option, "--threads"))
            series_count = numbers(option, value, thread_counts, MAX_THREADS, 1, MAX_THREADS);
        else if (!strcmp(option, "--cpus"))
            cpu_count = numbers(option, value, series.cpus, MAX_THREADS, 0, CPU_SETSIZE - 1);
        else if (!strcmp(option, "--rounds"))
            series.rounds = (int)number(option, value, 2, MAX_ROUNDS);
        else if (!strcmp(option, "--kernels"))
            kernels = value;
        else if (!strcmp(option, "--pages"))
            pages = value;
        else
            fail("unknown option '%s'", option);
    }
    if (!bytes || !series_count || !cpu_count)
        fail("--bytes, --threads and --cpus are needed");
    if (strcmp(pages, "huge") && strcmp(pages, "small") && strcmp(pages, "both"))
        fail("--pages must be huge, small or both, not '%s'", pages);
    for (int s = 0; s < series_count; s++)
        if (thread_counts[s] > cpu_count)
            fail("%d threads need as many CPUs, --cpus has %d", thread_counts[s], cpu_count);
    series.kernel_count = chosen_kernels(kernels, series.kernels);

    const int ahead = come_first();
    printf("{\"bytes\": %ld, \"realtime\": %s, \"series\": [", bytes, ahead ? "true" : "false");
    int first = 1;
    for (int s = 0; s < series_count; s++)
        for (int huge = 0; huge < 2; huge++) {
            if (!strcmp(pages, huge ? "small" : "huge"))
                continue;
            series.threads = thread_counts[s];
            const size_t share = (size_t)bytes / (size_t)series.threads;
            series.parts = share < 2 * PASS ? 1 : (int)(share / PASS);
            series.part = share / (size_t)series.parts / SHARE_UNIT * SHARE_UNIT;
            if (!series.part)
                fail("%ld bytes are too few for %d threads", bytes, series.threads);
            const size_t once = series.part * (size_t)series.threads;
            series.repeats = (int)((PASS + once - 1) / once);
            run_series(&series, huge, ahead, first);
            first = 0;
        }
    printf("\n]}\n");
    return 0;
}
