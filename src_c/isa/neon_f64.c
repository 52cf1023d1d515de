#define FBP_REAL 64
#include "../vec/neon.h"
#include "../kernels/table.h"
