/* no_memory.c: every allocation of the core fails once, and every start of a thread.
 *
 *   cc -std=c11 -DISA=avx2 -I../../src_c no_memory.c <objects of src_c but cpu.o> avx2_f32.o -lm -pthread
 *      -Wl,--wrap=<each function that has a __wrap_ below>
 *
 * Checks that
 * - fbp_plan_create returns FBP_NO_MEMORY, whichever of its allocations fails, leaves its result alone and keeps nothing;
 * - what follows, single calls and epochs, allocates nothing but each thread's memory for packing, and has the same bits
 *   when there is none;
 * - a thread's memory for packing is freed when the thread ends, and when the system has no key for it;
 * - a job runs on as many threads as could be started, every part once.
 * Prints "ok" and returns 0 when all is well. */
#include "fbp.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TABLE_OF(isa) fbp_kernels_f32_##isa
#define TABLE(isa) TABLE_OF(isa)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int failures;

static void check(int right, const char *what) {
    if (!right && ++failures <= 20) printf("FAIL %s\n", what);
}

/* ------------------------------------------------------------------------------------- what the core is given */

/* From number `failing` on, `failing_for` calls fail: allocations, or starts of threads. 0: none. */
struct supply {
    atomic_int calls, failing, failing_for;
};
static struct supply memory, threads, keys, values, handlers;
static atomic_int live; /* blocks that have not been freed */

static void start(struct supply *s, int failing, int failing_for) {
    atomic_store(&s->calls, 0), atomic_store(&s->failing, failing), atomic_store(&s->failing_for, failing_for);
}

static int fails(struct supply *s) {
    const int number = atomic_fetch_add(&s->calls, 1) + 1, failing = atomic_load(&s->failing);
    return failing && number >= failing && number - failing < atomic_load(&s->failing_for);
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void __real_free(void *block);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __real_pthread_key_create(pthread_key_t *key, void (*at_exit)(void *));
int __real_pthread_setspecific(pthread_key_t key, const void *value);

void *__wrap_malloc(size_t size) {
    void *block = fails(&memory) ? NULL : __real_malloc(size);
    if (block) atomic_fetch_add(&live, 1);
    return block;
}

void *__wrap_calloc(size_t count, size_t size) {
    void *block = fails(&memory) ? NULL : __real_calloc(count, size);
    if (block) atomic_fetch_add(&live, 1);
    return block;
}

void __wrap_free(void *block) {
    if (block) atomic_fetch_sub(&live, 1);
    __real_free(block);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    return fails(&threads) ? EAGAIN : __real_pthread_create(thread, attributes, run, argument);
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*at_exit)(void *)) {
    return fails(&keys) ? EAGAIN : __real_pthread_key_create(key, at_exit);
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value) {
    return fails(&values) ? ENOMEM : __real_pthread_setspecific(key, value);
}

int __real_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return fails(&handlers) ? ENOMEM : __real_pthread_atfork(prepare, parent, child);
}

enum { ALWAYS = 1 << 30 };

/* ------------------------------------------------------------------------------------------------------- plans */

enum { ROWS = 300, INPUTS = 260, WIDTH = 260, CLASSES = 7 }; /* products large enough to be packed */

static const struct fbp_layer LAYERS[] = {
    {.kind = FBP_DENSE, .inputs = INPUTS, .outputs = WIDTH, .bias = 1, .activation = FBP_TANH},
    {.kind = FBP_BATCH_NORM, .inputs = WIDTH, .outputs = WIDTH, .eps = 1e-5, .bias = 1, .rate = 0.1},
    {.kind = FBP_DROPOUT, .inputs = WIDTH, .outputs = WIDTH, .rate = 0.2},
    {.kind = FBP_LAYER_NORM, .inputs = WIDTH, .outputs = WIDTH, .eps = 1e-5},
    {.kind = FBP_DENSE, .inputs = WIDTH, .outputs = CLASSES, .bias = 1, .activation = FBP_IDENTITY},
};
static const double CLASS_WEIGHTS[CLASSES] = {1, 2, 1, 2, 1, 2, 1}, LEVELS[CLASSES] = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7};

static struct fbp_plan_spec spec_of(int loss) {
    return (struct fbp_plan_spec){
        .kernels = &TABLE(ISA),
        .layers = LAYERS,
        .n_layers = COUNT(LAYERS),
        .rows = ROWS,
        .whole = 1,
        .threads = 1,
        .trains = 1,
        .loss = loss,
        .loss_parameters = loss == FBP_PINBALL ? LEVELS : NULL,
        .n_loss_parameters = loss == FBP_PINBALL ? CLASSES : 0,
        .class_weights = loss == FBP_PINBALL ? NULL : CLASS_WEIGHTS,
        .n_class_weights = loss == FBP_PINBALL ? 0 : CLASSES,
        .smoothing = loss == FBP_PINBALL ? 0 : 0.1,
        .optimizer = {.kind = FBP_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8},
    };
}

static struct fbp_plan *checked_plan(int loss) {
    const struct fbp_plan_spec spec = spec_of(loss);
    struct fbp_plan *const untouched = (struct fbp_plan *)&failures, *plan;
    struct fbp_plan_error error;
    const int before = atomic_load(&live);
    int failed = 0;
    for (;; failed++) {
        plan = untouched;
        start(&memory, failed + 1, 1);
        const int status = fbp_plan_create(&spec, &plan, failed % 2 ? &error : NULL);
        if (status == FBP_OK) break;
        check(status == FBP_NO_MEMORY, "a plan without memory has another status");
        check(plan == untouched, "a plan that was not created is returned");
        check(atomic_load(&live) == before, "a plan that was not created keeps memory");
        if (failed > 1000) break;
    }
    check(atomic_load(&memory.calls) == failed, "an allocation failed unnoticed");
    check(failed >= 8, "a plan makes fewer allocations than it has vectors: is malloc wrapped?");
    start(&memory, 0, 0);
    return plan;
}

struct training {
    float *parameters, *gradient, *moments[2], *statistics, *x, *y;
    int64_t labels[ROWS];
    float targets[ROWS * CLASSES];
    size_t P;
};

/* Numbers in (-1, 1) by a linear congruential generator. */
static float *reals(size_t n, float scale) {
    uint32_t state = 1;
    float *x = __real_malloc((n + 1) * sizeof *x);
    if (!x) exit(2);
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = scale * ((float)(state >> 8) / 8388608.0f - 1.0f);
    }
    return x;
}

static struct training *training_of(const struct fbp_plan *plan) {
    struct training *t = __real_calloc(1, sizeof *t);
    if (!t) exit(2);
    t->P = fbp_plan_parameters(plan);
    t->parameters = reals(t->P, 0.1f), t->gradient = reals(t->P, 0), t->statistics = reals(fbp_plan_statistics(plan), 0);
    t->moments[0] = reals(t->P, 0), t->moments[1] = reals(t->P, 0);
    t->x = reals((size_t)ROWS * INPUTS, 1), t->y = reals((size_t)ROWS * CLASSES, 0);
    for (size_t i = 0; i < ROWS; i++) t->labels[i] = (int64_t)(i % CLASSES);
    for (size_t i = 0; i < (size_t)ROWS * CLASSES; i++) t->targets[i] = (float)(i % 5);
    return t;
}

static void end_training(struct training *t) {
    float *const all[] = {t->parameters, t->gradient, t->statistics, t->moments[0], t->moments[1], t->x, t->y};
    for (size_t i = 0; i < COUNT(all); i++) __real_free(all[i]);
    __real_free(t);
}

/* Everything that a plan does, twice over. Returns the number of allocations it took. */
static int use(struct fbp_plan *plan, struct training *t, int loss) {
    const struct fbp_vectors vectors = {.parameters = t->parameters,
                                        .gradient = t->gradient,
                                        .moments = {t->moments[0], t->moments[1]},
                                        .statistics = t->statistics};
    const struct fbp_data data = {.x = {.at = t->x, .row = INPUTS * sizeof(float), .column = sizeof(float)},
                                  .target = loss == FBP_PINBALL ? (const void *)t->targets : t->labels,
                                  .target_row = loss == FBP_PINBALL ? CLASSES : 1,
                                  .rows = ROWS};
    double rates[8], value, mass;
    for (size_t i = 0; i < COUNT(rates); i++) rates[i] = 1e-3;
    const int before = atomic_load(&memory.calls);
    for (int time = 0; time < 2; time++) {
        struct fbp_epoch epoch = {.data = data, .batch = 150, .accumulate = 1, .learning_rates = rates, .seconds = 1e9};
        check(fbp_plan_epoch(plan, &vectors, &epoch) == FBP_OK, "an epoch fails");
        check(fbp_plan_gradient(plan, &vectors, &data, 1, 0, &value, NULL) == FBP_OK, "a gradient fails");
        check(fbp_plan_loss(plan, &vectors, &data, &value, &mass) == FBP_OK, "a loss fails");
        check(fbp_plan_forward(plan, &vectors, &data.x, ROWS, t->y) == FBP_OK, "a prediction fails");
    }
    return atomic_load(&memory.calls) - before;
}

static void same(const float *a, const float *b, size_t n, const char *what) { check(memcmp(a, b, n * sizeof *a) == 0, what); }

static void check_plans(int loss) {
    struct fbp_plan *plan = checked_plan(loss);
    struct training *rich = training_of(plan), *poor = training_of(plan);
    start(&memory, 1, ALWAYS);
    use(plan, poor, loss); /* of the first plan: the thread has no memory for packing yet */
    start(&memory, 0, 0);
    check(use(plan, rich, loss) <= 1, "something other than a thread's memory for packing is allocated in a step");
    same(rich->parameters, poor->parameters, rich->P, "parameters depend on whether there is memory for packing");
    same(rich->gradient, poor->gradient, rich->P, "the gradient depends on whether there is memory for packing");
    same(rich->y, poor->y, (size_t)ROWS * CLASSES, "predictions depend on whether there is memory for packing");
    check(use(plan, rich, loss) == 0, "a step allocates memory");
    end_training(rich), end_training(poor);
    const int before = atomic_load(&live);
    fbp_plan_destroy(plan);
    check(atomic_load(&live) < before, "a plan that was destroyed keeps memory");
    fbp_plan_destroy(NULL);
}

/* ------------------------------------------------------------------------------------------- memory for packing */

static void *ask_for_room(void *result) {
    *(int *)result = fbp_thread_room() != NULL;
    return NULL;
}

/* Whether a thread gets memory; after its end it must be free. */
static int room_of_a_thread(void) {
    const int before = atomic_load(&live);
    int got = -1;
    pthread_t thread;
    if (__real_pthread_create(&thread, NULL, ask_for_room, &got) || pthread_join(thread, NULL)) exit(2);
    check(atomic_load(&live) == before, "a thread's memory for packing outlives it");
    return got;
}

/* In a process of its own: whether the system has a key is asked once. */
static void check_rooms(void) {
    fflush(stdout);
    const pid_t child = fork();
    if (child < 0) exit(2);
    if (child == 0) {
        failures = 0;
        start(&keys, 1, 1);
        check(room_of_a_thread() == 0, "a thread has memory for packing that nothing frees");
        fflush(stdout);
        _exit(failures != 0);
    }
    int status;
    check(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, "without a key");
    start(&keys, 0, 0);
    check(room_of_a_thread() == 1, "a thread has no memory for packing");
    start(&memory, 1, 1);
    check(room_of_a_thread() == 0, "malloc failed unnoticed");
    start(&memory, 0, 0), start(&values, 1, 1);
    check(room_of_a_thread() == 0, "pthread_setspecific failed unnoticed");
    start(&values, 0, 0);
    check(room_of_a_thread() == 1, "a thread has no memory for packing after another had none");
}

/* ---------------------------------------------------------------------------------------------------- threads */

enum { WANTED = 4 };
static atomic_int runs[WANTED], parts_seen;

static void count(void *context, int part, int parts) {
    (void)context;
    fbp_pool_barrier(part, parts);
    atomic_fetch_add(&runs[part], 1);
    atomic_store(&parts_seen, parts);
}

static void check_job(int parts, const char *what) {
    for (int i = 0; i < WANTED; i++) atomic_store(&runs[i], 0);
    fbp_pool_run(WANTED, count, NULL);
    check(atomic_load(&parts_seen) == parts, what);
    for (int i = 0; i < WANTED; i++) check(atomic_load(&runs[i]) == (i < parts), "a part runs twice, or not at all");
}

static void check_threads(void) {
    start(&handlers, 1, 1);
    check_job(1, "threads are started that a child process would not know to be gone");
    start(&handlers, 0, 0), start(&threads, 1, ALWAYS);
    check_job(1, "a job has several parts though no thread could be started");
    for (int workers = 1; workers < WANTED; workers++) {
        start(&threads, 2, ALWAYS); /* one more */
        check_job(workers + 1, "a job has another number of parts than threads could be started");
    }
    start(&threads, 1, ALWAYS);
    check_job(WANTED, "threads that have been started are not used");
    check(atomic_load(&threads.calls) == 0, "more threads are started than are wanted");
}

int main(void) {
    check_rooms();
    check_plans(FBP_SOFTMAX_CROSS_ENTROPY_LABELS);
    check_plans(FBP_PINBALL);
    check_threads();
    if (failures) {
        printf("%d failures\n", failures);
        return 1;
    }
    puts("ok");
    return 0;
}
