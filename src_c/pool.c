/* pool.c: the threads.
 *
 * One job at a time: fn(context, part, parts) on every part at once, part 0 on the caller. Parts meet at barriers inside fn.
 * A job lasts up to a whole time slice of training, so starting one may cost a few microseconds; a barrier comes several
 * times in a minibatch and must cost a fraction of one, so parts spin there, and yield the core only after a while.
 * Workers are started when first needed and wait on a condition variable between jobs. After fork the child has none of
 * them: its handler forgets them and the next job starts its own.
 */
#define _GNU_SOURCE /* sched_getaffinity */
#include "fbp.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PARTS = 256, SPINS_BEFORE_YIELD = 500, SPINS_BEFORE_SLEEP = 5000 };

static struct {
    atomic_flag busy;
    pthread_mutex_t mutex; /* guards the job and the sleepers; generation changes only under it */
    pthread_cond_t wake;
    int workers, fork_handled;

    fbp_part_fn *fn;
    void *context;
    int parts;
    atomic_uint generation; /* number of the job */
    atomic_int running;     /* workers that have not finished it */

    atomic_int arrived; /* at the barrier */
    atomic_uint round;  /* of the barrier */
} pool = {.busy = ATOMIC_FLAG_INIT, .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static inline void relax(void) {
#if defined(__x86_64__)
    __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline void wait_a_little(int *spins) {
    if (++*spins < SPINS_BEFORE_YIELD) relax();
    else sched_yield();
}

void fbp_pool_barrier(int parts) {
    if (parts == 1) return;
    unsigned round = atomic_load_explicit(&pool.round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool.arrived, 1, memory_order_acq_rel) == parts - 1) {
        atomic_store_explicit(&pool.arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&pool.round, round + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&pool.round, memory_order_acquire) == round;) wait_a_little(&spins);
}

static void *work(void *argument) {
    int part = (int)(intptr_t)argument;
    unsigned seen = 0;
    for (;;) {
        for (int spins = 0; spins < SPINS_BEFORE_SLEEP; spins++) {
            if (atomic_load_explicit(&pool.generation, memory_order_relaxed) != seen) break;
            relax();
        }
        pthread_mutex_lock(&pool.mutex);
        while (atomic_load_explicit(&pool.generation, memory_order_relaxed) == seen)
            pthread_cond_wait(&pool.wake, &pool.mutex);
        seen = atomic_load_explicit(&pool.generation, memory_order_relaxed);
        fbp_part_fn *fn = pool.fn;
        void *context = pool.context;
        int parts = pool.parts;
        pthread_mutex_unlock(&pool.mutex);
        if (part >= parts) continue;
        fn(context, part, parts);
        atomic_fetch_sub_explicit(&pool.running, 1, memory_order_release);
    }
    return NULL;
}

#ifndef _WIN32
static void forget_workers(void) {
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.wake, NULL);
    pool.workers = 0;
    atomic_store(&pool.generation, 0);
    atomic_store(&pool.running, 0);
    atomic_store(&pool.arrived, 0);
    atomic_flag_clear(&pool.busy);
}
#endif

/* Starts workers until there are `wanted` or the system refuses one. A worker starts having seen job 0, and jobs are
 * numbered from 1: one started later joins the job about to be given, whose number it has not seen either. */
static void start_workers(int wanted) {
#ifndef _WIN32
    if (!pool.fork_handled) pool.fork_handled = pthread_atfork(NULL, NULL, forget_workers) == 0;
    if (!pool.fork_handled) return;
#endif
    while (pool.workers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(pool.workers + 1))) return;
        pthread_detach(thread);
        pool.workers++;
    }
}

void fbp_pool_run(int threads, fbp_part_fn *fn, void *context) {
    int parts = threads < MAX_PARTS ? threads : MAX_PARTS;
    if (parts <= 1 || atomic_flag_test_and_set_explicit(&pool.busy, memory_order_acquire)) {
        fn(context, 0, 1);
        return;
    }
    pthread_mutex_lock(&pool.mutex);
    start_workers(parts - 1);
    if (parts > pool.workers + 1) parts = pool.workers + 1;
    pool.fn = fn;
    pool.context = context;
    pool.parts = parts;
    atomic_store_explicit(&pool.running, parts - 1, memory_order_relaxed);
    unsigned next = atomic_load_explicit(&pool.generation, memory_order_relaxed) + 1;
    atomic_store_explicit(&pool.generation, next ? next : 1, memory_order_relaxed);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.mutex);

    fn(context, 0, parts);
    for (int spins = 0; atomic_load_explicit(&pool.running, memory_order_acquire);) wait_a_little(&spins);
    atomic_flag_clear_explicit(&pool.busy, memory_order_release);
}

int fbp_cores(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
#ifdef _SC_NPROCESSORS_ONLN
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (n > 0) return (int)n;
#endif
    return 1;
}
