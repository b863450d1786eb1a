# Sets HFR_WITH_CUDA, and the target hfr_cuda_headers where it is on. The driver is loaded at run time: only cuda.h is
# needed, nothing of CUDA is linked.
set(HFR_WITH_CUDA OFF)
if(HFREDUCE_CUDA STREQUAL "OFF")
  message(STATUS "HFREDUCE_CUDA: off (asked for)")
  return()
endif()

find_path(
  HFREDUCE_CUDA_INCLUDE_DIR cuda.h
  HINTS ENV CUDA_HOME ENV CUDA_PATH
  PATHS /usr/local/cuda
  PATH_SUFFIXES include targets/x86_64-linux/include targets/sbsa-linux/include
  DOC "Folder of the CUDA driver's header, cuda.h")
if(HFREDUCE_CUDA_INCLUDE_DIR)
  file(STRINGS ${HFREDUCE_CUDA_INCLUDE_DIR}/cuda.h cuda_version_line REGEX "^#define CUDA_VERSION ")
  string(REGEX MATCH "[0-9]+" cuda_version "${cuda_version_line}")
  if(cuda_version GREATER_EQUAL 12000)
    set(HFR_WITH_CUDA ON)
    add_library(hfr_cuda_headers INTERFACE)
    target_include_directories(hfr_cuda_headers SYSTEM INTERFACE ${HFREDUCE_CUDA_INCLUDE_DIR})
    target_compile_definitions(hfr_cuda_headers INTERFACE HFR_WITH_CUDA=1)
    # Ranges for profilers: headers that come with CUDA, and load the profiler's library by themselves.
    if(EXISTS ${HFREDUCE_CUDA_INCLUDE_DIR}/nvtx3/nvToolsExt.h)
      set(HFR_WITH_NVTX ON)
    endif()
    message(STATUS "HFREDUCE_CUDA: on (${HFREDUCE_CUDA_INCLUDE_DIR}/cuda.h, ${cuda_version})")
    return()
  endif()
endif()
set(why "no cuda.h of CUDA 12 or later was found; set HFREDUCE_CUDA_INCLUDE_DIR or CUDA_HOME")
if(HFREDUCE_CUDA STREQUAL "ON")
  message(FATAL_ERROR "HFREDUCE_CUDA=ON: ${why}")
endif()
message(STATUS "HFREDUCE_CUDA: off (${why})")
