# Options and functions that every part of the tree uses; nothing here needs LLVM.

find_program(EMOE_CCACHE ccache)
if(EMOE_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${EMOE_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${EMOE_CCACHE})
endif()
find_program(EMOE_LLD NAMES ld.lld-19 ld.lld)
if(EMOE_LLD AND NOT CMAKE_CROSSCOMPILING)
  add_link_options(-fuse-ld=${EMOE_LLD})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # gcc takes a linker's kind, not its path: -B lets it find the versioned lld as ld.lld.
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/lld)
    file(CREATE_LINK ${EMOE_LLD} ${CMAKE_BINARY_DIR}/lld/ld.lld SYMBOLIC)
    set_property(DIRECTORY PROPERTY LINK_OPTIONS "")
    add_link_options(-B${CMAKE_BINARY_DIR}/lld -fuse-ld=lld)
  endif()
endif()

# What all C++ of the project is compiled with. Floating point is never contracted or reassociated:
# results do not depend on the compiler.
add_library(emoe_options INTERFACE)
target_compile_options(emoe_options INTERFACE -Wall -Wextra -ffp-contract=off
  -ffile-prefix-map=${PROJECT_SOURCE_DIR}=.)
target_include_directories(emoe_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
if(EMOE_SANITIZE)
  target_compile_options(emoe_options INTERFACE -fsanitize=${EMOE_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all -O1 -g1)  # as much as a report needs: LLVM's headers make the rest slow to compile
  target_link_options(emoe_options INTERFACE -fsanitize=${EMOE_SANITIZE})
endif()

if(EMOE_FUZZ)
  target_compile_options(emoe_options INTERFACE -fsanitize=fuzzer-no-link)  # coverage of what is fuzzed
endif()

# The runtime's world: no exceptions, no RTTI, no guard variables, no C++ library at link time.
add_library(emoe_runtime_options INTERFACE)
target_link_libraries(emoe_runtime_options INTERFACE emoe_options)
target_compile_options(emoe_runtime_options INTERFACE -fno-exceptions -fno-rtti
  -fno-threadsafe-statics -fvisibility=hidden -ffunction-sections -fdata-sections)

# emoe_unit_test(NAME name SOURCES file... LIBS target... [LABELS label...])
# A GoogleTest executable in build/test/, run by ctest under its name. Labels: quick (the default), slow, measure.
# Tests of what reads bytes from outside, and of the runtime, also run under the sanitizers: they are part of the
# target emoe_sanitized_tests and have the label sanitized.
set(EMOE_SANITIZED_FOLDERS "test/(runtime|frontends|schema|fuzz|compiler/bundle|compiler/raise|compiler/tokenizer)")
function(emoe_unit_test)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;LIBS;LABELS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SOURCES})
  target_link_libraries(${ARG_NAME} PRIVATE emoe_options ${ARG_LIBS} GTest::gtest GTest::gtest_main)
  set_target_properties(${ARG_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME})
  if(NOT ARG_LABELS)
    set(ARG_LABELS quick)
  endif()
  if(CMAKE_CURRENT_SOURCE_DIR MATCHES "${EMOE_SANITIZED_FOLDERS}")
    list(APPEND ARG_LABELS sanitized)
    if(NOT TARGET emoe_sanitized_tests)
      add_custom_target(emoe_sanitized_tests)
    endif()
    add_dependencies(emoe_sanitized_tests ${ARG_NAME})
  endif()
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS "${ARG_LABELS}" SKIP_RETURN_CODE 77)
endfunction()
