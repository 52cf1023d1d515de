#define FBP_REAL 64
#include "../vec/avx2.h"
#include "../kernels/table.h"
