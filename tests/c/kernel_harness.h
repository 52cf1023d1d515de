/* kernel_harness.h: arrays that end at a page without access, comparisons, and the report of a kernel, for kernel_bits.c. */
#ifndef KERNEL_HARNESS_H
#define KERNEL_HARNESS_H

#include "fbp.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PASTE(real, isa) fbp_kernels_##real##_##isa
#define TABLE(real, isa) PASTE(real, isa)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct fbp_kernels *k; /* the table at work */
static int failures;

/* Where arrays lie: up to a page without access, or from right after one. */
static enum { BEFORE_A_PAGE, AFTER_A_PAGE } place;

/* While sweeping, sizes go one by one through three vectors and one element more, in place of the listed ones, and nothing is
 * printed. */
static int sweeping;

/* Lengths around those of vectors. */
static const size_t LENGTHS[] = {0, 1, 7, 8, 9, 15, 16, 17, 33, 63, 64, 65, 1001};

struct sizes {
    size_t a, b, c;
};
struct pair {
    size_t a, b;
};

static size_t longest_swept(void) { return 3 * (64 / k->item) + 1; }

static size_t count_of_lengths(size_t listed) { return sweeping ? longest_swept() + 1 : listed; }
static size_t length_at(const size_t *list, size_t i) { return sweeping ? i : list[i]; }

static size_t count_of_sizes(size_t listed) { return sweeping ? 3 * longest_swept() : listed; }
static struct sizes sizes_at(const struct sizes *list, size_t i) {
    if (!sweeping) return list[i];
    const size_t n = i % longest_swept() + 1, axis = i / longest_swept();
    return (struct sizes){axis == 0 ? n : 3, axis == 1 ? n : 5, axis == 2 ? n : 7};
}

static size_t count_of_pairs(size_t listed) { return sweeping ? 2 * longest_swept() : listed; }
static struct pair pair_at(const struct pair *list, size_t i) {
    if (!sweeping) return list[i];
    const size_t n = i % longest_swept() + 1;
    return i < longest_swept() ? (struct pair){n, 5} : (struct pair){3, n};
}

static void fail(const char *what) {
    if (++failures <= 20) printf("FAIL %s %s: %s\n", k->item == 4 ? "f32" : "f64", k->isa, what);
}

/* --------------------------------------------------------------------------------------------- arrays of reals */

static double get(const void *p, size_t i) { return k->item == 4 ? (double)((const float *)p)[i] : ((const double *)p)[i]; }

static void put(void *p, size_t i, double x) {
    if (k->item == 4) ((float *)p)[i] = (float)x;
    else ((double *)p)[i] = x;
}

static struct {
    void *at;
    size_t bytes;
} maps[200000];
static size_t n_maps;

static void free_all(void) {
    while (n_maps) n_maps--, munmap(maps[n_maps].at, maps[n_maps].bytes);
}

/* n items between two pages without access. They begin or end at one of these, and those that end at one begin at a multiple of
 * the item's size and of nothing more. */
static void *array(size_t n, size_t item) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (n * item + page - 1) / page * page, bytes = inner + 2 * page;
    unsigned char *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || n_maps == COUNT(maps) || (inner && mprotect(at + page, inner, PROT_READ | PROT_WRITE))) {
        puts("FAIL no memory");
        exit(2);
    }
    maps[n_maps].at = at, maps[n_maps++].bytes = bytes;
    return at + page + (place == BEFORE_A_PAGE ? inner - n * item : 0);
}

/* A matrix whose rows are `row` apart: nan in between, which nothing may use. */
struct matrix {
    size_t rows, columns, row;
    void *at;
};

static uint64_t next_stream;

static struct matrix filled(size_t rows, size_t columns, size_t gap, double low, double high) {
    struct matrix m = {rows, columns, columns + gap, array(rows * (columns + gap), k->item)};
    double *u = malloc((rows * columns + 1) * sizeof *u);
    fbp_random_uniform(20240229, next_stream++, 0, u, rows * columns);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < m.row; j++)
            put(m.at, i * m.row + j, j < columns ? low + (high - low) * u[i * columns + j] : (double)NAN);
    free(u);
    return m;
}

static struct matrix random_matrix(size_t rows, size_t columns, size_t gap) { return filled(rows, columns, gap, -1, 1); }

static struct matrix copy(struct matrix m) {
    struct matrix c = m;
    c.at = array(m.rows * m.row, k->item);
    memcpy(c.at, m.at, m.rows * m.row * k->item);
    return c;
}

static void *vector(size_t n) { return random_matrix(1, n, 0).at; }
static void *copy_vector(void *at, size_t n) { return copy((struct matrix){1, n, n, at}).at; }

static void same(struct matrix a, struct matrix b, const char *what) {
    for (size_t i = 0; i < a.rows; i++)
        for (size_t j = 0; j < a.columns; j++) {
            double x = get(a.at, i * a.row + j), y = get(b.at, i * b.row + j);
            if ((x != x) != (y != y) || (x == x && memcmp(&x, &y, sizeof x))) {
                fail(what);
                return;
            }
        }
}

static void same_vector(const void *a, const void *b, size_t n, const char *what) {
    same((struct matrix){1, n, n, (void *)a}, (struct matrix){1, n, n, (void *)b}, what);
}

/* --------------------------------------------------------------------------------------------------- reports */

static struct {
    const char *name, *suffix;
    uint64_t hash;
    double sum, size;
    size_t n;
} report;

static void begin(const char *name, const char *suffix) {
    report.name = name, report.suffix = suffix, report.hash = 14695981039346656037u;
    report.sum = report.size = 0, report.n = 0;
    next_stream = 0;
}

static void take(double x) {
    uint64_t bits = 0x7ff8000000000000u; /* one nan for all: processors differ in which they make */
    if (x == x) memcpy(&bits, &x, sizeof bits);
    for (int byte = 0; byte < 8; byte++) report.hash = (report.hash ^ (bits >> (8 * byte) & 255)) * 1099511628211u;
    if (isfinite(x)) {
        report.sum += x * ((double)(report.n * 2654435761u % 1009) / 504 - 1);
        report.size += fabs(x);
    }
    report.n++;
}

static void take_matrix(struct matrix m) {
    for (size_t i = 0; i < m.rows; i++)
        for (size_t j = 0; j < m.row; j++) {
            double x = get(m.at, i * m.row + j);
            if (j < m.columns) take(x);
            else if (x == x) fail("something was written between two rows");
        }
}

static void take_vector(const void *at, size_t n) { take_matrix((struct matrix){1, n, n, (void *)at}); }

/* A kernel's outputs do not depend on where arrays lie. */
static void compare_places(void) {
    static uint64_t hashes[500];
    static size_t n, compared;
    if (place == BEFORE_A_PAGE) {
        if (n < COUNT(hashes)) hashes[n++] = report.hash;
        else fail("too many reports");
    } else if (compared >= n || hashes[compared++] != report.hash) {
        fail(report.name);
        fail("its bits depend on where arrays lie");
    }
}

static void end(void) {
    char name[80];
    if (sweeping) {
        compare_places();
        free_all();
        return;
    }
    snprintf(name, sizeof name, "%s%s%s", report.name, *report.suffix ? "_" : "", report.suffix);
    printf("%s %s %016llx %.17g %.17g\n", k->item == 4 ? "f32" : "f64", name, (unsigned long long)report.hash, report.sum,
           report.size);
    free_all();
}

static void touched(int signal) {
    printf("FAIL %s %s %s %s: memory outside an array was touched (signal %d)\n", k->item == 4 ? "f32" : "f64", k->isa, report.name,
           report.suffix, signal);
    fflush(stdout);
    _exit(1);
}

static void report_touches(void) {
    signal(SIGSEGV, touched);
    signal(SIGBUS, touched);
}

#endif
