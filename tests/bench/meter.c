/* How quick is each CPU of this machine, now and now and now?
 *
 * The problem: a virtual CPU is at times half as quick as at others, for seconds or minutes, because somebody else computes on the same core
 * or because the host takes it away. Two builds that are run one after the other then differ by a third, and nothing in the guest says why.
 * The consequence: while something is measured, a thread of real-time priority on every CPU does the same small piece of work every 20 ms
 * and takes its time. The sum of what all CPUs could have done while the measured run went on is printed, per second of it.
 *
 * The piece is run twice and timed the second time, so that what the measured program left in the caches counts for little. A CPU that was
 * away when it should have woken up could have done nothing just then: that piece does not count. It costs 0.3 % of each CPU, the same
 * for whatever is measured.
 *
 * Reads standard input to its end, then prints `SECONDS SPEED`: the mean speed of the CPUs, in pieces a millisecond. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CPUS = 1024, STEPS = 1500, TABLE = 1 << 14 };
static const double PERIOD = 0.02, LATE = 0.001;
static volatile int over;
static double done[CPUS]; /* pieces that could have been done */
static uint32_t table[TABLE];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static uint32_t piece(uint32_t x) {
    for (int step = 0; step < STEPS; step++) {
        uint32_t k = (x >> 7) & (TABLE - 1);
        x = x * 1664525u + 1013904223u + table[k];
        x = x & 64 ? x ^ x >> 3 : x + k;
        x += x / (k + 3);
    }
    return x;
}

static void *measure(void *argument) {
    long cpu = (long)argument;
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(cpu, &mask);
    struct sched_param ahead = {.sched_priority = 1};
    if (sched_setaffinity(0, sizeof mask, &mask) || sched_setscheduler(0, SCHED_FIFO, &ahead)) return (void *)1;
    uint32_t x = cpu;
    double next = now();
    while (!over) {
        int late = now() - next > LATE;
        x = piece(x);
        double began = now();
        x = piece(x);
        if (!late) done[cpu] += PERIOD / (now() - began);
        next = next + PERIOD > now() ? next + PERIOD : now();
        struct timespec until = {(time_t)next, (long)((next - (time_t)next) * 1e9)};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0);
    }
    table[0] = x; /* or the compiler would leave the work out */
    return 0;
}

int main(void) {
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[CPUS];
    char byte;
    void *failed = 0;
    double sum = 0, began = now();
    for (int k = 0; k < TABLE; k++) table[k] = k * 2654435761u;
    for (long k = 0; k < cpus; k++) pthread_create(&threads[k], 0, measure, (void *)k);
    while (read(0, &byte, 1) > 0) continue;
    over = 1;
    double seconds = now() - began;
    for (long k = 0; k < cpus; k++) {
        void *one;
        pthread_join(threads[k], &one);
        failed = failed ? failed : one;
        sum += done[k];
    }
    if (failed) return 1;
    printf("%.6f %.6f\n", seconds, sum / cpus / seconds / 1000);
    return 0;
}
