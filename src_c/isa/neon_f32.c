#define FBP_REAL 32
#include "../vec/neon.h"
#include "../kernels/table.h"
