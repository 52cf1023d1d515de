/* kernel_harness.h: arrays that end at a page without access, comparisons, and the report of a kernel, for kernel_bits.c. */
#ifndef KERNEL_HARNESS_H
#define KERNEL_HARNESS_H

#include "fbp.h"

#include <math.h>
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

/* Lengths around those of vectors. */
static const size_t LENGTHS[] = {0, 1, 7, 8, 9, 15, 16, 17, 33, 63, 64, 65, 1001};

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

/* n items that end at a page without access. They begin at a multiple of the item's size and of nothing more. */
static void *array(size_t n, size_t item) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (n * item + page - 1) / page * page + page;
    unsigned char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || n_maps == COUNT(maps) || mprotect(at + bytes - page, page, PROT_NONE)) {
        puts("FAIL no memory");
        exit(2);
    }
    maps[n_maps].at = at, maps[n_maps++].bytes = bytes;
    return at + bytes - page - n * item;
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

static void end(void) {
    char name[80];
    snprintf(name, sizeof name, "%s%s%s", report.name, *report.suffix ? "_" : "", report.suffix);
    printf("%s %s %016llx %.17g %.17g\n", k->item == 4 ? "f32" : "f64", name, (unsigned long long)report.hash, report.sum,
           report.size);
    free_all();
}

#endif
