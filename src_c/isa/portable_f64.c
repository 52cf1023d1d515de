#define FBP_REAL 64
#include "../vec/portable.h"
#include "../kernels/table.h"
