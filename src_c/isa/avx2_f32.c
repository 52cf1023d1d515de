#define FBP_REAL 32
#include "../vec/avx2.h"
#include "../kernels/table.h"
