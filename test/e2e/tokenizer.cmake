# Our tokenizer against the `tokenizers` package, on bookmoe's (quick) and on all of tokenizer_diff.py (slow).
add_executable(tokenizer_batch tokenizer_batch.cpp)
target_link_libraries(tokenizer_batch PRIVATE emoe_options emoe_tokenizer emoe_host_options)
set_target_properties(tokenizer_batch PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/test)
add_test(NAME e2e.tokenizer.bookmoe COMMAND ${EMOE_E2E_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/tokenizer_diff.py
  $<TARGET_FILE:tokenizer_batch> --only bookmoe --strings 500)
add_test(NAME e2e.tokenizer COMMAND ${EMOE_E2E_PYTHON} ${CMAKE_CURRENT_SOURCE_DIR}/tokenizer_diff.py
  $<TARGET_FILE:tokenizer_batch>)
set_tests_properties(e2e.tokenizer.bookmoe PROPERTIES LABELS quick SKIP_RETURN_CODE 77 TIMEOUT 300)
set_tests_properties(e2e.tokenizer PROPERTIES LABELS slow SKIP_RETURN_CODE 77 TIMEOUT 1800)
