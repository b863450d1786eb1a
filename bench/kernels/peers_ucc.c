// UCC's CPU reductions. Its execution component is no public interface: the headers come from UCC's
// source tree, the functions from the library that was built from it.
#include "peers_ucc.h"

#include <components/ec/ucc_ec.h>
#include <ucc/api/ucc.h>

static ucc_ee_executor_t* executor;

int hfr_bench_ucc_start(void) {
  ucc_lib_config_h config;
  ucc_lib_params_t params = {.mask = UCC_LIB_PARAM_FIELD_THREAD_MODE,
                             .thread_mode = UCC_THREAD_SINGLE};
  ucc_lib_h library;
  ucc_ee_executor_params_t executor_params = {.mask = UCC_EE_EXECUTOR_PARAM_FIELD_TYPE,
                                              .ee_type = UCC_EE_CPU_THREAD};
  if (ucc_lib_config_read(NULL, NULL, &config) != UCC_OK) return 0;
  const int started = ucc_init(&params, config, &library) == UCC_OK &&
                      ucc_ee_executor_init(&executor_params, &executor) == UCC_OK &&
                      ucc_ee_executor_start(executor, NULL) == UCC_OK;
  ucc_lib_config_release(config);
  return started;
}

int hfr_bench_ucc_sum(ucc_sum_type type, void* a, const void* b, size_t count) {
  static const ucc_datatype_t kTypes[] = {
      [UCC_SUM_INT8] = UCC_DT_INT8,         [UCC_SUM_INT16] = UCC_DT_INT16,
      [UCC_SUM_INT32] = UCC_DT_INT32,       [UCC_SUM_INT64] = UCC_DT_INT64,
      [UCC_SUM_BFLOAT16] = UCC_DT_BFLOAT16, [UCC_SUM_FLOAT32] = UCC_DT_FLOAT32,
      [UCC_SUM_FLOAT64] = UCC_DT_FLOAT64};
  ucc_ee_executor_task_args_t args = {.task_type = UCC_EE_EXECUTOR_TASK_REDUCE};
  ucc_ee_executor_task_t* task;
  args.reduce.dst = a;
  args.reduce.srcs[0] = a;
  args.reduce.srcs[1] = (void*)b;
  args.reduce.n_srcs = 2;
  args.reduce.count = count;
  args.reduce.dt = kTypes[type];
  args.reduce.op = UCC_OP_SUM;
  return ucc_ee_executor_task_post(executor, &args, &task) == UCC_OK &&
         ucc_ee_executor_task_finalize(task) == UCC_OK;
}
