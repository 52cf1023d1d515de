#define FBP_REAL 64
#include "../vec/avx512.h"
#include "../kernels/table.h"
