#define JFS_ISA isa_baseline
#define JFS_ISA_NAME "baseline"
#define JFS_VECTOR_BYTES 16
#define JFS_KERNELS kBaselineKernels

#include "cpu/kernels.inc.h"
