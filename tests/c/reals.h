/* reals.h: reals from bits and random numbers, for programs that include a vec header before. */
#ifndef REALS_H
#define REALS_H

#include <stdint.h>
#include <string.h>

static real real_of(uint_real u) {
    real x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static uint64_t random_state;
static uint64_t random_word(void) /* splitmix64: Steele, Lea, Flood, 2014 */
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static double random_unit(void) { return (double)(random_word() >> 11) * 0x1p-53; }

#endif
