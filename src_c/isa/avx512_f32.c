#define FBP_REAL 32
#include "../vec/avx512.h"
#include "../kernels/table.h"
