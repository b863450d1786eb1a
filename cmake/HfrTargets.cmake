# hfr_module(NAME SOURCES ... [DEPS ...]): one folder of src/ as a static library, PIC and hidden.
# hfr_test(NAME SOURCES ... [DEPS ...] [LABELS ...] [ENVIRONMENT ...]): a GoogleTest program, one CTest entry a case.
# hfr_test_cases(NAME PREFIX P [FILTER F] [ENVIRONMENT ...]): its cases, or some, once more in another environment, as P.CASE.
# Both take LIBRARY_PATH, a folder whose libraries are loaded before others.

add_library(hfr_build_flags INTERFACE)
target_compile_features(hfr_build_flags INTERFACE cxx_std_20)
target_compile_options(hfr_build_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow
                                                 -Wno-missing-field-initializers)
if(HFREDUCE_WERROR)
  target_compile_options(hfr_build_flags INTERFACE -Werror)
endif()
target_include_directories(
  hfr_build_flags INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include
                            ${PROJECT_SOURCE_DIR}/kernels)

# For folders whose tests go through very many cases. Other code is not optimised under sanitizers: it would take twice as
# long to compile.
macro(hfr_optimise_under_sanitizers)
  if(HFREDUCE_SANITIZE)
    add_compile_options(-O1)
  endif()
endmacro()

function(hfr_module name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC hfr_build_flags ${ARG_DEPS})
  # CMake's Release has -O3, with which 8 B between two ranks take 5 % longer. Kernels ask for their own level.
  target_compile_options(${name} PRIVATE $<$<AND:$<CONFIG:Release>,$<COMPILE_LANGUAGE:CXX>>:-O2>)
  set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

function(hfr_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT;LIBRARY_PATH" "SOURCES;DEPS;LABELS;ENVIRONMENT" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE hfr_build_flags ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  # Tests' own code: takes 40 % less to compile so, and its lines are still known to debuggers.
  if(NOT HFREDUCE_SANITIZE)
    target_compile_options(${name} PRIVATE "$<$<CONFIG:RelWithDebInfo>:-O1;-g1>")
  endif()
  set(properties TIMEOUT ${ARG_TIMEOUT})
  if(ARG_LABELS)
    list(APPEND properties LABELS ${ARG_LABELS})
  endif()
  set_target_properties(${name} PROPERTIES HFR_TEST_PROPERTIES "${properties}")
  hfr_test_cases(${name} LIBRARY_PATH "${ARG_LIBRARY_PATH}" ENVIRONMENT ${ARG_ENVIRONMENT})
endfunction()

function(hfr_test_cases name)
  cmake_parse_arguments(ARG "" "PREFIX;FILTER;LIBRARY_PATH" "ENVIRONMENT" ${ARGN})
  get_target_property(properties ${name} HFR_TEST_PROPERTIES)
  set(list ${name}_${ARG_PREFIX}_cases)
  if(ARG_PREFIX)
    string(APPEND ARG_PREFIX .)
  endif()
  gtest_discover_tests(${name} TEST_PREFIX "${ARG_PREFIX}" TEST_FILTER "${ARG_FILTER}" TEST_LIST ${list}
                       DISCOVERY_TIMEOUT 60 PROPERTIES ${properties})
  # It would keep the first one of several variables. Tests fail communicators by the hundred: their records stay out of
  # the user's folders.
  set(environment HFREDUCE_RECORDER_DIR=${PROJECT_BINARY_DIR}/records ${ARG_ENVIRONMENT})
  set(properties "ENVIRONMENT \"${environment}\"")
  if(ARG_LIBRARY_PATH)
    string(APPEND properties " ENVIRONMENT_MODIFICATION \"LD_LIBRARY_PATH=path_list_prepend:${ARG_LIBRARY_PATH}\"")
  endif()
  set(file ${CMAKE_CURRENT_BINARY_DIR}/${list})
  get_property(multi_config GLOBAL PROPERTY GENERATOR_IS_MULTI_CONFIG)
  if(multi_config) # paths in the properties differ by configuration, which ctest is told of by -C
    file(WRITE ${file}.cmake "include(\"${file}-\${CTEST_CONFIGURATION_TYPE}.cmake\")\n")
    string(APPEND file -$<CONFIG>)
  endif()
  file(GENERATE OUTPUT ${file}.cmake
       CONTENT "if(${list})\n  set_tests_properties(\${${list}} PROPERTIES ${properties})\nendif()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES ${CMAKE_CURRENT_BINARY_DIR}/${list}.cmake)
endfunction()
