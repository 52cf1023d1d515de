#define FBP_REAL 32
#include "../vec/portable.h"
#include "../kernels/table.h"
