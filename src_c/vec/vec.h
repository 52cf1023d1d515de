/* vec.h: the vector operations for the kernel headers. A file of isa/ includes the header of its instruction set first. A kernel
 * header that is opened alone, in an editor or for a syntax check, gets those of portable.h for floats. */
#ifndef FBP_VEC_H
#define FBP_VEC_H

#ifndef FBP_ISA
#ifndef FBP_REAL
#define FBP_REAL 32
#endif
#include "portable.h"
#endif

#endif
