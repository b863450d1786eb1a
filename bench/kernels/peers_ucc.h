// a += b by UCC. In C, as UCC's own headers are.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Of the types that UCC adds on CPUs; it has no 16-bit IEEE floats there.
typedef enum {
  UCC_SUM_INT8,
  UCC_SUM_INT16,
  UCC_SUM_INT32,
  UCC_SUM_INT64,
  UCC_SUM_BFLOAT16,
  UCC_SUM_FLOAT32,
  UCC_SUM_FLOAT64
} ucc_sum_type;

// Both: 1 on success, 0 on failure.
int hfr_bench_ucc_start(void);
int hfr_bench_ucc_sum(ucc_sum_type type, void* a, const void* b, size_t count);

#ifdef __cplusplus
}
#endif
