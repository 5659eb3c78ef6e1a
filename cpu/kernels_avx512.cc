#define JFS_ISA isa_avx512
#define JFS_ISA_NAME "avx512"
#define JFS_VECTOR_BYTES 64
#define JFS_KERNELS kAvx512Kernels

#include "cpu/kernels.inc.h"
