#define JFS_ISA isa_avx2
#define JFS_ISA_NAME "avx2"
#define JFS_VECTOR_BYTES 32
#define JFS_KERNELS kAvx2Kernels

#include "cpu/kernels.inc.h"
