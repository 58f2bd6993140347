# emoe_lit_test(folder): a ctest `lit.<folder>` that runs lit over test/<folder>; it prints lit's totals.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
find_file(EMOE_LIT lit.py PATHS ${LLVM_TOOLS_BINARY_DIR}/../build/utils/lit ${LLVM_BINARY_DIR}/build/utils/lit
          NO_DEFAULT_PATH DOC "LLVM's lit (Debian: llvm-19-tools)")
find_program(EMOE_FILECHECK FileCheck PATHS ${LLVM_TOOLS_BINARY_DIR} NO_DEFAULT_PATH)
if(NOT EMOE_LIT OR NOT EMOE_FILECHECK)
  message(FATAL_ERROR "lit.py or FileCheck of LLVM 19 not found; install llvm-19-tools or configure with "
                      "-DEMOE_BUILD_TESTS=OFF")
endif()
configure_file(${CMAKE_CURRENT_SOURCE_DIR}/lit.site.cfg.py.in ${CMAKE_CURRENT_BINARY_DIR}/lit.site.cfg.py @ONLY)

function(emoe_lit_test folder)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.mlir
       ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*.test)
  if(files)
    add_test(NAME lit.${folder} COMMAND ${Python3_EXECUTABLE} ${EMOE_LIT} -v ${CMAKE_CURRENT_BINARY_DIR}/${folder})
    set_tests_properties(lit.${folder} PROPERTIES LABELS quick)
    file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/${folder})
  endif()
endfunction()
