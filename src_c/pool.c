/* pool.c: the threads.
 *
 * One job at a time: fn(context, part, parts) on every part at once, part 0 on the caller. Parts meet at barriers inside fn.
 * A job lasts up to a whole time slice of training, so starting one may cost a few microseconds; a barrier comes several
 * times in a minibatch and must cost a fraction of one, so parts spin there, and sleep only after a while. Systems tend to
 * wake a thread on the core of its waker; two parts that so come to share a core would take turns on it while another core
 * is idle, each put to sleep by the other's work. So a part that has long to wait looks where the others are, and moves if
 * it is in their way.
 * Workers are started when first needed and wait on a condition variable between jobs. After fork the child has none of
 * them: its handler forgets them and the next job starts its own.
 */
#define _GNU_SOURCE /* sched_getaffinity, sched_getcpu */
#include "fbp.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PARTS = 256, SPINS_BEFORE_SLEEP = 1000 };
static const double MULTIPLY_ADDS_A_THREAD = 1.5e6; /* pay for one more thread: some 30 microseconds */

static struct {
    atomic_flag busy;
    pthread_mutex_t mutex; /* guards the job; generation changes only under it */
    pthread_cond_t job_given, round_over;
    int workers, fork_handled;

    fbp_part_fn *fn;
    void *context;
    int parts;
    atomic_int spins;       /* none where parts must share a core: who spins there keeps another from working */
    atomic_uint generation; /* number of the job */

    atomic_int core[MAX_PARTS]; /* where each part was last seen */
    atomic_int arrived;         /* at the barrier */
    atomic_uint round;          /* of the barrier */
    atomic_int sleepers;        /* at the barrier, in want of a signal */
} pool = {
    .busy = ATOMIC_FLAG_INIT,
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .job_given = PTHREAD_COND_INITIALIZER,
    .round_over = PTHREAD_COND_INITIALIZER,
};

static inline void relax(void) {
#if defined(__x86_64__)
    __asm__ volatile("pause");
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits until *number is no longer `old`, for a while only; says whether it came about. */
static int spin_while(atomic_uint *number, unsigned old) {
    for (int left = atomic_load_explicit(&pool.spins, memory_order_relaxed); left > 0; left--) {
        if (atomic_load_explicit(number, memory_order_acquire) != old) return 1;
        relax();
    }
    return 0;
}

static void note_core(int part) {
#ifdef __linux__
    atomic_store_explicit(&pool.core[part], sched_getcpu(), memory_order_relaxed);
#else
    (void)part;
#endif
}

/* Moves this part off a core that another of the job's parts was last seen on, if a core is free of them: for a moment it
 * allows itself no other. */
static void find_a_core(int part, int parts) {
#ifdef __linux__
    const int here = sched_getcpu();
    cpu_set_t allowed, others;
    int crowded = 0;
    for (int p = 0; p < parts; p++) crowded |= p != part && atomic_load_explicit(&pool.core[p], memory_order_relaxed) == here;
    if (crowded && sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
        others = allowed;
        for (int p = 0; p < parts; p++) {
            const int core = atomic_load_explicit(&pool.core[p], memory_order_relaxed);
            if (p != part && core >= 0 && core < CPU_SETSIZE) CPU_CLR(core, &others);
        }
        if (CPU_COUNT(&others) && sched_setaffinity(0, sizeof others, &others) == 0) sched_setaffinity(0, sizeof allowed, &allowed);
    }
#else
    (void)parts;
#endif
    note_core(part);
}

/* The last to arrive starts the next round, then looks for sleepers; one about to sleep counts itself, then looks at the
 * round. Both orders being sequentially consistent, one of the two sees the other. */
void fbp_pool_barrier(int part, int parts) {
    if (parts == 1) return;
    note_core(part);
    const unsigned round = atomic_load_explicit(&pool.round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool.arrived, 1, memory_order_acq_rel) == parts - 1) {
        atomic_store_explicit(&pool.arrived, 0, memory_order_relaxed);
        atomic_store(&pool.round, round + 1);
        if (atomic_load(&pool.sleepers)) {
            pthread_mutex_lock(&pool.mutex);
            pthread_cond_broadcast(&pool.round_over);
            pthread_mutex_unlock(&pool.mutex);
        }
        return;
    }
    if (spin_while(&pool.round, round)) return;
    if (part > 0) find_a_core(part, parts); /* part 0 runs on a thread that is not ours to move */
    pthread_mutex_lock(&pool.mutex);
    atomic_fetch_add(&pool.sleepers, 1);
    while (atomic_load(&pool.round) == round) pthread_cond_wait(&pool.round_over, &pool.mutex);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.mutex);
}

static void *work(void *argument) {
    int part = (int)(intptr_t)argument;
    unsigned seen = 0;
    for (;;) {
        spin_while(&pool.generation, seen);
        pthread_mutex_lock(&pool.mutex);
        while (atomic_load_explicit(&pool.generation, memory_order_relaxed) == seen)
            pthread_cond_wait(&pool.job_given, &pool.mutex);
        seen = atomic_load_explicit(&pool.generation, memory_order_relaxed);
        fbp_part_fn *fn = pool.fn;
        void *context = pool.context;
        int parts = pool.parts;
        pthread_mutex_unlock(&pool.mutex);
        if (part >= parts) continue;
        find_a_core(part, parts);
        fn(context, part, parts);
        fbp_pool_barrier(part, parts);
    }
    return NULL;
}

#ifndef _WIN32
static void forget_workers(void) {
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.job_given, NULL);
    pthread_cond_init(&pool.round_over, NULL);
    pool.workers = 0;
    atomic_store(&pool.generation, 0);
    atomic_store(&pool.arrived, 0);
    atomic_store(&pool.sleepers, 0);
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
    note_core(0);
    pthread_mutex_lock(&pool.mutex);
    start_workers(parts - 1);
    if (parts > pool.workers + 1) parts = pool.workers + 1;
    pool.fn = fn;
    pool.context = context;
    pool.parts = parts;
    atomic_store_explicit(&pool.spins, parts <= fbp_cores() ? SPINS_BEFORE_SLEEP : 0, memory_order_relaxed);
    unsigned next = atomic_load_explicit(&pool.generation, memory_order_relaxed) + 1;
    atomic_store_explicit(&pool.generation, next ? next : 1, memory_order_relaxed);
    pthread_cond_broadcast(&pool.job_given);
    pthread_mutex_unlock(&pool.mutex);

    fn(context, 0, parts);
    fbp_pool_barrier(0, parts); /* all are done */
    atomic_flag_clear_explicit(&pool.busy, memory_order_release);
}

/* Written once, at import, before any plan is made. 0: none. */
static int core_quota, fixed_threads, most_default_threads;

static int allowed_cores(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
#if defined(_WIN32)
    return pthread_num_processors_np();
#elif defined(_SC_NPROCESSORS_ONLN)
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    if (n > 0) return (int)n;
#endif
    return 1;
}

void fbp_set_core_quota(int cores) { core_quota = cores; }

int fbp_cores(void) {
    const int cores = allowed_cores();
    return core_quota > 0 && core_quota < cores ? core_quota : cores;
}

void fbp_set_default_threads(int fixed, int most) { fixed_threads = fixed, most_default_threads = most; }

int fbp_default_threads(void) {
    if (fixed_threads > 0) return fixed_threads;
    const int cores = fbp_cores(); /* of now: a process may have been given fewer since */
    return most_default_threads > 0 && most_default_threads < cores ? most_default_threads : cores;
}

int fbp_threads_for(double multiply_adds, int most) {
    const double pay = 1 + multiply_adds / MULTIPLY_ADDS_A_THREAD;
    if (pay < 2) return 1;
    if (most == 0) most = fbp_default_threads();
    return pay < most ? (int)pay : most;
}
