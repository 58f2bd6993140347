list(APPEND EMOE_RUNTIME_SOURCES
  ${CMAKE_CURRENT_SOURCE_DIR}/text/math.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/text/merge.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/text/nfc.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/text/open_tokenizer.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/text/sample.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/text/split.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/text/tokenizer.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/text/utf8.cpp)
